-- threads --
-- A page of threads, newest activity first; every filter is optional.
-- Those that no run was recorded of are found by reading the keys of all checkpoints.
SELECT
    t.thread_id, u.username AS "user", o.slug AS organization, t.status, t.turns,
    (
        SELECT w.status FROM {{schema}}.workflows AS w
        WHERE w.thread_id = t.thread_id ORDER BY w.turn DESC LIMIT 1
    ) AS workflow_status,
    (
        SELECT count(*) FROM {{checkpoint_schema}}.checkpoints AS c
        WHERE c.thread_id = t.thread_id
    ) AS checkpoints,
    t.created_at, t.updated_at, t.expires_at
FROM (
    (
        SELECT
            s.thread_id, s.user_id, s.organization_id, s.status, s.turns, s.created_at,
            s.updated_at, s.expires_at
        FROM {{schema}}.sessions AS s
        WHERE %(recorded)s::boolean IS NOT FALSE
            AND (
                %(user)s::text IS NULL
                OR s.user_id = (SELECT n.id FROM {{schema}}.users AS n WHERE n.username = %(user)s)
            )
            AND (%(status)s::text IS NULL OR s.status = %(status)s)
            AND (%(before)s::timestamptz IS NULL OR s.updated_at <= %(before)s)
            AND (
                %(before)s::timestamptz IS NULL
                OR s.updated_at < %(before)s
                OR s.thread_id < %(before_id)s::text
            )
        ORDER BY s.updated_at DESC, s.thread_id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            c.thread_id, NULL, NULL, NULL, 0,
            coalesce(oldest.created_at, (oldest.checkpoint ->> 'ts')::timestamptz),
            coalesce(newest.created_at, (newest.checkpoint ->> 'ts')::timestamptz),
            NULL
        FROM (
            SELECT
                k.thread_id, k.checkpoint_ns,
                min(k.checkpoint_id) AS oldest, max(k.checkpoint_id) AS newest,
                row_number() OVER (PARTITION BY k.thread_id ORDER BY k.checkpoint_ns) AS number
            FROM {{checkpoint_schema}}.checkpoints AS k
            WHERE %(recorded)s::boolean IS NOT TRUE
                AND NOT EXISTS (
                    SELECT FROM {{schema}}.sessions AS s WHERE s.thread_id = k.thread_id
                )
            GROUP BY k.thread_id, k.checkpoint_ns
        ) AS c
        JOIN {{checkpoint_schema}}.checkpoints AS oldest
            ON oldest.thread_id = c.thread_id AND oldest.checkpoint_ns = c.checkpoint_ns
            AND oldest.checkpoint_id = c.oldest
        JOIN {{checkpoint_schema}}.checkpoints AS newest
            ON newest.thread_id = c.thread_id AND newest.checkpoint_ns = c.checkpoint_ns
            AND newest.checkpoint_id = c.newest
        WHERE c.number = 1
    )
) AS t
LEFT JOIN {{schema}}.users AS u ON u.id = t.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = t.organization_id
WHERE %(before)s::timestamptz IS NULL
    OR t.updated_at < %(before)s
    OR (t.updated_at = %(before)s AND t.thread_id < %(before_id)s::text)
ORDER BY t.updated_at DESC, t.thread_id DESC
LIMIT %(limit)s
