-- checkpoint_is_there --
-- A row if a checkpoint is there.
SELECT c.checkpoint_id FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = %(checkpoint_id)s

-- fork_checkpoint --
-- A copy of a checkpoint that a run can start from, below the copies of those around it.
INSERT INTO {{checkpoint_schema}}.checkpoints (
    thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata,
    workflow_id
)
SELECT
    c.thread_id, %(new_ns)s::text, %(new_id)s::text,
    CASE WHEN c.checkpoint_ns = %(new_ns)s THEN c.checkpoint_id END,
    c.type, c.checkpoint || jsonb_build_object('id', %(new_id)s::text),
    c.metadata || jsonb_build_object('source', 'fork', 'parents', %(parents)s::jsonb),
    c.workflow_id
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = %(checkpoint_id)s

-- fork_blobs --
-- The values of that checkpoint, where its copy looks for them.
INSERT INTO {{checkpoint_schema}}.checkpoint_blobs (
    thread_id, checkpoint_ns, channel, version, type, blob
)
SELECT b.thread_id, %(new_ns)s, b.channel, b.version, b.type, b.blob
FROM {{checkpoint_schema}}.checkpoint_blobs AS b
WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = %(checkpoint_ns)s
    AND (b.channel, b.version) IN (
        SELECT v.key, v.value
        FROM {{checkpoint_schema}}.checkpoints AS c,
            jsonb_each_text(c.checkpoint -> 'channel_versions') AS v
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
            AND c.checkpoint_id = %(checkpoint_id)s
    )
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
