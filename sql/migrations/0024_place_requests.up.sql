-- The thread that waits for the answer, where that is not the one which the request is recorded on:
-- a node of this one has called a graph that saves on a thread of its own.
ALTER TABLE {{schema}}.hitl_events ADD COLUMN checkpoint_thread_id text;

CREATE INDEX hitl_events_checkpoint_thread_id_idx ON {{schema}}.hitl_events (checkpoint_thread_id)
    WHERE status = 'pending' AND checkpoint_thread_id IS NOT NULL;
