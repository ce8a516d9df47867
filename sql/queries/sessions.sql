-- session --
-- A thread's session.
SELECT
    s.thread_id, u.username AS "user", o.slug AS organization, s.status, s.language,
    s.initial_input, s.current_context, s.metadata, s.turns, s.retry_of, s.ended_at, s.expires_at,
    s.created_at, s.updated_at
FROM {{schema}}.sessions AS s
LEFT JOIN {{schema}}.users AS u ON u.id = s.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = s.organization_id
WHERE s.thread_id = %(thread_id)s

-- end_session --
-- Ends a session; the time of its first end stays.
UPDATE {{schema}}.sessions AS t SET
    status = %(status)s,
    ended_at = coalesce(t.ended_at, this.moment),
    updated_at = this.moment
FROM (SELECT now()) AS this (moment)
WHERE t.thread_id = %(thread_id)s AND t.status <> %(status)s

-- checkpoint_of --
-- A checkpoint of a thread, if it has any.
SELECT c.checkpoint_id FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s
LIMIT 1

-- retry_session --
-- Opens a session for who had another one, in place of that; one that exists stays as it is.
INSERT INTO {{schema}}.sessions (
    thread_id, user_id, organization_id, language, initial_input, metadata, retry_of
)
SELECT
    %(new)s, s.user_id, s.organization_id, s.language, s.initial_input,
    s.metadata - 'checkpoints_deleted_at', s.thread_id
FROM {{schema}}.sessions AS s
WHERE s.thread_id = %(thread_id)s
ON CONFLICT (thread_id) DO NOTHING

-- due_sessions --
-- Active sessions whose time is over, unless something runs in them, the longest overdue first.
SELECT s.thread_id FROM {{schema}}.sessions AS s
WHERE s.status = 'active' AND s.expires_at < now()
    AND NOT EXISTS (
        SELECT FROM {{schema}}.workflow_runs AS r
        WHERE r.thread_id = s.thread_id AND r.status = 'running'
    )
ORDER BY s.expires_at, s.thread_id
LIMIT %(limit)s

-- next_expiry --
-- In how many seconds the time of the next session is over, but for those that something runs in.
SELECT extract(epoch FROM s.expires_at - now())::double precision
FROM {{schema}}.sessions AS s
WHERE s.status = 'active' AND s.expires_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM {{schema}}.workflow_runs AS r
        WHERE r.thread_id = s.thread_id AND r.status = 'running'
    )
ORDER BY s.expires_at
LIMIT 1

-- expire_session --
-- Ends a session whose time is over, unless something runs in it or it is being changed.
WITH due AS (
    SELECT s.thread_id FROM {{schema}}.sessions AS s
    WHERE s.thread_id = %(thread_id)s AND s.status = 'active' AND s.expires_at < now()
        AND NOT EXISTS (
            SELECT FROM {{schema}}.workflow_runs AS r
            WHERE r.thread_id = %(thread_id)s AND r.status = 'running'
        )
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {{schema}}.sessions AS s
SET status = 'expired', ended_at = this.moment, updated_at = this.moment
FROM due AS d CROSS JOIN (SELECT now()) AS this (moment)
WHERE s.thread_id = %(thread_id)s AND s.thread_id = d.thread_id
RETURNING s.thread_id
