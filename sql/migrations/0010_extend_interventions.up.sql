-- Who ran it: a workflow has the user who started it, a resume may be another's.
ALTER TABLE {{schema}}.workflow_runs ADD COLUMN user_id uuid;
ALTER TABLE {{schema}}.workflow_runs ADD CONSTRAINT workflow_runs_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES {{schema}}.users (id) ON DELETE SET NULL;

-- What an answer has to look like, as JSON Schema.
ALTER TABLE {{schema}}.hitl_events ADD COLUMN response_schema jsonb;

CREATE INDEX hitl_events_timeout_idx ON {{schema}}.hitl_events (timeout_at)
    WHERE status = 'pending' AND timeout_at IS NOT NULL;
