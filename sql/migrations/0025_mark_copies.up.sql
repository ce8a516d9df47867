-- A copied workflow tells of what happened in another session, up to when it was copied.
ALTER TABLE {{schema}}.workflows
    ADD COLUMN copied_from text,
    ADD COLUMN copied_at timestamptz;
CREATE INDEX workflows_copied_from_idx ON {{schema}}.workflows (copied_from)
    WHERE copied_from IS NOT NULL;

-- The views count what is copied once, where it happened.
CREATE OR REPLACE VIEW {{schema}}.user_success_rates AS
SELECT
    w.user_id,
    u.username,
    w.organization_id,
    count(*) AS workflows,
    count(*) FILTER (WHERE w.status = 'completed') AS completed,
    count(*) FILTER (WHERE w.status = 'failed') AS failed,
    count(*) FILTER (WHERE w.status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE w.status = 'interrupted') AS interrupted,
    count(*) FILTER (WHERE w.status = 'running') AS running,
    count(*) FILTER (WHERE w.status = 'completed')::double precision
        / nullif(count(*) FILTER (WHERE w.status IN ('completed', 'failed')), 0) AS success_rate,
    avg(w.duration_ms) AS avg_duration_ms,
    sum(w.total_tokens) AS total_tokens,
    sum(w.cost_usd) AS cost_usd,
    max(w.started_at) AS last_started_at,
    count(*) FILTER (WHERE w.status = 'refused') AS refused
FROM {{schema}}.workflows w
LEFT JOIN {{schema}}.users u ON u.id = w.user_id
WHERE w.copied_from IS NULL
GROUP BY w.user_id, u.username, w.organization_id;

CREATE OR REPLACE VIEW {{schema}}.node_performance AS
SELECT
    w.name AS workflow_name,
    n.node_name,
    n.node_type,
    count(*) AS executions,
    count(*) FILTER (WHERE n.status = 'completed') AS completed,
    count(*) FILTER (WHERE n.status = 'failed') AS failed,
    count(*) FILTER (WHERE n.status = 'failed')::double precision
        / nullif(count(*) FILTER (WHERE n.status IN ('completed', 'failed')), 0) AS failure_rate,
    avg(n.duration_ms) AS avg_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY n.duration_ms) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY n.duration_ms) AS p95_ms,
    max(n.duration_ms) AS max_ms
FROM {{schema}}.nodes n
JOIN {{schema}}.workflows w ON w.thread_id = n.thread_id AND w.id = n.workflow_id
WHERE n.status <> 'skipped' AND (w.copied_from IS NULL OR n.started_at >= w.copied_at)
GROUP BY w.name, n.node_name, n.node_type;

CREATE OR REPLACE VIEW {{schema}}.model_usage AS
SELECT
    g.model_provider,
    g.model_name,
    count(*) AS calls,
    count(*) FILTER (WHERE g.status = 'failed') AS failed,
    count(*) FILTER (WHERE g.cache_hit) AS cache_hits,
    sum(g.prompt_tokens) FILTER (WHERE NOT g.cache_hit) AS prompt_tokens,
    sum(g.completion_tokens) FILTER (WHERE NOT g.cache_hit) AS completion_tokens,
    sum(g.total_tokens) FILTER (WHERE NOT g.cache_hit) AS total_tokens,
    sum(g.cache_read_tokens) FILTER (WHERE NOT g.cache_hit) AS cache_read_tokens,
    sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS cost_usd,
    avg(g.latency_ms) FILTER (WHERE NOT g.cache_hit) AS avg_latency_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY g.latency_ms)
        FILTER (WHERE NOT g.cache_hit) AS p95_latency_ms,
    avg(g.time_to_first_token_ms) FILTER (WHERE NOT g.cache_hit) AS avg_time_to_first_token_ms
FROM {{schema}}.generations g
WHERE NOT EXISTS (
    SELECT FROM {{schema}}.workflows c
    WHERE c.thread_id = g.thread_id AND c.id = g.workflow_id
        AND c.copied_from IS NOT NULL AND c.copied_at > g.started_at
)
GROUP BY g.model_provider, g.model_name;

CREATE OR REPLACE VIEW {{schema}}.daily_costs AS
SELECT
    (g.started_at AT TIME ZONE 'UTC')::date AS day,
    w.organization_id,
    o.slug AS organization,
    w.user_id,
    u.username,
    g.model_provider,
    g.model_name,
    count(*) AS calls,
    sum(g.prompt_tokens) FILTER (WHERE NOT g.cache_hit) AS prompt_tokens,
    sum(g.completion_tokens) FILTER (WHERE NOT g.cache_hit) AS completion_tokens,
    sum(g.total_tokens) FILTER (WHERE NOT g.cache_hit) AS total_tokens,
    sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS cost_usd
FROM {{schema}}.generations g
JOIN {{schema}}.workflows w ON w.thread_id = g.thread_id AND w.id = g.workflow_id
LEFT JOIN {{schema}}.organizations o ON o.id = w.organization_id
LEFT JOIN {{schema}}.users u ON u.id = w.user_id
WHERE w.copied_from IS NULL OR g.started_at >= w.copied_at
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE OR REPLACE VIEW {{schema}}.prompt_versions AS
SELECT
    called.prompt_name, called.prompt_version, called.calls, called.failure_rate,
    called.avg_prompt_tokens, called.avg_completion_tokens, called.avg_cost_usd,
    called.avg_latency_ms, called.p95_latency_ms, called.first_used_at, called.last_used_at,
    judged.avg_score, judged.avg_rating, called.p50_latency_ms, called.cost_usd, judged.scores,
    judged.ratings
FROM (
    SELECT
        g.prompt_name,
        g.prompt_version,
        count(*) AS calls,
        count(*) FILTER (WHERE g.status = 'failed')::double precision
            / nullif(count(*) FILTER (WHERE g.status IN ('completed', 'failed')), 0)
            AS failure_rate,
        avg(g.prompt_tokens) AS avg_prompt_tokens,
        avg(g.completion_tokens) AS avg_completion_tokens,
        avg(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS avg_cost_usd,
        avg(g.latency_ms) FILTER (WHERE NOT g.cache_hit) AS avg_latency_ms,
        sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS cost_usd,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY g.latency_ms)
            FILTER (WHERE NOT g.cache_hit) AS p50_latency_ms,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY g.latency_ms)
            FILTER (WHERE NOT g.cache_hit) AS p95_latency_ms,
        min(g.started_at) AS first_used_at,
        max(g.started_at) AS last_used_at
    FROM {{schema}}.generations g
    WHERE g.prompt_name IS NOT NULL AND NOT EXISTS (
        SELECT FROM {{schema}}.workflows c
        WHERE c.thread_id = g.thread_id AND c.id = g.workflow_id
            AND c.copied_from IS NOT NULL AND c.copied_at > g.started_at
    )
    GROUP BY g.prompt_name, g.prompt_version
) called
JOIN (
    SELECT
        used.prompt_name,
        used.prompt_version,
        avg((e.details ->> 'score')::numeric) AS avg_score,
        avg(f.rating) AS avg_rating,
        count(e.id) AS scores,
        count(f.rating) AS ratings
    FROM (
        SELECT DISTINCT g.prompt_name, g.prompt_version, g.thread_id, g.workflow_id
        FROM {{schema}}.generations g
        WHERE g.prompt_name IS NOT NULL AND NOT EXISTS (
            SELECT FROM {{schema}}.workflows c
            WHERE c.thread_id = g.thread_id AND c.id = g.workflow_id
                AND c.copied_from IS NOT NULL AND c.copied_at > g.started_at
        )
    ) used
    JOIN {{schema}}.workflows w ON w.thread_id = used.thread_id AND w.id = used.workflow_id
    LEFT JOIN {{schema}}.evaluations e ON e.thread_id = w.thread_id AND e.turn = w.turn
    LEFT JOIN (
        SELECT thread_id, workflow_id, avg(rating) AS rating
        FROM {{schema}}.feedback
        GROUP BY thread_id, workflow_id
    ) f ON f.thread_id = w.thread_id AND f.workflow_id = w.id
    GROUP BY used.prompt_name, used.prompt_version
) judged
    ON judged.prompt_name = called.prompt_name
    AND judged.prompt_version IS NOT DISTINCT FROM called.prompt_version;
