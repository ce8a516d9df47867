-- mark_session --
-- Says of a session that its checkpoints are gone; an active one has ended by that.
UPDATE {{schema}}.sessions AS s SET
    status = CASE s.status WHEN 'active' THEN 'completed' ELSE s.status END,
    ended_at = coalesce(s.ended_at, this.moment),
    metadata = coalesce(s.metadata, '{}') || this.mark,
    updated_at = this.moment
FROM (SELECT now(), jsonb_build_object('checkpoints_deleted_at', now())) AS this (moment, mark)
WHERE s.thread_id = %(thread_id)s

-- cancel_workflows --
-- Cancels the workflows of a thread that nothing can continue any more.
UPDATE {{schema}}.workflows AS w SET status = 'cancelled', updated_at = now()
WHERE w.thread_id = %(thread_id)s AND w.status = 'interrupted'

-- cancel_requests --
-- Cancels what waits for a human in a thread where no answer would be heard.
UPDATE {{schema}}.hitl_events AS e SET status = 'cancelled', updated_at = now()
WHERE e.thread_id = %(thread_id)s AND e.status = 'pending'

-- cancel_requests_elsewhere --
-- Cancels what waits in a thread for a human, but is recorded on the thread that called its graph.
UPDATE {{schema}}.hitl_events AS e SET status = 'cancelled', updated_at = now()
WHERE e.checkpoint_thread_id = %(thread_id)s AND e.status = 'pending'

-- inherit_workflows --
-- Has one copy of each workflow of a thread tell of its calls in the thread's place.
UPDATE {{schema}}.workflows AS w SET
    copied_from = CASE WHEN w.thread_id <> heir.thread_id THEN heir.thread_id END,
    copied_at = CASE WHEN w.thread_id <> heir.thread_id THEN w.copied_at END
FROM (
    SELECT c.id, min(c.thread_id) AS thread_id
    FROM {{schema}}.workflows AS c
    WHERE c.copied_from = %(thread_id)s
    GROUP BY c.id
) AS heir
WHERE w.copied_from = %(thread_id)s AND w.id = heir.id

-- delete_session --
-- Deletes a session and, by its foreign keys, all that is recorded of it.
DELETE FROM {{schema}}.sessions WHERE thread_id = %(thread_id)s

-- claim_thread --
-- Lets one at a time copy to a thread, until the transaction ends; gives its id.
SELECT pg_catalog.pg_current_xact_id()::text::bigint AS transaction
FROM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s::text, 0))

-- is_committed --
-- Whether an earlier transaction was committed.
SELECT %(transaction)s::bigint < pg_catalog.pg_snapshot_xmax(s.now)::text::bigint
    AND pg_catalog.pg_xact_status(%(transaction)s::text::xid8) = 'committed' AS committed
FROM pg_catalog.pg_current_snapshot() AS s (now)

-- thread_exists --
-- Whether a thread has checkpoints, and whether it has a session.
SELECT EXISTS (SELECT FROM {{checkpoint_schema}}.checkpoints WHERE thread_id = %(thread_id)s),
    EXISTS (SELECT FROM {{schema}}.sessions WHERE thread_id = %(thread_id)s)

-- copy_sessions --
-- Copies a thread's sessions to another thread.
INSERT INTO {{schema}}.sessions
SELECT copied.*
FROM {{schema}}.sessions AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_workflows --
-- Copies a thread's workflows to another thread, where they tell of the same calls again.
INSERT INTO {{schema}}.workflows
SELECT copied.*
FROM {{schema}}.workflows AS own
CROSS JOIN LATERAL jsonb_populate_record(own, %(thread)s || jsonb_build_object(
    'copied_from', coalesce(own.copied_from, %(source)s), 'copied_at', %(at)s::timestamptz
)) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_workflow_runs --
-- Copies a thread's workflow runs to another thread.
INSERT INTO {{schema}}.workflow_runs
SELECT copied.*
FROM {{schema}}.workflow_runs AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_messages --
-- Copies a thread's messages to another thread.
INSERT INTO {{schema}}.messages
SELECT copied.*
FROM {{schema}}.messages AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_state_values --
-- Copies a thread's state values to another thread.
INSERT INTO {{schema}}.state_values
SELECT copied.*
FROM {{schema}}.state_values AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_nodes --
-- Copies a thread's nodes to another thread.
INSERT INTO {{schema}}.nodes
SELECT copied.*
FROM {{schema}}.nodes AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_generations --
-- Copies a thread's generations to another thread.
INSERT INTO {{schema}}.generations
SELECT copied.*
FROM {{schema}}.generations AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_retrievals --
-- Copies a thread's retrievals to another thread.
INSERT INTO {{schema}}.retrievals
SELECT copied.*
FROM {{schema}}.retrievals AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_plans --
-- Copies a thread's plans to another thread.
INSERT INTO {{schema}}.plans
SELECT copied.*
FROM {{schema}}.plans AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_plan_versions --
-- Copies a thread's plan versions to another thread.
INSERT INTO {{schema}}.plan_versions
SELECT copied.*
FROM {{schema}}.plan_versions AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_todos --
-- Copies a thread's todos to another thread.
INSERT INTO {{schema}}.todos
SELECT copied.*
FROM {{schema}}.todos AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_execution_results --
-- Copies a thread's execution results to another thread.
INSERT INTO {{schema}}.execution_results
SELECT copied.*
FROM {{schema}}.execution_results AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_tool_executions --
-- Copies a thread's tool executions to another thread.
INSERT INTO {{schema}}.tool_executions
SELECT copied.*
FROM {{schema}}.tool_executions AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_hitl_events --
-- Copies a thread's hitl events to another thread; what waits elsewhere waits there once.
INSERT INTO {{schema}}.hitl_events
SELECT copied.*
FROM {{schema}}.hitl_events AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
    AND (own.checkpoint_thread_id IS NULL OR own.status <> 'pending')
ON CONFLICT DO NOTHING

-- copy_evaluations --
-- Copies a thread's evaluations to another thread.
INSERT INTO {{schema}}.evaluations
SELECT copied.*
FROM {{schema}}.evaluations AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_feedback --
-- Copies a thread's feedback to another thread.
INSERT INTO {{schema}}.feedback
SELECT copied.*
FROM {{schema}}.feedback AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- copy_projection_errors --
-- Copies a thread's projection errors to another thread.
INSERT INTO {{schema}}.projection_errors
SELECT copied.*
FROM {{schema}}.projection_errors AS own, jsonb_populate_record(own, %(thread)s) AS copied
WHERE own.thread_id = %(source)s
ON CONFLICT DO NOTHING

-- workflow_of_checkpoint --
-- The workflow that left a checkpoint, where its record is, and whether the thread has gone on.
WITH RECURSIVE edited AS (
    SELECT c.checkpoint_id, c.parent_checkpoint_id, c.metadata ->> 'source' AS source
    FROM {{checkpoint_schema}}.checkpoints AS c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
        AND c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT p.checkpoint_id, p.parent_checkpoint_id, p.metadata ->> 'source'
    FROM edited AS e
    JOIN {{checkpoint_schema}}.checkpoints AS p ON p.checkpoint_id = e.parent_checkpoint_id
    WHERE p.thread_id = %(thread_id)s AND p.checkpoint_ns = %(checkpoint_ns)s
        AND e.source IN ('update', 'fork')
)
SELECT
    c.workflow_id,
    w.id IS NOT NULL AS recorded,
    c.metadata ->> 'langgraph_persist_recorded_on' AS recorded_on,
    EXISTS (
        SELECT FROM edited AS e
        JOIN {{checkpoint_schema}}.checkpoints AS n ON n.parent_checkpoint_id = e.checkpoint_id
        WHERE n.thread_id = %(thread_id)s AND n.checkpoint_ns = %(checkpoint_ns)s
            AND n.metadata ->> 'source' NOT IN ('update', 'fork')
    ) AS forks
FROM {{checkpoint_schema}}.checkpoints AS c
LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = c.thread_id AND w.id = c.workflow_id
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
    AND c.checkpoint_id = %(checkpoint_id)s
