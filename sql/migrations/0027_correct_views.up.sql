-- The conversation, as before, but for where a thread has branches. A turn did not come to a state that
-- was edited where the thread had gone on already; and what a turn says that goes on from an older
-- one is told apart from what was said up to there.
CREATE OR REPLACE VIEW {{schema}}.session_transcript AS
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
    SELECT v.id, v.value, v.base_id
    FROM (
        SELECT n.state
        FROM {{schema}}.nodes n
        WHERE n.thread_id = w.thread_id AND n.workflow_id = w.id AND n.state IS NOT NULL
            AND n.metadata ->> 'forks' IS NULL
        ORDER BY n.checkpoint_id DESC NULLS LAST, n.execution_order DESC NULLS LAST
        LIMIT 1
    ) last
    CROSS JOIN LATERAL jsonb_each(last.state) AS channel
    JOIN {{schema}}.state_values v
        ON v.thread_id = w.thread_id
        AND v.id = (channel.value ->> '$stored')::uuid
        AND v.kind = 'messages'
    ORDER BY channel.key = 'messages' DESC, channel.key
    LIMIT 1
) final ON true
LEFT JOIN LATERAL (
    SELECT list.id
    FROM {{schema}}.workflows p
    CROSS JOIN LATERAL (
        SELECT n.state
        FROM {{schema}}.nodes n
        WHERE n.thread_id = w.thread_id AND n.workflow_id = p.id AND n.state IS NOT NULL
            AND n.metadata ->> 'forks' IS NULL
        ORDER BY n.checkpoint_id DESC NULLS LAST, n.execution_order DESC NULLS LAST
        LIMIT 1
    ) last
    CROSS JOIN LATERAL (
        SELECT v.id
        FROM jsonb_each(last.state) AS channel
        JOIN {{schema}}.state_values v
            ON v.thread_id = w.thread_id
            AND v.id = (channel.value ->> '$stored')::uuid
            AND v.kind = 'messages'
        ORDER BY channel.key = 'messages' DESC, channel.key
        LIMIT 1
    ) list
    WHERE p.thread_id = w.thread_id AND p.turn < w.turn AND p.turn <= coalesce((
        SELECT r.turn
        FROM {{schema}}.workflows r
        WHERE r.thread_id = w.thread_id AND r.id = w.replay_of
    ), p.turn)
    ORDER BY p.turn DESC
    LIMIT 1
) earlier ON true
CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT final.value, final.base_id, 0 AS depth
        WHERE final.id IS DISTINCT FROM earlier.id
        UNION ALL
        SELECT base.value, base.base_id, chain.depth + 1
        FROM chain
        JOIN {{schema}}.state_values base
            ON base.thread_id = w.thread_id AND base.id = chain.base_id
        WHERE chain.depth BETWEEN 0 AND 1000000 AND chain.base_id IS DISTINCT FROM earlier.id
    ), before AS (
        SELECT v.value, v.base_id
        FROM {{schema}}.state_values v
        WHERE v.thread_id = w.thread_id AND v.id = earlier.id
            AND NOT EXISTS (SELECT FROM chain WHERE chain.base_id = earlier.id)
        UNION ALL
        SELECT base.value, base.base_id
        FROM before
        JOIN {{schema}}.state_values base
            ON base.thread_id = w.thread_id AND base.id = before.base_id
    )
    SELECT
        row_number() OVER (ORDER BY spoken.depth DESC, spoken.ordinality) AS position,
        spoken.role, spoken.name, spoken.text,
        coalesce(spoken.content, to_jsonb(spoken.text)) AS content, spoken.tool_calls,
        spoken.message_id
    FROM (
        SELECT
            chain.depth, entry.ordinality, m.role, m.name, m.text, m.content, m.tool_calls, m.extra,
            known.message_id,
            -- Whether it, or one after it, surely came with a turn that is forgotten.
            bool_or(
                m.turn < w.turn
                AND m.message_id IS NOT DISTINCT FROM known.message_id
                AND NOT EXISTS (
                    SELECT FROM {{schema}}.workflows p
                    WHERE p.thread_id = w.thread_id AND p.turn = m.turn
                )
            ) OVER (ORDER BY chain.depth, entry.ordinality DESC) AS is_older
        FROM chain
        CROSS JOIN LATERAL jsonb_array_elements(chain.value) WITH ORDINALITY AS entry
        CROSS JOIN LATERAL (
            SELECT said.*
            FROM {{schema}}.messages said
            WHERE said.thread_id = w.thread_id AND said.id = (CASE jsonb_typeof(entry.value)
                WHEN 'array' THEN entry.value ->> 0
                ELSE entry.value #>> '{}'
            END)::uuid
            OFFSET 0
        ) m
        CROSS JOIN LATERAL (
            SELECT CASE jsonb_typeof(entry.value)
                WHEN 'array' THEN entry.value ->> 1
                ELSE m.message_id
            END AS message_id
        ) known
        WHERE entry.value NOT IN (
            SELECT said.value
            FROM before CROSS JOIN LATERAL jsonb_array_elements(before.value) AS said
        )
    ) spoken
    WHERE spoken.is_older IS NOT TRUE
        AND (spoken.extra #>> '{additional_kwargs,lc_source}') IS DISTINCT FROM 'summarization'
    UNION ALL
    SELECT 1, 'human', NULL, w.user_input, {{schema}}.whole(w.thread_id, w.input), NULL, NULL
    WHERE final.value IS NULL AND coalesce(w.user_input, w.input::text) IS NOT NULL
    UNION ALL
    SELECT 2, 'ai', NULL, {{schema}}.answer_text(result.value), result.value, NULL, NULL
    FROM (SELECT {{schema}}.whole(w.thread_id, w.result)) AS result (value)
    WHERE final.value IS NULL AND w.result IS NOT NULL
) line;

-- What versions of a prompt take, as before, but for answers from a cache: they took nothing.
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
        avg(g.prompt_tokens) FILTER (WHERE NOT g.cache_hit) AS avg_prompt_tokens,
        avg(g.completion_tokens) FILTER (WHERE NOT g.cache_hit) AS avg_completion_tokens,
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
