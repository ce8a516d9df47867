-- heartbeats --
-- Says that runs go on; one that was taken for lost is running again, and so is its workflow.
WITH alive AS (
    UPDATE {{schema}}.workflow_runs AS t SET
        heartbeat_at = now(),
        status = 'running',
        completed_at = NULL,
        duration_ms = NULL,
        error_type = NULL,
        error_message = NULL,
        error_traceback = NULL,
        updated_at = now()
    FROM jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid)
    WHERE t.thread_id = e.thread_id AND t.id = e.id
        AND (t.status = 'running' OR t.error_type = 'ProcessLost')
        AND t.thread_id = ANY(%(threads)s)
    RETURNING t.thread_id, t.workflow_id
)
UPDATE {{schema}}.workflows AS w SET
    status = 'running',
    completed_at = NULL,
    error_type = NULL,
    error_message = NULL,
    error_traceback = NULL,
    updated_at = now()
FROM alive AS a
WHERE w.thread_id = a.thread_id AND w.id = a.workflow_id AND w.error_type = 'ProcessLost'
    AND w.thread_id = ANY(%(threads)s)

-- doubtful_runs --
-- Runs that say they go on, but were not heard of for long, or are of this machine.
SELECT
    r.thread_id, r.id, r.workflow_id, r.instance_id, r.heartbeat_at, r.started_at,
    coalesce(r.heartbeat_at, r.started_at) < now() - make_interval(secs => %(seconds)s) AS stale
FROM {{schema}}.workflow_runs AS r
WHERE r.status = 'running'
    AND (%(threads)s::text[] IS NULL OR r.thread_id = ANY(%(threads)s))
    AND (
        coalesce(r.heartbeat_at, r.started_at) < now() - make_interval(secs => %(seconds)s)
        OR strpos(r.instance_id, %(here)s::text) > 0
    )
ORDER BY r.thread_id, r.id

-- lost_runs --
-- Closes a thread's runs not heard of since, and all below them, at their last heartbeat.
WITH suspects AS (
    SELECT
        r.id, r.workflow_id, r.heartbeat_at, e.closed_at,
        greatest(coalesce(r.heartbeat_at, r.started_at), r.started_at) AS seen_at,
        concat('process lost: ', r.instance_id, ' was last heard of at ', r.heartbeat_at) AS reason
    FROM jsonb_to_recordset(%(rows)s) AS e (
        id uuid, heartbeat_at timestamptz, closed_at timestamptz
    )
    JOIN {{schema}}.workflow_runs AS r ON r.thread_id = %(thread_id)s AND r.id = e.id
    WHERE r.status = 'running' AND r.heartbeat_at IS NOT DISTINCT FROM e.heartbeat_at
), locked AS (
    -- What the process may still be writing has a key on this row.
    SELECT w.id FROM {{schema}}.workflows AS w
    WHERE w.thread_id = %(thread_id)s AND w.id IN (SELECT s.workflow_id FROM suspects AS s)
    ORDER BY w.id
    FOR UPDATE SKIP LOCKED
), lost AS (
    UPDATE {{schema}}.workflow_runs AS r SET
        status = 'failed',
        completed_at = s.seen_at,
        duration_ms = extract(epoch FROM s.seen_at - r.started_at) * 1000,
        error_type = 'ProcessLost',
        error_message = s.reason,
        updated_at = s.closed_at
    FROM suspects AS s
    JOIN locked AS l ON l.id = s.workflow_id
    WHERE r.thread_id = %(thread_id)s AND r.id = s.id AND r.status = 'running'
        AND r.heartbeat_at IS NOT DISTINCT FROM s.heartbeat_at
    RETURNING
        r.id, r.workflow_id, r.completed_at AS seen_at, r.error_message, r.updated_at AS closed_at
), closed_nodes AS (
    UPDATE {{schema}}.nodes AS n SET
        status = 'failed',
        completed_at = greatest(l.seen_at, n.started_at),
        duration_ms = extract(epoch FROM greatest(l.seen_at, n.started_at) - n.started_at) * 1000,
        error_type = 'ProcessLost',
        error_message = l.error_message,
        updated_at = l.closed_at
    FROM lost AS l
    WHERE n.thread_id = %(thread_id)s AND n.workflow_id = l.workflow_id AND n.run_id = l.id
        AND n.status IN ('running', 'pending')
), closed_generations AS (
    UPDATE {{schema}}.generations AS g SET
        status = 'failed',
        completed_at = greatest(l.seen_at, g.started_at),
        latency_ms = extract(epoch FROM greatest(l.seen_at, g.started_at) - g.started_at) * 1000,
        error_type = 'ProcessLost',
        error_message = l.error_message,
        updated_at = l.closed_at
    FROM lost AS l
    WHERE g.thread_id = %(thread_id)s AND g.workflow_id = l.workflow_id AND g.run_id = l.id
        AND g.status = 'running'
), closed_tools AS (
    UPDATE {{schema}}.tool_executions AS t SET
        status = 'failed',
        success = false,
        completed_at = greatest(l.seen_at, t.started_at),
        execution_time_ms =
            extract(epoch FROM greatest(l.seen_at, t.started_at) - t.started_at) * 1000,
        error_type = 'ProcessLost',
        error_message = l.error_message,
        updated_at = l.closed_at
    FROM lost AS l
    WHERE t.thread_id = %(thread_id)s AND t.workflow_id = l.workflow_id AND t.run_id = l.id
        AND t.status = 'running'
)
UPDATE {{schema}}.workflows AS w SET
    status = 'failed',
    completed_at = l.seen_at,
    error_type = 'ProcessLost',
    error_message = l.error_message,
    updated_at = l.closed_at
FROM lost AS l
WHERE w.thread_id = %(thread_id)s AND w.id = l.workflow_id AND w.status = 'running'
    AND NOT EXISTS (
        SELECT FROM {{schema}}.workflow_runs AS o
        WHERE o.thread_id = %(thread_id)s AND o.workflow_id = w.id AND o.status = 'running'
            AND o.id NOT IN (SELECT lost.id FROM lost)
    )

-- expire_requests --
-- Ends the requests to humans that were not answered in time.
UPDATE {{schema}}.hitl_events AS t SET status = 'timeout', updated_at = now()
WHERE t.status = 'pending' AND t.timeout_at <= now()
RETURNING t.thread_id, t.id, t.interrupt_id

-- run_exists --
-- Whether a thread has a run of this id.
SELECT EXISTS (
    SELECT FROM {{schema}}.workflow_runs AS r
    WHERE r.thread_id = %(thread_id)s AND r.id = %(id)s
)
