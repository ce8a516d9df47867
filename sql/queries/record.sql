-- organizations --
-- The organizations named by runs, without limits; one that exists stays as it is.
INSERT INTO {{schema}}.organizations (
    id, name, slug, max_users, max_daily_requests, max_monthly_tokens
)
SELECT r.id, r.name, r.slug, NULL, NULL, NULL
FROM jsonb_populate_recordset(NULL::{{schema}}.organizations, %(rows)s) AS r
ORDER BY r.slug
ON CONFLICT (slug) DO NOTHING

-- users --
-- The users named by runs; one that exists stays as it is.
INSERT INTO {{schema}}.users (id, username, organization_id)
SELECT e.id, e.username, o.id
FROM jsonb_to_recordset(%(rows)s) AS e (id uuid, username text, organization text)
LEFT JOIN {{schema}}.organizations AS o ON o.slug = e.organization
ORDER BY e.username
ON CONFLICT (username) DO NOTHING

-- tools --
-- The tools that models are told of, as the last one who told them.
INSERT INTO {{schema}}.tools AS t (id, name, description, parameters_schema)
SELECT r.id, r.name, r.description, r.parameters_schema
FROM jsonb_populate_recordset(NULL::{{schema}}.tools, %(rows)s) AS r
ORDER BY r.name
ON CONFLICT (name) DO UPDATE SET
    description = coalesce(excluded.description, t.description),
    parameters_schema = coalesce(excluded.parameters_schema, t.parameters_schema),
    updated_at = excluded.updated_at
WHERE coalesce(excluded.description, t.description) IS DISTINCT FROM t.description
    OR coalesce(excluded.parameters_schema, t.parameters_schema)
        IS DISTINCT FROM t.parameters_schema

-- sessions --
-- Opens a session, again if it had ended; locked, so turns are counted one run at a time.
INSERT INTO {{schema}}.sessions AS t (
    thread_id, user_id, organization_id, status, language, initial_input, metadata, expires_at,
    missing
)
SELECT
    e.thread_id, u.id, coalesce(o.id, u.organization_id), 'active', e.language, e.initial_input,
    e.metadata, now() + make_interval(secs => e.seconds_to_live), e.missing
FROM jsonb_to_recordset(%(rows)s) AS e (
    thread_id text, "user" text, organization text, language text, initial_input text,
    metadata jsonb, seconds_to_live double precision, missing jsonb
)
LEFT JOIN {{schema}}.users AS u ON u.username = e."user"
LEFT JOIN {{schema}}.organizations AS o ON o.slug = e.organization
ORDER BY e.thread_id
ON CONFLICT (thread_id) DO UPDATE SET
    -- Whoever runs it later is not mixed with whose it is.
    user_id = CASE WHEN coalesce(t.organization_id = excluded.organization_id, true)
        THEN coalesce(t.user_id, excluded.user_id) ELSE t.user_id END,
    organization_id = CASE WHEN coalesce(t.user_id = excluded.user_id, true)
        THEN coalesce(t.organization_id, excluded.organization_id) ELSE t.organization_id END,
    language = coalesce(excluded.language, t.language),
    metadata = coalesce(t.metadata, excluded.metadata),
    expires_at = coalesce(
        excluded.expires_at, CASE WHEN t.expires_at > excluded.updated_at THEN t.expires_at END
    ),
    status = excluded.status,
    ended_at = NULL,
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- session_updates --
-- What becomes of sessions during a run: the context of the conversation, and when they expire.
UPDATE {{schema}}.sessions AS t SET
    current_context = coalesce(e.current_context, t.current_context),
    expires_at = coalesce(e.expires_at, t.expires_at),
    updated_at = now()
FROM (
    SELECT
        r.thread_id, r.current_context,
        now() + make_interval(secs => r.seconds_to_live) AS expires_at
    FROM jsonb_to_recordset(%(rows)s) AS r (
        thread_id text, current_context jsonb, seconds_to_live double precision
    )
) AS e
WHERE t.thread_id = ANY(%(threads)s) AND t.thread_id = e.thread_id

-- workflows --
-- Opens or updates workflows; a new one is its session's next turn, and its opener's for good.
WITH incoming AS (
    SELECT r.*, e.fields ->> 'user' AS username, e.fields ->> 'organization' AS slug
    FROM jsonb_array_elements(%(rows)s) AS e (fields)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.workflows, e.fields) AS r
), placed AS (
    SELECT i.thread_id, i.id, coalesce(
        w.turn,
        latest.turn + count(*) FILTER (WHERE w.id IS NULL)
            OVER (PARTITION BY i.thread_id ORDER BY i.started_at, i.id)
    ) AS turn
    FROM incoming AS i
    -- By its key, also where the planner takes a table that was never analyzed for a small one.
    LEFT JOIN LATERAL (
        SELECT o.id, o.turn FROM {{schema}}.workflows AS o
        WHERE o.thread_id = i.thread_id AND o.id = i.id
        OFFSET 0
    ) AS w ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(max(o.turn), 0) AS turn FROM {{schema}}.workflows AS o
        WHERE o.thread_id = i.thread_id
    ) AS latest
), written AS (
    INSERT INTO {{schema}}.workflows AS t (
        thread_id, id, turn, user_id, organization_id, name, status, user_input, input_type,
        input, settings, result, metadata, tags, error_type, error_message, error_traceback,
        started_at, completed_at, duration_ms, active_ms, node_count, generation_count,
        prompt_tokens, completion_tokens, total_tokens, cost_usd, replay_of,
        missing
    )
    SELECT
        i.thread_id, i.id, p.turn, u.id, coalesce(o.id, u.organization_id), i.name, i.status,
        i.user_input, i.input_type, i.input, i.settings, i.result, i.metadata, i.tags,
        i.error_type, i.error_message, i.error_traceback, i.started_at, i.completed_at,
        i.duration_ms, i.active_ms,
        coalesce(i.node_count, 0), coalesce(i.generation_count, 0),
        coalesce(i.prompt_tokens, 0), coalesce(i.completion_tokens, 0),
        coalesce(i.total_tokens, 0), i.cost_usd, i.replay_of, i.missing
    FROM incoming AS i
    JOIN placed AS p USING (thread_id, id)
    LEFT JOIN {{schema}}.users AS u ON u.username = i.username
    LEFT JOIN {{schema}}.organizations AS o ON o.slug = i.slug
    ORDER BY i.thread_id, i.id
    ON CONFLICT (thread_id, id) DO UPDATE SET
        status = excluded.status,
        settings = coalesce(excluded.settings, t.settings),
        result = coalesce(excluded.result, t.result),
        metadata = coalesce(t.metadata, excluded.metadata),
        tags = coalesce(t.tags, excluded.tags),
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        error_traceback = excluded.error_traceback,
        completed_at = excluded.completed_at,
        duration_ms = coalesce(excluded.duration_ms, t.duration_ms),
        active_ms = coalesce(excluded.active_ms, t.active_ms),
        node_count = greatest(excluded.node_count, t.node_count),
        generation_count = greatest(excluded.generation_count, t.generation_count),
        prompt_tokens = greatest(excluded.prompt_tokens, t.prompt_tokens),
        completion_tokens = greatest(excluded.completion_tokens, t.completion_tokens),
        total_tokens = greatest(excluded.total_tokens, t.total_tokens),
        cost_usd = coalesce(excluded.cost_usd, t.cost_usd),
        missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
        updated_at = excluded.updated_at
    RETURNING thread_id, turn
)
UPDATE {{schema}}.sessions AS s SET turns = w.turn
FROM (SELECT thread_id, max(turn) AS turn FROM written GROUP BY thread_id) AS w
WHERE s.thread_id = w.thread_id AND s.turns < w.turn

-- workflow_promotions --
-- Fills columns of workflows from their states.
UPDATE {{schema}}.workflows AS t SET
    user_input = coalesce(e.user_input, t.user_input),
    settings = coalesce(e.settings, t.settings),
    result = coalesce(e.result, t.result),
    updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS e (
    thread_id text, id uuid, user_input text, settings jsonb, result jsonb
)
WHERE t.thread_id = e.thread_id AND t.id = e.id

-- workflow_runs --
-- Executions of a workflow: its start, resumes and replays; attempt counts them.
INSERT INTO {{schema}}.workflow_runs AS t (
    thread_id, id, workflow_id, kind, status, started_at, completed_at, duration_ms,
    instance_id, heartbeat_at, checkpoint_id, error_type, error_message, error_traceback,
    user_id, missing, attempt
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.kind, r.status, r.started_at, r.completed_at,
    r.duration_ms, r.instance_id, now(), r.checkpoint_id, r.error_type,
    r.error_message, r.error_traceback, u.id, r.missing,
    (
        SELECT count(*) + 1 FROM {{schema}}.workflow_runs AS earlier
        WHERE earlier.thread_id = r.thread_id AND earlier.workflow_id = r.workflow_id
    )
FROM jsonb_array_elements(%(rows)s) AS e (fields)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.workflow_runs, e.fields) AS r
LEFT JOIN {{schema}}.users AS u ON u.username = e.fields ->> 'user'
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    status = excluded.status,
    user_id = coalesce(t.user_id, excluded.user_id),
    completed_at = coalesce(excluded.completed_at, t.completed_at),
    duration_ms = coalesce(excluded.duration_ms, t.duration_ms),
    instance_id = coalesce(excluded.instance_id, t.instance_id),
    heartbeat_at = excluded.heartbeat_at,
    checkpoint_id = coalesce(excluded.checkpoint_id, t.checkpoint_id),
    error_type = excluded.error_type,
    error_message = excluded.error_message,
    error_traceback = excluded.error_traceback,
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- nodes --
-- Executions of a graph's nodes.
INSERT INTO {{schema}}.nodes AS t (
    thread_id, id, workflow_id, run_id, parent_node_id, node_name, node_type, execution_order,
    step, attempt, task_id, checkpoint_ns, triggers, status, cached, input_checkpoint_id,
    checkpoint_id, checkpoint_thread_id, input_data, output_data, state, started_at,
    completed_at, duration_ms, error_type, error_message, error_traceback, metadata,
    missing
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.run_id, r.parent_node_id, r.node_name, r.node_type,
    r.execution_order, r.step, coalesce(r.attempt, 1), r.task_id, r.checkpoint_ns, r.triggers,
    r.status, coalesce(r.cached, false), r.input_checkpoint_id, r.checkpoint_id,
    r.checkpoint_thread_id, r.input_data, r.output_data, r.state, r.started_at, r.completed_at,
    r.duration_ms, r.error_type, r.error_message, r.error_traceback, r.metadata,
    r.missing
FROM jsonb_populate_recordset(NULL::{{schema}}.nodes, %(rows)s) AS r
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    parent_node_id = coalesce(excluded.parent_node_id, t.parent_node_id),
    node_name = coalesce(excluded.node_name, t.node_name),
    node_type = coalesce(excluded.node_type, t.node_type),
    step = coalesce(excluded.step, t.step),
    task_id = coalesce(excluded.task_id, t.task_id),
    checkpoint_ns = coalesce(excluded.checkpoint_ns, t.checkpoint_ns),
    triggers = coalesce(excluded.triggers, t.triggers),
    status = CASE excluded.status WHEN 'running' THEN t.status ELSE excluded.status END,
    input_checkpoint_id = coalesce(excluded.input_checkpoint_id, t.input_checkpoint_id),
    checkpoint_id = coalesce(excluded.checkpoint_id, t.checkpoint_id),
    checkpoint_thread_id = coalesce(excluded.checkpoint_thread_id, t.checkpoint_thread_id),
    input_data = coalesce(excluded.input_data, t.input_data),
    output_data = coalesce(excluded.output_data, t.output_data),
    state = coalesce(excluded.state, t.state),
    completed_at = coalesce(excluded.completed_at, t.completed_at),
    duration_ms = coalesce(excluded.duration_ms, t.duration_ms),
    error_type = excluded.error_type,
    error_message = excluded.error_message,
    error_traceback = excluded.error_traceback,
    metadata = coalesce(excluded.metadata, t.metadata),
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- pending_results --
-- Gives nodes that completed beside one that failed or asked the checkpoint that a resume saved.
UPDATE {{schema}}.nodes AS t SET
    checkpoint_id = e.checkpoint_id,
    state = CASE WHEN NOT jsonb_exists(e.hidden, t.node_name) THEN e.state END,
    updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS e (
    thread_id text, workflow_id uuid, checkpoint_ns text, step integer, checkpoint_id text,
    checkpoint_thread_id text, state jsonb, hidden jsonb
)
WHERE t.thread_id = e.thread_id AND t.workflow_id = e.workflow_id AND t.thread_id = ANY(%(threads)s)
    AND t.checkpoint_ns = e.checkpoint_ns AND t.step = e.step AND t.status = 'completed'
    AND t.checkpoint_thread_id IS NOT DISTINCT FROM e.checkpoint_thread_id
    AND t.checkpoint_id = t.input_checkpoint_id AND t.state IS NULL

-- skipped_nodes --
-- Drops what says of nodes that they were skipped, where another run of the workflow tells of them.
DELETE FROM {{schema}}.nodes AS t
USING jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid), {{schema}}.nodes AS n
WHERE t.thread_id = e.thread_id AND t.workflow_id = e.id AND t.thread_id = ANY(%(threads)s)
    AND t.status = 'skipped' AND n.thread_id = t.thread_id AND n.workflow_id = t.workflow_id
    AND n.run_id <> t.run_id AND n.node_name = t.node_name AND n.checkpoint_ns = t.checkpoint_ns
    AND n.checkpoint_thread_id IS NOT DISTINCT FROM t.checkpoint_thread_id
    AND (n.parent_node_id IS NOT DISTINCT FROM t.parent_node_id OR t.checkpoint_ns <> '')
    AND n.node_type <> 'update' AND (n.status <> 'skipped' OR n.id < t.id)

-- generations --
-- Calls of language models.
INSERT INTO {{schema}}.generations AS t (
    thread_id, id, workflow_id, run_id, node_id, model_name, model_provider, system_prompt,
    user_prompt, prompt, output, output_message, parsed_output, tool_calls, temperature,
    max_tokens, invocation_params, prompt_tokens, completion_tokens, total_tokens,
    cache_read_tokens, cache_creation_tokens, reasoning_tokens, cost_usd, price_source,
    latency_ms, time_to_first_token_ms, streamed, finish_reason, cache_hit, attempt, status,
    error_type, error_message, error_traceback, prompt_name, prompt_version, started_at,
    completed_at, requested_model, retry_of, missing
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.run_id, r.node_id, r.model_name, r.model_provider,
    r.system_prompt, r.user_prompt, r.prompt, r.output, r.output_message, r.parsed_output,
    r.tool_calls, r.temperature, r.max_tokens, r.invocation_params, r.prompt_tokens,
    r.completion_tokens, r.total_tokens, r.cache_read_tokens, r.cache_creation_tokens,
    r.reasoning_tokens, r.cost_usd, r.price_source, r.latency_ms, r.time_to_first_token_ms,
    coalesce(r.streamed, false), r.finish_reason, coalesce(r.cache_hit, false),
    coalesce(r.attempt, 1), r.status, r.error_type, r.error_message, r.error_traceback,
    r.prompt_name, r.prompt_version, r.started_at, r.completed_at, r.requested_model, r.retry_of,
    r.missing
FROM jsonb_populate_recordset(NULL::{{schema}}.generations, %(rows)s) AS r
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    node_id = coalesce(excluded.node_id, t.node_id),
    model_name = coalesce(excluded.model_name, t.model_name),
    model_provider = coalesce(excluded.model_provider, t.model_provider),
    system_prompt = coalesce(excluded.system_prompt, t.system_prompt),
    user_prompt = coalesce(excluded.user_prompt, t.user_prompt),
    prompt = coalesce(excluded.prompt, t.prompt),
    output = coalesce(excluded.output, t.output),
    output_message = coalesce(excluded.output_message, t.output_message),
    parsed_output = coalesce(excluded.parsed_output, t.parsed_output),
    tool_calls = coalesce(excluded.tool_calls, t.tool_calls),
    temperature = coalesce(excluded.temperature, t.temperature),
    max_tokens = coalesce(excluded.max_tokens, t.max_tokens),
    invocation_params = coalesce(excluded.invocation_params, t.invocation_params),
    prompt_tokens = coalesce(excluded.prompt_tokens, t.prompt_tokens),
    completion_tokens = coalesce(excluded.completion_tokens, t.completion_tokens),
    total_tokens = coalesce(excluded.total_tokens, t.total_tokens),
    cache_read_tokens = coalesce(excluded.cache_read_tokens, t.cache_read_tokens),
    cache_creation_tokens = coalesce(excluded.cache_creation_tokens, t.cache_creation_tokens),
    reasoning_tokens = coalesce(excluded.reasoning_tokens, t.reasoning_tokens),
    cost_usd = coalesce(excluded.cost_usd, t.cost_usd),
    price_source = coalesce(excluded.price_source, t.price_source),
    latency_ms = coalesce(excluded.latency_ms, t.latency_ms),
    time_to_first_token_ms = coalesce(excluded.time_to_first_token_ms, t.time_to_first_token_ms),
    streamed = excluded.streamed OR t.streamed,
    finish_reason = coalesce(excluded.finish_reason, t.finish_reason),
    cache_hit = excluded.cache_hit OR t.cache_hit,
    status = CASE excluded.status WHEN 'running' THEN t.status ELSE excluded.status END,
    error_type = excluded.error_type,
    error_message = excluded.error_message,
    error_traceback = excluded.error_traceback,
    prompt_name = coalesce(excluded.prompt_name, t.prompt_name),
    prompt_version = coalesce(excluded.prompt_version, t.prompt_version),
    requested_model = coalesce(excluded.requested_model, t.requested_model),
    retry_of = coalesce(excluded.retry_of, t.retry_of),
    completed_at = coalesce(excluded.completed_at, t.completed_at),
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- tool_executions --
-- Calls of tools.
INSERT INTO {{schema}}.tool_executions AS t (
    thread_id, id, workflow_id, run_id, node_id, tool_id, tool_name, tool_call_id, input_params,
    output_data, success, status, error_type, error_message, error_traceback,
    execution_time_ms, tokens_used, cost_usd, started_at, completed_at,
    missing
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.run_id, r.node_id, k.id, r.tool_name, r.tool_call_id,
    r.input_params, r.output_data, r.success, r.status, r.error_type, r.error_message,
    r.error_traceback, r.execution_time_ms, r.tokens_used, r.cost_usd, r.started_at,
    r.completed_at, r.missing
FROM jsonb_populate_recordset(NULL::{{schema}}.tool_executions, %(rows)s) AS r
LEFT JOIN {{schema}}.tools AS k ON k.name = r.tool_name
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    node_id = coalesce(excluded.node_id, t.node_id),
    tool_id = coalesce(excluded.tool_id, t.tool_id),
    tool_name = coalesce(excluded.tool_name, t.tool_name),
    tool_call_id = coalesce(excluded.tool_call_id, t.tool_call_id),
    input_params = coalesce(excluded.input_params, t.input_params),
    output_data = coalesce(excluded.output_data, t.output_data),
    success = coalesce(excluded.success, t.success),
    status = CASE excluded.status WHEN 'running' THEN t.status ELSE excluded.status END,
    error_type = excluded.error_type,
    error_message = excluded.error_message,
    error_traceback = excluded.error_traceback,
    execution_time_ms = coalesce(excluded.execution_time_ms, t.execution_time_ms),
    tokens_used = coalesce(excluded.tokens_used, t.tokens_used),
    cost_usd = coalesce(excluded.cost_usd, t.cost_usd),
    completed_at = coalesce(excluded.completed_at, t.completed_at),
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- retrievals --
-- Queries of retrievers.
INSERT INTO {{schema}}.retrievals AS t (
    thread_id, id, workflow_id, run_id, node_id, query, documents, document_count, latency_ms,
    error_type, error_message, error_traceback, started_at, missing
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.run_id, r.node_id, r.query, r.documents,
    coalesce(r.document_count, 0), r.latency_ms, r.error_type, r.error_message,
    r.error_traceback, r.started_at, r.missing
FROM jsonb_populate_recordset(NULL::{{schema}}.retrievals, %(rows)s) AS r
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    node_id = coalesce(excluded.node_id, t.node_id),
    query = coalesce(excluded.query, t.query),
    documents = coalesce(excluded.documents, t.documents),
    document_count = greatest(excluded.document_count, t.document_count),
    latency_ms = coalesce(excluded.latency_ms, t.latency_ms),
    error_type = coalesce(excluded.error_type, t.error_type),
    error_message = coalesce(excluded.error_message, t.error_message),
    error_traceback = coalesce(excluded.error_traceback, t.error_traceback),
    missing = coalesce(t.missing || excluded.missing, excluded.missing, t.missing),
    updated_at = excluded.updated_at

-- state_values --
-- Values of state channels, each stored once a session.
INSERT INTO {{schema}}.state_values AS t (
    thread_id, id, kind, value, base_id
)
SELECT
    r.thread_id, r.id, coalesce(r.kind, 'value'), r.value, r.base_id
FROM jsonb_populate_recordset(NULL::{{schema}}.state_values, %(rows)s) AS r
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO NOTHING

-- messages --
-- Messages, each stored once a session, with the turn that brought them and their first name.
INSERT INTO {{schema}}.messages AS t (
    thread_id, id, message_id, turn, role, text, content, name, tool_calls, tool_call_id, extra
)
SELECT
    r.thread_id, r.id, r.message_id,
    (
        SELECT w.turn FROM {{schema}}.workflows AS w
        WHERE w.thread_id = r.thread_id AND w.id = (e.fields ->> 'workflow_id')::uuid
    ),
    r.role, r.text, r.content, r.name, r.tool_calls, r.tool_call_id, r.extra
FROM jsonb_array_elements(%(rows)s) AS e (fields)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.messages, e.fields) AS r
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO UPDATE SET message_id = excluded.message_id
WHERE t.message_id IS NULL AND excluded.message_id IS NOT NULL

-- workflow_totals --
-- Sums up ended workflows from their runs, nodes and generations.
UPDATE {{schema}}.workflows AS t SET
    duration_ms = extract(epoch FROM t.completed_at - t.started_at) * 1000,
    active_ms = runs.active_ms,
    node_count = nodes.count,
    generation_count = generations.count,
    prompt_tokens = generations.prompt_tokens,
    completion_tokens = generations.completion_tokens,
    total_tokens = generations.total_tokens,
    cost_usd = generations.cost_usd
FROM jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid)
CROSS JOIN LATERAL (
    SELECT sum(r.duration_ms) AS active_ms FROM {{schema}}.workflow_runs AS r
    WHERE r.thread_id = e.thread_id AND r.workflow_id = e.id
) AS runs
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM {{schema}}.nodes AS n
    WHERE n.thread_id = e.thread_id AND n.workflow_id = e.id
        AND n.status <> 'skipped' AND n.node_type <> 'update'
) AS nodes
CROSS JOIN LATERAL (
    SELECT
        count(*) AS count,
        coalesce(sum(g.prompt_tokens), 0) AS prompt_tokens,
        coalesce(sum(g.completion_tokens), 0) AS completion_tokens,
        coalesce(sum(g.total_tokens), 0) AS total_tokens,
        coalesce(
            sum(g.cost_usd) FILTER (WHERE NOT g.cache_hit),
            CASE WHEN bool_and(g.cache_hit) THEN 0 END
        ) AS cost_usd
    FROM {{schema}}.generations AS g
    WHERE g.thread_id = e.thread_id AND g.workflow_id = e.id
) AS generations
WHERE t.thread_id = e.thread_id AND t.id = e.id

-- run_numbers --
-- Counts the runs anew that went on with a workflow at the same time, not knowing of each other.
UPDATE {{schema}}.workflow_runs AS t SET attempt = e.attempt, updated_at = now()
FROM (
    SELECT r.thread_id, r.id, row_number() OVER (
        PARTITION BY r.thread_id, r.workflow_id ORDER BY r.attempt, r.started_at, r.id
    ) AS attempt
    FROM {{schema}}.workflow_runs AS r
    WHERE r.thread_id = ANY(%(threads)s) AND (r.thread_id, r.workflow_id) IN (
        SELECT k.thread_id, k.id FROM jsonb_to_recordset(%(rows)s) AS k (thread_id text, id uuid)
    )
) AS e
WHERE t.thread_id = e.thread_id AND t.id = e.id AND t.thread_id = ANY(%(threads)s)
    AND t.attempt <> e.attempt

-- node_numbers --
-- Orders nodes anew, and counts the tries of their tasks, where two runs gave the same numbers.
UPDATE {{schema}}.nodes AS t SET
    execution_order = e.execution_order, attempt = e.attempt, updated_at = now()
FROM (
    SELECT
        o.thread_id, o.id, max(o.same) OVER of_workflow AS most,
        row_number() OVER (of_workflow ORDER BY o.execution_order, o.started_at, o.id)
            AS execution_order,
        CASE WHEN o.task_id IS NULL THEN o.attempt ELSE row_number() OVER (
            PARTITION BY o.thread_id, o.workflow_id, o.task_id
            ORDER BY o.attempt, o.started_at, o.id
        ) END AS attempt
    FROM (
        SELECT
            n.thread_id, n.id, n.workflow_id, n.task_id, n.execution_order, n.attempt,
            n.started_at, count(*) OVER (
                PARTITION BY n.thread_id, n.workflow_id, n.execution_order
            ) AS same
        FROM {{schema}}.nodes AS n
        WHERE n.execution_order IS NOT NULL AND n.thread_id = ANY(%(threads)s)
            AND (n.thread_id, n.workflow_id) IN (
                SELECT k.thread_id, k.id
                FROM jsonb_to_recordset(%(rows)s) AS k (thread_id text, id uuid)
            )
    ) AS o
    WINDOW of_workflow AS (PARTITION BY o.thread_id, o.workflow_id)
) AS e
WHERE t.thread_id = e.thread_id AND t.id = e.id AND t.thread_id = ANY(%(threads)s)
    AND e.most > 1 AND (t.execution_order <> e.execution_order OR t.attempt <> e.attempt)

-- projection_errors --
-- What projections could not write, of sessions that are recorded.
INSERT INTO {{schema}}.projection_errors (
    thread_id, id, workflow_id, checkpoint_ns, checkpoint_id, projection, error_type,
    error_message, error_traceback
)
SELECT
    r.thread_id, r.id, r.workflow_id, r.checkpoint_ns, r.checkpoint_id, r.projection,
    r.error_type, r.error_message, r.error_traceback
FROM jsonb_populate_recordset(NULL::{{schema}}.projection_errors, %(rows)s) AS r
JOIN {{schema}}.sessions AS s ON s.thread_id = r.thread_id
ORDER BY r.thread_id, r.id
ON CONFLICT (thread_id, id) DO NOTHING
