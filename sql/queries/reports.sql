-- recorded_span --
-- When the oldest workflow began, and what time it is.
SELECT min(w.started_at) AS first, now() AS now FROM {{schema}}.workflows AS w

-- midnights --
-- When the days begin that a time zone has between two times.
SELECT d.day::timestamp AT TIME ZONE %(timezone)s::text AS midnight
FROM generate_series(
    (%(from)s::timestamptz AT TIME ZONE %(timezone)s::text)::date::timestamp,
    (%(to)s::timestamptz AT TIME ZONE %(timezone)s::text)::date::timestamp,
    interval '1 day'
) AS d (day)

-- clear_models --
-- Forgets the sums of hours.
DELETE FROM {{schema}}.report_models AS r WHERE r.period_start = ANY(%(periods)s::timestamptz[])

-- clear_nodes --
-- Forgets the sums of days.
DELETE FROM {{schema}}.report_nodes AS r WHERE r.period_start = ANY(%(periods)s::timestamptz[])

-- clear_users --
-- Forgets the sums of days.
DELETE FROM {{schema}}.report_users AS r WHERE r.period_start = ANY(%(periods)s::timestamptz[])

-- sum_models --
-- Sums up the model calls of hours; a copy of one, in another session, is not another.
WITH calls AS MATERIALIZED (
    SELECT DISTINCT ON (g.id)
        date_trunc('hour', g.started_at, 'UTC') AS period_start, w.organization_id,
        g.model_provider, g.model_name, g.status, g.cache_hit, g.prompt_tokens,
        g.completion_tokens, g.total_tokens, g.cache_read_tokens, g.cache_creation_tokens,
        g.reasoning_tokens,
        CASE WHEN g.cost_usd < 'Infinity' THEN g.cost_usd END AS cost_usd,
        CASE WHEN g.latency_ms < 'Infinity' THEN g.latency_ms END AS latency_ms,
        CASE WHEN g.time_to_first_token_ms < 'Infinity' THEN g.time_to_first_token_ms END
            AS first_token_ms
    FROM {{schema}}.generations AS g
    JOIN {{schema}}.workflows AS w ON w.thread_id = g.thread_id AND w.id = g.workflow_id
    WHERE g.started_at >= %(from)s::timestamptz AND g.started_at < %(to)s::timestamptz
    ORDER BY g.id
), grouped AS MATERIALIZED (
    SELECT
        period_start, grouping(organization_id) = 1 AS is_total, organization_id,
        model_provider, model_name, bucket,
        count(*) AS calls,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE cache_hit) AS cache_hits,
        sum(prompt_tokens) FILTER (WHERE NOT cache_hit)::bigint AS prompt_tokens,
        sum(completion_tokens) FILTER (WHERE NOT cache_hit)::bigint AS completion_tokens,
        sum(total_tokens) FILTER (WHERE NOT cache_hit)::bigint AS total_tokens,
        sum(cache_read_tokens) FILTER (WHERE NOT cache_hit)::bigint AS cache_read_tokens,
        sum(cache_creation_tokens) FILTER (WHERE NOT cache_hit)::bigint AS cache_creation_tokens,
        sum(reasoning_tokens) FILTER (WHERE NOT cache_hit)::bigint AS reasoning_tokens,
        sum(cost_usd) FILTER (WHERE NOT cache_hit) AS cost_usd,
        count(latency_ms) FILTER (WHERE NOT cache_hit) AS timed,
        sum(latency_ms) FILTER (WHERE NOT cache_hit) AS latency_ms,
        count(first_token_ms) FILTER (WHERE NOT cache_hit) AS streamed,
        sum(first_token_ms) FILTER (WHERE NOT cache_hit) AS first_token_ms
    FROM (
        SELECT c.*, CASE WHEN c.latency_ms IS NOT NULL
            THEN floor(50 * ln(greatest(c.latency_ms, 0.001)))::integer
        END AS bucket
        FROM calls AS c
    ) AS c
    GROUP BY GROUPING SETS (
        (period_start, model_provider, model_name, bucket),
        (period_start, organization_id, model_provider, model_name, bucket)
    )
)
INSERT INTO {{schema}}.report_models (
    period_start, is_total, organization_id, model_provider, model_name, calls, failed,
    cache_hits, prompt_tokens, completion_tokens, total_tokens, cache_read_tokens,
    cache_creation_tokens, reasoning_tokens, cost_usd, timed, latency_ms, streamed,
    first_token_ms, buckets, counts
)
SELECT
    g.period_start, g.is_total, g.organization_id, g.model_provider, g.model_name,
    sum(g.calls), sum(g.failed), sum(g.cache_hits), sum(g.prompt_tokens),
    sum(g.completion_tokens), sum(g.total_tokens), sum(g.cache_read_tokens),
    sum(g.cache_creation_tokens), sum(g.reasoning_tokens), sum(g.cost_usd), sum(g.timed),
    sum(g.latency_ms), sum(g.streamed), sum(g.first_token_ms),
    array_agg(g.bucket ORDER BY g.bucket) FILTER (WHERE g.timed > 0),
    array_agg(g.timed ORDER BY g.bucket) FILTER (WHERE g.timed > 0)
FROM grouped AS g
GROUP BY g.period_start, g.is_total, g.organization_id, g.model_provider, g.model_name
ORDER BY g.is_total, g.period_start

-- sum_users --
-- Sums up the model calls of users on days of UTC.
WITH calls AS MATERIALIZED (
    SELECT DISTINCT ON (g.id)
        date_trunc('day', g.started_at, 'UTC') AS period_start, w.organization_id, w.user_id,
        g.model_provider, g.model_name, g.status, g.cache_hit, g.prompt_tokens,
        g.completion_tokens, g.total_tokens,
        CASE WHEN g.cost_usd < 'Infinity' THEN g.cost_usd END AS cost_usd
    FROM {{schema}}.generations AS g
    JOIN {{schema}}.workflows AS w ON w.thread_id = g.thread_id AND w.id = g.workflow_id
    WHERE g.started_at >= %(from)s::timestamptz AND g.started_at < %(to)s::timestamptz
    ORDER BY g.id
)
INSERT INTO {{schema}}.report_users (
    period_start, is_total, organization_id, user_id, model_provider, model_name, calls, failed,
    cache_hits, prompt_tokens, completion_tokens, total_tokens, cost_usd
)
SELECT
    c.period_start, grouping(c.model_name) = 1, c.organization_id, c.user_id, c.model_provider,
    c.model_name, count(*),
    count(*) FILTER (WHERE c.status = 'failed'), count(*) FILTER (WHERE c.cache_hit),
    sum(c.prompt_tokens) FILTER (WHERE NOT c.cache_hit),
    sum(c.completion_tokens) FILTER (WHERE NOT c.cache_hit),
    sum(c.total_tokens) FILTER (WHERE NOT c.cache_hit),
    sum(c.cost_usd) FILTER (WHERE NOT c.cache_hit)
FROM calls AS c
GROUP BY GROUPING SETS (
    (c.period_start, c.organization_id, c.user_id),
    (c.period_start, c.organization_id, c.user_id, c.model_provider, c.model_name)
)
ORDER BY grouping(c.model_name), c.period_start

-- sum_nodes --
-- Sums up the executions of nodes on days of UTC; a copy of one is not another.
WITH executions AS MATERIALIZED (
    SELECT DISTINCT ON (n.id)
        date_trunc('day', n.started_at, 'UTC') AS period_start, w.organization_id,
        w.name AS workflow_name, n.node_name, n.node_type, n.status,
        CASE WHEN n.duration_ms < 'Infinity' THEN n.duration_ms END AS duration_ms
    FROM {{schema}}.nodes AS n
    JOIN {{schema}}.workflows AS w ON w.thread_id = n.thread_id AND w.id = n.workflow_id
    WHERE n.started_at >= %(from)s::timestamptz AND n.started_at < %(to)s::timestamptz
        AND n.status <> 'skipped'
    ORDER BY n.id
), grouped AS MATERIALIZED (
    SELECT
        period_start, grouping(organization_id) = 1 AS is_total, organization_id,
        workflow_name, node_name, node_type, bucket,
        count(*) AS executions,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(duration_ms) AS timed, sum(duration_ms) AS duration_ms, max(duration_ms) AS max_ms
    FROM (
        SELECT e.*, CASE WHEN e.duration_ms IS NOT NULL
            THEN floor(50 * ln(greatest(e.duration_ms, 0.001)))::integer
        END AS bucket
        FROM executions AS e
    ) AS e
    GROUP BY GROUPING SETS (
        (period_start, workflow_name, node_name, node_type, bucket),
        (period_start, organization_id, workflow_name, node_name, node_type, bucket)
    )
)
INSERT INTO {{schema}}.report_nodes (
    period_start, is_total, organization_id, workflow_name, node_name, node_type, executions,
    completed, failed, timed, duration_ms, max_ms, buckets, counts
)
SELECT
    g.period_start, g.is_total, g.organization_id, g.workflow_name, g.node_name, g.node_type,
    sum(g.executions), sum(g.completed), sum(g.failed), sum(g.timed), sum(g.duration_ms),
    max(g.max_ms),
    array_agg(g.bucket ORDER BY g.bucket) FILTER (WHERE g.timed > 0),
    array_agg(g.timed ORDER BY g.bucket) FILTER (WHERE g.timed > 0)
FROM grouped AS g
GROUP BY
    g.period_start, g.is_total, g.organization_id, g.workflow_name, g.node_name, g.node_type
ORDER BY g.is_total, g.period_start

-- fresh_models --
-- What the model calls between two times add up to, as the record has them now.
WITH calls AS (
    SELECT DISTINCT ON (g.id)
        g.started_at, w.organization_id, w.user_id,
        g.model_provider, g.model_name, g.status, g.cache_hit, g.prompt_tokens,
        g.completion_tokens, g.total_tokens, g.cache_read_tokens, g.cache_creation_tokens,
        g.reasoning_tokens,
        CASE WHEN g.cost_usd < 'Infinity' THEN g.cost_usd END AS cost_usd,
        CASE WHEN g.latency_ms < 'Infinity' THEN g.latency_ms END AS latency_ms,
        CASE WHEN g.time_to_first_token_ms < 'Infinity' THEN g.time_to_first_token_ms END
            AS first_token_ms
    FROM {{schema}}.generations AS g
    LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = g.thread_id AND w.id = g.workflow_id
    WHERE (%(from)s::timestamptz IS NULL OR g.started_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR g.started_at < %(to)s)
        AND (%(model)s::text IS NULL OR g.model_name = %(model)s)
        {{> of_whom}}
    ORDER BY g.id
), grouped AS (
    SELECT
        day, organization_id, user_id, model_provider, model_name, bucket,
        count(*) AS calls,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE cache_hit) AS cache_hits,
        sum(prompt_tokens) FILTER (WHERE NOT cache_hit)::bigint AS prompt_tokens,
        sum(completion_tokens) FILTER (WHERE NOT cache_hit)::bigint AS completion_tokens,
        sum(total_tokens) FILTER (WHERE NOT cache_hit)::bigint AS total_tokens,
        sum(cache_read_tokens) FILTER (WHERE NOT cache_hit)::bigint AS cache_read_tokens,
        sum(cache_creation_tokens) FILTER (WHERE NOT cache_hit)::bigint AS cache_creation_tokens,
        sum(reasoning_tokens) FILTER (WHERE NOT cache_hit)::bigint AS reasoning_tokens,
        sum(cost_usd) FILTER (WHERE NOT cache_hit) AS cost_usd,
        count(latency_ms) FILTER (WHERE NOT cache_hit) AS timed,
        sum(latency_ms) FILTER (WHERE NOT cache_hit) AS latency_ms,
        count(first_token_ms) FILTER (WHERE NOT cache_hit) AS streamed,
        sum(first_token_ms) FILTER (WHERE NOT cache_hit) AS first_token_ms
    FROM (
        SELECT
            CASE WHEN %(by_day)s THEN (c.started_at AT TIME ZONE %(timezone)s::text)::date END
                AS day,
            CASE WHEN %(by_organization)s THEN c.organization_id END AS organization_id,
            CASE WHEN %(by_user)s THEN c.user_id END AS user_id,
            CASE WHEN %(by_model)s THEN c.model_provider END AS model_provider,
            CASE WHEN %(by_model)s THEN c.model_name END AS model_name,
            CASE WHEN %(timed)s AND c.latency_ms IS NOT NULL
                THEN floor(50 * ln(greatest(c.latency_ms, 0.001)))::integer
            END AS bucket,
            c.status, c.cache_hit, c.prompt_tokens, c.completion_tokens, c.total_tokens,
            c.cache_read_tokens, c.cache_creation_tokens, c.reasoning_tokens, c.cost_usd,
            c.latency_ms, c.first_token_ms
        FROM calls AS c
    ) AS c
    GROUP BY day, organization_id, user_id, model_provider, model_name, bucket
)
SELECT
    g.day, o.slug AS organization, u.username AS "user", g.model_provider AS provider,
    g.model_name AS model, sum(g.calls)::bigint AS calls, sum(g.failed)::bigint AS failed,
    sum(g.cache_hits)::bigint AS cache_hits, sum(g.prompt_tokens)::bigint AS prompt_tokens,
    sum(g.completion_tokens)::bigint AS completion_tokens,
    sum(g.total_tokens)::bigint AS total_tokens,
    sum(g.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(g.cache_creation_tokens)::bigint AS cache_creation_tokens,
    sum(g.reasoning_tokens)::bigint AS reasoning_tokens, sum(g.cost_usd) AS cost_usd,
    sum(g.timed)::bigint AS timed, sum(g.latency_ms) AS latency_ms,
    sum(g.streamed)::bigint AS streamed, sum(g.first_token_ms) AS first_token_ms,
    array_agg(g.bucket) FILTER (WHERE g.bucket IS NOT NULL AND g.timed > 0) AS buckets,
    array_agg(g.timed) FILTER (WHERE g.bucket IS NOT NULL AND g.timed > 0) AS counts
FROM grouped AS g
LEFT JOIN {{schema}}.organizations AS o ON o.id = g.organization_id
LEFT JOIN {{schema}}.users AS u ON u.id = g.user_id
GROUP BY g.day, o.slug, u.username, g.model_provider, g.model_name

-- stored_models --
-- What the sums of hours between two times add up to, but for some hours.
WITH grouped AS (
    SELECT
        CASE WHEN %(by_day)s THEN (r.period_start AT TIME ZONE %(timezone)s::text)::date END
            AS day,
        CASE WHEN %(by_organization)s THEN r.organization_id END AS organization_id,
        CASE WHEN %(by_model)s THEN r.model_provider END AS provider,
        CASE WHEN %(by_model)s THEN r.model_name END AS model,
        sum(r.calls)::bigint AS calls, sum(r.failed)::bigint AS failed,
        sum(r.cache_hits)::bigint AS cache_hits,
        sum(r.prompt_tokens)::bigint AS prompt_tokens,
        sum(r.completion_tokens)::bigint AS completion_tokens,
        sum(r.total_tokens)::bigint AS total_tokens,
        sum(r.cache_read_tokens)::bigint AS cache_read_tokens,
        sum(r.cache_creation_tokens)::bigint AS cache_creation_tokens,
        sum(r.reasoning_tokens)::bigint AS reasoning_tokens, sum(r.cost_usd) AS cost_usd,
        sum(r.timed)::bigint AS timed, sum(r.latency_ms) AS latency_ms,
        sum(r.streamed)::bigint AS streamed,
        sum(r.first_token_ms) AS first_token_ms
    FROM {{schema}}.report_models AS r
    WHERE r.is_total = %(total)s
        AND r.period_start >= %(from)s::timestamptz AND r.period_start < %(to)s::timestamptz
        AND NOT r.period_start = ANY(%(but)s::timestamptz[])
        AND (%(model)s::text IS NULL OR r.model_name = %(model)s)
        AND (
            %(organization)s::text IS NULL
            OR r.organization_id
                = (SELECT o.id FROM {{schema}}.organizations AS o WHERE o.slug = %(organization)s)
        )
    GROUP BY 1, 2, 3, 4
)
SELECT
    g.day, o.slug AS organization, NULL AS "user", g.provider, g.model, g.calls, g.failed,
    g.cache_hits, g.prompt_tokens, g.completion_tokens, g.total_tokens,
    g.cache_read_tokens, g.cache_creation_tokens, g.reasoning_tokens, g.cost_usd, g.timed,
    g.latency_ms, g.streamed, g.first_token_ms
FROM grouped AS g
LEFT JOIN {{schema}}.organizations AS o ON o.id = g.organization_id

-- stored_latencies --
-- How many of these calls took how long.
SELECT b.provider, b.model, array_agg(b.bucket) AS buckets, array_agg(b.count) AS counts
FROM (
    SELECT
        r.model_provider AS provider, r.model_name AS model, b.bucket, sum(b.count)::bigint AS count
    FROM {{schema}}.report_models AS r
    CROSS JOIN LATERAL unnest(r.buckets, r.counts) AS b (bucket, count)
    WHERE r.is_total = %(total)s
        AND r.period_start >= %(from)s::timestamptz AND r.period_start < %(to)s::timestamptz
        AND (%(model)s::text IS NULL OR r.model_name = %(model)s)
        {{> of_organization}}
    GROUP BY r.model_provider, r.model_name, b.bucket
) AS b
GROUP BY b.provider, b.model

-- stored_users --
-- What users' sums of days add up to.
WITH grouped AS (
    SELECT
        CASE WHEN %(by_day)s THEN (r.period_start AT TIME ZONE %(timezone)s::text)::date END
            AS day,
        CASE WHEN %(by_organization)s THEN r.organization_id END AS organization_id,
        r.user_id,
        CASE WHEN %(by_model)s THEN r.model_provider END AS provider,
        CASE WHEN %(by_model)s THEN r.model_name END AS model,
        sum(r.calls)::bigint AS calls, sum(r.failed)::bigint AS failed,
        sum(r.cache_hits)::bigint AS cache_hits,
        sum(r.prompt_tokens)::bigint AS prompt_tokens,
        sum(r.completion_tokens)::bigint AS completion_tokens,
        sum(r.total_tokens)::bigint AS total_tokens, sum(r.cost_usd) AS cost_usd
    FROM {{schema}}.report_users AS r
    WHERE r.is_total = %(total)s
        AND r.period_start >= %(from)s::timestamptz AND r.period_start < %(to)s::timestamptz
        AND (%(model)s::text IS NULL OR r.model_name = %(model)s)
        AND (
            %(organization)s::text IS NULL
            OR r.organization_id
                = (SELECT o.id FROM {{schema}}.organizations AS o WHERE o.slug = %(organization)s)
        )
    GROUP BY 1, 2, 3, 4, 5
)
SELECT
    g.day, o.slug AS organization, u.username AS "user", g.provider, g.model, g.calls, g.failed,
    g.cache_hits, g.prompt_tokens, g.completion_tokens, g.total_tokens, g.cost_usd
FROM grouped AS g
LEFT JOIN {{schema}}.organizations AS o ON o.id = g.organization_id
LEFT JOIN {{schema}}.users AS u ON u.id = g.user_id

-- fresh_nodes --
-- What the executions of nodes between two times add up to, as the record has them now.
WITH executions AS MATERIALIZED (
    SELECT DISTINCT ON (n.id)
        w.name AS workflow, n.node_name AS node, n.node_type, n.status,
        CASE WHEN n.duration_ms < 'Infinity' THEN n.duration_ms END AS duration_ms
    FROM {{schema}}.nodes AS n
    JOIN {{schema}}.workflows AS w ON w.thread_id = n.thread_id AND w.id = n.workflow_id
    WHERE n.status <> 'skipped'
        AND (%(from)s::timestamptz IS NULL OR n.started_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR n.started_at < %(to)s)
        AND (%(workflow)s::text IS NULL OR w.name = %(workflow)s)
        {{> of_whom}}
    ORDER BY n.id
), grouped AS (
    SELECT
        e.workflow, e.node, e.node_type,
        CASE WHEN e.duration_ms IS NOT NULL
            THEN floor(50 * ln(greatest(e.duration_ms, 0.001)))::integer
        END AS bucket,
        count(*) AS executions,
        count(*) FILTER (WHERE e.status = 'completed') AS completed,
        count(*) FILTER (WHERE e.status = 'failed') AS failed,
        count(e.duration_ms) AS timed, sum(e.duration_ms) AS duration_ms,
        max(e.duration_ms) AS max_ms
    FROM executions AS e
    GROUP BY 1, 2, 3, 4
)
SELECT
    g.workflow, g.node, g.node_type, sum(g.executions)::bigint AS executions,
    sum(g.completed)::bigint AS completed, sum(g.failed)::bigint AS failed,
    sum(g.timed)::bigint AS timed, sum(g.duration_ms) AS duration_ms, max(g.max_ms) AS max_ms,
    array_agg(g.bucket) FILTER (WHERE g.timed > 0) AS buckets,
    array_agg(g.timed) FILTER (WHERE g.timed > 0) AS counts
FROM grouped AS g
GROUP BY g.workflow, g.node, g.node_type

-- stored_nodes --
-- What the sums of days between two times add up to.
SELECT
    r.workflow_name AS workflow, r.node_name AS node, r.node_type,
    sum(r.executions)::bigint AS executions, sum(r.completed)::bigint AS completed,
    sum(r.failed)::bigint AS failed,
    sum(r.timed)::bigint AS timed, sum(r.duration_ms) AS duration_ms, max(r.max_ms) AS max_ms
FROM {{schema}}.report_nodes AS r
WHERE r.is_total = %(total)s
    AND r.period_start >= %(from)s::timestamptz AND r.period_start < %(to)s::timestamptz
    AND (%(workflow)s::text IS NULL OR r.workflow_name = %(workflow)s)
    {{> of_organization}}
GROUP BY r.workflow_name, r.node_name, r.node_type

-- stored_durations --
-- How many of these executions took how long.
WITH chosen AS MATERIALIZED (
    SELECT
        dense_rank() OVER (ORDER BY r.workflow_name, r.node_name, r.node_type) AS number,
        r.workflow_name, r.node_name, r.node_type, r.buckets, r.counts
    FROM {{schema}}.report_nodes AS r
    WHERE r.is_total = %(total)s
        AND r.period_start >= %(from)s::timestamptz AND r.period_start < %(to)s::timestamptz
        AND (%(workflow)s::text IS NULL OR r.workflow_name = %(workflow)s)
        {{> of_organization}}
), grouped AS (
    SELECT c.number, b.bucket, sum(b.count)::bigint AS count
    FROM chosen AS c CROSS JOIN LATERAL unnest(c.buckets, c.counts) AS b (bucket, count)
    GROUP BY c.number, b.bucket
)
SELECT
    n.workflow_name AS workflow, n.node_name AS node, n.node_type,
    array_agg(g.bucket) AS buckets, array_agg(g.count) AS counts
FROM grouped AS g
JOIN (
    SELECT DISTINCT c.number, c.workflow_name, c.node_name, c.node_type FROM chosen AS c
) AS n ON n.number = g.number
GROUP BY n.workflow_name, n.node_name, n.node_type

-- user_success --
-- How the workflows that users began between two times have ended.
WITH grouped AS (
    SELECT
        w.user_id, w.organization_id,
        count(*) AS workflows,
        count(*) FILTER (WHERE w.status = 'completed') AS completed,
        count(*) FILTER (WHERE w.status = 'failed') AS failed,
        count(*) FILTER (WHERE w.status = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE w.status = 'interrupted') AS interrupted,
        count(*) FILTER (WHERE w.status = 'running') AS running,
        count(*) FILTER (WHERE w.status = 'refused') AS refused,
        avg(w.duration_ms) FILTER (WHERE w.duration_ms < 'Infinity') AS avg_duration_ms,
        sum(w.total_tokens) AS total_tokens,
        sum(w.cost_usd) FILTER (WHERE w.cost_usd < 'Infinity') AS cost_usd,
        max(w.started_at) AS last_started_at
    FROM {{schema}}.workflows AS w
    WHERE w.copied_from IS NULL
        AND (%(from)s::timestamptz IS NULL OR w.started_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR w.started_at < %(to)s)
        {{> of_whom}}
    GROUP BY w.user_id, w.organization_id
)
SELECT
    u.username AS "user", o.slug AS organization, g.workflows, g.completed, g.failed,
    g.cancelled, g.interrupted, g.running, g.refused,
    g.completed::double precision / nullif(g.completed + g.failed, 0) AS success_rate,
    g.avg_duration_ms, g.total_tokens::bigint AS total_tokens, g.cost_usd, g.last_started_at
FROM grouped AS g
LEFT JOIN {{schema}}.users AS u ON u.id = g.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = g.organization_id
ORDER BY g.workflows DESC, u.username, o.slug
LIMIT %(limit)s

-- timeline --
-- All that happened in a workflow, in its order.
SELECT
    t.kind, t.id, t.node_id, t.name, t.status, t.started_at, t.completed_at, t.offset_ms,
    t.duration_ms, t.total_tokens, t.cost_usd, t.error_message
FROM {{schema}}.workflow_timeline AS t
WHERE t.workflow_id = %(workflow_id)s AND t.thread_id = (
    SELECT w.thread_id FROM {{schema}}.workflows AS w WHERE w.id = %(workflow_id)s
    ORDER BY w.created_at LIMIT 1
)
ORDER BY t.started_at, t.id

-- transcript --
-- What was said in a session, in its order.
SELECT t.turn, t.role, t.name, t.text, t.content, t.tool_calls
FROM {{schema}}.session_transcript AS t
WHERE t.thread_id = %(thread_id)s
ORDER BY t.turn, t.position

-- next_prompt --
-- The name of a prompt that comes after another one.
SELECT min(g.prompt_name) AS name
FROM {{schema}}.generations AS g
WHERE g.prompt_name IS NOT NULL
    AND (%(after)s::text IS NULL OR g.prompt_name > %(after)s)

-- prompt_versions --
-- What calls with each version of named prompts took, and how their workflows were judged.
WITH calls AS NOT MATERIALIZED (
    SELECT
        g.prompt_name, g.prompt_version, g.thread_id, g.workflow_id, g.status, g.cache_hit,
        g.prompt_tokens, g.completion_tokens, g.started_at,
        CASE WHEN g.cost_usd < 'Infinity' THEN g.cost_usd END AS cost_usd,
        CASE WHEN g.latency_ms < 'Infinity' THEN g.latency_ms END AS latency_ms
    FROM {{schema}}.generations AS g
    WHERE g.prompt_name IS NOT NULL
        AND g.prompt_name = ANY(%(names)s::text[])
        AND {{> made_here}}
        AND (%(model)s::text IS NULL OR g.model_name = %(model)s)
        AND (%(from)s::timestamptz IS NULL OR g.started_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR g.started_at < %(to)s)
), called AS (
    SELECT
        c.prompt_name, c.prompt_version, count(*) AS calls,
        count(*) FILTER (WHERE c.status = 'failed')::double precision
            / nullif(count(*) FILTER (WHERE c.status IN ('completed', 'failed')), 0)
            AS failure_rate,
        (avg(c.prompt_tokens) FILTER (WHERE NOT c.cache_hit))::double precision
            AS avg_prompt_tokens,
        (avg(c.completion_tokens) FILTER (WHERE NOT c.cache_hit))::double precision
            AS avg_completion_tokens,
        sum(c.cost_usd) FILTER (WHERE NOT c.cache_hit) AS cost_usd,
        avg(c.cost_usd) FILTER (WHERE NOT c.cache_hit) AS avg_cost_usd,
        avg(c.latency_ms) FILTER (WHERE NOT c.cache_hit) AS avg_latency_ms,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY c.latency_ms)
            FILTER (WHERE NOT c.cache_hit) AS percentiles,
        min(c.started_at) AS first_used_at, max(c.started_at) AS last_used_at
    FROM calls AS c
    GROUP BY c.prompt_name, c.prompt_version
), scored AS (
    SELECT
        u.prompt_name, u.prompt_version, avg(u.score)::double precision AS avg_score,
        count(*) AS scores
    FROM (
        SELECT DISTINCT
            c.prompt_name, c.prompt_version, e.thread_id, e.id,
            (e.details ->> 'score')::numeric AS score
        FROM {{schema}}.evaluations AS e
        JOIN {{schema}}.workflows AS w ON w.thread_id = e.thread_id AND w.turn = e.turn
        JOIN calls AS c ON c.thread_id = w.thread_id AND c.workflow_id = w.id
    ) AS u
    GROUP BY u.prompt_name, u.prompt_version
), rated AS (
    SELECT
        u.prompt_name, u.prompt_version, avg(u.rating)::double precision AS avg_rating,
        count(*) AS ratings
    FROM (
        SELECT k.prompt_name, k.prompt_version, k.thread_id, k.workflow_id, avg(k.rating) AS rating
        FROM (
            SELECT DISTINCT
                c.prompt_name, c.prompt_version, f.thread_id, f.workflow_id, f.id, f.rating
            FROM {{schema}}.feedback AS f
            JOIN calls AS c ON c.thread_id = f.thread_id AND c.workflow_id = f.workflow_id
            WHERE f.rating IS NOT NULL
        ) AS k
        GROUP BY k.prompt_name, k.prompt_version, k.thread_id, k.workflow_id
    ) AS u
    GROUP BY u.prompt_name, u.prompt_version
)
SELECT
    c.prompt_name AS name, c.prompt_version AS version, c.calls, c.failure_rate,
    c.avg_prompt_tokens, c.avg_completion_tokens, c.cost_usd, c.avg_cost_usd, c.avg_latency_ms,
    c.percentiles[1] AS p50_latency_ms, c.percentiles[2] AS p95_latency_ms, c.first_used_at,
    c.last_used_at, s.avg_score, coalesce(s.scores, 0) AS scores, r.avg_rating,
    coalesce(r.ratings, 0) AS ratings
FROM called AS c
LEFT JOIN scored AS s ON s.prompt_name = c.prompt_name
    AND s.prompt_version IS NOT DISTINCT FROM c.prompt_version
LEFT JOIN rated AS r ON r.prompt_name = c.prompt_name
    AND r.prompt_version IS NOT DISTINCT FROM c.prompt_version
ORDER BY c.prompt_name, c.first_used_at, c.prompt_version
LIMIT %(limit)s
