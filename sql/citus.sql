-- Spreads the tables over a Citus cluster, so that all of a thread is on one node: what
-- Persist.distribute() runs. It is one transaction, and does nothing the second time.
-- The ledger of migrations and the counts of usage, which no thread owns, stay there.
DO $citus$
DECLARE
    reference CONSTANT text[] := ARRAY[
        $name${{schema}}.organizations$name$,
        $name${{schema}}.users$name$,
        $name${{schema}}.tools$name$
    ];
    by_thread CONSTANT text[] := ARRAY[
        $name${{checkpoint_schema}}.checkpoints$name$,
        $name${{checkpoint_schema}}.checkpoint_blobs$name$,
        $name${{checkpoint_schema}}.checkpoint_writes$name$,
        $name${{schema}}.sessions$name$,
        $name${{schema}}.workflows$name$,
        $name${{schema}}.workflow_runs$name$,
        $name${{schema}}.messages$name$,
        $name${{schema}}.state_values$name$,
        $name${{schema}}.nodes$name$,
        $name${{schema}}.generations$name$,
        $name${{schema}}.retrievals$name$,
        $name${{schema}}.plans$name$,
        $name${{schema}}.plan_versions$name$,
        $name${{schema}}.todos$name$,
        $name${{schema}}.execution_results$name$,
        $name${{schema}}.tool_executions$name$,
        $name${{schema}}.hitl_events$name$,
        $name${{schema}}.evaluations$name$,
        $name${{schema}}.feedback$name$,
        $name${{schema}}.projection_errors$name$
    ];
    key record;
    keys text[] := '{}';
    of_rows oid[];
    local_only text[];
    name text;
    command text;
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_dist_partition
        WHERE logicalrelid = by_thread[1]::regclass AND partmethod = 'h'
    ) THEN
        RETURN;
    END IF;
    PERFORM set_config('search_path', 'pg_catalog', true);
    PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);

    -- Citus takes a foreign key between distributed tables, but not while only one of them is.
    FOR key IN
        SELECT
            c.conrelid::regclass AS child, c.conname, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint AS c
        WHERE c.contype = 'f' AND c.conrelid = ANY((reference || by_thread)::regclass[])
    LOOP
        keys := keys || format('ALTER TABLE %s ADD CONSTRAINT %I %s', key.child, key.conname,
            key.definition);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.child, key.conname);
    END LOOP;

    -- Nor does it take a table to the workers whose views need a function of its rows: these views
    -- and functions stay on this node only.
    of_rows := ARRAY(
        SELECT p.oid FROM pg_proc AS p JOIN pg_type AS t ON t.oid = ANY(p.proargtypes)
        WHERE t.typrelid = ANY(by_thread::regclass[])
    );
    local_only := ARRAY(
        WITH RECURSIVE needing (view) AS (
            SELECT r.ev_class FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
            WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = ANY(of_rows)
            UNION
            SELECT r.ev_class FROM needing AS n
            JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = n.view
            JOIN pg_rewrite AS r ON r.oid = d.objid
        )
        SELECT pg_get_functiondef(f) FROM unnest(of_rows) AS f
        UNION ALL
        (
            SELECT format('CREATE VIEW %s AS %s', view::regclass, pg_get_viewdef(view))
            FROM needing ORDER BY view
        )
    );
    FOREACH command IN ARRAY ARRAY(
        SELECT format('DROP FUNCTION %s CASCADE', f::regprocedure) FROM unnest(of_rows) AS f
    ) LOOP
        EXECUTE command;
    END LOOP;

    FOREACH name IN ARRAY reference LOOP
        PERFORM create_reference_table(name::regclass);
    END LOOP;
    PERFORM create_distributed_table(by_thread[1]::regclass, 'thread_id');
    FOREACH name IN ARRAY by_thread[2:] LOOP
        PERFORM create_distributed_table(name::regclass, 'thread_id', colocate_with => by_thread[1]);
    END LOOP;

    FOREACH command IN ARRAY keys LOOP
        EXECUTE command;
    END LOOP;
    PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
    FOREACH command IN ARRAY local_only LOOP
        EXECUTE command;
    END LOOP;
END
$citus$;
