-- prepare_for_many --
-- Plans for many rows, most of them in memory, and waits for a lock no longer than this.
SELECT
    set_config('lock_timeout', '5s', true),
    set_config('jit', 'off', true),
    set_config('random_page_cost', '1.1', true),
    set_config('work_mem', '64MB', true)

-- lock_periods --
-- Waits for those who write to past periods, and lets nobody else until the transaction ends.
LOCK TABLE {{schema}}.report_periods IN SHARE ROW EXCLUSIVE MODE

-- missing_periods --
-- The periods between two times whose sums are missing or not right any more.
SELECT p.period_start
FROM generate_series(
    %(from)s::timestamptz, %(to)s::timestamptz - interval '1 microsecond', %(step)s::interval
) AS p (period_start)
LEFT JOIN {{schema}}.report_periods AS r ON r.kind = %(kind)s AND r.period_start = p.period_start
WHERE r.kind IS NULL
ORDER BY p.period_start

-- add_periods --
-- The sums of these periods are right.
INSERT INTO {{schema}}.report_periods (kind, period_start)
SELECT %(kind)s, p.period_start FROM unnest(%(periods)s::timestamptz[]) AS p (period_start)
ON CONFLICT (kind, period_start) DO NOTHING

-- drop_periods --
-- The sums of the periods between two times are to be made anew.
DELETE FROM {{schema}}.report_periods AS r
WHERE (%(from)s::timestamptz IS NULL OR r.period_start >= %(from)s)
    AND (%(to)s::timestamptz IS NULL OR r.period_start < %(to)s)

-- recorded_periods --
-- When model calls and nodes of a session began, or of these workflows of it.
SELECT DISTINCT 'models' AS kind, date_trunc('hour', g.started_at, 'UTC') AS period_start
FROM {{schema}}.generations AS g
WHERE g.thread_id = %(thread_id)s
    AND (%(ids)s::uuid[] IS NULL OR g.workflow_id = ANY(%(ids)s))
UNION
SELECT 'users', date_trunc('day', g.started_at, 'UTC')
FROM {{schema}}.generations AS g
WHERE g.thread_id = %(thread_id)s
    AND (%(ids)s::uuid[] IS NULL OR g.workflow_id = ANY(%(ids)s))
UNION
SELECT 'nodes', date_trunc('day', n.started_at, 'UTC')
FROM {{schema}}.nodes AS n
WHERE n.thread_id = %(thread_id)s
    AND (%(ids)s::uuid[] IS NULL OR n.workflow_id = ANY(%(ids)s))

-- reopen_periods --
-- The sums of these periods are not right any more.
DELETE FROM {{schema}}.report_periods AS p
USING jsonb_to_recordset(%(rows)s) AS e (kind text, period_start timestamptz)
WHERE p.kind = e.kind AND p.period_start = e.period_start
