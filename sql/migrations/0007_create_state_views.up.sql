-- The message lists kept in state_values, unrolled: bases first, one row per message.
CREATE VIEW {{schema}}.message_lists AS
SELECT v.thread_id, v.id AS state_value_id, item.position, item.message_id
FROM {{schema}}.state_values v
CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT v.value, v.base_id, 0 AS depth
        UNION ALL
        SELECT base.value, base.base_id, chain.depth + 1
        FROM chain
        JOIN {{schema}}.state_values base
            ON base.thread_id = v.thread_id AND base.id = chain.base_id
    )
    SELECT
        row_number() OVER (ORDER BY chain.depth DESC, entry.ordinality) AS position,
        entry.value::uuid AS message_id
    FROM chain
    CROSS JOIN LATERAL jsonb_array_elements_text(chain.value) WITH ORDINALITY AS entry
) item
WHERE v.kind = 'messages';

-- What each row of state_values stands for, as JSON.
CREATE VIEW {{schema}}.state_contents AS
SELECT
    v.thread_id,
    v.id,
    v.kind,
    CASE v.kind
        WHEN 'value' THEN v.value
        ELSE (
            SELECT coalesce(jsonb_agg(
                jsonb_strip_nulls(jsonb_build_object(
                    'type', m.role,
                    'id', m.message_id,
                    'name', m.name,
                    'tool_call_id', m.tool_call_id
                ))
                || jsonb_build_object('content', coalesce(m.content, to_jsonb(m.text), '""'))
                || CASE
                    WHEN m.tool_calls IS NULL THEN '{}'
                    ELSE jsonb_build_object('tool_calls', m.tool_calls)
                END
                || coalesce(m.extra, '{}')
                ORDER BY list.position
            ), '[]')
            FROM {{schema}}.message_lists list
            JOIN {{schema}}.messages m
                ON m.thread_id = list.thread_id AND m.id = list.message_id
            WHERE list.thread_id = v.thread_id AND list.state_value_id = v.id
        )
    END AS content
FROM {{schema}}.state_values v;

CREATE VIEW {{schema}}.node_states AS
SELECT
    n.thread_id,
    n.id AS node_id,
    n.workflow_id,
    n.run_id,
    n.node_name,
    n.execution_order,
    n.step,
    n.checkpoint_id,
    CASE WHEN n.state IS NOT NULL THEN (
        SELECT coalesce(
            jsonb_object_agg(channel.key, coalesce(channel.value -> 'v', stored.content)), '{}'
        )
        FROM jsonb_each(n.state) AS channel
        LEFT JOIN LATERAL (
            SELECT c.content
            FROM {{schema}}.state_contents c
            WHERE c.thread_id = n.thread_id AND c.id = (channel.value ->> 'ref')::uuid
        ) stored ON true
    ) END AS state_data
FROM {{schema}}.nodes n;

CREATE VIEW {{schema}}.generation_prompts AS
SELECT
    g.thread_id,
    g.id AS generation_id,
    coalesce(g.prompt -> 'v', (
        SELECT c.content
        FROM {{schema}}.state_contents c
        WHERE c.thread_id = g.thread_id AND c.id = (g.prompt ->> 'ref')::uuid
    )) AS messages
FROM {{schema}}.generations g;
