DROP INDEX {{schema}}.hitl_events_checkpoint_thread_id_idx;
ALTER TABLE {{schema}}.hitl_events DROP COLUMN checkpoint_thread_id;
