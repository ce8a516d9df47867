-- Success is counted over what was decided: completed and failed workflows.
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

CREATE VIEW {{schema}}.node_performance AS
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
WHERE n.status <> 'skipped'
GROUP BY w.name, n.node_name, n.node_type;

-- An answer from LangChain's LLM cache cost nothing: it counts as a call, not as usage.
CREATE VIEW {{schema}}.model_usage AS
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
GROUP BY g.model_provider, g.model_name;

-- All that happened in a workflow; order by started_at, id.
CREATE VIEW {{schema}}.workflow_timeline AS
SELECT
    event.thread_id,
    event.workflow_id,
    w.turn,
    event.kind,
    event.id,
    event.node_id,
    event.name,
    event.status,
    event.started_at,
    event.completed_at,
    extract(epoch FROM event.started_at - w.started_at)::double precision * 1000 AS offset_ms,
    event.duration_ms,
    event.total_tokens,
    event.cost_usd,
    event.error_message
FROM {{schema}}.workflows w
JOIN (
    SELECT
        r.thread_id, r.workflow_id, 'run' AS kind, r.id, NULL::uuid AS node_id, r.kind AS name,
        r.status, r.started_at, r.completed_at, r.duration_ms, NULL::bigint AS total_tokens,
        NULL::numeric AS cost_usd, r.error_message
    FROM {{schema}}.workflow_runs r
    UNION ALL
    SELECT
        n.thread_id, n.workflow_id, n.node_type, n.id, n.parent_node_id, n.node_name,
        n.status, n.started_at, n.completed_at, n.duration_ms, NULL, NULL, n.error_message
    FROM {{schema}}.nodes n
    UNION ALL
    SELECT
        g.thread_id, g.workflow_id, 'generation', g.id, g.node_id, g.model_name,
        g.status, g.started_at, g.completed_at, g.latency_ms, g.total_tokens, g.cost_usd,
        g.error_message
    FROM {{schema}}.generations g
    UNION ALL
    SELECT
        t.thread_id, t.workflow_id, 'tool', t.id, t.node_id, t.tool_name,
        t.status, t.started_at, t.completed_at, t.execution_time_ms, t.tokens_used, t.cost_usd,
        t.error_message
    FROM {{schema}}.tool_executions t
    UNION ALL
    SELECT
        v.thread_id, v.workflow_id, 'retrieval', v.id, v.node_id, v.query,
        CASE WHEN v.error_type IS NULL THEN 'completed' ELSE 'failed' END,
        coalesce(v.started_at, v.created_at), NULL, v.latency_ms, NULL, NULL, v.error_message
    FROM {{schema}}.retrievals v
    UNION ALL
    SELECT
        h.thread_id, h.workflow_id, 'hitl', h.id, h.node_id, h.event_type,
        h.status, h.requested_at, h.responded_at,
        extract(epoch FROM h.responded_at - h.requested_at)::double precision * 1000,
        NULL, NULL, NULL
    FROM {{schema}}.hitl_events h
) event ON event.thread_id = w.thread_id AND event.workflow_id = w.id;

-- The conversation: each turn's new messages as its last recorded state has them, or, where
-- the state holds no messages, what was asked and what came back. Order by turn, position.
CREATE VIEW {{schema}}.session_transcript AS
SELECT
    w.thread_id,
    w.id AS workflow_id,
    w.turn,
    line.position,
    line.role,
    line.name,
    line.text,
    line.content,
    line.tool_calls,
    line.message_id
FROM {{schema}}.workflows w
LEFT JOIN LATERAL (
    SELECT v.value, v.base_id
    FROM (
        SELECT n.state
        FROM {{schema}}.nodes n
        WHERE n.thread_id = w.thread_id AND n.workflow_id = w.id AND n.state IS NOT NULL
        ORDER BY n.checkpoint_id DESC NULLS LAST, n.execution_order DESC NULLS LAST
        LIMIT 1
    ) last
    CROSS JOIN LATERAL jsonb_each(last.state) AS channel
    JOIN {{schema}}.state_values v
        ON v.thread_id = w.thread_id
        AND v.id = (channel.value ->> 'ref')::uuid
        AND v.kind = 'messages'
    ORDER BY channel.key = 'messages' DESC, channel.key
    LIMIT 1
) final ON true
CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT final.value, final.base_id, 0 AS depth
        UNION ALL
        SELECT base.value, base.base_id, chain.depth + 1
        FROM chain
        JOIN {{schema}}.state_values base
            ON base.thread_id = w.thread_id AND base.id = chain.base_id
        WHERE chain.depth BETWEEN 0 AND 1000000
    )
    SELECT
        row_number() OVER (ORDER BY chain.depth DESC, entry.ordinality) AS position,
        m.role, m.name, m.text, m.content, m.tool_calls, m.message_id
    FROM chain
    CROSS JOIN LATERAL jsonb_array_elements_text(chain.value) WITH ORDINALITY AS entry
    JOIN {{schema}}.messages m
        ON m.thread_id = w.thread_id AND m.id = entry.value::uuid AND m.turn = w.turn
    UNION ALL
    SELECT 1, 'human', NULL, w.user_input, w.input, NULL, NULL
    WHERE final.value IS NULL AND coalesce(w.user_input, w.input::text) IS NOT NULL
    UNION ALL
    SELECT 2, 'ai', NULL, w.result #>> '{}', w.result, NULL, NULL
    WHERE final.value IS NULL AND w.result IS NOT NULL
) line;

-- Days are UTC days.
CREATE VIEW {{schema}}.daily_costs AS
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
GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- Ratings and scores are of the workflows and turns a prompt version was used in, each once.
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
