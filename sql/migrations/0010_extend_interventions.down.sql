DROP INDEX {{schema}}.hitl_events_timeout_idx;
ALTER TABLE {{schema}}.hitl_events DROP COLUMN response_schema;
ALTER TABLE {{schema}}.workflow_runs DROP COLUMN user_id;
