-- Long values are compressed as the server does by default.
DO $compress$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        IF EXISTS (SELECT FROM pg_dist_partition) THEN
            RETURN;
        END IF;
    END IF;
    ALTER TABLE {{checkpoint_schema}}.checkpoints
        ALTER COLUMN checkpoint SET COMPRESSION DEFAULT,
        ALTER COLUMN metadata SET COMPRESSION DEFAULT;
    ALTER TABLE {{checkpoint_schema}}.checkpoint_blobs ALTER COLUMN blob SET COMPRESSION DEFAULT;
    ALTER TABLE {{checkpoint_schema}}.checkpoint_writes ALTER COLUMN blob SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.messages
        ALTER COLUMN text SET COMPRESSION DEFAULT,
        ALTER COLUMN content SET COMPRESSION DEFAULT,
        ALTER COLUMN tool_calls SET COMPRESSION DEFAULT,
        ALTER COLUMN extra SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.state_values ALTER COLUMN value SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.nodes
        ALTER COLUMN input_data SET COMPRESSION DEFAULT,
        ALTER COLUMN output_data SET COMPRESSION DEFAULT,
        ALTER COLUMN state SET COMPRESSION DEFAULT,
        ALTER COLUMN metadata SET COMPRESSION DEFAULT,
        ALTER COLUMN error_traceback SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.generations
        ALTER COLUMN prompt SET COMPRESSION DEFAULT,
        ALTER COLUMN output_message SET COMPRESSION DEFAULT,
        ALTER COLUMN parsed_output SET COMPRESSION DEFAULT,
        ALTER COLUMN tool_calls SET COMPRESSION DEFAULT,
        ALTER COLUMN invocation_params SET COMPRESSION DEFAULT,
        ALTER COLUMN error_traceback SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.tool_executions
        ALTER COLUMN input_params SET COMPRESSION DEFAULT,
        ALTER COLUMN output_data SET COMPRESSION DEFAULT,
        ALTER COLUMN error_traceback SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.retrievals ALTER COLUMN documents SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.workflows
        ALTER COLUMN input SET COMPRESSION DEFAULT,
        ALTER COLUMN settings SET COMPRESSION DEFAULT,
        ALTER COLUMN result SET COMPRESSION DEFAULT,
        ALTER COLUMN metadata SET COMPRESSION DEFAULT,
        ALTER COLUMN error_traceback SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.workflow_runs ALTER COLUMN error_traceback SET COMPRESSION DEFAULT;
    ALTER TABLE {{schema}}.plan_versions ALTER COLUMN todos_snapshot SET COMPRESSION DEFAULT;
END
$compress$;
