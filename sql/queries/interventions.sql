-- superseded --
-- Cancels what a new input on a thread leaves behind: requests to humans, interrupted workflows.
-- Those of a graph that was called in a node are recorded on the caller's thread.
WITH left_behind AS (
    UPDATE {{schema}}.workflows AS w SET status = 'cancelled', updated_at = now()
    FROM jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid, checkpoint_thread_id text)
    WHERE w.thread_id = e.thread_id AND w.id <> e.id AND w.status = 'interrupted'
        AND e.checkpoint_thread_id IS NULL AND w.thread_id = ANY(%(threads)s)
)
UPDATE {{schema}}.hitl_events AS t SET status = 'cancelled', updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS e (thread_id text, id uuid, checkpoint_thread_id text)
WHERE t.thread_id = e.thread_id AND t.status = 'pending' AND t.thread_id = ANY(%(threads)s)
    AND t.checkpoint_thread_id IS NOT DISTINCT FROM e.checkpoint_thread_id
    AND (t.workflow_id <> e.id OR e.checkpoint_thread_id IS NOT NULL)

-- hitl_answers --
-- What humans answered: to one interrupt, or to all that the workflow's earlier runs had asked.
-- Calls of a graph within a workflow by hand are one run, which answers what it asked before.
-- What an excluded node was told is left out, whoever resumes.
WITH answers AS (
    SELECT e.*, u.id AS user_id
    FROM jsonb_to_recordset(%(rows)s) AS e (
        thread_id text, workflow_id uuid, run_id uuid, interrupt_id text, event_type text,
        checkpoint_thread_id text, "user" text, user_input jsonb, user_decision text, responded_at timestamptz
    )
    LEFT JOIN {{schema}}.users AS u ON u.username = e."user"
)
UPDATE {{schema}}.hitl_events AS t SET
    status = 'completed',
    user_id = a.user_id,
    user_input = CASE WHEN t.missing ? 'user_input' THEN NULL ELSE a.user_input END,
    user_decision = a.user_decision,
    responded_at = a.responded_at,
    updated_at = now()
FROM answers AS a
WHERE t.thread_id = a.thread_id AND t.workflow_id = a.workflow_id
    AND t.thread_id = ANY(%(threads)s)
    AND t.status IN ('pending', 'timeout')
    AND (t.run_id IS DISTINCT FROM a.run_id OR t.requested_at < a.responded_at)
    AND t.checkpoint_thread_id IS NOT DISTINCT FROM a.checkpoint_thread_id
    AND (a.interrupt_id IS NULL OR t.interrupt_id = a.interrupt_id)
    AND (a.event_type IS NULL OR t.event_type = a.event_type)

-- hitl_refusals --
-- Asks again what a node would not take as an answer to its interrupt.
UPDATE {{schema}}.hitl_events AS t SET
    status = 'pending',
    user_id = NULL,
    user_input = NULL,
    user_decision = NULL,
    responded_at = NULL,
    updated_at = now()
FROM jsonb_to_recordset(%(rows)s) AS e (
    thread_id text, workflow_id uuid, task_id text, responded_at timestamptz
), {{schema}}.nodes AS n
WHERE t.thread_id = e.thread_id AND t.workflow_id = e.workflow_id
    AND n.thread_id = t.thread_id AND n.id = t.node_id AND n.task_id = e.task_id
    AND t.status = 'completed' AND t.responded_at = e.responded_at
    AND t.thread_id = ANY(%(threads)s) AND n.thread_id = ANY(%(threads)s)

-- hitl_events --
-- Requests to humans, for the todo that waits or is in progress; one raised again is asked once.
-- What a run has asked it may answer itself, where a node resumes a graph that it has called.
INSERT INTO {{schema}}.hitl_events AS t (
    thread_id, id, workflow_id, run_id, plan_id, todo_id, node_id, event_type, event_data,
    response_schema, requested_at, timeout_at, interrupt_id, checkpoint_thread_id, status,
    user_id, user_input, user_decision, responded_at, missing
)
SELECT DISTINCT ON (r.thread_id, r.id)
    r.thread_id, r.id, r.workflow_id, r.run_id, plan.id, todo.id, r.node_id, r.event_type,
    r.event_data, r.response_schema, r.requested_at, r.timeout_at, r.interrupt_id,
    r.checkpoint_thread_id, coalesce(r.status, 'pending'), u.id, r.user_input, r.user_decision,
    r.responded_at, r.missing
FROM jsonb_array_elements(%(rows)s) AS e (fields)
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{schema}}.hitl_events, e.fields) AS r
LEFT JOIN {{schema}}.users AS u ON u.username = e.fields ->> 'user'
LEFT JOIN (
    SELECT p.thread_id, p.id, p.workflow_id, p.interrupt_id FROM {{schema}}.hitl_events AS p
    WHERE p.status = 'pending' AND p.thread_id = ANY(%(threads)s)
) AS asked ON asked.thread_id = r.thread_id AND asked.workflow_id = r.workflow_id
    AND asked.interrupt_id = r.interrupt_id AND asked.id <> r.id
LEFT JOIN (
    SELECT DISTINCT ON (l.thread_id) l.thread_id, l.id FROM {{schema}}.plans AS l
    WHERE l.thread_id = ANY(%(threads)s) AND l.status NOT IN ('completed', 'failed', 'cancelled')
    ORDER BY l.thread_id, l.created_at DESC
) AS plan ON plan.thread_id = r.thread_id
LEFT JOIN (
    SELECT
        o.thread_id, o.plan_id, o.id, ARRAY[o.key, o.id::text, o.title] AS names,
        o.status = max(o.status) OVER (PARTITION BY o.thread_id, o.plan_id)
            AND count(*) OVER (PARTITION BY o.thread_id, o.plan_id, o.status) = 1 AS is_the_one
    FROM {{schema}}.todos AS o
    WHERE o.thread_id = ANY(%(threads)s) AND o.status IN ('in_progress', 'needs_approval')
) AS todo ON todo.thread_id = r.thread_id AND todo.plan_id = plan.id
    AND (r.event_data ->> 'todo_id' = ANY(todo.names) OR todo.is_the_one)
WHERE asked.thread_id IS NULL
ORDER BY
    r.thread_id, r.id, r.event_data ->> 'todo_id' = ANY(todo.names) DESC NULLS LAST, todo.id
ON CONFLICT (thread_id, id) DO UPDATE SET
    status = excluded.status,
    user_id = excluded.user_id,
    user_input = excluded.user_input,
    user_decision = excluded.user_decision,
    responded_at = excluded.responded_at,
    updated_at = excluded.updated_at
WHERE t.status = 'pending' AND excluded.status <> 'pending'

-- last_workflow --
-- The workflow that a thread began last.
SELECT w.id FROM {{schema}}.workflows AS w
WHERE w.thread_id = %(thread_id)s
ORDER BY w.started_at DESC, w.id DESC
LIMIT 1

-- progress --
-- How far a workflow has come: its last place in the order, and the tries of unfinished tasks.
SELECT
    (
        SELECT w.status FROM {{schema}}.workflows AS w
        WHERE w.thread_id = %(thread_id)s AND w.id = %(workflow_id)s
    ) AS status,
    (
        SELECT coalesce(max(n.execution_order), 0) FROM {{schema}}.nodes AS n
        WHERE n.thread_id = %(thread_id)s AND n.workflow_id = %(workflow_id)s
    ) AS execution_order,
    (
        SELECT coalesce(jsonb_object_agg(t.task_id, t.attempt), '{}')
        FROM (
            SELECT n.task_id, max(n.attempt) AS attempt FROM {{schema}}.nodes AS n
            WHERE n.thread_id = %(thread_id)s AND n.workflow_id = %(workflow_id)s
                AND n.status <> 'completed' AND n.task_id IS NOT NULL
            GROUP BY n.task_id
        ) AS t
    ) AS attempts
