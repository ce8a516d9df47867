DROP TABLE {{schema}}.retrievals;
DROP TABLE {{schema}}.generations;
DROP TABLE {{schema}}.nodes;
DROP TABLE {{schema}}.state_values;
DROP TABLE {{schema}}.messages;
DROP TABLE {{schema}}.workflow_runs;
DROP TABLE {{schema}}.workflows;
DROP TABLE {{schema}}.sessions;
