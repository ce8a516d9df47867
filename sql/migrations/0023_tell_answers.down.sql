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
    WHERE p.thread_id = w.thread_id AND p.turn < w.turn
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
        row_number() OVER (ORDER BY chain.depth DESC, entry.ordinality) AS position,
        m.role, m.name, m.text, coalesce(m.content, to_jsonb(m.text)) AS content, m.tool_calls,
        CASE jsonb_typeof(entry.value) WHEN 'array' THEN entry.value ->> 1 ELSE m.message_id END
            AS message_id
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
    WHERE entry.value NOT IN (
        SELECT said.value FROM before CROSS JOIN LATERAL jsonb_array_elements(before.value) AS said
    )
    UNION ALL
    SELECT 1, 'human', NULL, w.user_input, {{schema}}.whole(w.thread_id, w.input), NULL, NULL
    WHERE final.value IS NULL AND coalesce(w.user_input, w.input::text) IS NOT NULL
    UNION ALL
    SELECT 2, 'ai', NULL, result.value #>> '{}', result.value, NULL, NULL
    FROM (SELECT {{schema}}.whole(w.thread_id, w.result)) AS result (value)
    WHERE final.value IS NULL AND w.result IS NOT NULL
) line;

DROP FUNCTION {{schema}}.answer_text(jsonb);
