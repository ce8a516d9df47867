-- put_blobs --
-- Stores channel values too rich for the checkpoint's own JSON; one that is there is the same.
INSERT INTO {{checkpoint_schema}}.checkpoint_blobs (
    thread_id, checkpoint_ns, channel, version, type, blob
)
SELECT thread_id, checkpoint_ns, channel, version, type,
    substring(%(data)b::bytea FROM start FOR size)
FROM jsonb_to_recordset(%(rows)s) AS r (
    thread_id text, checkpoint_ns text, channel text, version text, type text,
    start integer, size integer
)
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING

-- insert_writes --
-- Stores what tasks wrote; what a task wrote before stays.
INSERT INTO {{checkpoint_schema}}.checkpoint_writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
)
SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
    substring(%(data)b::bytea FROM start FOR size)
FROM jsonb_to_recordset(%(rows)s) AS r (
    thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text,
    idx integer, channel text, type text, start integer, size integer
)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING

-- upsert_writes --
-- Stores what tasks wrote to special channels (errors, interrupts, resumes); the last one counts.
INSERT INTO {{checkpoint_schema}}.checkpoint_writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
)
SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
    substring(%(data)b::bytea FROM start FOR size)
FROM jsonb_to_recordset(%(rows)s) AS r (
    thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text,
    idx integer, channel text, type text, start integer, size integer
)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE SET
    channel = excluded.channel, type = excluded.type, blob = excluded.blob

-- put_checkpoints --
-- Stores checkpoints; putting one again replaces it.
INSERT INTO {{checkpoint_schema}}.checkpoints AS t (
    thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata,
    workflow_id
)
SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata,
    workflow_id
FROM jsonb_to_recordset(%(rows)s) AS r (
    thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text,
    checkpoint jsonb, metadata jsonb, workflow_id uuid
)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE SET
    checkpoint = excluded.checkpoint,
    metadata = excluded.metadata,
    workflow_id = coalesce(excluded.workflow_id, t.workflow_id)

-- find_checkpoints --
-- Which of these checkpoints are there.
SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE (c.thread_id, c.checkpoint_ns, c.checkpoint_id) IN (
    SELECT r.thread_id, r.checkpoint_ns, r.checkpoint_id
    FROM unnest(%(thread_ids)s::text[], %(checkpoint_ns)s::text[], %(checkpoint_ids)s::text[])
        AS r (thread_id, checkpoint_ns, checkpoint_id)
)

-- replicate --
-- Makes this transaction's commit wait for synchronous standbys though it may find all rows there.
SELECT pg_catalog.pg_logical_emit_message(true, 'langgraph_persist', ''::text)

-- select_checkpoints --
-- Checkpoints with their channel values and pending writes; a WHERE clause follows.
SELECT
    c.thread_id, c.checkpoint, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
    c.metadata, c.workflow_id,
    (
        SELECT array_agg(
            ARRAY[convert_to(b.channel, 'UTF8'), convert_to(b.type, 'UTF8'), b.blob]
        )
        FROM {{checkpoint_schema}}.checkpoint_blobs AS b
        WHERE b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
            AND (b.channel, b.version) IN (
                -- Always true, but else the planner expects 100 channels and reads all the thread's.
                SELECT v.key, v.value
                FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
                WHERE v.key >= '' AND v.value >= ''
            )
    ) AS channel_values,
    (
        SELECT array_agg(
            ARRAY[
                convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
                convert_to(w.task_path, 'UTF8'), convert_to(w.idx::text, 'UTF8')
            ]
        )
        FROM {{checkpoint_schema}}.checkpoint_writes AS w
        WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
            AND w.checkpoint_id = c.checkpoint_id
    ) AS pending_writes
FROM {{checkpoint_schema}}.checkpoints AS c

-- select_bare_checkpoints --
-- Checkpoints without what is stored apart; a WHERE clause follows.
SELECT
    c.thread_id, c.checkpoint, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
    c.metadata, c.workflow_id
FROM {{checkpoint_schema}}.checkpoints AS c

-- select_channel_values --
-- The channel values of one checkpoint that are stored apart.
SELECT convert_to(b.channel, 'UTF8'), convert_to(b.type, 'UTF8'), b.blob
FROM {{checkpoint_schema}}.checkpoint_blobs AS b
WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = %(checkpoint_ns)s
    AND (b.channel, b.version) IN (
        SELECT v.key, v.value
        FROM {{checkpoint_schema}}.checkpoints AS c
        CROSS JOIN jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
            AND c.checkpoint_id = %(checkpoint_id)s
    )

-- select_pending_writes --
-- What tasks of one checkpoint wrote.
SELECT
    convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
    convert_to(w.task_path, 'UTF8'), convert_to(w.idx::text, 'UTF8')
FROM {{checkpoint_schema}}.checkpoint_writes AS w
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = %(checkpoint_ns)s
    AND w.checkpoint_id = %(checkpoint_id)s

-- select_pending_sends --
-- The sends of parent checkpoints, which checkpoints before version 4 keep there.
SELECT checkpoint_id,
    array_agg(ARRAY[convert_to(type, 'UTF8'), blob] ORDER BY task_path, task_id, idx) AS sends
FROM {{checkpoint_schema}}.checkpoint_writes
WHERE thread_id = %(thread_id)s AND checkpoint_id = ANY(%(checkpoint_ids)s)
    AND channel = '__pregel_tasks'
GROUP BY checkpoint_id

-- copy_checkpoints --
-- Copies a thread's checkpoints to another thread; with the record goes which workflow saved them.
INSERT INTO {{checkpoint_schema}}.checkpoints (
    thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata,
    workflow_id
)
SELECT
    %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata,
    CASE WHEN %(record)s::boolean THEN workflow_id END
FROM {{checkpoint_schema}}.checkpoints WHERE thread_id = %(source)s
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO NOTHING

-- copy_blobs --
-- Copies a thread's channel values to another thread.
INSERT INTO {{checkpoint_schema}}.checkpoint_blobs (
    thread_id, checkpoint_ns, channel, version, type, blob
)
SELECT %(target)s, checkpoint_ns, channel, version, type, blob
FROM {{checkpoint_schema}}.checkpoint_blobs WHERE thread_id = %(source)s
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING

-- copy_writes --
-- Copies what a thread's tasks wrote to another thread.
INSERT INTO {{checkpoint_schema}}.checkpoint_writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
)
SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
FROM {{checkpoint_schema}}.checkpoint_writes WHERE thread_id = %(source)s
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING

-- delete_runs --
-- Deletes the checkpoints of runs (by the run_id in their metadata) with their writes.
WITH gone AS (
    DELETE FROM {{checkpoint_schema}}.checkpoints WHERE metadata ->> 'run_id' = ANY(%(run_ids)s)
    RETURNING thread_id, checkpoint_ns, checkpoint_id
)
DELETE FROM {{checkpoint_schema}}.checkpoint_writes AS w USING gone AS g
WHERE w.thread_id = g.thread_id AND w.checkpoint_ns = g.checkpoint_ns
    AND w.checkpoint_id = g.checkpoint_id

-- delete_checkpoints --
-- Deletes a thread's checkpoints.
DELETE FROM {{checkpoint_schema}}.checkpoints WHERE thread_id = %(thread_id)s

-- delete_blobs --
-- Deletes a thread's checkpoint blobs.
DELETE FROM {{checkpoint_schema}}.checkpoint_blobs WHERE thread_id = %(thread_id)s

-- delete_writes --
-- Deletes a thread's checkpoint writes.
DELETE FROM {{checkpoint_schema}}.checkpoint_writes WHERE thread_id = %(thread_id)s
