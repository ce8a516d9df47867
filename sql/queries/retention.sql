-- now --
-- The server's time, which created_at is told by.
SELECT now() AS now

-- lock --
-- Waits for whoever else deletes of this thread; the transaction's commit waits for no disk.
SELECT
    pg_catalog.set_config('synchronous_commit', 'off', true),
    pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s::text, 0))

-- harden --
-- Makes all that was committed before safe from a crash of the server.
SELECT pg_catalog.pg_logical_emit_message(true, 'langgraph_persist', ''::text)

-- threads --
-- A page of the threads that have rows in LangGraph's tables.
SELECT found.thread_id FROM (
    (
        SELECT DISTINCT thread_id FROM {{checkpoint_schema}}.checkpoints
        WHERE %(after)s::text IS NULL OR thread_id > %(after)s
        ORDER BY thread_id LIMIT %(limit)s
    )
    UNION
    (
        SELECT DISTINCT thread_id FROM {{checkpoint_schema}}.checkpoint_writes
        WHERE %(after)s::text IS NULL OR thread_id > %(after)s
        ORDER BY thread_id LIMIT %(limit)s
    )
    UNION
    (
        SELECT DISTINCT thread_id FROM {{checkpoint_schema}}.checkpoint_blobs
        WHERE %(after)s::text IS NULL OR thread_id > %(after)s
        ORDER BY thread_id LIMIT %(limit)s
    )
) AS found
ORDER BY found.thread_id LIMIT %(limit)s

-- sessions --
-- A page of the threads whose session has expired, or is completed.
-- Not those that were found before and have no checkpoints left.
SELECT s.thread_id
FROM {{schema}}.sessions AS s
WHERE (%(after)s::text IS NULL OR s.thread_id > %(after)s)
    AND CASE %(kind)s::text
        WHEN 'expired' THEN s.expires_at < now()
        ELSE s.status = 'completed'
    END
    AND (
        s.status NOT IN ('expired', 'completed')
        OR EXISTS (
            SELECT FROM {{checkpoint_schema}}.checkpoints AS c WHERE c.thread_id = s.thread_id
        )
    )
ORDER BY s.thread_id LIMIT %(limit)s

-- hold_session --
-- Locks a thread's session; says whether it has expired, and whether a run seems under way.
SELECT
    coalesce(s.expires_at < now(), false) AS expired,
    s.updated_at,
    EXISTS (
        SELECT FROM {{schema}}.workflow_runs AS r
        WHERE r.thread_id = %(thread_id)s AND r.status = 'running'
            AND greatest(r.heartbeat_at, r.started_at) > now() - %(patience)s::interval
    ) AS busy
FROM {{schema}}.sessions AS s
WHERE s.thread_id = %(thread_id)s
FOR NO KEY UPDATE OF s

-- expire_session --
-- Marks a session whose checkpoints went because it had expired; a new run makes it active.
UPDATE {{schema}}.sessions AS s
SET status = 'expired', ended_at = coalesce(s.ended_at, this.moment)
FROM (SELECT now()) AS this (moment)
WHERE s.thread_id = %(thread_id)s AND s.expires_at < this.moment AND s.status <> 'expired'

-- namespaces --
-- A thread's namespaces: their size, and the time and the root checkpoint of their newest one.
SELECT
    n.checkpoint_ns,
    n.count,
    coalesce(c.created_at, (c.checkpoint ->> 'ts')::timestamptz) AS updated_at,
    c.metadata -> 'parents' ->> '' AS root,
    EXISTS (
        SELECT FROM {{checkpoint_schema}}.checkpoints AS r
        WHERE r.thread_id = %(thread_id)s AND r.checkpoint_ns = ''
            AND r.checkpoint_id = c.metadata -> 'parents' ->> ''
    ) AS root_saved
FROM (
    SELECT checkpoint_ns, count(*) AS count, max(checkpoint_id) AS head
    FROM {{checkpoint_schema}}.checkpoints
    WHERE thread_id = %(thread_id)s
    GROUP BY checkpoint_ns
) AS n
JOIN {{checkpoint_schema}}.checkpoints AS c
    ON c.thread_id = %(thread_id)s
    AND c.checkpoint_ns = n.checkpoint_ns
    AND c.checkpoint_id = n.head
ORDER BY n.checkpoint_ns

-- outdated --
-- A namespace's checkpoints beyond the newest and older than the cutoff, newest first.
-- Recent ones without children are spared: a run may be about to build on them.
WITH ranked AS MATERIALIZED (
    SELECT
        c.checkpoint_id,
        coalesce(c.created_at, (c.checkpoint ->> 'ts')::timestamptz) AS created_at
    FROM {{checkpoint_schema}}.checkpoints AS c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    ORDER BY c.checkpoint_id DESC
    OFFSET %(keep_last)s::integer
)
SELECT r.checkpoint_id, spared.checkpoint_id IS NOT NULL AS spared
FROM ranked AS r
LEFT JOIN (
    SELECT checkpoint_id FROM ranked WHERE created_at >= %(recent)s::timestamptz
    EXCEPT
    SELECT p.parent_checkpoint_id FROM {{checkpoint_schema}}.checkpoints AS p
    WHERE p.thread_id = %(thread_id)s AND p.checkpoint_ns = %(checkpoint_ns)s
) AS spared ON spared.checkpoint_id = r.checkpoint_id
WHERE %(cutoff)s::timestamptz IS NULL OR r.created_at < %(cutoff)s
ORDER BY r.checkpoint_id DESC

-- delta_channels --
-- The channels that a namespace's checkpoints count updates of: its DeltaChannels.
SELECT DISTINCT counter.channel
FROM {{checkpoint_schema}}.checkpoints AS c
CROSS JOIN LATERAL
    jsonb_object_keys(c.metadata -> 'counters_since_delta_snapshot') AS counter (channel)
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND jsonb_typeof(c.metadata -> 'counters_since_delta_snapshot') = 'object'

-- frontier --
-- Checkpoints that stay while their parent goes, with the channels that have a value at them.
-- Those from before version 4 read pending sends from the parent, so none may take its place.
SELECT
    c.checkpoint_id,
    c.parent_checkpoint_id,
    (c.checkpoint ->> 'v')::integer < 4 AND (
        cardinality(%(channels)s::text[]) > 0 OR EXISTS (
            SELECT FROM {{checkpoint_schema}}.checkpoint_writes AS w
            WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = c.checkpoint_ns
                AND w.checkpoint_id = c.parent_checkpoint_id AND w.channel = '__pregel_tasks'
        )
    ) AS needs_parent,
    ARRAY(
        SELECT d.channel FROM unnest(%(channels)s::text[]) AS d (channel)
        WHERE coalesce(c.checkpoint -> 'channel_values' -> d.channel, 'null') <> 'null'
            OR EXISTS (
                SELECT FROM {{checkpoint_schema}}.checkpoint_blobs AS b
                WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = c.checkpoint_ns
                    AND b.channel = d.channel
                    AND b.version = c.checkpoint -> 'channel_versions' ->> d.channel
                    AND b.type <> 'empty'
            )
    ) AS stored
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.parent_checkpoint_id = ANY(%(gone)s)
    AND (c.checkpoint_id = ANY(%(gone)s)) IS NOT TRUE

-- ancestors --
-- A page of checkpoints from the newest wanted one back.
-- With the channels that have a value at them, and those that their tasks wrote to.
SELECT
    c.checkpoint_id,
    c.parent_checkpoint_id,
    ARRAY(
        SELECT d.channel FROM unnest(%(channels)s::text[]) AS d (channel)
        WHERE coalesce(c.checkpoint -> 'channel_values' -> d.channel, 'null') <> 'null'
            OR EXISTS (
                SELECT FROM {{checkpoint_schema}}.checkpoint_blobs AS b
                WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = c.checkpoint_ns
                    AND b.channel = d.channel
                    AND b.version = c.checkpoint -> 'channel_versions' ->> d.channel
                    AND b.type <> 'empty'
            )
    ) AS stored,
    ARRAY(
        SELECT DISTINCT w.channel FROM {{checkpoint_schema}}.checkpoint_writes AS w
        WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = c.checkpoint_ns
            AND w.checkpoint_id = c.checkpoint_id AND w.channel = ANY(%(channels)s)
    ) AS written
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id <= (SELECT max(w.id) FROM unnest(%(wanted)s::text[]) AS w (id))
    AND (%(before)s::text IS NULL OR c.checkpoint_id < %(before)s)
ORDER BY c.checkpoint_id DESC
LIMIT %(limit)s

-- relink --
-- Gives checkpoints that stay the nearest ancestor that does, or none, as their parent.
UPDATE {{checkpoint_schema}}.checkpoints AS c SET parent_checkpoint_id = r.parent
FROM unnest(%(ids)s::text[], %(olds)s::text[], %(news)s::text[]) AS r (id, old, parent)
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = r.id AND c.parent_checkpoint_id = r.old

-- children --
-- The checkpoints that have one of these as their parent and are none of them.
SELECT c.checkpoint_id FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.parent_checkpoint_id = ANY(%(ids)s) AND (c.checkpoint_id = ANY(%(ids)s)) IS NOT TRUE

-- measure_checkpoints --
-- How many rows these checkpoints and their writes are, and how many bytes they take.
SELECT 'checkpoints' AS name, count(*) AS count,
    coalesce(sum(pg_column_size(checkpoint) + pg_column_size(metadata)), 0) AS bytes
FROM {{checkpoint_schema}}.checkpoints
WHERE thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
    AND checkpoint_id = ANY(%(ids)s)
UNION ALL
SELECT 'checkpoint_writes', count(*), coalesce(sum(pg_column_size(blob)), 0)
FROM {{checkpoint_schema}}.checkpoint_writes
WHERE thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
    AND checkpoint_id = ANY(%(ids)s)

-- delete_writes --
-- Deletes what tasks wrote after these checkpoints.
DELETE FROM {{checkpoint_schema}}.checkpoint_writes
WHERE thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
    AND checkpoint_id = ANY(%(ids)s)

-- delete_checkpoints --
-- Deletes these checkpoints.
DELETE FROM {{checkpoint_schema}}.checkpoints
WHERE thread_id = %(thread_id)s AND checkpoint_ns = %(checkpoint_ns)s
    AND checkpoint_id = ANY(%(ids)s)

-- measure_namespaces --
-- How many rows these namespaces are, and how many bytes they take.
SELECT 'checkpoints' AS name, count(*) AS count,
    coalesce(sum(pg_column_size(checkpoint) + pg_column_size(metadata)), 0) AS bytes
FROM {{checkpoint_schema}}.checkpoints
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)
UNION ALL
SELECT 'checkpoint_writes', count(*), coalesce(sum(pg_column_size(blob)), 0)
FROM {{checkpoint_schema}}.checkpoint_writes
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)
UNION ALL
SELECT 'checkpoint_blobs', count(*), coalesce(sum(pg_column_size(blob)), 0)
FROM {{checkpoint_schema}}.checkpoint_blobs
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)

-- delete_namespace_writes --
-- Deletes all that tasks of these namespaces wrote.
DELETE FROM {{checkpoint_schema}}.checkpoint_writes
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)

-- delete_namespace_blobs --
-- Deletes all channel values of these namespaces.
DELETE FROM {{checkpoint_schema}}.checkpoint_blobs
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)

-- delete_namespace_checkpoints --
-- Deletes all checkpoints of these namespaces.
DELETE FROM {{checkpoint_schema}}.checkpoints
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ANY(%(namespaces)s)

-- unreferenced_blobs --
-- The channel values that no checkpoint names, except those counted as gone.
-- A value and its checkpoint commit together, so none of them is waiting for one. A difference of
-- sets, because a join may be planned from wrong estimates and then is quadratic.
SELECT b.checkpoint_ns, b.channel, b.version
FROM {{checkpoint_schema}}.checkpoint_blobs AS b
WHERE b.thread_id = %(thread_id)s AND (b.checkpoint_ns = ANY(%(gone_namespaces)s)) IS NOT TRUE
EXCEPT
SELECT c.checkpoint_ns, v.key, v.value
FROM {{checkpoint_schema}}.checkpoints AS c
CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
WHERE c.thread_id = %(thread_id)s
    AND (c.checkpoint_ns, c.checkpoint_id) NOT IN (
        SELECT g.ns, g.id FROM unnest(%(namespaces)s::text[], %(ids)s::text[]) AS g (ns, id)
    )

-- measure_blobs --
-- How many rows these channel values are, and how many bytes they take.
SELECT 'checkpoint_blobs' AS name, count(*) AS count,
    coalesce(sum(pg_column_size(b.blob)), 0) AS bytes
FROM unnest(%(namespaces)s::text[], %(channels)s::text[], %(versions)s::text[])
    AS k (checkpoint_ns, channel, version)
JOIN {{checkpoint_schema}}.checkpoint_blobs AS b
    ON b.thread_id = %(thread_id)s AND b.checkpoint_ns = k.checkpoint_ns
    AND b.channel = k.channel AND b.version = k.version

-- delete_blobs --
-- Deletes these channel values.
DELETE FROM {{checkpoint_schema}}.checkpoint_blobs AS b
USING unnest(%(namespaces)s::text[], %(channels)s::text[], %(versions)s::text[])
    AS k (checkpoint_ns, channel, version)
WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = k.checkpoint_ns
    AND b.channel = k.channel AND b.version = k.version

-- orphan_writes --
-- The checkpoints that have writes but are not there.
SELECT w.checkpoint_ns, w.checkpoint_id
FROM {{checkpoint_schema}}.checkpoint_writes AS w
WHERE w.thread_id = %(thread_id)s AND (w.checkpoint_ns = ANY(%(gone_namespaces)s)) IS NOT TRUE
EXCEPT
SELECT c.checkpoint_ns, c.checkpoint_id
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s

-- newest --
-- When a thread's newest checkpoint was saved.
SELECT max(coalesce(c.created_at, (c.checkpoint ->> 'ts')::timestamptz)) AS created_at
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s

-- measure_orphan_writes --
-- How many rows the writes of these checkpoints are, if those are not there.
SELECT 'checkpoint_writes' AS name, count(*) AS count,
    coalesce(sum(pg_column_size(w.blob)), 0) AS bytes
FROM unnest(%(namespaces)s::text[], %(ids)s::text[]) AS k (checkpoint_ns, checkpoint_id)
JOIN {{checkpoint_schema}}.checkpoint_writes AS w
    ON w.thread_id = %(thread_id)s AND w.checkpoint_ns = k.checkpoint_ns
    AND w.checkpoint_id = k.checkpoint_id
WHERE NOT EXISTS (
    SELECT FROM {{checkpoint_schema}}.checkpoints AS c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = w.checkpoint_ns
        AND c.checkpoint_id = w.checkpoint_id
)

-- delete_orphan_writes --
-- Deletes the writes of these checkpoints, if those are not there.
DELETE FROM {{checkpoint_schema}}.checkpoint_writes AS w
USING unnest(%(namespaces)s::text[], %(ids)s::text[]) AS k (checkpoint_ns, checkpoint_id)
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = k.checkpoint_ns
    AND w.checkpoint_id = k.checkpoint_id
    AND NOT EXISTS (
        SELECT FROM {{checkpoint_schema}}.checkpoints AS c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = w.checkpoint_ns
            AND c.checkpoint_id = w.checkpoint_id
    )

-- recorded_threads --
-- A page of the threads that have a record older than the cutoff.
SELECT s.thread_id
FROM {{schema}}.sessions AS s
WHERE (%(after)s::text IS NULL OR s.thread_id > %(after)s)
    AND (%(thread_ids)s::text[] IS NULL OR s.thread_id = ANY(%(thread_ids)s))
    AND CASE %(kind)s::text
        WHEN 'expired' THEN s.expires_at < now()
        WHEN 'completed' THEN s.status = 'completed'
        ELSE true
    END
    AND (
        s.updated_at < %(cutoff)s
        OR EXISTS (
            SELECT FROM {{schema}}.workflows AS w
            WHERE w.thread_id = s.thread_id AND w.updated_at < %(cutoff)s
        )
    )
ORDER BY s.thread_id LIMIT %(limit)s

-- old_workflows --
-- A session's workflows that ended before the cutoff, the last turn aside: turns count from it.
SELECT w.id
FROM {{schema}}.workflows AS w
WHERE w.thread_id = %(thread_id)s AND w.updated_at < %(cutoff)s
    AND (w.status <> 'running' OR w.updated_at < now() - %(patience)s::interval)
    AND w.turn < (
        SELECT max(l.turn) FROM {{schema}}.workflows AS l WHERE l.thread_id = %(thread_id)s
    )
ORDER BY w.turn

-- remains --
-- Whether nothing happened in a session since the cutoff, and its workflows except these.
SELECT
    s.updated_at < %(cutoff)s AND NOT EXISTS (
        SELECT FROM {{schema}}.workflows AS w
        WHERE w.thread_id = %(thread_id)s AND w.updated_at >= %(cutoff)s
    ) AS is_over,
    ARRAY(
        SELECT w.id FROM {{schema}}.workflows AS w
        WHERE w.thread_id = %(thread_id)s AND (w.id = ANY(%(gone)s)) IS NOT TRUE
    ) AS workflows
FROM {{schema}}.sessions AS s
WHERE s.thread_id = %(thread_id)s

-- measure_workflows --
-- How many rows these workflows and all that belongs to them are, and how many bytes they take.
SELECT 'workflows' AS name, count(*) AS count, coalesce(sum(pg_column_size(t)), 0) AS bytes
FROM {{schema}}.workflows AS t
WHERE t.thread_id = %(thread_id)s AND t.id = ANY(%(ids)s)
UNION ALL
SELECT 'workflow_runs', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.workflow_runs AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'nodes', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.nodes AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'generations', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.generations AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'retrievals', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.retrievals AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'tool_executions', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.tool_executions AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'hitl_events', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.hitl_events AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'plans', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.plans AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'plan_versions', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.plan_versions AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'todos', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.todos AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'execution_results', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.execution_results AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'evaluations', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.evaluations AS t
JOIN {{schema}}.workflows AS w ON w.thread_id = t.thread_id AND w.turn = t.turn
WHERE t.thread_id = %(thread_id)s AND w.id = ANY(%(ids)s)
UNION ALL
SELECT 'feedback', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.feedback AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)
UNION ALL
SELECT 'projection_errors', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.projection_errors AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = ANY(%(ids)s)

-- delete_workflows --
-- Deletes these workflows, if still older than the cutoff, with all that belongs to them.
DELETE FROM {{schema}}.workflows AS w
WHERE w.thread_id = %(thread_id)s AND w.id = ANY(%(ids)s) AND w.updated_at < %(cutoff)s

-- unused_content --
-- A session's values and messages that nothing refers to, except what is of these workflows.
WITH RECURSIVE documents AS (
    SELECT unnest(ARRAY[n.state, n.input_data, n.output_data]) AS document
    FROM {{schema}}.nodes AS n
    WHERE n.thread_id = %(thread_id)s AND (n.workflow_id = ANY(%(gone)s)) IS NOT TRUE
    UNION ALL
    SELECT unnest(ARRAY[w.input, w.result])
    FROM {{schema}}.workflows AS w
    WHERE w.thread_id = %(thread_id)s AND (w.id = ANY(%(gone)s)) IS NOT TRUE
    UNION ALL
    SELECT unnest(ARRAY[g.prompt, g.output_message, g.tool_calls])
    FROM {{schema}}.generations AS g
    WHERE g.thread_id = %(thread_id)s AND (g.workflow_id = ANY(%(gone)s)) IS NOT TRUE
    UNION ALL
    SELECT unnest(ARRAY[t.input_params, t.output_data])
    FROM {{schema}}.tool_executions AS t
    WHERE t.thread_id = %(thread_id)s AND (t.workflow_id = ANY(%(gone)s)) IS NOT TRUE
), referred AS (
    SELECT DISTINCT reference.parts[1]::uuid AS id
    FROM documents AS d
    CROSS JOIN LATERAL regexp_matches(
        d.document::text, '[{]"[$][a-z_]+": [[]?"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"', 'g'
    ) AS reference (parts)
    WHERE position('{"$' IN d.document::text) > 0
), used (id) AS (
    SELECT r.id FROM referred AS r
    UNION
    SELECT v.base_id
    FROM used
    JOIN {{schema}}.state_values AS v ON v.thread_id = %(thread_id)s AND v.id = used.id
    WHERE v.base_id IS NOT NULL
)
(
    SELECT 'state_values' AS name, v.id
    FROM {{schema}}.state_values AS v
    WHERE v.thread_id = %(thread_id)s
    UNION ALL
    SELECT 'messages', m.id
    FROM {{schema}}.messages AS m
    WHERE m.thread_id = %(thread_id)s
)
EXCEPT (
    SELECT kind.name, used.id
    FROM used
    CROSS JOIN (VALUES ('state_values'), ('messages')) AS kind (name)
    UNION ALL
    SELECT 'messages', (CASE jsonb_typeof(entry.value)
        WHEN 'array' THEN entry.value ->> 0
        ELSE entry.value #>> '{}'
    END)::uuid
    FROM used
    JOIN {{schema}}.state_values AS v ON v.thread_id = %(thread_id)s AND v.id = used.id
    CROSS JOIN LATERAL jsonb_array_elements(v.value) AS entry
    WHERE v.kind = 'messages'
)

-- measure_content --
-- How many rows these values and messages are, and how many bytes they take.
SELECT 'state_values' AS name, count(*) AS count, coalesce(sum(pg_column_size(t)), 0) AS bytes
FROM {{schema}}.state_values AS t
WHERE t.thread_id = %(thread_id)s AND t.id = ANY(%(values)s)
UNION ALL
SELECT 'messages', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.messages AS t
WHERE t.thread_id = %(thread_id)s AND t.id = ANY(%(messages)s)

-- delete_state_values --
-- Deletes these values of a session.
DELETE FROM {{schema}}.state_values WHERE thread_id = %(thread_id)s AND id = ANY(%(values)s)

-- delete_messages --
-- Deletes these messages of a session.
DELETE FROM {{schema}}.messages WHERE thread_id = %(thread_id)s AND id = ANY(%(messages)s)

-- measure_session --
-- How many rows of its own a session has beside its workflows, and how many bytes they take.
SELECT 'sessions' AS name, count(*) AS count, coalesce(sum(pg_column_size(t)), 0) AS bytes
FROM {{schema}}.sessions AS t
WHERE t.thread_id = %(thread_id)s
UNION ALL
SELECT 'messages', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.messages AS t
WHERE t.thread_id = %(thread_id)s
UNION ALL
SELECT 'state_values', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.state_values AS t
WHERE t.thread_id = %(thread_id)s
UNION ALL
SELECT 'plans', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.plans AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id IS NULL
UNION ALL
SELECT 'plan_versions', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.plan_versions AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id IS NULL
UNION ALL
SELECT 'todos', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.todos AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id IS NULL
UNION ALL
SELECT 'execution_results', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.execution_results AS t
JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
WHERE t.thread_id = %(thread_id)s AND p.workflow_id IS NULL
UNION ALL
SELECT 'evaluations', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.evaluations AS t
WHERE t.thread_id = %(thread_id)s AND t.turn IS NULL
UNION ALL
SELECT 'feedback', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.feedback AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id IS NULL
UNION ALL
SELECT 'projection_errors', count(*), coalesce(sum(pg_column_size(t)), 0)
FROM {{schema}}.projection_errors AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id IS NULL

-- delete_session --
-- Deletes a session and, by its foreign keys, all that is recorded of it.
DELETE FROM {{schema}}.sessions WHERE thread_id = %(thread_id)s
