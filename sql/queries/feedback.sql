-- save --
-- Records what somebody thought, in place of what has the same id.
INSERT INTO {{schema}}.feedback (
    thread_id, id, workflow_id, plan_id, user_id, rating, feedback_type, comment, context_data
)
VALUES (
    %(thread_id)s, %(id)s, %(workflow_id)s, %(plan_id)s, %(user_id)s, %(rating)s,
    %(feedback_type)s, %(comment)s, %(context_data)s
)
ON CONFLICT (thread_id, id) DO UPDATE SET
    workflow_id = excluded.workflow_id,
    plan_id = excluded.plan_id,
    user_id = excluded.user_id,
    rating = excluded.rating,
    feedback_type = excluded.feedback_type,
    comment = excluded.comment,
    context_data = excluded.context_data,
    updated_at = excluded.updated_at

-- session_exists --
-- Whether a thread has a session.
SELECT EXISTS (
    SELECT FROM {{schema}}.sessions AS s WHERE s.thread_id = %(thread_id)s
) AS found

-- workflow_of_turn --
-- The workflow that is a turn of a session.
SELECT w.id, w.turn FROM {{schema}}.workflows AS w
WHERE w.thread_id = %(thread_id)s AND w.turn = %(turn)s

-- workflow --
-- A workflow of a session, by its id.
SELECT w.id, w.turn FROM {{schema}}.workflows AS w
WHERE w.thread_id = %(thread_id)s AND w.id = %(workflow_id)s

-- plan --
-- A plan of a session, and the workflow that made it.
SELECT p.id, p.workflow_id FROM {{schema}}.plans AS p
WHERE p.thread_id = %(thread_id)s AND p.id = %(plan_id)s

-- plan_of_workflow --
-- The plan of a workflow: its graph's rather than a subgraph's, and the last one.
SELECT p.id FROM {{schema}}.plans AS p
WHERE p.thread_id = %(thread_id)s AND p.workflow_id = %(workflow_id)s
ORDER BY coalesce(p.checkpoint_ns, '') = '' DESC, p.created_at DESC, p.id DESC
LIMIT 1

-- name_user --
-- Makes a user; one that exists stays as it is.
INSERT INTO {{schema}}.users (username) VALUES (%(user)s)
ON CONFLICT (username) DO NOTHING

-- user --
-- A user by name.
SELECT u.id FROM {{schema}}.users AS u WHERE u.username = %(user)s

-- feedback --
-- A page of feedback, newest first; every filter is optional.
SELECT
    f.thread_id, f.id, w.turn, f.workflow_id, f.plan_id, u.username AS "user", f.rating,
    f.feedback_type, f.comment, f.context_data AS context, f.created_at, f.updated_at
FROM {{schema}}.feedback AS f
LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = f.thread_id AND w.id = f.workflow_id
LEFT JOIN {{schema}}.users AS u ON u.id = f.user_id
WHERE (%(thread_id)s::text IS NULL OR f.thread_id = %(thread_id)s)
    AND (%(id)s::uuid IS NULL OR f.id = %(id)s)
    AND (%(turn)s::integer IS NULL OR w.turn = %(turn)s)
    AND (%(plan_id)s::uuid IS NULL OR f.plan_id = %(plan_id)s)
    {{> feedback_asked_for}}
    AND (
        %(before)s::timestamptz IS NULL
        OR f.created_at < %(before)s
        OR (f.created_at = %(before)s AND f.id < %(before_id)s::uuid)
    )
ORDER BY f.created_at DESC, f.id DESC
LIMIT %(limit)s

-- dataset --
-- A page of feedback with what it is about, by session; every filter is optional.
-- Each table begins where the page does: a merge of them would read all before it.
SELECT
    f.thread_id, f.id, w.turn, f.workflow_id, f.plan_id, u.username AS "user", f.rating,
    f.feedback_type, f.comment, f.context_data AS context, f.created_at, f.updated_at,
    coalesce(w.name, l.name) AS workflow,
    CASE WHEN w.id IS NULL THEN coalesce(a.user_input, s.initial_input) ELSE w.user_input END
        AS user_input,
    CASE WHEN w.id IS NULL THEN a.input ELSE w.input END AS input,
    CASE WHEN w.id IS NULL THEN l.result ELSE w.result END AS result,
    coalesce(w.metadata, l.metadata) AS metadata, o.slug AS organization
FROM {{schema}}.feedback AS f
JOIN {{schema}}.sessions AS s ON s.thread_id = f.thread_id
LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = f.thread_id AND w.id = f.workflow_id
    AND (%(after_thread)s::text IS NULL OR w.thread_id >= %(after_thread)s)
LEFT JOIN {{schema}}.workflows AS l
    ON l.thread_id = f.thread_id AND l.turn = s.turns AND f.workflow_id IS NULL
    AND (%(after_thread)s::text IS NULL OR l.thread_id >= %(after_thread)s)
LEFT JOIN {{schema}}.workflows AS a
    ON a.thread_id = f.thread_id AND a.turn = 1 AND f.workflow_id IS NULL
    AND (%(after_thread)s::text IS NULL OR a.thread_id >= %(after_thread)s)
LEFT JOIN {{schema}}.users AS u ON u.id = f.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = s.organization_id
WHERE (%(thread_id)s::text IS NULL OR f.thread_id = %(thread_id)s)
    {{> feedback_asked_for}}
    AND (%(after_thread)s::text IS NULL OR s.thread_id >= %(after_thread)s)
    AND (
        %(after_thread)s::text IS NULL
        OR (f.thread_id, f.id) > (%(after_thread)s, %(after_id)s::uuid)
    )
ORDER BY f.thread_id, f.id
LIMIT %(limit)s
