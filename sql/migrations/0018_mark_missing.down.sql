ALTER TABLE {{schema}}.hitl_events DROP COLUMN missing;
ALTER TABLE {{schema}}.retrievals DROP COLUMN missing;
ALTER TABLE {{schema}}.tool_executions DROP COLUMN missing;
ALTER TABLE {{schema}}.generations DROP COLUMN missing;
ALTER TABLE {{schema}}.nodes DROP COLUMN missing;
ALTER TABLE {{schema}}.workflow_runs DROP COLUMN missing;
ALTER TABLE {{schema}}.workflows DROP COLUMN missing;
ALTER TABLE {{schema}}.sessions DROP COLUMN missing;
