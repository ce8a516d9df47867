-- save_turn --
-- Records what a turn of a session is worth, in place of what was recorded of it before.
INSERT INTO {{schema}}.evaluations (
    thread_id, id, turn, evaluation_type, details, evaluator
)
VALUES (%(thread_id)s, %(id)s, %(turn)s, 'TURN_EVAL', %(details)s, %(evaluator)s)
ON CONFLICT (thread_id, turn) WHERE evaluation_type = 'TURN_EVAL' DO UPDATE SET
    details = excluded.details,
    evaluator = excluded.evaluator,
    updated_at = excluded.updated_at
RETURNING
    thread_id, id, evaluation_type, turn, details, evaluator, created_at, updated_at

-- save_session --
-- Records what a session as a whole is worth, in place of what was recorded of it before.
INSERT INTO {{schema}}.evaluations (thread_id, id, evaluation_type, details, evaluator)
VALUES (%(thread_id)s, %(id)s, 'HOLISTIC_FLOW', %(details)s, %(evaluator)s)
ON CONFLICT (thread_id) WHERE evaluation_type = 'HOLISTIC_FLOW' DO UPDATE SET
    details = excluded.details,
    evaluator = excluded.evaluator,
    updated_at = excluded.updated_at
RETURNING
    thread_id, id, evaluation_type, turn, details, evaluator, created_at, updated_at

-- evaluation --
-- What was recorded of a turn, or without one of the session as a whole.
SELECT
    e.thread_id, e.id, e.evaluation_type, e.turn, e.details, e.evaluator, e.created_at,
    e.updated_at
FROM {{schema}}.evaluations AS e
WHERE e.thread_id = %(thread_id)s AND e.turn IS NOT DISTINCT FROM %(turn)s::integer

-- evaluations --
-- A page of evaluations, newest first; every filter is optional.
SELECT
    e.thread_id, e.id, e.evaluation_type, e.turn, e.details, e.evaluator, e.created_at,
    e.updated_at
FROM {{schema}}.evaluations AS e
JOIN {{schema}}.sessions AS s ON s.thread_id = e.thread_id
{{> evaluations_asked_for}}
    AND (
        %(before)s::timestamptz IS NULL
        OR e.created_at < %(before)s
        OR (e.created_at = %(before)s AND e.id < %(before_id)s::uuid)
    )
ORDER BY e.created_at DESC, e.id DESC
LIMIT %(limit)s

-- dataset --
-- A page of evaluations with what was evaluated, by session; every filter is optional.
-- Each table begins where the page does: a merge of them would read all before it.
SELECT
    e.thread_id, e.id, e.evaluation_type, e.turn, e.details, e.evaluator, e.created_at,
    e.updated_at, w.id AS workflow_id, w.name AS workflow,
    CASE WHEN e.turn IS NULL THEN coalesce(f.user_input, s.initial_input) ELSE w.user_input END
        AS user_input,
    CASE WHEN e.turn IS NULL THEN f.input ELSE w.input END AS input,
    w.result, w.metadata, u.username AS "user", o.slug AS organization
FROM {{schema}}.evaluations AS e
JOIN {{schema}}.sessions AS s ON s.thread_id = e.thread_id
LEFT JOIN {{schema}}.workflows AS w
    ON w.thread_id = e.thread_id AND w.turn = coalesce(e.turn, s.turns)
    AND (%(after_thread)s::text IS NULL OR w.thread_id >= %(after_thread)s)
LEFT JOIN {{schema}}.workflows AS f
    ON f.thread_id = e.thread_id AND f.turn = 1 AND e.turn IS NULL
    AND (%(after_thread)s::text IS NULL OR f.thread_id >= %(after_thread)s)
LEFT JOIN {{schema}}.users AS u ON u.id = s.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = s.organization_id
{{> evaluations_asked_for}}
    AND (%(after_thread)s::text IS NULL OR s.thread_id >= %(after_thread)s)
    AND (
        %(after_thread)s::text IS NULL
        OR (e.thread_id, e.id) > (%(after_thread)s, %(after_id)s::uuid)
    )
ORDER BY e.thread_id, e.id
LIMIT %(limit)s

-- turns --
-- The turns of a session: how they stand, and who evaluated them.
SELECT w.turn, w.status, e.id IS NOT NULL AS evaluated, e.evaluator
FROM {{schema}}.workflows AS w
LEFT JOIN {{schema}}.evaluations AS e ON e.thread_id = w.thread_id AND e.turn = w.turn
WHERE w.thread_id = %(thread_id)s
ORDER BY w.turn

-- turn_contents --
-- Some turns of a session with what went in and came out.
SELECT
    w.thread_id, w.id AS workflow_id, w.turn, w.name, w.status, u.username AS "user",
    w.user_input, w.input, w.result, w.metadata, w.started_at, w.completed_at
FROM {{schema}}.workflows AS w
LEFT JOIN {{schema}}.users AS u ON u.id = w.user_id
WHERE w.thread_id = %(thread_id)s AND w.turn = ANY(%(turns)s)
ORDER BY w.turn

-- session --
-- Whose session it is, and what it was told of.
SELECT u.username AS "user", s.metadata
FROM {{schema}}.sessions AS s
LEFT JOIN {{schema}}.users AS u ON u.id = s.user_id
WHERE s.thread_id = %(thread_id)s
