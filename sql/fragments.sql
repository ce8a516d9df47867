-- What several statements have in common: {{> name}} in a statement stands for the fragment.

-- metrics_key --
-- What there is one row of usage_metrics for.
    period_start, metric_type,
    coalesce(organization_id, '00000000-0000-0000-0000-000000000000'::uuid),
    coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid),
    coalesce(model_name, ''::text)

-- add_to_metrics --
-- Adds what a statement counts (as t) to the row of its day.
ON CONFLICT ({{> metrics_key}}) DO UPDATE SET
    metric_value = CASE t.metric_type
        WHEN 'success_rate' THEN (
            SELECT coalesce(sum(d.completed) / nullif(sum(d.completed + d.failed), 0), 0)
            FROM (VALUES (t.metric_data), (excluded.metric_data)) AS m (data)
            CROSS JOIN LATERAL jsonb_to_record(m.data) AS d (completed numeric, failed numeric)
        )
        ELSE t.metric_value + excluded.metric_value
    END,
    metric_data = (
        SELECT coalesce(jsonb_object_agg(
            d.key, d.value::numeric + coalesce(t.metric_data ->> d.key, '0')::numeric
        ), '{}')
        FROM jsonb_each_text(excluded.metric_data) AS d
    ),
    updated_at = excluded.updated_at

-- day_of_start --
-- The day of started_at in the time zone z.
date_trunc('day', started_at, z.timezone) AS period_start,
(date_trunc('day', started_at AT TIME ZONE z.timezone) + interval '1 day')
    AT TIME ZONE z.timezone AS period_end

-- own_timezone --
-- The time zone of the organization_id of a row, as z.
LEFT JOIN {{schema}}.organizations AS o ON o.id = organization_id
CROSS JOIN LATERAL (SELECT coalesce(o.timezone, 'UTC')) AS z (timezone)

-- of_whom --
-- Only workflows w of a user and an organization, where they are named.
AND (
    %(user)s::text IS NULL
    OR w.user_id = (SELECT u.id FROM {{schema}}.users AS u WHERE u.username = %(user)s)
)
AND (
    %(organization)s::text IS NULL
    OR w.organization_id
        = (SELECT o.id FROM {{schema}}.organizations AS o WHERE o.slug = %(organization)s)
)

-- made_here --
-- Only model calls g that were not copied from another session.
NOT EXISTS (
    SELECT FROM {{schema}}.workflows AS c
    WHERE c.thread_id = g.thread_id AND c.id = g.workflow_id
        AND c.copied_from IS NOT NULL AND c.copied_at > g.started_at
)

-- of_organization --
-- Only sums r of an organization, where one is named.
AND (
    %(organization)s::text IS NULL
    OR r.organization_id
        = (SELECT o.id FROM {{schema}}.organizations AS o WHERE o.slug = %(organization)s)
)

-- evaluations_asked_for --
-- Filters of evaluations e of sessions s; each is optional.
WHERE (%(thread_id)s::text IS NULL OR e.thread_id = %(thread_id)s)
    AND (
        %(evaluation_type)s::{{schema}}.evaluation_type IS NULL
        OR e.evaluation_type = %(evaluation_type)s
    )
    AND (%(evaluator)s::text IS NULL OR e.evaluator = %(evaluator)s)
    AND (
        %(user)s::text IS NULL
        OR s.user_id = (SELECT n.id FROM {{schema}}.users AS n WHERE n.username = %(user)s)
    )
    AND (
        %(min_score)s::numeric IS NULL OR (e.details ->> 'score')::numeric >= %(min_score)s::numeric
    )
    AND (
        %(max_score)s::numeric IS NULL OR (e.details ->> 'score')::numeric <= %(max_score)s::numeric
    )
    AND (%(since)s::timestamptz IS NULL OR e.created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s)

-- feedback_asked_for --
-- Further filters of feedback f; each is optional.
AND (
    %(user)s::text IS NULL
    OR f.user_id = (SELECT n.id FROM {{schema}}.users AS n WHERE n.username = %(user)s)
)
AND (%(feedback_type)s::text IS NULL OR f.feedback_type = %(feedback_type)s)
AND (%(min_rating)s::integer IS NULL OR f.rating >= %(min_rating)s)
AND (%(max_rating)s::integer IS NULL OR f.rating <= %(max_rating)s)
AND (%(since)s::timestamptz IS NULL OR f.created_at >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR f.created_at < %(until)s)
