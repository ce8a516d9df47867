-- Everything is whole in its place again.
UPDATE {{schema}}.generations AS g SET
    system_prompt = p.system_prompt,
    user_prompt = p.user_prompt,
    output = p.output,
    output_message = p.output_message,
    tool_calls = p.tool_calls,
    prompt = CASE
        WHEN g.prompt ->> '$stored' IS NOT NULL THEN
            jsonb_build_object('ref', g.prompt -> '$stored')
        WHEN g.prompt IS NOT NULL THEN jsonb_build_object('v', p.messages)
    END
FROM {{schema}}.generation_prompts AS p
WHERE p.thread_id = g.thread_id AND p.generation_id = g.id;

UPDATE {{schema}}.nodes AS n SET
    input_data = {{schema}}.whole(n.thread_id, n.input_data),
    output_data = {{schema}}.whole(n.thread_id, n.output_data),
    state = CASE WHEN jsonb_typeof(n.state) = 'object' THEN (
        SELECT coalesce(jsonb_object_agg(channel.key, CASE
            WHEN channel.value ->> '$stored' IS NOT NULL THEN
                jsonb_build_object('ref', channel.value -> '$stored')
            ELSE jsonb_build_object('v', {{schema}}.whole(n.thread_id, channel.value))
        END), '{}')
        FROM jsonb_each(n.state) AS channel
    ) END;

UPDATE {{schema}}.workflows AS w SET
    input = {{schema}}.whole(w.thread_id, w.input),
    result = {{schema}}.whole(w.thread_id, w.result);

UPDATE {{schema}}.tool_executions AS t SET
    input_params = {{schema}}.whole(t.thread_id, t.input_params),
    output_data = {{schema}}.whole(t.thread_id, t.output_data);

UPDATE {{schema}}.state_values AS v SET kind = 'value', value = c.content, base_id = NULL
FROM {{schema}}.state_contents AS c
WHERE v.kind = 'list' AND c.thread_id = v.thread_id AND c.id = v.id;

UPDATE {{schema}}.state_values AS v SET value = (
    SELECT coalesce(jsonb_agg(CASE jsonb_typeof(entry.value)
        WHEN 'array' THEN entry.value -> 0
        ELSE entry.value
    END ORDER BY entry.ordinality), '[]')
    FROM jsonb_array_elements(v.value) WITH ORDINALITY AS entry
)
WHERE v.kind = 'messages';

UPDATE {{schema}}.messages AS m SET content = to_jsonb(m.text)
WHERE m.content IS NULL AND m.text IS NOT NULL;

DROP VIEW {{schema}}.session_transcript;
DROP VIEW {{schema}}.generation_prompts;
DROP VIEW {{schema}}.tool_contents;
DROP VIEW {{schema}}.workflow_contents;
DROP VIEW {{schema}}.node_states;
DROP FUNCTION {{schema}}.whole(text, jsonb);
DROP VIEW {{schema}}.state_contents;
DROP FUNCTION {{schema}}.content_text(jsonb);
DROP FUNCTION {{schema}}.message_json({{schema}}.messages, text);
ALTER TABLE {{schema}}.state_values DROP CONSTRAINT state_values_kind_check;
ALTER TABLE {{schema}}.state_values ADD CONSTRAINT state_values_kind_check
    CHECK (kind IN ('value', 'messages'));

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
