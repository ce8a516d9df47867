CREATE OR REPLACE VIEW {{schema}}.state_contents AS
SELECT
    v.thread_id,
    v.id,
    v.kind,
    CASE WHEN v.kind = 'value' THEN v.value ELSE (
        WITH RECURSIVE chain AS (
            SELECT v.value, v.base_id, 0 AS depth
            UNION ALL
            SELECT base.value, base.base_id, chain.depth + 1
            FROM chain
            JOIN {{schema}}.state_values base
                ON base.thread_id = v.thread_id AND base.id = chain.base_id
            WHERE chain.depth BETWEEN 0 AND 1000000
        )
        SELECT coalesce(
            CASE v.kind
                WHEN 'list' THEN jsonb_agg(entry.value ORDER BY chain.depth DESC, entry.ordinality)
                ELSE jsonb_agg(said.message ORDER BY chain.depth DESC, entry.ordinality)
                    FILTER (WHERE said.message IS NOT NULL)
            END,
            '[]'
        )
        FROM chain
        CROSS JOIN LATERAL jsonb_array_elements(chain.value) WITH ORDINALITY AS entry
        LEFT JOIN LATERAL (
            SELECT {{schema}}.message_json(m, CASE jsonb_typeof(entry.value)
                WHEN 'array' THEN entry.value ->> 1
                ELSE m.message_id
            END) AS message
            FROM {{schema}}.messages m
            WHERE m.thread_id = v.thread_id AND m.id = (CASE jsonb_typeof(entry.value)
                WHEN 'array' THEN entry.value ->> 0
                ELSE entry.value #>> '{}'
            END)::uuid
            OFFSET 0
        ) said ON v.kind = 'messages'
    ) END AS content
FROM {{schema}}.state_values v;
