-- is_citus --
-- Whether the database is a Citus cluster's.
SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL

-- workflows --
-- Opens or updates workflows; a new one is its session's next turn, and its opener's for good.
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
)
INSERT INTO {{schema}}.workflows AS t (
    thread_id, id, turn, user_id, organization_id, name, status, user_input, input_type,
    input, settings, result, metadata, tags, error_type, error_message, error_traceback,
    started_at, completed_at, duration_ms, active_ms, node_count, generation_count,
    prompt_tokens, completion_tokens, total_tokens, cost_usd, replay_of,
    missing
)
SELECT
    i.thread_id, i.id, p.turn, u.id, coalesce(o.id, u.organization_id), i.name, i.status,
    i.user_input, i.input_type, i.input, i.settings, i.result, i.metadata, i.tags,
    i.error_type, i.error_message, i.error_traceback, i.started_at, i.completed_at,
    i.duration_ms, i.active_ms,
    coalesce(i.node_count, 0), coalesce(i.generation_count, 0),
    coalesce(i.prompt_tokens, 0), coalesce(i.completion_tokens, 0),
    coalesce(i.total_tokens, 0), i.cost_usd, i.replay_of, i.missing
FROM incoming AS i
JOIN placed AS p USING (thread_id, id)
LEFT JOIN {{schema}}.users AS u ON u.username = i.username
LEFT JOIN {{schema}}.organizations AS o ON o.slug = i.slug
ORDER BY i.thread_id, i.id
ON CONFLICT (thread_id, id) DO UPDATE SET
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
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- count_turns --
-- Sessions have as many turns as their last workflow says.
UPDATE {{schema}}.sessions AS s SET turns = w.turn
FROM (
    SELECT k.thread_id, max(k.turn) AS turn FROM {{schema}}.workflows AS k
    WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
        SELECT r.thread_id, r.id FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, id uuid)
    )
    GROUP BY k.thread_id
) AS w
WHERE s.thread_id = ANY(%(threads)s) AND s.thread_id = w.thread_id AND s.turns < w.turn

-- workflow_runs --
-- Executions of a workflow: its start, resumes and replays; attempt counts them.
INSERT INTO {{schema}}.workflow_runs AS t (
    thread_id, id, workflow_id, kind, status, started_at, completed_at, duration_ms,
    instance_id, heartbeat_at, checkpoint_id, error_type, error_message, error_traceback,
    user_id, missing, attempt
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.kind, r.status, r.started_at, r.completed_at,
    r.duration_ms, r.instance_id, now(), r.checkpoint_id, r.error_type,
    r.error_message, r.error_traceback, u.id, r.missing, coalesce(earlier.attempts, 0) + 1
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
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
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

-- count_workflows --
-- Counts the requests that begin and the workflows that end with these rows, ahead of them.
-- What counts is how they change what is in the table, so that a row counts once.
WITH incoming AS MATERIALIZED (
    SELECT
        e.status, w.status AS status_before,
        w.id IS NULL AND e.admitted IS NOT TRUE AS is_request,
        coalesce(w.started_at, e.started_at) AS started_at,
        CASE WHEN w.id IS NULL THEN u.id ELSE w.user_id END AS user_id,
        CASE WHEN w.id IS NULL THEN coalesce(o.id, u.organization_id) ELSE w.organization_id END
            AS organization_id
    FROM jsonb_to_recordset(%(rows)s) AS e (
        thread_id text, id uuid, "user" text, organization text, status text,
        started_at timestamptz, admitted boolean
    )
    LEFT JOIN (
        SELECT k.thread_id, k.id, k.status, k.started_at, k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.id
            FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, id uuid)
        )
    ) AS w ON w.thread_id = e.thread_id AND w.id = e.id
    LEFT JOIN {{schema}}.users AS u ON u.username = e."user"
    LEFT JOIN {{schema}}.organizations AS o ON o.slug = e.organization
    WHERE e.status IS NOT NULL
    UNION ALL
    SELECT 'cancelled', w.status, false, w.started_at, w.user_id, w.organization_id
    FROM {{schema}}.workflows AS w
    JOIN jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid, supersedes boolean)
        ON w.thread_id = e.thread_id AND w.id <> e.id
    WHERE e.supersedes AND w.status = 'interrupted' AND w.thread_id = ANY(%(threads)s)
        AND w.id NOT IN (
            SELECT r.id FROM jsonb_to_recordset(%(rows)s) AS r (id uuid, status text)
            WHERE r.status IS NOT NULL
        )
), placed AS MATERIALIZED (
    SELECT
        i.*,
        {{> day_of_start}}
    FROM incoming AS i
    {{> own_timezone}}
), changes AS (
    SELECT
        organization_id, user_id, 'success_rate' AS metric_type, period_start, period_end,
        sum((status = 'completed')::integer
            - (status_before IS NOT DISTINCT FROM 'completed')::integer) AS completed,
        sum((status = 'failed')::integer
            - (status_before IS NOT DISTINCT FROM 'failed')::integer) AS failed,
        sum((status = 'cancelled')::integer
            - (status_before IS NOT DISTINCT FROM 'cancelled')::integer) AS cancelled,
        sum((status = 'refused')::integer
            - (status_before IS NOT DISTINCT FROM 'refused')::integer) AS refused
    FROM placed
    WHERE status IS DISTINCT FROM status_before
        AND (
            status IN ('completed', 'failed', 'cancelled', 'refused')
            OR status_before IN ('completed', 'failed', 'cancelled', 'refused')
        )
    GROUP BY organization_id, user_id, period_start, period_end
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    c.organization_id, c.user_id, NULL, c.metric_type, c.metric_value, c.metric_data,
    c.period_start, c.period_end
FROM (
    SELECT
        organization_id, user_id, metric_type,
        coalesce(completed::numeric / nullif(completed + failed, 0), 0) AS metric_value,
        jsonb_build_object(
            'completed', completed, 'failed', failed, 'cancelled', cancelled, 'refused', refused
        ) AS metric_data,
        period_start, period_end
    FROM changes
    UNION ALL
    SELECT organization_id, NULL, 'daily_requests', count(*), '{}', period_start, period_end
    FROM placed
    WHERE is_request AND organization_id IS NOT NULL
    GROUP BY organization_id, period_start, period_end
) AS c
ORDER BY c.metric_type, c.period_start, c.organization_id, c.user_id
{{> add_to_metrics}}

-- count_runs --
-- Counts the time of runs that end with these rows, ahead of them, unless it is counted already.
WITH ended AS MATERIALIZED (
    SELECT
        e.started_at,
        coalesce(e.duration_ms, b.duration_ms)::numeric
            - CASE WHEN b.error_type = 'ProcessLost' THEN b.duration_ms::numeric ELSE 0 END
            AS duration_ms,
        CASE WHEN b.error_type = 'ProcessLost' THEN 0 ELSE 1 END AS runs,
        CASE WHEN w.id IS NULL THEN u.id ELSE w.user_id END AS user_id,
        CASE WHEN w.id IS NULL THEN coalesce(o.id, u.organization_id) ELSE w.organization_id END
            AS organization_id
    FROM jsonb_to_recordset(%(rows)s) AS e (
        thread_id text, id uuid, workflow_id uuid, started_at timestamptz,
        duration_ms double precision, "user" text, organization text
    )
    LEFT JOIN (
        SELECT k.thread_id, k.id, k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.workflow_id
            FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, workflow_id uuid)
        )
    ) AS w ON w.thread_id = e.thread_id AND w.id = e.workflow_id
    LEFT JOIN (
        SELECT k.thread_id, k.id, k.status, k.error_type, k.duration_ms
        FROM {{schema}}.workflow_runs AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.id
            FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, id uuid)
        )
    ) AS b ON b.thread_id = e.thread_id AND b.id = e.id
    LEFT JOIN {{schema}}.users AS u ON u.username = e."user"
    LEFT JOIN {{schema}}.organizations AS o ON o.slug = e.organization
    WHERE coalesce(b.status, 'running') = 'running' OR b.error_type = 'ProcessLost'
), placed AS (
    SELECT
        c.*,
        {{> day_of_start}}
    FROM ended AS c
    {{> own_timezone}}
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    p.organization_id, p.user_id, NULL, 'execution_time',
    coalesce(sum(p.duration_ms), 0), jsonb_build_object('runs', sum(p.runs)),
    p.period_start, p.period_end
FROM placed AS p
GROUP BY p.organization_id, p.user_id, p.period_start, p.period_end
ORDER BY p.period_start, p.organization_id, p.user_id
{{> add_to_metrics}}

-- count_calls --
-- Counts the model calls that end with these rows, ahead of them, unless they are counted already.
WITH ended AS MATERIALIZED (
    SELECT
        e.started_at, e.status, coalesce(g.error_type = 'ProcessLost', false) AS was_lost,
        g.latency_ms AS lost_ms, coalesce(e.model_name, g.model_name) AS model_name,
        e.prompt_tokens, e.completion_tokens, e.total_tokens, e.cache_read_tokens,
        e.cache_creation_tokens, e.reasoning_tokens, e.cost_usd, e.latency_ms,
        coalesce(e.cache_hit, false) AS cache_hit, w.organization_id, w.user_id
    FROM jsonb_to_recordset(%(rows)s) AS e (
        thread_id text, id uuid, workflow_id uuid, started_at timestamptz, status text,
        model_name text, prompt_tokens bigint, completion_tokens bigint, total_tokens bigint,
        cache_read_tokens bigint, cache_creation_tokens bigint, reasoning_tokens bigint,
        cost_usd numeric, latency_ms double precision, cache_hit boolean
    )
    JOIN (
        SELECT k.thread_id, k.id, k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.workflow_id
            FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, workflow_id uuid)
        )
    ) AS w ON w.thread_id = e.thread_id AND w.id = e.workflow_id
    LEFT JOIN (
        SELECT k.thread_id, k.id, k.status, k.model_name, k.error_type, k.latency_ms
        FROM {{schema}}.generations AS k
        WHERE k.thread_id = ANY(%(threads)s) AND (k.thread_id, k.id) IN (
            SELECT r.thread_id, r.id
            FROM jsonb_to_recordset(%(rows)s) AS r (thread_id text, id uuid)
        )
    ) AS g ON g.thread_id = e.thread_id AND g.id = e.id
    WHERE coalesce(g.status, 'running') = 'running' OR g.error_type = 'ProcessLost'
), placed AS MATERIALIZED (
    SELECT
        c.*,
        {{> day_of_start}},
        date_trunc('month', c.started_at, z.timezone) AS month_start,
        (date_trunc('month', c.started_at AT TIME ZONE z.timezone) + interval '1 month')
            AT TIME ZONE z.timezone AS month_end
    FROM ended AS c
    {{> own_timezone}}
), summed AS (
    SELECT
        organization_id, user_id, model_name, period_start, period_end,
        count(*) FILTER (WHERE NOT cache_hit) - count(*) FILTER (WHERE was_lost) AS calls,
        count(*) FILTER (WHERE status = 'failed') - count(*) FILTER (WHERE was_lost) AS failed,
        count(*) FILTER (WHERE cache_hit) AS cache_hits,
        coalesce(sum(latency_ms::numeric) FILTER (WHERE NOT cache_hit), 0)
            - coalesce(sum(lost_ms::numeric) FILTER (WHERE was_lost), 0) AS latency_ms,
        coalesce(sum(prompt_tokens) FILTER (WHERE NOT cache_hit), 0) AS prompt_tokens,
        coalesce(sum(completion_tokens) FILTER (WHERE NOT cache_hit), 0) AS completion_tokens,
        coalesce(sum(total_tokens) FILTER (WHERE NOT cache_hit), 0) AS total_tokens,
        coalesce(sum(cache_read_tokens) FILTER (WHERE NOT cache_hit), 0) AS cache_read_tokens,
        coalesce(sum(cache_creation_tokens) FILTER (WHERE NOT cache_hit), 0)
            AS cache_creation_tokens,
        coalesce(sum(reasoning_tokens) FILTER (WHERE NOT cache_hit), 0) AS reasoning_tokens,
        coalesce(sum(cost_usd) FILTER (WHERE NOT cache_hit), 0) AS cost_usd
    FROM placed
    GROUP BY organization_id, user_id, model_name, period_start, period_end
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    c.organization_id, c.user_id, c.model_name, c.metric_type, c.metric_value, c.metric_data,
    c.period_start, c.period_end
FROM (
    SELECT p.organization_id, p.user_id, p.model_name, m.*, p.period_start, p.period_end
    FROM summed AS p
    CROSS JOIN LATERAL (
        VALUES
            ('api_calls', p.calls::numeric, jsonb_build_object(
                'failed', p.failed, 'cache_hits', p.cache_hits, 'latency_ms', p.latency_ms
            )),
            ('token_usage', p.total_tokens, jsonb_build_object(
                'prompt_tokens', p.prompt_tokens, 'completion_tokens', p.completion_tokens,
                'cache_read_tokens', p.cache_read_tokens,
                'cache_creation_tokens', p.cache_creation_tokens,
                'reasoning_tokens', p.reasoning_tokens, 'cost_usd', p.cost_usd
            ))
    ) AS m (metric_type, metric_value, metric_data)
    UNION ALL
    SELECT
        organization_id, NULL, NULL, 'monthly_tokens', sum(total_tokens), '{}',
        month_start, month_end
    FROM placed
    WHERE organization_id IS NOT NULL AND total_tokens > 0 AND NOT cache_hit
    GROUP BY organization_id, month_start, month_end
) AS c
ORDER BY c.metric_type, c.period_start, c.organization_id, c.user_id, c.model_name
{{> add_to_metrics}}

-- new_organizations --
-- The organizations among these rows that are to be written.
SELECT r.slug FROM jsonb_to_recordset(%(rows)s) AS r (slug text)
LEFT JOIN {{schema}}.organizations AS o ON o.slug = r.slug
WHERE o.id IS NULL

-- new_users --
-- The users among these rows that are to be written.
SELECT r.username FROM jsonb_to_recordset(%(rows)s) AS r (username text)
LEFT JOIN {{schema}}.users AS u ON u.username = r.username
WHERE u.id IS NULL

-- new_tools --
-- The tools among these rows that are to be written.
SELECT r.name
FROM jsonb_to_recordset(%(rows)s) AS r (name text, description text, parameters_schema jsonb)
LEFT JOIN {{schema}}.tools AS t ON t.name = r.name
WHERE t.id IS NULL
    OR coalesce(r.description, t.description) IS DISTINCT FROM t.description
    OR coalesce(r.parameters_schema, t.parameters_schema) IS DISTINCT FROM t.parameters_schema
