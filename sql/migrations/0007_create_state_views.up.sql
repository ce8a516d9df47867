-- What each row of state_values stands for, as JSON. A list of messages is a chain of rows, each
-- holding what follows its base; the depth is bounded so that the planner expects short chains.
CREATE VIEW {{schema}}.state_contents AS
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
            ORDER BY chain.depth DESC, entry.ordinality
        ), '[]')
        FROM chain
        CROSS JOIN LATERAL jsonb_array_elements_text(chain.value) WITH ORDINALITY AS entry
        JOIN {{schema}}.messages m ON m.thread_id = v.thread_id AND m.id = entry.value::uuid
    ) END AS content
FROM {{schema}}.state_values v;

-- Inline channels and references apart: for the latter alone the planner expects few rows.
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
    CASE WHEN n.state IS NOT NULL THEN coalesce((
        SELECT jsonb_object_agg(channel.key, channel.value -> 'v')
        FROM jsonb_each(n.state) AS channel
        WHERE NOT channel.value ? 'ref'
    ), '{}') || coalesce((
        SELECT jsonb_object_agg(channel.key, (
            SELECT c.content
            FROM {{schema}}.state_contents c
            WHERE c.thread_id = n.thread_id AND c.id = (channel.value ->> 'ref')::uuid
        ))
        FROM jsonb_each(n.state) AS channel
        WHERE channel.value ? 'ref'
    ), '{}') END AS state_data
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
