-- recorded_threads --
-- A page of sessions, newest activity first; every filter is optional.
SELECT
    s.thread_id, u.username AS "user", o.slug AS organization, s.status, s.turns,
    w.status AS workflow_status, s.created_at, s.updated_at, s.expires_at, s.missing
FROM {{schema}}.sessions AS s
LEFT JOIN {{schema}}.workflows AS w ON w.thread_id = s.thread_id AND w.turn = s.turns
LEFT JOIN {{schema}}.users AS u ON u.id = s.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = s.organization_id
WHERE (
        %(user)s::text IS NULL
        OR s.user_id = (SELECT n.id FROM {{schema}}.users AS n WHERE n.username = %(user)s)
    )
    AND (%(status)s::text IS NULL OR s.status = %(status)s)
    AND (%(before)s::timestamptz IS NULL OR s.updated_at <= %(before)s)
    AND (
        %(before)s::timestamptz IS NULL
        OR s.updated_at < %(before)s
        OR s.thread_id COLLATE "C" < %(before_id)s::text
    )
ORDER BY s.updated_at DESC, s.thread_id COLLATE "C" DESC
LIMIT %(limit)s

-- other_threads --
-- A page of threads that have checkpoints and no session, newest activity first.
SELECT found.* FROM (
    SELECT
        c.thread_id,
        coalesce(oldest.created_at, (oldest.checkpoint ->> 'ts')::timestamptz) AS created_at,
        coalesce(newest.created_at, (newest.checkpoint ->> 'ts')::timestamptz) AS updated_at
    FROM (
        SELECT
            k.thread_id, k.checkpoint_ns,
            min(k.checkpoint_id) AS oldest, max(k.checkpoint_id) AS newest,
            row_number() OVER (PARTITION BY k.thread_id ORDER BY k.checkpoint_ns) AS number
        FROM {{checkpoint_schema}}.checkpoints AS k
        LEFT JOIN {{schema}}.sessions AS s ON s.thread_id = k.thread_id
        WHERE s.thread_id IS NULL
        GROUP BY k.thread_id, k.checkpoint_ns
    ) AS c
    JOIN {{checkpoint_schema}}.checkpoints AS oldest
        ON oldest.thread_id = c.thread_id AND oldest.checkpoint_ns = c.checkpoint_ns
        AND oldest.checkpoint_id = c.oldest
    JOIN {{checkpoint_schema}}.checkpoints AS newest
        ON newest.thread_id = c.thread_id AND newest.checkpoint_ns = c.checkpoint_ns
        AND newest.checkpoint_id = c.newest
    WHERE c.number = 1
) AS found
WHERE %(before)s::timestamptz IS NULL
    OR found.updated_at < %(before)s
    OR (found.updated_at = %(before)s AND found.thread_id COLLATE "C" < %(before_id)s::text)
ORDER BY found.updated_at DESC, found.thread_id COLLATE "C" DESC
LIMIT %(limit)s

-- checkpoint_counts --
-- How many checkpoints these threads have.
SELECT c.thread_id, count(*) AS count
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = ANY(%(thread_ids)s)
GROUP BY c.thread_id
