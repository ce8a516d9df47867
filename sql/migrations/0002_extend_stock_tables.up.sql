-- Repeatable: another installation, or this one before, may share these tables.
-- The default comes after the column, so no row is rewritten and old rows stay NULL.
ALTER TABLE {{checkpoint_schema}}.checkpoints ADD COLUMN IF NOT EXISTS workflow_id uuid;
ALTER TABLE {{checkpoint_schema}}.checkpoints ADD COLUMN IF NOT EXISTS created_at timestamptz;
ALTER TABLE {{checkpoint_schema}}.checkpoints ALTER COLUMN created_at SET DEFAULT now();

CREATE INDEX CONCURRENTLY IF NOT EXISTS checkpoint_writes_thread_id_task_id_idx
    ON {{checkpoint_schema}}.checkpoint_writes (thread_id, task_id);
