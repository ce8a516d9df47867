DROP TABLE {{schema}}.hitl_events;
DROP TABLE {{schema}}.tool_executions;
DROP TABLE {{schema}}.execution_results;
DROP TABLE {{schema}}.todos;
DROP TABLE {{schema}}.plan_versions;
DROP TABLE {{schema}}.plans;
