-- Long values are compressed in a quarter of the time, where the server can: by lz4.
-- A Citus cluster does not take this for tables that it has spread.
DO $compress$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_settings
        WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
    ) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        IF EXISTS (SELECT FROM pg_dist_partition) THEN
            RETURN;
        END IF;
    END IF;
    ALTER TABLE {{checkpoint_schema}}.checkpoints
        ALTER COLUMN checkpoint SET COMPRESSION lz4,
        ALTER COLUMN metadata SET COMPRESSION lz4;
    ALTER TABLE {{checkpoint_schema}}.checkpoint_blobs ALTER COLUMN blob SET COMPRESSION lz4;
    ALTER TABLE {{checkpoint_schema}}.checkpoint_writes ALTER COLUMN blob SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.messages
        ALTER COLUMN text SET COMPRESSION lz4,
        ALTER COLUMN content SET COMPRESSION lz4,
        ALTER COLUMN tool_calls SET COMPRESSION lz4,
        ALTER COLUMN extra SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.state_values ALTER COLUMN value SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.nodes
        ALTER COLUMN input_data SET COMPRESSION lz4,
        ALTER COLUMN output_data SET COMPRESSION lz4,
        ALTER COLUMN state SET COMPRESSION lz4,
        ALTER COLUMN metadata SET COMPRESSION lz4,
        ALTER COLUMN error_traceback SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.generations
        ALTER COLUMN prompt SET COMPRESSION lz4,
        ALTER COLUMN output_message SET COMPRESSION lz4,
        ALTER COLUMN parsed_output SET COMPRESSION lz4,
        ALTER COLUMN tool_calls SET COMPRESSION lz4,
        ALTER COLUMN invocation_params SET COMPRESSION lz4,
        ALTER COLUMN error_traceback SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.tool_executions
        ALTER COLUMN input_params SET COMPRESSION lz4,
        ALTER COLUMN output_data SET COMPRESSION lz4,
        ALTER COLUMN error_traceback SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.retrievals ALTER COLUMN documents SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.workflows
        ALTER COLUMN input SET COMPRESSION lz4,
        ALTER COLUMN settings SET COMPRESSION lz4,
        ALTER COLUMN result SET COMPRESSION lz4,
        ALTER COLUMN metadata SET COMPRESSION lz4,
        ALTER COLUMN error_traceback SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.workflow_runs ALTER COLUMN error_traceback SET COMPRESSION lz4;
    ALTER TABLE {{schema}}.plan_versions ALTER COLUMN todos_snapshot SET COMPRESSION lz4;
END
$compress$;
