-- continue_plan --
-- A list of todos follows the one that a plan is the record of.
UPDATE {{schema}}.plans AS p SET
    channel_version = r.channel_version,
    estimated_cost = coalesce(r.estimated_cost, p.estimated_cost),
    estimated_duration_seconds =
        coalesce(r.estimated_duration_seconds, p.estimated_duration_seconds)
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, channel_version text, old_version text, workflow_id uuid, fresh boolean,
    change text, estimated_cost numeric, estimated_duration_seconds double precision
)
WHERE p.thread_id = %(thread_id)s AND p.checkpoint_ns = r.checkpoint_ns
    AND p.channel_version = r.old_version AND NOT r.fresh
    AND (r.change = 'replan' AND p.workflow_id <> r.workflow_id) IS NOT TRUE

-- abandon_todos --
-- What is left of a plan in whose place another one comes will not be done.
UPDATE {{schema}}.todos AS t SET
    status = 'cancelled', completed_at = r.written_at, updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, old_version text, written_at timestamptz
), {{schema}}.plans AS p
WHERE t.thread_id = %(thread_id)s AND p.thread_id = %(thread_id)s AND t.plan_id = p.id
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.old_version
    AND t.status NOT IN ('completed', 'failed', 'skipped', 'cancelled')

-- abandon_plan --
-- A plan in whose place another one comes is over.
UPDATE {{schema}}.plans AS p SET
    status = 'cancelled', completed_at = r.written_at, updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, old_version text, written_at timestamptz
)
WHERE p.thread_id = %(thread_id)s AND p.checkpoint_ns = r.checkpoint_ns
    AND p.channel_version = r.old_version
    AND p.status NOT IN ('completed', 'failed', 'cancelled')

-- open_plan --
-- A list of todos that follows none is a new plan's, if its session is recorded.
INSERT INTO {{schema}}.plans (
    thread_id, id, workflow_id, intent, estimated_cost, estimated_duration_seconds,
    checkpoint_ns, channel_version, created_at
)
SELECT
    %(thread_id)s, r.plan_id, w.id, to_jsonb(w.user_input), r.estimated_cost,
    r.estimated_duration_seconds, r.checkpoint_ns, r.channel_version, r.written_at
FROM jsonb_to_recordset(%(rows)s) AS r (
    plan_id uuid, workflow_id uuid, checkpoint_ns text, channel_version text,
    written_at timestamptz, estimated_cost numeric, estimated_duration_seconds double precision,
    todos jsonb
)
JOIN {{schema}}.sessions AS s ON s.thread_id = %(thread_id)s
LEFT JOIN LATERAL (
    SELECT o.id, o.user_input FROM {{schema}}.workflows AS o
    WHERE o.thread_id = %(thread_id)s AND (o.id = r.workflow_id OR r.workflow_id IS NULL)
    ORDER BY o.turn DESC LIMIT 1
) AS w ON true
WHERE jsonb_array_length(r.todos) > 0 AND NOT EXISTS (
    SELECT FROM {{schema}}.plans AS p
    WHERE p.thread_id = %(thread_id)s AND p.checkpoint_ns = r.checkpoint_ns
        AND p.channel_version = r.channel_version
)
ON CONFLICT (thread_id, id) DO NOTHING

-- write_plan_version --
-- The plan as it is now, if more of it changed than how far it is.
INSERT INTO {{schema}}.plan_versions (
    thread_id, plan_id, version, todos_snapshot, change_type, changed_by, created_at
)
SELECT
    p.thread_id, p.id, coalesce(last.version, 0) + 1, r.snapshot,
    CASE WHEN last.version IS NULL THEN 'create' ELSE r.change END, r.changed_by, r.written_at
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, channel_version text, change text, changed_by text, snapshot jsonb,
    written_at timestamptz
)
JOIN {{schema}}.plans AS p ON p.thread_id = %(thread_id)s
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
LEFT JOIN LATERAL (
    SELECT v.version FROM {{schema}}.plan_versions AS v
    WHERE v.thread_id = %(thread_id)s AND v.plan_id = p.id
    ORDER BY v.version DESC LIMIT 1
) AS last ON true
WHERE r.change IS NOT NULL OR last.version IS NULL
ON CONFLICT (thread_id, plan_id, version) DO NOTHING

-- drop_todos --
-- Todos that the list lacks now; those that were open will not be done.
UPDATE {{schema}}.todos AS t SET
    execution_order = NULL,
    status = CASE WHEN t.completed_at IS NULL THEN 'cancelled' ELSE t.status END,
    completed_at = coalesce(t.completed_at, r.written_at),
    updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, channel_version text, written_at timestamptz, todos jsonb
), {{schema}}.plans AS p
WHERE t.thread_id = %(thread_id)s AND p.thread_id = %(thread_id)s AND t.plan_id = p.id
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
    AND t.execution_order IS NOT NULL AND NOT EXISTS (
        SELECT FROM jsonb_to_recordset(r.todos) AS e (previous integer)
        WHERE e.previous = t.execution_order
    )

-- write_todos --
-- Todos as the list has them; one that was in the list before goes on.
INSERT INTO {{schema}}.todos AS t (
    thread_id, id, plan_id, title, description, status, priority, layer, tool_name, tool_params,
    timeout_seconds, max_retries, retry_count, progress_percentage, requires_approval,
    approved_by, approved_at, rejection_reason, input_data, output_path, result_data,
    execution_order, error_message, started_at, completed_at, key, created_at
)
SELECT
    %(thread_id)s, coalesce(was.id, e.id), p.id, e.title, e.description, e.status, e.priority,
    e.layer, e.tool_name, e.tool_params, e.timeout_seconds, e.max_retries,
    coalesce(
        e.retry_count,
        was.retry_count + (was.status = 'failed' AND e.status = 'in_progress')::integer,
        0
    ),
    CASE
        WHEN e.status = 'completed' THEN 100
        ELSE coalesce(e.progress_percentage, was.progress_percentage, 0)
    END,
    coalesce(
        e.requires_approval OR e.status = 'needs_approval' OR was.requires_approval
            OR answer.is_consent,
        false
    ),
    coalesce(named.id, was.approved_by, CASE WHEN is_approved THEN answer.user_id END),
    coalesce(was.approved_at, CASE
        WHEN is_approved OR named.id IS NOT NULL THEN coalesce(answer.responded_at, r.written_at)
    END),
    coalesce(e.rejection_reason, was.rejection_reason),
    e.input_data, e.output_path, e.result_data, e.execution_order, e.error_message,
    CASE
        WHEN e.status = 'in_progress' AND (was.status = 'failed' OR was.started_at IS NULL)
            THEN r.written_at
        ELSE was.started_at
    END,
    CASE WHEN e.status IN ('completed', 'failed', 'skipped', 'cancelled')
        THEN CASE WHEN was.status = e.status THEN was.completed_at ELSE r.written_at END
    END,
    e.key, coalesce(was.created_at, r.written_at)
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, channel_version text, written_at timestamptz, todos jsonb
)
JOIN {{schema}}.plans AS p ON p.thread_id = %(thread_id)s
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
CROSS JOIN LATERAL jsonb_to_recordset(r.todos) AS e (
    id uuid, previous integer, execution_order integer, key text, title text, description text,
    status text, priority integer, layer text, tool_name text, tool_params jsonb,
    timeout_seconds double precision, max_retries integer, retry_count integer,
    progress_percentage double precision, requires_approval boolean, approved_by text,
    rejection_reason text, input_data jsonb, output_path text, result_data jsonb,
    error_message text
)
LEFT JOIN {{schema}}.todos AS was ON was.thread_id = %(thread_id)s AND was.plan_id = p.id
    AND was.execution_order = e.previous
LEFT JOIN {{schema}}.users AS named ON named.username = e.approved_by
LEFT JOIN LATERAL (
    SELECT h.user_id, h.responded_at, h.user_decision IN ('approve', 'edit') AS is_consent
    FROM {{schema}}.hitl_events AS h
    WHERE h.thread_id = %(thread_id)s AND h.todo_id = was.id AND h.status = 'completed'
    ORDER BY h.responded_at DESC LIMIT 1
) AS answer ON true
CROSS JOIN LATERAL (
    SELECT e.status IN ('pending', 'in_progress', 'completed')
        AND (was.status = 'needs_approval' OR answer.is_consent)
) AS changed (is_approved)
ON CONFLICT (thread_id, id) DO UPDATE SET
    title = excluded.title,
    description = excluded.description,
    status = excluded.status,
    priority = excluded.priority,
    layer = excluded.layer,
    tool_name = excluded.tool_name,
    tool_params = excluded.tool_params,
    timeout_seconds = excluded.timeout_seconds,
    max_retries = excluded.max_retries,
    retry_count = excluded.retry_count,
    progress_percentage = excluded.progress_percentage,
    requires_approval = excluded.requires_approval,
    approved_by = excluded.approved_by,
    approved_at = excluded.approved_at,
    rejection_reason = excluded.rejection_reason,
    input_data = excluded.input_data,
    output_path = excluded.output_path,
    result_data = excluded.result_data,
    execution_order = excluded.execution_order,
    error_message = excluded.error_message,
    started_at = excluded.started_at,
    completed_at = excluded.completed_at,
    key = excluded.key,
    updated_at = excluded.updated_at

-- link_todos --
-- What todos depend on and block, by place in the list, as ids.
UPDATE {{schema}}.todos AS t SET
    depends_on = (
        SELECT array_agg(o.id ORDER BY o.execution_order) FROM {{schema}}.todos AS o
        WHERE o.thread_id = %(thread_id)s AND o.plan_id = t.plan_id
            AND e.depends_on @> to_jsonb(o.execution_order)
    ),
    blocks = (
        SELECT array_agg(o.id ORDER BY o.execution_order) FROM {{schema}}.todos AS o
        WHERE o.thread_id = %(thread_id)s AND o.plan_id = t.plan_id
            AND e.blocks @> to_jsonb(o.execution_order)
    )
FROM jsonb_to_recordset(%(rows)s) AS r (checkpoint_ns text, channel_version text, todos jsonb),
    {{schema}}.plans AS p,
    jsonb_to_recordset(r.todos) AS e (execution_order integer, depends_on jsonb, blocks jsonb)
WHERE t.thread_id = %(thread_id)s AND p.thread_id = %(thread_id)s AND t.plan_id = p.id
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
    AND t.execution_order = e.execution_order
    AND (e.depends_on || e.blocks <> '[]' OR coalesce(t.depends_on, t.blocks) IS NOT NULL)

-- claim_tool_executions --
-- Tool calls made while one todo alone was in progress, or by the tool it names, are that todo's.
UPDATE {{schema}}.tool_executions AS x SET todo_id = t.id
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, channel_version text, written_at timestamptz
), {{schema}}.plans AS p, {{schema}}.todos AS t
WHERE x.thread_id = %(thread_id)s AND p.thread_id = %(thread_id)s AND t.thread_id = %(thread_id)s
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
    AND t.plan_id = p.id AND t.completed_at = r.written_at
    AND x.todo_id IS NULL AND x.tool_name <> 'write_todos'
    AND x.started_at >= t.started_at AND x.started_at <= r.written_at
    AND (x.tool_name = t.tool_name OR NOT EXISTS (
        SELECT FROM {{schema}}.todos AS o
        WHERE o.thread_id = %(thread_id)s AND o.plan_id = p.id AND o.id <> t.id
            AND o.started_at <= x.started_at
            AND coalesce(o.completed_at, r.written_at) >= x.started_at
    ))

-- write_execution_results --
-- What todos took that have come to an end with this list.
INSERT INTO {{schema}}.execution_results (
    thread_id, id, todo_id, plan_id, success, result_data, error_message, execution_time_ms,
    tool_name, tokens_used, api_calls_count, started_at, completed_at
)
SELECT
    t.thread_id, md5(concat(t.id, r.checkpoint_id))::uuid, t.id, p.id, t.status = 'completed',
    t.result_data, t.error_message,
    extract(epoch FROM t.completed_at - t.started_at) * 1000,
    coalesce(t.tool_name, tools.name), used.tokens, coalesce(tools.count, 0), t.started_at,
    t.completed_at
FROM jsonb_to_recordset(%(rows)s) AS r (
    checkpoint_ns text, checkpoint_id text, channel_version text, written_at timestamptz
)
JOIN {{schema}}.plans AS p ON p.thread_id = %(thread_id)s
    AND p.checkpoint_ns = r.checkpoint_ns AND p.channel_version = r.channel_version
JOIN {{schema}}.todos AS t ON t.thread_id = %(thread_id)s AND t.plan_id = p.id
    AND t.completed_at = r.written_at AND t.status IN ('completed', 'failed')
    -- One that was done when it was first seen was done elsewhere.
    AND t.created_at < r.written_at
LEFT JOIN LATERAL (
    SELECT
        count(*) AS count,
        CASE WHEN count(DISTINCT x.tool_name) = 1 THEN max(x.tool_name) END AS name
    FROM {{schema}}.tool_executions AS x
    WHERE x.thread_id = %(thread_id)s AND x.started_at >= t.started_at
        AND x.started_at <= t.completed_at AND x.tool_name <> 'write_todos'
        AND (x.todo_id = t.id) IS NOT FALSE
) AS tools ON true
LEFT JOIN LATERAL (
    SELECT sum(g.total_tokens) AS tokens FROM {{schema}}.generations AS g
    WHERE g.thread_id = %(thread_id)s AND g.started_at >= t.started_at
        AND g.started_at <= t.completed_at AND NOT g.cache_hit
) AS used ON true
ON CONFLICT (thread_id, id) DO NOTHING

-- sum_plan --
-- How far a plan is, and what the model calls made for it have cost, in tools too.
UPDATE {{schema}}.plans AS p SET
    current_version = coalesce((
        SELECT max(v.version) FROM {{schema}}.plan_versions AS v
        WHERE v.thread_id = %(thread_id)s AND v.plan_id = p.id
    ), p.current_version),
    status = sums.status,
    total_todos = sums.total,
    completed_todos = sums.completed,
    failed_todos = sums.failed,
    started_at = sums.started_at,
    completed_at = sums.completed_at,
    actual_duration_seconds = extract(epoch FROM sums.completed_at - sums.started_at),
    actual_cost = (
        SELECT sum(g.cost_usd) FROM {{schema}}.generations AS g
        WHERE g.thread_id = %(thread_id)s AND NOT g.cache_hit
            AND g.started_at BETWEEN sums.started_at AND sums.written_at
    ),
    updated_at = now()
FROM (
    SELECT
        o.id, r.written_at, count(t.id) AS total,
        count(*) FILTER (WHERE t.status = 'completed') AS completed,
        count(*) FILTER (WHERE t.status = 'failed') AS failed,
        min(t.started_at) AS started_at,
        CASE WHEN count(t.id) FILTER (WHERE t.completed_at IS NULL) = 0
            THEN coalesce(max(t.completed_at), r.written_at)
        END AS completed_at,
        CASE
            WHEN count(t.id) FILTER (WHERE t.completed_at IS NULL) = 0 THEN CASE
                WHEN bool_or(t.status = 'failed') THEN 'failed'
                WHEN bool_or(t.status = 'completed') THEN 'completed'
                ELSE 'cancelled'
            END
            WHEN bool_or(t.status = 'in_progress') THEN 'executing'
            WHEN bool_or(t.status = 'needs_approval') THEN 'waiting'
            WHEN NOT bool_or(t.status = 'pending') THEN 'paused'
            WHEN bool_or(t.completed_at IS NOT NULL) THEN 'executing'
            WHEN EXISTS (
                SELECT FROM {{schema}}.hitl_events AS h
                WHERE h.thread_id = %(thread_id)s AND h.plan_id = o.id
                    AND h.event_type = 'plan_review' AND h.user_decision = 'approve'
            ) THEN 'approved'
            ELSE 'draft'
        END AS status
    FROM jsonb_to_recordset(%(rows)s) AS r (
        checkpoint_ns text, channel_version text, written_at timestamptz
    )
    JOIN {{schema}}.plans AS o ON o.thread_id = %(thread_id)s
        AND o.checkpoint_ns = r.checkpoint_ns AND o.channel_version = r.channel_version
    LEFT JOIN {{schema}}.todos AS t ON t.thread_id = %(thread_id)s AND t.plan_id = o.id
        AND t.execution_order IS NOT NULL
    GROUP BY o.id, r.written_at
) AS sums
WHERE p.thread_id = %(thread_id)s AND p.id = sums.id
