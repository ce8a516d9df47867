-- versions --
-- How the versions of a prompt do: their calls, and what these cost and took.
SELECT
    g.prompt_name, g.prompt_version, count(*) AS calls,
    count(*) FILTER (WHERE g.status = 'failed') AS failed,
    (avg(g.prompt_tokens) FILTER (WHERE NOT g.cache_hit))::double precision
        AS avg_prompt_tokens,
    (avg(g.completion_tokens) FILTER (WHERE NOT g.cache_hit))::double precision
        AS avg_completion_tokens,
    sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS cost_usd,
    avg(g.cost_usd) FILTER (WHERE NOT g.cache_hit) AS avg_cost_usd,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY g.latency_ms)
        FILTER (WHERE NOT g.cache_hit) AS p50_latency_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY g.latency_ms)
        FILTER (WHERE NOT g.cache_hit) AS p95_latency_ms,
    min(g.started_at) AS first_used_at, max(g.started_at) AS last_used_at
FROM {{schema}}.generations AS g
WHERE g.prompt_name = %(name)s
    AND {{> made_here}}
    AND (%(since)s::timestamptz IS NULL OR g.started_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR g.started_at < %(until)s)
GROUP BY g.prompt_name, g.prompt_version
ORDER BY min(g.started_at), g.prompt_version

-- judgements --
-- In how many turns each version was used, alone or with others, and what these were worth.
SELECT
    used.prompt_version, used.versions > 1 AS mixed,
    (e.details ->> 'score')::double precision AS score, f.rating, count(*) AS turns
FROM (
    SELECT
        g.thread_id, g.workflow_id, g.prompt_version,
        count(*) OVER (PARTITION BY g.thread_id, g.workflow_id) AS versions
    FROM {{schema}}.generations AS g
    WHERE g.prompt_name = %(name)s
        AND {{> made_here}}
        AND (%(since)s::timestamptz IS NULL OR g.started_at >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR g.started_at < %(until)s)
    GROUP BY g.thread_id, g.workflow_id, g.prompt_version
) AS used
JOIN {{schema}}.workflows AS w ON w.thread_id = used.thread_id AND w.id = used.workflow_id
LEFT JOIN {{schema}}.evaluations AS e ON e.thread_id = w.thread_id AND e.turn = w.turn
LEFT JOIN (
    SELECT b.thread_id, b.workflow_id, avg(b.rating)::double precision AS rating
    FROM {{schema}}.feedback AS b
    WHERE b.rating IS NOT NULL AND b.workflow_id IS NOT NULL
    GROUP BY b.thread_id, b.workflow_id
) AS f ON f.thread_id = w.thread_id AND f.workflow_id = w.id
GROUP BY
    used.prompt_version, used.versions > 1, (e.details ->> 'score')::double precision, f.rating
