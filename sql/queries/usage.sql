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
    LEFT JOIN LATERAL (
        SELECT k.id, k.status, k.started_at, k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = e.thread_id AND k.id = e.id
        OFFSET 0
    ) AS w ON true
    LEFT JOIN {{schema}}.users AS u ON u.username = e."user"
    LEFT JOIN {{schema}}.organizations AS o ON o.slug = e.organization
    WHERE e.status IS NOT NULL
    UNION ALL
    SELECT 'cancelled', w.status, false, w.started_at, w.user_id, w.organization_id
    FROM jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid, supersedes boolean)
    JOIN {{schema}}.workflows AS w ON w.thread_id = e.thread_id AND w.id <> e.id
    WHERE e.supersedes AND w.status = 'interrupted'
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
    LEFT JOIN LATERAL (
        SELECT k.id, k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = e.thread_id AND k.id = e.workflow_id
        OFFSET 0
    ) AS w ON true
    LEFT JOIN LATERAL (
        SELECT k.status, k.error_type, k.duration_ms
        FROM {{schema}}.workflow_runs AS k
        WHERE k.thread_id = e.thread_id AND k.id = e.id
        OFFSET 0
    ) AS b ON true
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
    JOIN LATERAL (
        SELECT k.user_id, k.organization_id
        FROM {{schema}}.workflows AS k
        WHERE k.thread_id = e.thread_id AND k.id = e.workflow_id
        OFFSET 0
    ) AS w ON true
    LEFT JOIN LATERAL (
        SELECT k.status, k.model_name, k.error_type, k.latency_ms
        FROM {{schema}}.generations AS k
        WHERE k.thread_id = e.thread_id AND k.id = e.id
        OFFSET 0
    ) AS g ON true
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

-- count_lost --
-- Counts the runs that were just closed as lost, and the workflows and calls that failed by it.
WITH lost AS MATERIALIZED (
    SELECT r.id, r.workflow_id, r.started_at, r.duration_ms, e.closed_at
    FROM jsonb_to_recordset(%(rows)s) AS e (id uuid, closed_at timestamptz)
    JOIN {{schema}}.workflow_runs AS r ON r.thread_id = %(thread_id)s AND r.id = e.id
    WHERE r.error_type = 'ProcessLost' AND r.updated_at = e.closed_at
), gone AS (
    SELECT
        w.organization_id, w.user_id, NULL AS model_name, 'execution_time' AS metric_type,
        l.started_at, l.duration_ms::numeric AS value, 1 AS times, 0::numeric AS latency_ms
    FROM lost AS l
    JOIN {{schema}}.workflows AS w ON w.thread_id = %(thread_id)s AND w.id = l.workflow_id
    UNION ALL
    SELECT w.organization_id, w.user_id, NULL, 'success_rate', w.started_at, 0, 1, 0
    FROM {{schema}}.workflows AS w
    WHERE w.thread_id = %(thread_id)s AND w.error_type = 'ProcessLost'
        AND (w.id, w.updated_at) IN (SELECT l.workflow_id, l.closed_at FROM lost AS l)
    UNION ALL
    SELECT
        w.organization_id, w.user_id, g.model_name, 'api_calls', g.started_at, 1, 1,
        g.latency_ms::numeric
    FROM lost AS l
    JOIN {{schema}}.workflows AS w ON w.thread_id = %(thread_id)s AND w.id = l.workflow_id
    JOIN {{schema}}.generations AS g ON g.thread_id = %(thread_id)s AND g.run_id = l.id
    WHERE g.workflow_id = l.workflow_id AND g.error_type = 'ProcessLost'
        AND g.updated_at = l.closed_at
), placed AS MATERIALIZED (
    SELECT
        g.*,
        {{> day_of_start}}
    FROM gone AS g
    {{> own_timezone}}
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    p.organization_id, p.user_id, p.model_name, p.metric_type,
    CASE p.metric_type WHEN 'success_rate' THEN 0 ELSE sum(p.value) END,
    CASE p.metric_type
        WHEN 'success_rate' THEN
            jsonb_build_object('completed', 0, 'failed', sum(p.times), 'cancelled', 0, 'refused', 0)
        WHEN 'execution_time' THEN jsonb_build_object('runs', sum(p.times))
        ELSE jsonb_build_object(
            'failed', sum(p.times), 'cache_hits', 0, 'latency_ms', sum(p.latency_ms)
        )
    END,
    p.period_start, p.period_end
FROM placed AS p
GROUP BY p.organization_id, p.user_id, p.model_name, p.metric_type, p.period_start, p.period_end
ORDER BY p.metric_type, p.period_start, p.organization_id, p.user_id, p.model_name
{{> add_to_metrics}}


-- count_revived --
-- Counts no more what failed with lost runs that are heard of again, ahead of taking them up.
WITH gone AS (
    SELECT
        w.organization_id, w.user_id, NULL AS model_name, 'execution_time' AS metric_type,
        r.started_at, -r.duration_ms::numeric AS value, -1 AS times, 0::numeric AS latency_ms
    FROM {{schema}}.workflow_runs AS r
    JOIN {{schema}}.workflows AS w ON w.thread_id = r.thread_id AND w.id = r.workflow_id
    WHERE r.thread_id = ANY(%(threads)s) AND r.error_type = 'ProcessLost' AND r.id IN (
        SELECT e.id FROM jsonb_to_recordset(%(rows)s) AS e (id uuid)
    )
    UNION ALL
    SELECT w.organization_id, w.user_id, NULL, 'success_rate', w.started_at, 0, -1, 0
    FROM {{schema}}.workflows AS w
    WHERE w.thread_id = ANY(%(threads)s) AND w.error_type = 'ProcessLost'
        AND (w.thread_id, w.id) IN (
            SELECT r.thread_id, r.workflow_id FROM {{schema}}.workflow_runs AS r
            WHERE r.thread_id = ANY(%(threads)s) AND r.error_type = 'ProcessLost' AND r.id IN (
                SELECT e.id FROM jsonb_to_recordset(%(rows)s) AS e (id uuid)
            )
        )
), placed AS MATERIALIZED (
    SELECT
        g.*,
        {{> day_of_start}}
    FROM gone AS g
    {{> own_timezone}}
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    p.organization_id, p.user_id, p.model_name, p.metric_type,
    CASE p.metric_type WHEN 'success_rate' THEN 0 ELSE sum(p.value) END,
    CASE p.metric_type
        WHEN 'success_rate' THEN
            jsonb_build_object('completed', 0, 'failed', sum(p.times), 'cancelled', 0, 'refused', 0)
        WHEN 'execution_time' THEN jsonb_build_object('runs', sum(p.times))
        ELSE jsonb_build_object(
            'failed', sum(p.times), 'cache_hits', 0, 'latency_ms', sum(p.latency_ms)
        )
    END,
    p.period_start, p.period_end
FROM placed AS p
GROUP BY p.organization_id, p.user_id, p.model_name, p.metric_type, p.period_start, p.period_end
ORDER BY p.metric_type, p.period_start, p.organization_id, p.user_id, p.model_name
{{> add_to_metrics}}


-- count_plans --
-- Counts the plan and the todos that a list of todos has just made.
WITH listed AS MATERIALIZED (
    SELECT p.id, p.created_at, r.written_at, w.organization_id, w.user_id
    FROM jsonb_to_recordset(%(rows)s) AS r (
        checkpoint_ns text, channel_version text, written_at timestamptz
    )
    JOIN {{schema}}.plans AS p ON p.thread_id = %(thread_id)s
        AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
    LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = p.thread_id AND w.id = p.workflow_id
), made AS (
    SELECT l.organization_id, l.user_id, 'plan_count' AS metric_type, l.created_at
    FROM listed AS l
    WHERE l.created_at = l.written_at
    UNION ALL
    SELECT l.organization_id, l.user_id, 'todo_count', t.created_at
    FROM listed AS l
    JOIN {{schema}}.todos AS t ON t.thread_id = %(thread_id)s AND t.plan_id = l.id
        AND t.created_at = l.written_at
), placed AS MATERIALIZED (
    SELECT
        m.*,
        date_trunc('day', m.created_at, z.timezone) AS period_start,
        (date_trunc('day', m.created_at AT TIME ZONE z.timezone) + interval '1 day')
            AT TIME ZONE z.timezone AS period_end
    FROM made AS m
    {{> own_timezone}}
)
INSERT INTO {{schema}}.usage_metrics AS t (
    organization_id, user_id, metric_type, metric_value, metric_data, period_start, period_end
)
SELECT
    p.organization_id, p.user_id, p.metric_type, count(*), '{}', p.period_start, p.period_end
FROM placed AS p
GROUP BY p.organization_id, p.user_id, p.metric_type, p.period_start, p.period_end
ORDER BY p.metric_type, p.period_start, p.organization_id, p.user_id
{{> add_to_metrics}}

-- lock_usage --
-- Lets nobody else count until the transaction ends, and waits for those who have.
LOCK TABLE {{schema}}.usage_metrics IN EXCLUSIVE MODE

-- first_day --
-- The day on which the oldest workflow began, wherever on earth, and the first there is at all.
SELECT
    -- What was counted by another time zone may be of a day that began 26 hours earlier.
    (r.at AT TIME ZONE 'UTC' - interval '38 hours')::date AS day,
    (least(r.at, c.at) AT TIME ZONE 'UTC' - interval '38 hours')::date AS earliest
FROM (SELECT min(w.started_at) FROM {{schema}}.workflows AS w) AS r (at)
CROSS JOIN (SELECT min(m.period_start) FROM {{schema}}.usage_metrics AS m) AS c (at)

-- zones --
-- The organizations whose days are not UTC's.
SELECT o.id, o.timezone FROM {{schema}}.organizations AS o WHERE o.timezone <> 'UTC'

-- clear_metrics --
-- Forgets what was counted of a day, as the organizations have it.
DELETE FROM {{schema}}.usage_metrics AS t
WHERE t.metric_type <> 'monthly_tokens'
    AND t.period_start > (%(day)s::date - interval '2 days') AT TIME ZONE 'UTC'
    AND t.period_start < (%(day)s::date + interval '2 days') AT TIME ZONE 'UTC'
    AND %(day)s::date = (t.period_start AT TIME ZONE coalesce(
        (
            SELECT z.timezone FROM unnest(%(ids)s::uuid[], %(zones)s::text[]) AS z (id, timezone)
            WHERE z.id = t.organization_id
        ),
        'UTC'
    ))::date

-- recount_workflows --
-- Counts the workflows of a day; a copy of one, in another session, is not another.
WITH placed AS MATERIALIZED (
    SELECT DISTINCT ON (w.id)
        w.status, w.organization_id, w.user_id,
        date_trunc('day', w.started_at, z.timezone) AS period_start,
        (date_trunc('day', w.started_at AT TIME ZONE z.timezone) + interval '1 day')
            AT TIME ZONE z.timezone AS period_end
    FROM {{schema}}.workflows AS w
    LEFT JOIN {{schema}}.organizations AS o ON o.id = w.organization_id
    CROSS JOIN LATERAL (SELECT coalesce(o.timezone, 'UTC')) AS z (timezone)
    WHERE w.started_at >= %(from)s AND w.started_at < %(to)s
        AND (w.started_at AT TIME ZONE z.timezone)::date = %(day)s::date
    ORDER BY w.id
)
INSERT INTO {{schema}}.usage_metrics (
    organization_id, user_id, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    p.organization_id, p.user_id, 'success_rate',
    coalesce(p.completed::numeric / nullif(p.completed + p.failed, 0), 0),
    jsonb_build_object(
        'completed', p.completed, 'failed', p.failed, 'cancelled', p.cancelled,
        'refused', p.refused
    ),
    p.period_start, p.period_end
FROM (
    SELECT
        organization_id, user_id, period_start, period_end,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE status = 'refused') AS refused
    FROM placed
    WHERE status IN ('completed', 'failed', 'cancelled', 'refused')
    GROUP BY organization_id, user_id, period_start, period_end
) AS p
UNION ALL
SELECT organization_id, NULL, 'daily_requests', count(*), '{}', period_start, period_end
FROM placed
WHERE organization_id IS NOT NULL AND status <> 'refused'
GROUP BY organization_id, period_start, period_end

-- recount_runs --
-- Counts the time of the runs of a day that have ended.
WITH ended AS MATERIALIZED (
    SELECT DISTINCT ON (r.id)
        r.duration_ms, w.organization_id, w.user_id,
        date_trunc('day', r.started_at, z.timezone) AS period_start,
        (date_trunc('day', r.started_at AT TIME ZONE z.timezone) + interval '1 day')
            AT TIME ZONE z.timezone AS period_end
    FROM {{schema}}.workflow_runs AS r
    JOIN {{schema}}.workflows AS w ON w.thread_id = r.thread_id AND w.id = r.workflow_id
    LEFT JOIN {{schema}}.organizations AS o ON o.id = w.organization_id
    CROSS JOIN LATERAL (SELECT coalesce(o.timezone, 'UTC')) AS z (timezone)
    WHERE r.started_at >= %(from)s AND r.started_at < %(to)s AND r.status <> 'running'
        AND (r.started_at AT TIME ZONE z.timezone)::date = %(day)s::date
    ORDER BY r.id
)
INSERT INTO {{schema}}.usage_metrics (
    organization_id, user_id, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT
    p.organization_id, p.user_id, 'execution_time',
    coalesce(sum(p.duration_ms::numeric), 0), jsonb_build_object('runs', count(*)),
    p.period_start, p.period_end
FROM ended AS p
GROUP BY p.organization_id, p.user_id, p.period_start, p.period_end

-- recount_calls --
-- Counts the model calls of a day that have ended.
WITH ended AS MATERIALIZED (
    SELECT DISTINCT ON (g.id)
        g.status, g.model_name, g.prompt_tokens, g.completion_tokens, g.total_tokens,
        g.cache_read_tokens, g.cache_creation_tokens, g.reasoning_tokens, g.cost_usd,
        g.latency_ms, g.cache_hit, w.organization_id, w.user_id,
        date_trunc('day', g.started_at, z.timezone) AS period_start,
        (date_trunc('day', g.started_at AT TIME ZONE z.timezone) + interval '1 day')
            AT TIME ZONE z.timezone AS period_end
    FROM {{schema}}.generations AS g
    JOIN {{schema}}.workflows AS w ON w.thread_id = g.thread_id AND w.id = g.workflow_id
    LEFT JOIN {{schema}}.organizations AS o ON o.id = w.organization_id
    CROSS JOIN LATERAL (SELECT coalesce(o.timezone, 'UTC')) AS z (timezone)
    WHERE g.started_at >= %(from)s AND g.started_at < %(to)s AND g.status <> 'running'
        AND (g.started_at AT TIME ZONE z.timezone)::date = %(day)s::date
    ORDER BY g.id
)
INSERT INTO {{schema}}.usage_metrics (
    organization_id, user_id, model_name, metric_type, metric_value, metric_data,
    period_start, period_end
)
SELECT p.organization_id, p.user_id, p.model_name, m.*, p.period_start, p.period_end
FROM (
    SELECT
        organization_id, user_id, model_name, period_start, period_end,
        count(*) FILTER (WHERE NOT cache_hit) AS calls,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE cache_hit) AS cache_hits,
        coalesce(sum(latency_ms::numeric) FILTER (WHERE NOT cache_hit), 0) AS latency_ms,
        coalesce(sum(prompt_tokens) FILTER (WHERE NOT cache_hit), 0) AS prompt_tokens,
        coalesce(sum(completion_tokens) FILTER (WHERE NOT cache_hit), 0) AS completion_tokens,
        coalesce(sum(total_tokens) FILTER (WHERE NOT cache_hit), 0) AS total_tokens,
        coalesce(sum(cache_read_tokens) FILTER (WHERE NOT cache_hit), 0) AS cache_read_tokens,
        coalesce(sum(cache_creation_tokens) FILTER (WHERE NOT cache_hit), 0)
            AS cache_creation_tokens,
        coalesce(sum(reasoning_tokens) FILTER (WHERE NOT cache_hit), 0) AS reasoning_tokens,
        coalesce(sum(cost_usd) FILTER (WHERE NOT cache_hit), 0) AS cost_usd
    FROM ended
    GROUP BY organization_id, user_id, model_name, period_start, period_end
) AS p
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

-- recount_plans --
-- Counts the plans and todos made on a day; a copy of one, in another session, is not another.
WITH made AS MATERIALIZED (
    SELECT DISTINCT ON (p.id)
        w.organization_id, w.user_id, 'plan_count' AS metric_type, p.created_at
    FROM {{schema}}.plans AS p
    LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = p.thread_id AND w.id = p.workflow_id
    WHERE p.created_at >= %(from)s AND p.created_at < %(to)s
    ORDER BY p.id
), tasks AS MATERIALIZED (
    SELECT DISTINCT ON (t.id)
        w.organization_id, w.user_id, 'todo_count' AS metric_type, t.created_at
    FROM {{schema}}.todos AS t
    JOIN {{schema}}.plans AS p ON p.thread_id = t.thread_id AND p.id = t.plan_id
    LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = p.thread_id AND w.id = p.workflow_id
    WHERE t.created_at >= %(from)s AND t.created_at < %(to)s
    ORDER BY t.id
), placed AS MATERIALIZED (
    SELECT
        m.*,
        date_trunc('day', m.created_at, z.timezone) AS period_start,
        (date_trunc('day', m.created_at AT TIME ZONE z.timezone) + interval '1 day')
            AT TIME ZONE z.timezone AS period_end
    FROM (TABLE made UNION ALL TABLE tasks) AS m
    {{> own_timezone}}
)
INSERT INTO {{schema}}.usage_metrics (
    organization_id, user_id, metric_type, metric_value, metric_data, period_start, period_end
)
SELECT
    p.organization_id, p.user_id, p.metric_type, count(*), '{}', p.period_start, p.period_end
FROM placed AS p
LEFT JOIN {{schema}}.organizations AS o ON o.id = p.organization_id
WHERE (p.created_at AT TIME ZONE coalesce(o.timezone, 'UTC'))::date = %(day)s::date
GROUP BY p.organization_id, p.user_id, p.metric_type, p.period_start, p.period_end

-- clear_months --
-- Forgets how many tokens were counted in the months from one day to another.
DELETE FROM {{schema}}.usage_metrics AS t
WHERE t.metric_type = 'monthly_tokens'
    -- Where the time zone was changed since, its months begin up to 26 hours before or after.
    AND date_trunc('month', interval '27 hours' + t.period_start AT TIME ZONE coalesce(
        (
            SELECT z.timezone FROM unnest(%(ids)s::uuid[], %(zones)s::text[]) AS z (id, timezone)
            WHERE z.id = t.organization_id
        ),
        'UTC'
    )) BETWEEN date_trunc('month', %(since)s::timestamp)
        AND date_trunc('month', %(until)s::timestamp)

-- recount_months --
-- Sums up the tokens of the months from one day to another.
INSERT INTO {{schema}}.usage_metrics (
    organization_id, metric_type, metric_value, metric_data, period_start, period_end
)
SELECT
    m.organization_id, 'monthly_tokens', sum(m.metric_value), '{}',
    m.month AT TIME ZONE m.timezone, (m.month + interval '1 month') AT TIME ZONE m.timezone
FROM (
    SELECT
        u.organization_id, u.metric_value, z.timezone,
        date_trunc('month', u.period_start AT TIME ZONE z.timezone) AS month
    FROM {{schema}}.usage_metrics AS u
    LEFT JOIN {{schema}}.organizations AS o ON o.id = u.organization_id
    CROSS JOIN LATERAL (SELECT coalesce(o.timezone, 'UTC')) AS z (timezone)
    WHERE u.metric_type = 'token_usage' AND u.organization_id IS NOT NULL AND u.metric_value > 0
) AS m
WHERE m.month BETWEEN date_trunc('month', %(since)s::timestamp)
    AND date_trunc('month', %(until)s::timestamp)
GROUP BY m.organization_id, m.month, m.timezone

-- metrics --
-- What was counted of the days between two times; every filter is optional.
SELECT
    m.metric_type AS metric, o.slug AS organization, u.username AS "user", m.model_name AS model,
    m.period_start, m.period_end, m.metric_value AS value, m.metric_data AS data
FROM {{schema}}.usage_metrics AS m
LEFT JOIN {{schema}}.organizations AS o ON o.id = m.organization_id
LEFT JOIN {{schema}}.users AS u ON u.id = m.user_id
WHERE (%(since)s::timestamptz IS NULL OR m.period_end > %(since)s)
    AND (%(until)s::timestamptz IS NULL OR m.period_start < %(until)s)
    AND (%(metric)s::text IS NULL OR m.metric_type = %(metric)s)
    AND (%(organization)s::text IS NULL OR o.slug = %(organization)s)
    AND (%(user)s::text IS NULL OR u.username = %(user)s)
    AND (%(model)s::text IS NULL OR m.model_name = %(model)s)
ORDER BY m.period_start, m.metric_type, o.slug, u.username, m.model_name
