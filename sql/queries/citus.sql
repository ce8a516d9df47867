-- is_citus --
-- Whether the database is a Citus cluster's.
SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL

-- workflows --
-- Opens or updates workflows; a new one is its session's next turn.
WITH incoming AS (
    SELECT r.*, e.fields ->> 'user' AS username, e.fields ->> 'organization' AS slug
    FROM jsonb_array_elements(%(rows)s) AS e (fields)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.workflows, e.fields) AS r
), placed AS (
    SELECT i.thread_id, i.id, coalesce(
        w.turn,
        latest.turn + count(*) FILTER (WHERE w.id IS NULL)
            OVER (PARTITION BY i.thread_id ORDER BY i.started_at, i.id)
    ) AS turn
    FROM incoming AS i
    LEFT JOIN (
        SELECT k.thread_id, k.id, k.turn FROM {{schema}}.workflows AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.id FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, id uuid)
        )
    ) AS w USING (thread_id, id)
    LEFT JOIN (
        SELECT s.thread_id, s.turns AS turn FROM {{schema}}.sessions AS s
        WHERE s.thread_id = ANY(%(threads)s)
    ) AS latest USING (thread_id)
), written AS (
    INSERT INTO {{schema}}.workflows AS t (
        thread_id, id, turn, user_id, organization_id, name, status, user_input, input_type,
        input, settings, result, metadata, tags, error_type, error_message, error_traceback,
        started_at, completed_at, duration_ms, active_ms, node_count, generation_count,
        prompt_tokens, completion_tokens, total_tokens, cost_usd, replay_of
    )
    SELECT
        i.thread_id, i.id, p.turn, u.id, o.id, i.name, i.status, i.user_input, i.input_type,
        i.input, i.settings, i.result, i.metadata, i.tags, i.error_type, i.error_message,
        i.error_traceback, i.started_at, i.completed_at, i.duration_ms, i.active_ms,
        coalesce(i.node_count, 0), coalesce(i.generation_count, 0),
        coalesce(i.prompt_tokens, 0), coalesce(i.completion_tokens, 0),
        coalesce(i.total_tokens, 0), i.cost_usd, i.replay_of
    FROM incoming AS i
    JOIN placed AS p USING (thread_id, id)
    LEFT JOIN {{schema}}.users AS u ON u.username = i.username
    LEFT JOIN {{schema}}.organizations AS o ON o.slug = i.slug
    ORDER BY i.thread_id, i.id
    ON CONFLICT (thread_id, id) DO UPDATE SET
        user_id = coalesce(t.user_id, excluded.user_id),
        organization_id = coalesce(t.organization_id, excluded.organization_id),
        status = excluded.status,
        settings = coalesce(excluded.settings, t.settings),
        result = coalesce(excluded.result, t.result),
        metadata = coalesce(t.metadata, excluded.metadata),
        tags = coalesce(t.tags, excluded.tags),
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        error_traceback = excluded.error_traceback,
        completed_at = excluded.completed_at,
        duration_ms = coalesce(excluded.duration_ms, t.duration_ms),
        active_ms = coalesce(excluded.active_ms, t.active_ms),
        node_count = greatest(excluded.node_count, t.node_count),
        generation_count = greatest(excluded.generation_count, t.generation_count),
        prompt_tokens = greatest(excluded.prompt_tokens, t.prompt_tokens),
        completion_tokens = greatest(excluded.completion_tokens, t.completion_tokens),
        total_tokens = greatest(excluded.total_tokens, t.total_tokens),
        cost_usd = coalesce(excluded.cost_usd, t.cost_usd),
        updated_at = excluded.updated_at
    RETURNING thread_id, turn
)
UPDATE {{schema}}.sessions AS s SET turns = w.turn
FROM (SELECT thread_id, max(turn) AS turn FROM written GROUP BY thread_id) AS w
WHERE s.thread_id = ANY(%(threads)s) AND s.thread_id = w.thread_id AND s.turns < w.turn

-- workflow_runs --
-- Executions of a workflow: its start, resumes and replays; attempt counts them.
INSERT INTO {{schema}}.workflow_runs AS t (
    thread_id, id, workflow_id, kind, status, started_at, completed_at, duration_ms,
    instance_id, heartbeat_at, checkpoint_id, error_type, error_message, error_traceback,
    user_id, attempt
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.kind, r.status, r.started_at, r.completed_at,
    r.duration_ms, r.instance_id, now(), r.checkpoint_id, r.error_type,
    r.error_message, r.error_traceback, u.id, coalesce(earlier.attempts, 0) + 1
FROM jsonb_array_elements(%(rows)s) AS e (fields)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.workflow_runs, e.fields) AS r
LEFT JOIN {{schema}}.users AS u ON u.username = e.fields ->> 'user'
LEFT JOIN (
    SELECT e.thread_id, e.workflow_id, count(*) AS attempts FROM {{schema}}.workflow_runs AS e
    WHERE e.thread_id = ANY(%(threads)s) AND (e.thread_id, e.workflow_id) IN (
        SELECT k.thread_id, k.workflow_id
        FROM jsonb_to_recordset(%(rows)s) AS k (thread_id text, workflow_id uuid)
    )
    GROUP BY e.thread_id, e.workflow_id
) AS earlier USING (thread_id, workflow_id)
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    status = excluded.status,
    user_id = coalesce(t.user_id, excluded.user_id),
    completed_at = coalesce(excluded.completed_at, t.completed_at),
    duration_ms = coalesce(excluded.duration_ms, t.duration_ms),
    instance_id = coalesce(excluded.instance_id, t.instance_id),
    heartbeat_at = excluded.heartbeat_at,
    checkpoint_id = coalesce(excluded.checkpoint_id, t.checkpoint_id),
    error_type = excluded.error_type,
    error_message = excluded.error_message,
    error_traceback = excluded.error_traceback,
    updated_at = excluded.updated_at

-- messages --
-- Messages, each stored once a session, with the turn that brought them and their first name.
INSERT INTO {{schema}}.messages AS t (
    thread_id, id, message_id, turn, role, text, content, name, tool_calls, tool_call_id, extra
)
SELECT
    r.thread_id, r.id, r.message_id, w.turn, r.role, r.text, r.content, r.name, r.tool_calls,
    r.tool_call_id, r.extra
FROM jsonb_array_elements(%(rows)s) AS e (fields)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.messages, e.fields) AS r
LEFT JOIN (
    SELECT k.thread_id, k.id, k.turn FROM {{schema}}.workflows AS k
    WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
        SELECT m.thread_id, m.workflow_id
        FROM jsonb_to_recordset(%(rows)s) AS m (thread_id text, workflow_id uuid)
    )
) AS w ON w.thread_id = r.thread_id AND w.id = (e.fields ->> 'workflow_id')::uuid
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET message_id = excluded.message_id
WHERE t.message_id IS NULL AND excluded.message_id IS NOT NULL

-- workflow_totals --
-- Sums up ended workflows from their runs, nodes and generations.
UPDATE {{schema}}.workflows AS t SET
    duration_ms = extract(epoch FROM t.completed_at - t.started_at) * 1000,
    active_ms = e.active_ms,
    node_count = e.node_count,
    generation_count = e.generation_count,
    prompt_tokens = e.prompt_tokens,
    completion_tokens = e.completion_tokens,
    total_tokens = e.total_tokens,
    cost_usd = e.cost_usd
FROM (
    SELECT
        w.thread_id,
        w.id,
        (
            SELECT sum(r.duration_ms) FROM {{schema}}.workflow_runs AS r
            WHERE r.thread_id = w.thread_id AND r.workflow_id = w.id
                AND r.thread_id = ANY(%(threads)s)
        ) AS active_ms,
        (
            SELECT count(*) FROM {{schema}}.nodes AS n
            WHERE n.thread_id = w.thread_id AND n.workflow_id = w.id
                AND n.status <> 'skipped' AND n.node_type <> 'update'
                AND n.thread_id = ANY(%(threads)s)
        ) AS node_count,
        g.*
    FROM {{schema}}.workflows AS w
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS generation_count,
            coalesce(sum(g.prompt_tokens), 0) AS prompt_tokens,
            coalesce(sum(g.completion_tokens), 0) AS completion_tokens,
            coalesce(sum(g.total_tokens), 0) AS total_tokens,
            coalesce(
                sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit),
                CASE WHEN bool_and(g.cache_hit) THEN 0 END
            ) AS cost_usd
        FROM {{schema}}.generations AS g
        WHERE g.thread_id = w.thread_id AND g.workflow_id = w.id
            AND g.thread_id = ANY(%(threads)s)
    ) AS g
    WHERE w.thread_id = ANY(%(threads)s) AND (w.thread_id, w.id) IN (
        SELECT k.thread_id, k.id FROM jsonb_to_recordset(%(rows)s) AS k (thread_id text, id uuid)
    )
) AS e
WHERE t.thread_id = e.thread_id AND t.id = e.id AND t.thread_id = ANY(%(threads)s)
