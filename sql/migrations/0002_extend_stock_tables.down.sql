-- Kept while another installation in this database may share the stock tables.
DO $down$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_class
        WHERE relname = 'schema_ledger'
            AND relkind = 'r'
            AND relnamespace <> pg_catalog.to_regnamespace($name${{schema}}$name$)
    ) THEN
        DROP INDEX IF EXISTS {{checkpoint_schema}}.checkpoint_writes_thread_id_task_id_idx;
        ALTER TABLE {{checkpoint_schema}}.checkpoints DROP COLUMN IF EXISTS created_at;
        ALTER TABLE {{checkpoint_schema}}.checkpoints DROP COLUMN IF EXISTS workflow_id;
    END IF;
END
$down$;
