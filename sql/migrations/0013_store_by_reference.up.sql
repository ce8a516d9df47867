-- Inputs, outputs and states hold references to what is stored once, each an object of one key;
-- see whole() below. Entries of a list of messages are [id, LangChain's id] now.
ALTER TABLE {{schema}}.state_values DROP CONSTRAINT state_values_kind_check;
ALTER TABLE {{schema}}.state_values ADD CONSTRAINT state_values_kind_check
    CHECK (kind IN ('value', 'messages', 'list'));

UPDATE {{schema}}.nodes AS n SET state = (
    SELECT coalesce(jsonb_object_agg(channel.key, CASE
        WHEN channel.value ? 'ref' THEN jsonb_build_object('$stored', channel.value -> 'ref')
        ELSE channel.value -> 'v'
    END), '{}')
    FROM jsonb_each(n.state) AS channel
)
WHERE jsonb_typeof(n.state) = 'object';

UPDATE {{schema}}.generations AS g SET prompt = CASE
    WHEN g.prompt ? 'ref' THEN jsonb_build_object('$stored', g.prompt -> 'ref')
    ELSE g.prompt -> 'v'
END
WHERE jsonb_typeof(g.prompt) = 'object';

-- A message as JSON, under the id that LangChain knows it by.
CREATE FUNCTION {{schema}}.message_json(m {{schema}}.messages, message_id text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'type', m.role,
        'id', message_id,
        'name', m.name,
        'tool_call_id', m.tool_call_id
    ))
    || jsonb_build_object('content', coalesce(m.content, to_jsonb(m.text), '""'))
    || CASE
        WHEN m.tool_calls IS NULL THEN '{}'
        ELSE jsonb_build_object('tool_calls', m.tool_calls)
    END
    || coalesce(m.extra, '{}')
$body$;

-- The readable text of a message's content: the string, or its text blocks joined.
CREATE FUNCTION {{schema}}.content_text(content jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE jsonb_typeof(content)
        WHEN 'string' THEN content #>> '{}'
        WHEN 'array' THEN (
            SELECT coalesce(string_agg(CASE jsonb_typeof(block.value)
                WHEN 'string' THEN block.value #>> '{}'
                ELSE block.value ->> 'text'
            END, '' ORDER BY block.ordinality), '')
            FROM jsonb_array_elements(content) WITH ORDINALITY AS block
            WHERE jsonb_typeof(block.value) = 'string' OR block.value ->> 'type' = 'text'
        )
        ELSE ''
    END
$body$;

-- What each row of state_values stands for, as JSON. A list is a chain of rows, each holding what
-- follows its base; the depth is bounded so that the planner expects short chains, and OFFSET 0
-- makes it look up each message by its key.
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

-- A value with all that it refers to in its place, as in whole(thread_id, input_data) of a node.
-- What is not stored any more is null. The bounds make the planner expect few references.
CREATE FUNCTION {{schema}}.whole(thread text, stored jsonb) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $body$
    SELECT CASE WHEN position('{"$' IN stored::text) = 0 THEN stored ELSE (
        SELECT string_agg(piece.text || coalesce(CASE
            WHEN ref.parts IS NULL THEN ''
            WHEN ref.parts[1] = 'message' THEN (
                SELECT {{schema}}.message_json(m, ref.parts[3]::jsonb #>> '{}')::text
                FROM {{schema}}.messages AS m
                WHERE m.thread_id = thread AND m.id = ref.parts[2]::uuid
            )
            WHEN ref.parts[1] IN ('text', 'tool_calls') THEN (
                SELECT CASE ref.parts[1] WHEN 'text' THEN to_jsonb(m.text) ELSE m.tool_calls END
                FROM {{schema}}.messages AS m
                WHERE m.thread_id = thread AND m.id = ref.parts[2]::uuid
            )::text
            ELSE (
                SELECT CASE ref.parts[1]
                    WHEN 'items' THEN substr(c.content::text, 2, length(c.content::text) - 2)
                    ELSE c.content::text
                END
                FROM {{schema}}.state_contents AS c
                WHERE c.thread_id = thread AND c.id = ref.parts[2]::uuid
            )
        END, 'null'), '' ORDER BY piece.n)::jsonb
        FROM (SELECT
            E'[{]"[$](stored|items|message|text|tool_calls)": [[]?"([0-9a-f-]{36})"'
            || E'(?:, ("(?:[^"\\\\]|\\\\.)*"))?[]]?[}]'
        ) AS this (reference)
        CROSS JOIN LATERAL
            regexp_split_to_table(stored::text, this.reference) WITH ORDINALITY AS piece (text, n)
        LEFT JOIN LATERAL
            regexp_matches(stored::text, this.reference, 'g') WITH ORDINALITY AS ref (parts, n)
            ON ref.n = piece.n AND ref.n BETWEEN 1 AND 1000000
        WHERE piece.n BETWEEN 1 AND 1000000
    ) END
$body$;

CREATE OR REPLACE VIEW {{schema}}.node_states AS
SELECT
    n.thread_id,
    n.id AS node_id,
    n.workflow_id,
    n.run_id,
    n.node_name,
    n.execution_order,
    n.step,
    n.checkpoint_id,
    {{schema}}.whole(n.thread_id, n.state) AS state_data,
    {{schema}}.whole(n.thread_id, n.input_data) AS input_data,
    {{schema}}.whole(n.thread_id, n.output_data) AS output_data
FROM {{schema}}.nodes n;

CREATE VIEW {{schema}}.workflow_contents AS
SELECT
    w.thread_id,
    w.id AS workflow_id,
    w.turn,
    {{schema}}.whole(w.thread_id, w.input) AS input,
    {{schema}}.whole(w.thread_id, w.result) AS result
FROM {{schema}}.workflows w;

CREATE VIEW {{schema}}.tool_contents AS
SELECT
    t.thread_id,
    t.id AS tool_execution_id,
    t.workflow_id,
    t.tool_name,
    {{schema}}.whole(t.thread_id, t.input_params) AS input_params,
    {{schema}}.whole(t.thread_id, t.output_data) AS output_data
FROM {{schema}}.tool_executions t;

-- A long text is cut in its column; here it is whole.
CREATE OR REPLACE VIEW {{schema}}.generation_prompts AS
SELECT
    g.thread_id,
    g.id AS generation_id,
    prompt.whole AS messages,
    CASE WHEN g.system_prompt IS NOT NULL THEN coalesce((
        SELECT string_agg(
            {{schema}}.content_text(m.value -> 'content'), E'\n\n' ORDER BY m.ordinality
        )
        FROM jsonb_array_elements(prompt.list) WITH ORDINALITY AS m
        WHERE m.value ->> 'type' = 'system'
    ), g.system_prompt) END AS system_prompt,
    CASE WHEN g.user_prompt IS NOT NULL THEN coalesce((
        SELECT {{schema}}.content_text(m.value -> 'content')
        FROM jsonb_array_elements(prompt.list) WITH ORDINALITY AS m
        WHERE m.value ->> 'type' = 'human'
        ORDER BY m.ordinality DESC LIMIT 1
    ), g.user_prompt) END AS user_prompt,
    CASE
        WHEN g.output IS NOT NULL AND g.output_message ? '$message' THEN
            {{schema}}.content_text({{schema}}.whole(g.thread_id, g.output_message) -> 'content')
        ELSE g.output
    END AS output,
    {{schema}}.whole(g.thread_id, g.output_message) AS output_message,
    {{schema}}.whole(g.thread_id, g.tool_calls) AS tool_calls
FROM {{schema}}.generations g
CROSS JOIN LATERAL (
    SELECT p.whole, CASE jsonb_typeof(p.whole) WHEN 'array' THEN p.whole END AS list
    FROM (SELECT {{schema}}.whole(g.thread_id, g.prompt)) AS p (whole)
) AS prompt;

-- The conversation: each turn's new messages as its last recorded state has them, or, where
-- the state holds no messages, what was asked and what came back. Order by turn, position.
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
    SELECT v.id
    FROM {{schema}}.workflows p
    CROSS JOIN LATERAL (
        SELECT n.state
        FROM {{schema}}.nodes n
        WHERE n.thread_id = w.thread_id AND n.workflow_id = p.id AND n.state IS NOT NULL
        ORDER BY n.checkpoint_id DESC NULLS LAST, n.execution_order DESC NULLS LAST
        LIMIT 1
    ) last
    CROSS JOIN LATERAL jsonb_each(last.state) AS channel
    JOIN {{schema}}.state_values v
        ON v.thread_id = w.thread_id
        AND v.id = (channel.value ->> '$stored')::uuid
        AND v.kind = 'messages'
    WHERE p.thread_id = w.thread_id AND p.turn < w.turn
    ORDER BY p.turn DESC, channel.key = 'messages' DESC, channel.key
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
