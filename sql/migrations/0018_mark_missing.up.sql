-- What a row lacks and why: {"output": "CheckViolation …"} for a column that PostgreSQL refused,
-- {"on_llm_end": "ValueError"} for an event or a function that failed; NULL for a whole row.
ALTER TABLE {{schema}}.sessions ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.workflows ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.workflow_runs ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.nodes ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.generations ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.tool_executions ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.retrievals ADD COLUMN missing jsonb;
ALTER TABLE {{schema}}.hitl_events ADD COLUMN missing jsonb;
