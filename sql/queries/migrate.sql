-- has_ledger --
-- Whether anything was ever migrated here.
SELECT pg_catalog.to_regclass(pg_catalog.format('%%I.schema_ledger', %(schema)s::text)) IS NOT NULL

-- has_stock --
-- Whether upstream's tables are here, in part at least.
SELECT pg_catalog.to_regclass(
    pg_catalog.format('%%I.checkpoint_migrations', %(checkpoint_schema)s::text)
) IS NOT NULL

-- ledger --
-- The migrations applied here, with the checksums of their files.
SELECT name, sha256 FROM {{schema}}.schema_ledger ORDER BY name

-- stock --
-- How far upstream has migrated its tables, and whether ours extended them.
SELECT
    (SELECT coalesce(max(v), -1) FROM {{checkpoint_schema}}.checkpoint_migrations),
    (
        SELECT count(*) = 2
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(checkpoint_schema)s
            AND c.relname = 'checkpoints'
            AND a.attname IN ('workflow_id', 'created_at')
            AND NOT a.attisdropped
    )

-- find_checkpoint_schema --
-- Where an unqualified checkpoints is found, or else would be created.
SELECT coalesce(
    (
        SELECT n.nspname
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass('checkpoints')
    ),
    pg_catalog.current_schema(),
    'public'
)

-- missing_schemas --
-- Which of the two schemas are to be created.
SELECT wanted
FROM (VALUES (%(schema)s), (%(checkpoint_schema)s)) AS named (wanted)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = wanted)
GROUP BY wanted

-- settings --
-- For this transaction: short waits for table locks, no limit on work, upstream's names.
SELECT
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('statement_timeout', '0', true),
    pg_catalog.set_config('search_path', %(search_path)s, true)

-- session_settings --
-- The same for statements that refuse to run in a transaction.
SELECT
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, false),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, false),
    pg_catalog.set_config('search_path', %(search_path)s, false)

-- current_settings --
-- What session_settings is about to change.
SELECT
    pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('statement_timeout'),
    pg_catalog.current_setting('search_path')

-- is_filled --
-- Whether a table is there and takes space, so that indexing it should not block its writers.
SELECT coalesce(pg_catalog.pg_relation_size(pg_catalog.to_regclass(%(table)s)) > 0, false)

-- invalid_index --
-- An index of this name that a failed concurrent build left behind.
SELECT i.indexrelid::regclass::text
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass(%(table)s)
    AND c.relname = %(name)s
    AND NOT i.indisvalid

-- try_lock --
-- Takes a migration lock unless another session has it.
SELECT pg_catalog.pg_try_advisory_lock(%(key)s)

-- unlock --
-- Gives a migration lock back.
SELECT pg_catalog.pg_advisory_unlock(%(key)s)

-- lock_holder --
-- Who holds a migration lock, for the message.
SELECT l.pid
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
WHERE l.locktype = 'advisory'
    AND l.granted
    AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = %(key)s

-- missing_privileges --
-- The grants a DBA would have to give for this migration.
SELECT pg_catalog.format(
    'GRANT CREATE ON DATABASE %%I TO %%I', pg_catalog.current_database(), current_user
)
FROM (VALUES (%(schema)s), (%(checkpoint_schema)s)) AS named (wanted)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = wanted)
    AND NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
UNION
SELECT pg_catalog.format('GRANT USAGE, CREATE ON SCHEMA %%I TO %%I', nspname, current_user)
FROM pg_catalog.pg_namespace
WHERE nspname IN (%(schema)s, %(checkpoint_schema)s)
    AND NOT (
        pg_catalog.has_schema_privilege(oid, 'CREATE')
        AND pg_catalog.has_schema_privilege(oid, 'USAGE')
    )
UNION
SELECT pg_catalog.format('ALTER TABLE %%I.%%I OWNER TO %%I', n.nspname, c.relname, current_user)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(checkpoint_schema)s
    AND c.relname IN ('checkpoints', 'checkpoint_writes', 'checkpoint_migrations')
    AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
