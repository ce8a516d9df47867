-- A limit that is NULL is none. Organizations that runs merely named never had any.
ALTER TABLE {{schema}}.organizations
    ALTER COLUMN max_users DROP NOT NULL,
    ALTER COLUMN max_daily_requests DROP NOT NULL,
    ALTER COLUMN max_monthly_tokens DROP NOT NULL,
    ADD COLUMN timezone text NOT NULL DEFAULT 'UTC',
    ADD CONSTRAINT organizations_timezone_check
        CHECK (('2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE timezone) IS NOT NULL);

UPDATE {{schema}}.organizations
SET max_users = NULL, max_daily_requests = NULL, max_monthly_tokens = NULL
WHERE name = slug AND settings IS NULL
    AND max_users = 10 AND max_daily_requests = 1000 AND max_monthly_tokens = 1000000;

-- Those two are of an organization as a whole: what counts against its limits, in one row each.
-- Today's few rows are updated all the time: room on their page keeps the indexes out of it.
ALTER TABLE {{schema}}.usage_metrics
    DROP CONSTRAINT usage_metrics_metric_type_check,
    ADD CONSTRAINT usage_metrics_metric_type_check CHECK (
        metric_type IN (
            'token_usage', 'api_calls', 'execution_time', 'plan_count', 'todo_count',
            'success_rate', 'daily_requests', 'monthly_tokens'
        )
    ),
    SET (fillfactor = 50);

CREATE INDEX usage_metrics_organization_id_idx
    ON {{schema}}.usage_metrics (organization_id, period_start);
CREATE INDEX usage_metrics_user_id_idx ON {{schema}}.usage_metrics (user_id, period_start);
CREATE INDEX workflow_runs_started_at_idx ON {{schema}}.workflow_runs USING brin (started_at);

-- A run that a limit refused is recorded as such.
ALTER TABLE {{schema}}.workflows
    DROP CONSTRAINT workflows_status_check,
    ADD CONSTRAINT workflows_status_check CHECK (
        status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted', 'refused')
    );
ALTER TABLE {{schema}}.workflow_runs
    DROP CONSTRAINT workflow_runs_status_check,
    ADD CONSTRAINT workflow_runs_status_check CHECK (
        status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted', 'refused')
    );
