-- users --
-- Organizations with their users.
WITH made AS (
    INSERT INTO {{schema}}.organizations (slug, name, max_users, max_daily_requests, max_monthly_tokens)
    SELECT 'org-' || n, 'Organization ' || n, NULL, NULL, NULL
    FROM generate_series(0, %(organizations)s - 1) AS n
    RETURNING id, slug
)
INSERT INTO {{schema}}.users (username, organization_id)
SELECT 'user-' || n, o.id
FROM generate_series(0, %(users)s - 1) AS n
JOIN made AS o ON o.slug = 'org-' || n %% %(organizations)s

-- sessions --
-- Conversations of two turns.
INSERT INTO {{schema}}.sessions (
    thread_id, user_id, organization_id, status, language, initial_input, turns, created_at,
    updated_at
)
SELECT
    md5('s' || s)::uuid, u.id, u.organization_id,
    CASE s %% 4 WHEN 0 THEN 'active' ELSE 'completed' END, 'en', repeat('a question ', 8), 2,
    at, at + interval '1 minute'
FROM generate_series(%(first)s / 2, (%(last)s - 1) / 2) AS s
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + (s * 2) * %(step)s::interval AS at,
        'user-' || (hashint8(s) & 1073741823) %% %(users)s AS username
) AS k
JOIN {{schema}}.users AS u USING (username)

-- workflows --
-- Their turns; the newest ones run, some wait.
INSERT INTO {{schema}}.workflows (
    thread_id, id, turn, user_id, organization_id, name, status, user_input, input, result,
    metadata, error_type, error_message, started_at, completed_at, duration_ms, active_ms,
    node_count, generation_count, prompt_tokens, completion_tokens, total_tokens, cost_usd
)
SELECT
    md5('s' || w / 2)::uuid, {{id}}, w %% 2 + 1, u.id, u.organization_id, 'graph-' || w %% 5, status,
    repeat('a question ', 8),
    '{"messages": [{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}]}',
    '{"messages": [{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}]}',
    '{"session_id": "thread", "version": "1.2.3", "environment": "production"}',
    CASE status WHEN 'failed' THEN 'ValueError' END, CASE status WHEN 'failed' THEN 'no' END,
    at, CASE WHEN status <> 'running' THEN at + interval '12 seconds' END,
    CASE WHEN status <> 'running' THEN 12000 * random() END,
    CASE WHEN status <> 'running' THEN 9000 * random() END,
    6, 4, 4000, 1000, 5000, 0.0123
FROM generate_series(%(first)s, %(last)s - 1) AS w
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + w * %(step)s::interval AS at, 'w' AS kind, w AS number,
        'user-' || (hashint8(w / 2) & 1073741823) %% %(users)s AS username,
        CASE
            WHEN w >= %(all)s - 200 THEN 'running'
            WHEN w %% 100 < 4 THEN 'failed'
            WHEN w %% 100 < 5 THEN 'cancelled'
            WHEN w %% 2000 = 1999 THEN 'interrupted'
            ELSE 'completed'
        END AS status
) AS k
JOIN {{schema}}.users AS u USING (username)

-- workflow_runs --
-- One run of each.
INSERT INTO {{schema}}.workflow_runs (
    thread_id, id, workflow_id, status, started_at, completed_at, duration_ms, instance_id,
    heartbeat_at
)
SELECT
    md5('s' || w / 2)::uuid, {{id}}, {{id}}, status, at,
    CASE WHEN status <> 'running' THEN at + interval '12 seconds' END,
    CASE WHEN status <> 'running' THEN 12000 * random() END, 'host-1:1', at
FROM generate_series(%(first)s, %(last)s - 1) AS w
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + w * %(step)s::interval AS at, 'w' AS kind, w AS number,
        CASE
            WHEN w >= %(all)s - 200 THEN 'running' WHEN w %% 100 < 4 THEN 'failed'
            WHEN w %% 2000 = 1999 THEN 'interrupted' ELSE 'completed'
        END AS status
) AS k

-- nodes --
-- Six nodes in each turn, with what they read, wrote and left.
INSERT INTO {{schema}}.nodes (
    thread_id, id, workflow_id, run_id, node_name, execution_order, step, task_id, checkpoint_ns,
    triggers, status, input_checkpoint_id, checkpoint_id, input_data, output_data, state,
    started_at, completed_at, duration_ms, error_type, metadata
)
SELECT
    md5('s' || w / 2)::uuid, {{id}}, {{workflow_id}}, {{workflow_id}}, 'node-' || n, n, n,
    md5('t' || number), '', ARRAY['branch:to:node-' || n], status, {{id}}, {{id}},
    '{"messages": [{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}], "count": 3}',
    '{"messages": [{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}]}',
    '{"messages": {"$stored": "01234567-89ab-cdef-0123-456789abcdef"}, "count": 3, "plan": null}',
    at, at + interval '1 second', 40 * exp(2 * sqrt(-2 * ln(1 - random())) * cos(6.283 * random())),
    CASE status WHEN 'failed' THEN 'ValueError' END, '{"langgraph_step": 1}'
FROM generate_series(%(first)s, %(last)s - 1) AS w
CROSS JOIN generate_series(1, 6) AS n
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + w * %(step)s::interval AS w_at,
        %(since)s::timestamptz + w * %(step)s::interval + n * interval '2 seconds' AS at,
        'n' AS kind, w * 6 + n AS number,
        CASE WHEN w %% 100 < 4 AND n = 6 THEN 'failed' ELSE 'completed' END AS status
) AS k

-- generations --
-- Four model calls in each turn.
INSERT INTO {{schema}}.generations (
    thread_id, id, workflow_id, run_id, node_id, model_name, model_provider, system_prompt,
    user_prompt, prompt, output, output_message, temperature, invocation_params, prompt_tokens,
    completion_tokens, total_tokens, cache_read_tokens, cost_usd, price_source, latency_ms,
    time_to_first_token_ms, streamed, finish_reason, cache_hit, status, prompt_name,
    prompt_version, started_at, completed_at
)
SELECT
    md5('s' || w / 2)::uuid, {{id}}, {{workflow_id}}, {{workflow_id}}, {{workflow_id}},
    'model-' || number %% 4, 'provider-' || number %% 2, repeat('be good ', 20),
    repeat('a question ', 8), '{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}',
    repeat('an answer ', 30), '{"$stored": "01234567-89ab-cdef-0123-456789abcdef"}', 0.2,
    '{"model": "model-1", "temperature": 0.2, "stream": true}', 1000, 250, 1250, 200, 0.0031,
    'genai-prices 0.2.3', 700 * exp(0.8 * sqrt(-2 * ln(1 - random())) * cos(6.283 * random())),
    120 * random(), true, 'stop', number %% 50 = 0,
    CASE WHEN w %% 100 < 2 AND g = 4 THEN 'failed' ELSE 'completed' END,
    CASE g WHEN 1 THEN 'planner' END, CASE g WHEN 1 THEN 'v' || w %% 4 END,
    at, at + interval '1 second'
FROM generate_series(%(first)s, %(last)s - 1) AS w
CROSS JOIN generate_series(1, 4) AS g
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + w * %(step)s::interval AS w_at,
        %(since)s::timestamptz + w * %(step)s::interval + g * interval '2 seconds' AS at,
        'g' AS kind, w * 4 + g AS number
) AS k

-- tool_executions --
-- Two tool calls in each turn.
INSERT INTO {{schema}}.tool_executions (
    thread_id, id, workflow_id, run_id, tool_name, tool_call_id, input_params, output_data,
    success, status, execution_time_ms, started_at, completed_at
)
SELECT
    md5('s' || w / 2)::uuid, {{id}}, {{workflow_id}}, {{workflow_id}}, 'tool-' || number %% 7,
    md5('c' || number), '{"query": "something to look for"}', '{"found": "something"}', true,
    'completed', 500 * random(), at, at + interval '1 second'
FROM generate_series(%(first)s, %(last)s - 1) AS w
CROSS JOIN generate_series(1, 2) AS t
CROSS JOIN LATERAL (
    SELECT
        %(since)s::timestamptz + w * %(step)s::interval AS w_at,
        %(since)s::timestamptz + w * %(step)s::interval + t * interval '3 seconds' AS at,
        'x' AS kind, w * 2 + t AS number
) AS k

-- hitl_events --
-- What the interrupted ones wait for.
INSERT INTO {{schema}}.hitl_events (thread_id, workflow_id, event_type, status, requested_at)
SELECT w.thread_id, w.id, 'approval_request', 'pending', w.started_at
FROM {{schema}}.workflows AS w
WHERE w.status = 'interrupted'

-- feedback --
-- One in twenty turns is rated.
INSERT INTO {{schema}}.feedback (thread_id, workflow_id, rating)
SELECT w.thread_id, w.id, 1 + w.turn + abs(hashtext(w.thread_id)) %% 3
FROM {{schema}}.workflows AS w
WHERE abs(hashtext(w.thread_id)) %% 20 = 0
