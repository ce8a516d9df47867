-- workflows --
-- A page of workflows, newest first; every filter is optional.
SELECT
    w.thread_id, w.id, w.turn, w.name, w.status, u.username AS "user", o.slug AS organization,
    w.user_input, w.input_type, w.input AS _input, w.settings, w.result AS _result, w.metadata, w.tags, w.replay_of,
    w.started_at, w.completed_at, w.duration_ms, w.active_ms, w.node_count, w.generation_count,
    w.prompt_tokens, w.completion_tokens, w.total_tokens, w.cost_usd,
    w.error_type, w.error_message, w.error_traceback, w.missing
FROM {{schema}}.workflows AS w
JOIN {{schema}}.sessions AS s ON s.thread_id = w.thread_id
LEFT JOIN {{schema}}.users AS u ON u.id = w.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = coalesce(w.organization_id, s.organization_id)
WHERE (%(id)s::uuid IS NULL OR w.id = %(id)s)
    AND (%(thread_id)s::text IS NULL OR w.thread_id = %(thread_id)s)
    AND (%(user)s::text IS NULL OR u.username = %(user)s)
    AND (%(status)s::text IS NULL OR w.status = %(status)s)
    AND (%(before)s::timestamptz IS NULL OR w.started_at <= %(before)s)
    AND (
        %(before)s::timestamptz IS NULL
        OR w.started_at < %(before)s
        OR (w.started_at = %(before)s AND w.id < %(before_id)s::uuid)
    )
ORDER BY w.started_at DESC, w.id DESC
LIMIT %(limit)s

-- runs --
-- The executions of a workflow: its start, then every resume.
SELECT
    r.thread_id, r.id, r.workflow_id, r.attempt, r.kind, r.status, r.started_at, r.completed_at,
    r.duration_ms, r.instance_id, r.heartbeat_at, r.checkpoint_id, u.username AS "user",
    r.error_type, r.error_message, r.error_traceback, r.missing
FROM {{schema}}.workflow_runs AS r
LEFT JOIN {{schema}}.users AS u ON u.id = r.user_id
WHERE r.thread_id = %(thread_id)s AND r.workflow_id = %(workflow_id)s
ORDER BY r.attempt, r.started_at, r.id

-- nodes --
-- The nodes a workflow executed, in their order.
SELECT
    n.thread_id, n.id, n.workflow_id, n.run_id, n.parent_node_id, n.node_name,
    n.node_type, n.execution_order, n.step, n.attempt, n.status, n.cached, n.task_id,
    n.checkpoint_ns, n.triggers, n.input_checkpoint_id, n.checkpoint_id,
    n.checkpoint_thread_id, n.input_data AS _input_data, n.output_data AS _output_data,
    n.metadata, n.started_at, n.completed_at, n.duration_ms, n.error_type, n.error_message,
    n.error_traceback, n.missing
FROM {{schema}}.nodes AS n
LEFT JOIN {{schema}}.workflow_runs AS r ON r.thread_id = n.thread_id AND r.id = n.run_id
WHERE n.thread_id = %(thread_id)s AND n.workflow_id = %(workflow_id)s
ORDER BY r.attempt, n.execution_order, n.started_at, n.id

-- hitl_events --
-- What a workflow asked humans, in its order.
SELECT
    h.thread_id, h.id, h.workflow_id, h.run_id, h.node_id, n.node_name, h.event_type,
    h.event_data, h.response_schema, h.interrupt_id, h.checkpoint_thread_id, h.status,
    u.username AS "user", h.user_input, h.user_decision, h.requested_at, h.responded_at, h.timeout_at, h.missing
FROM {{schema}}.hitl_events AS h
LEFT JOIN {{schema}}.nodes AS n ON n.thread_id = h.thread_id AND n.id = h.node_id
LEFT JOIN {{schema}}.users AS u ON u.id = h.user_id
WHERE h.thread_id = %(thread_id)s AND h.workflow_id = %(workflow_id)s
ORDER BY h.requested_at, h.id

-- pending_events --
-- A page of what waits for a human, longest waiting first; every filter is optional.
SELECT
    h.thread_id, h.id, h.workflow_id, h.run_id, h.node_id, n.node_name, h.event_type,
    h.event_data, h.response_schema, h.interrupt_id, h.checkpoint_thread_id, h.status,
    NULL AS "user", h.user_input, h.user_decision, h.requested_at, h.responded_at, h.timeout_at,
    h.missing
FROM {{schema}}.hitl_events AS h
JOIN {{schema}}.workflows AS w ON w.thread_id = h.thread_id AND w.id = h.workflow_id
LEFT JOIN {{schema}}.nodes AS n ON n.thread_id = h.thread_id AND n.id = h.node_id
LEFT JOIN {{schema}}.users AS u ON u.id = w.user_id
WHERE h.status = 'pending' AND (h.timeout_at IS NULL OR h.timeout_at > now())
    AND (
        %(thread_id)s::text IS NULL
        OR h.thread_id = %(thread_id)s OR h.checkpoint_thread_id = %(thread_id)s
    )
    AND (%(user)s::text IS NULL OR u.username = %(user)s)
    AND (
        %(after)s::timestamptz IS NULL
        OR h.requested_at > %(after)s
        OR (h.requested_at = %(after)s AND h.id > %(after_id)s::uuid)
    )
ORDER BY h.requested_at, h.id
LIMIT %(limit)s

-- generations --
-- The model calls of a workflow, in their order.
SELECT
    g.thread_id, g.id, g.workflow_id, g.run_id, g.node_id, g.model_name, g.model_provider,
    g.requested_model, g.retry_of,
    g.system_prompt AS _system_prompt, g.user_prompt AS _user_prompt, g.output AS _output,
    g.output_message AS _output_message, g.parsed_output, g.tool_calls AS _tool_calls,
    g.temperature, g.max_tokens, g.invocation_params, g.prompt_tokens, g.completion_tokens,
    g.total_tokens, g.cache_read_tokens, g.cache_creation_tokens, g.reasoning_tokens, g.cost_usd,
    g.price_source, g.latency_ms, g.time_to_first_token_ms, g.streamed, g.finish_reason,
    g.cache_hit, g.attempt, g.status, g.prompt_name, g.prompt_version, g.started_at,
    g.completed_at, g.error_type, g.error_message, g.error_traceback, g.missing
FROM {{schema}}.generations AS g
WHERE g.thread_id = %(thread_id)s AND g.workflow_id = %(workflow_id)s
ORDER BY g.started_at, g.id

-- tool_executions --
-- The tool calls of a workflow, in their order.
SELECT
    t.thread_id, t.id, t.workflow_id, t.run_id, t.node_id, t.tool_name, t.tool_call_id,
    t.input_params AS _input_params, t.output_data AS _output_data, t.success, t.status,
    t.execution_time_ms, t.tokens_used, t.cost_usd, t.started_at, t.completed_at, t.error_type, t.error_message, t.error_traceback, t.missing
FROM {{schema}}.tool_executions AS t
WHERE t.thread_id = %(thread_id)s AND t.workflow_id = %(workflow_id)s
ORDER BY t.started_at, t.id

-- retrievals --
-- The searches of a workflow, in their order.
SELECT
    v.thread_id, v.id, v.workflow_id, v.run_id, v.node_id, v.query, v.documents AS _documents,
    v.document_count, v.latency_ms,
    CASE WHEN v.error_type IS NULL THEN 'completed' ELSE 'failed' END AS status,
    coalesce(v.started_at, v.created_at) AS started_at,
    v.started_at + make_interval(secs => v.latency_ms / 1000) AS completed_at,
    v.error_type, v.error_message, v.error_traceback, v.missing
FROM {{schema}}.retrievals AS v
WHERE v.thread_id = %(thread_id)s AND v.workflow_id = %(workflow_id)s
ORDER BY coalesce(v.started_at, v.created_at), v.id

-- node_state --
-- The state after a node, its large values and messages by reference.
SELECT n.state FROM {{schema}}.nodes AS n
WHERE n.thread_id = %(thread_id)s AND n.id = %(node_id)s

-- generation_prompt --
-- The messages a model was given in one call, by reference.
SELECT g.prompt FROM {{schema}}.generations AS g
WHERE g.thread_id = %(thread_id)s AND g.id = %(generation_id)s

-- values --
-- Stored values by their ids, with all that they go on from.
WITH RECURSIVE chain AS (
    SELECT v.id, v.kind, v.value, v.base_id
    FROM {{schema}}.state_values AS v
    WHERE v.thread_id = %(thread_id)s AND v.id = ANY(%(ids)s)
    UNION
    SELECT base.id, base.kind, base.value, base.base_id
    FROM chain
    JOIN {{schema}}.state_values AS base
        ON base.thread_id = %(thread_id)s AND base.id = chain.base_id
)
SELECT chain.id, chain.kind, chain.value, chain.base_id FROM chain

-- ends_of_lists --
-- The last parts of stored lists: what was added last.
SELECT v.id, v.kind, v.value
FROM {{schema}}.state_values AS v
WHERE v.thread_id = %(thread_id)s AND v.id = ANY(%(ids)s)

-- said --
-- Messages by their ids.
SELECT
    m.id, m.message_id, m.role, m.text, m.content, m.name, m.tool_calls, m.tool_call_id, m.extra
FROM {{schema}}.messages AS m
WHERE m.thread_id = %(thread_id)s AND m.id = ANY(%(ids)s)

-- transcript --
-- What was said in a session or one turn of it, in its order.
SELECT t.turn, t.role, t.name, t.text, t.content, t.tool_calls
FROM {{schema}}.session_transcript AS t
WHERE t.thread_id = %(thread_id)s AND (%(turn)s::integer IS NULL OR t.turn = %(turn)s)
ORDER BY t.turn, t.position

-- told_before --
-- Of a workflow recorded by hand, the last node that ended in a state before another one began.
SELECT b.id, b.workflow_id
FROM {{schema}}.nodes AS n
JOIN {{schema}}.nodes AS b ON b.thread_id = n.thread_id AND b.workflow_id = n.workflow_id
WHERE n.thread_id = %(thread_id)s AND n.id = %(id)s
    AND n.checkpoint_id IS NULL AND n.input_checkpoint_id IS NULL
    AND b.checkpoint_id IS NULL AND b.state IS NOT NULL
    AND b.completed_at <= n.started_at AND b.id <> n.id
ORDER BY b.completed_at DESC, b.execution_order DESC
LIMIT 1

-- nodes_before --
-- A node whose state is what another one ran from.
SELECT b.id, b.workflow_id
FROM {{schema}}.nodes AS n
JOIN {{schema}}.nodes AS b ON b.thread_id = n.thread_id
    AND b.checkpoint_id = n.input_checkpoint_id
    AND b.checkpoint_ns IS NOT DISTINCT FROM n.checkpoint_ns
    AND b.checkpoint_thread_id IS NOT DISTINCT FROM n.checkpoint_thread_id
WHERE n.thread_id = %(thread_id)s AND n.id = %(id)s AND b.state IS NOT NULL
    AND b.status = 'completed' AND b.id <> n.id
LIMIT 1
