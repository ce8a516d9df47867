-- admit --
-- Counts a request of an organization that has limits, unless it has reached one.
-- No row: no limit applies. The count and its comparison with the limit are one atomic change.
WITH organization AS MATERIALIZED (
    SELECT
        o.id, o.slug, o.max_users, o.max_daily_requests, o.max_monthly_tokens,
        date_trunc('day', %(at)s::timestamptz, o.timezone) AS day_start,
        (date_trunc('day', %(at)s AT TIME ZONE o.timezone) + interval '1 day')
            AT TIME ZONE o.timezone AS day_end,
        date_trunc('month', %(at)s, o.timezone) AS month_start,
        (date_trunc('month', %(at)s AT TIME ZONE o.timezone) + interval '1 month')
            AT TIME ZONE o.timezone AS month_end,
        o.max_users IS NOT NULL AND %(user)s::text IS NOT NULL
            AND NOT EXISTS (SELECT FROM {{schema}}.users AS u WHERE u.username = %(user)s)
            AS is_new_user
    FROM {{schema}}.organizations AS o
    WHERE coalesce(o.max_users, o.max_daily_requests, o.max_monthly_tokens) IS NOT NULL
        AND CASE
            WHEN %(organization)s::text IS NOT NULL THEN o.slug = %(organization)s
            ELSE o.id = (
                SELECT u.organization_id FROM {{schema}}.users AS u WHERE u.username = %(user)s
            )
        END
), spent AS MATERIALIZED (
    SELECT
        coalesce(sum(m.metric_value) FILTER (WHERE m.metric_type = 'monthly_tokens'), 0) AS tokens,
        coalesce(sum(m.metric_value) FILTER (WHERE m.metric_type = 'daily_requests'), 0)
            AS requests_before
    FROM organization AS o
    CROSS JOIN LATERAL (
        VALUES ('monthly_tokens', o.month_start), ('daily_requests', o.day_start)
    ) AS k (metric_type, period_start)
    JOIN {{schema}}.usage_metrics AS m
        ON m.period_start = k.period_start AND m.metric_type = k.metric_type
        AND coalesce(m.organization_id, '00000000-0000-0000-0000-000000000000'::uuid) = o.id
), counted AS (
    INSERT INTO {{schema}}.usage_metrics AS t (
        organization_id, metric_type, metric_value, metric_data, period_start, period_end
    )
    SELECT o.id, 'daily_requests', 1, '{}', o.day_start, o.day_end
    FROM organization AS o CROSS JOIN spent AS s
    WHERE NOT o.is_new_user
        AND coalesce(o.max_daily_requests, 1) > 0
        AND (o.max_monthly_tokens IS NULL OR s.tokens < o.max_monthly_tokens)
    ON CONFLICT ({{> metrics_key}}) DO UPDATE SET
        metric_value = t.metric_value + 1,
        updated_at = excluded.updated_at
    WHERE t.metric_value
        < coalesce((SELECT max_daily_requests FROM organization), t.metric_value + 1)
    RETURNING t.metric_value
)
SELECT
    o.*, s.tokens, s.requests_before, (SELECT c.metric_value FROM counted AS c) AS requests
FROM organization AS o CROSS JOIN spent AS s

-- lock_organization --
-- Locks an organization, so that its users are counted by one at a time.
SELECT o.id, o.max_users FROM {{schema}}.organizations AS o
WHERE o.slug = %(organization)s
FOR NO KEY UPDATE

-- count_users --
-- How many users an organization has, not counting one.
SELECT count(*) AS users FROM {{schema}}.users AS u
WHERE u.organization_id = %(id)s AND u.username <> %(user)s

-- add_user --
-- Makes a user of an organization; one that exists stays as it is.
INSERT INTO {{schema}}.users (username, organization_id)
VALUES (%(user)s, %(id)s)
ON CONFLICT (username) DO NOTHING

-- organizations --
-- Organizations by slug; the filter is optional.
SELECT
    o.id, o.slug, o.name, o.max_users, o.max_daily_requests, o.max_monthly_tokens, o.timezone,
    o.settings, o.is_active, o.created_at
FROM {{schema}}.organizations AS o
WHERE %(slug)s::text IS NULL OR o.slug = %(slug)s
ORDER BY o.slug

-- make_organization --
-- Makes an organization without limits; one that exists stays as it is.
INSERT INTO {{schema}}.organizations (
    slug, name, max_users, max_daily_requests, max_monthly_tokens
)
VALUES (%(slug)s, %(slug)s, NULL, NULL, NULL)
ON CONFLICT (slug) DO NOTHING

-- change_organization --
-- Gives an organization the fields that are named.
UPDATE {{schema}}.organizations AS t SET
    (
        name, max_users, max_daily_requests, max_monthly_tokens, timezone, settings, is_active,
        updated_at
    ) = (
        SELECT
            r.name, r.max_users, r.max_daily_requests, r.max_monthly_tokens, r.timezone,
            r.settings, r.is_active, now()
        FROM jsonb_populate_record(t, %(fields)s) AS r
    )
WHERE t.slug = %(slug)s

-- quotas --
-- What an organization has used of its limits at a time.
SELECT
    o.max_users, o.max_daily_requests, o.max_monthly_tokens,
    (
        SELECT count(*) FROM {{schema}}.users AS u WHERE u.organization_id = o.id
    ) AS users,
    (
        SELECT m.metric_value FROM {{schema}}.usage_metrics AS m
        WHERE m.organization_id = o.id AND m.metric_type = 'daily_requests'
            AND m.period_start = date_trunc('day', %(at)s::timestamptz, o.timezone)
    ) AS daily_requests,
    (
        SELECT m.metric_value FROM {{schema}}.usage_metrics AS m
        WHERE m.organization_id = o.id AND m.metric_type = 'monthly_tokens'
            AND m.period_start = date_trunc('month', %(at)s, o.timezone)
    ) AS monthly_tokens,
    (date_trunc('day', %(at)s AT TIME ZONE o.timezone) + interval '1 day')
        AT TIME ZONE o.timezone AS day_end,
    (date_trunc('month', %(at)s AT TIME ZONE o.timezone) + interval '1 month')
        AT TIME ZONE o.timezone AS month_end
FROM {{schema}}.organizations AS o
WHERE o.slug = %(slug)s

-- users --
-- Users by name; every filter is optional.
SELECT
    u.id, u.username, o.slug AS organization, u.role, u.name, u.email, u.language, u.preferences,
    u.is_active, u.created_at
FROM {{schema}}.users AS u
LEFT JOIN {{schema}}.organizations AS o ON o.id = u.organization_id
WHERE (%(username)s::text IS NULL OR u.username = %(username)s)
    AND (%(organization)s::text IS NULL OR o.slug = %(organization)s)
    AND (%(role)s::text IS NULL OR u.role = %(role)s)
ORDER BY u.username

-- change_user --
-- Gives a user the fields that are named.
UPDATE {{schema}}.users AS t SET
    (organization_id, role, name, email, language, preferences, is_active, updated_at) = (
        SELECT
            r.organization_id, r.role, r.name, r.email, r.language, r.preferences, r.is_active,
            now()
        FROM jsonb_populate_record(t, %(fields)s) AS r
    )
WHERE t.username = %(username)s
