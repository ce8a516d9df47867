DROP VIEW {{schema}}.prompt_versions;
DROP VIEW {{schema}}.user_success_rates;

CREATE VIEW {{schema}}.user_success_rates AS
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
    max(w.started_at) AS last_started_at
FROM {{schema}}.workflows w
LEFT JOIN {{schema}}.users u ON u.id = w.user_id
GROUP BY w.user_id, u.username, w.organization_id;

CREATE VIEW {{schema}}.prompt_versions AS
SELECT called.*, judged.avg_score, judged.avg_rating
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
        percentile_cont(0.95) WITHIN GROUP (ORDER BY g.latency_ms)
            FILTER (WHERE NOT g.cache_hit) AS p95_latency_ms,
        min(g.started_at) AS first_used_at,
        max(g.started_at) AS last_used_at
    FROM {{schema}}.generations g
    WHERE g.prompt_name IS NOT NULL
    GROUP BY g.prompt_name, g.prompt_version
) called
JOIN (
    SELECT
        used.prompt_name,
        used.prompt_version,
        avg((e.details ->> 'score')::numeric) AS avg_score,
        avg(f.rating) AS avg_rating
    FROM (
        SELECT DISTINCT g.prompt_name, g.prompt_version, g.thread_id, g.workflow_id
        FROM {{schema}}.generations g
        WHERE g.prompt_name IS NOT NULL
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
