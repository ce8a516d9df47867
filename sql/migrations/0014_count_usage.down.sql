UPDATE {{schema}}.workflow_runs SET status = 'cancelled' WHERE status = 'refused';
UPDATE {{schema}}.workflows SET status = 'cancelled' WHERE status = 'refused';
ALTER TABLE {{schema}}.workflow_runs
    DROP CONSTRAINT workflow_runs_status_check,
    ADD CONSTRAINT workflow_runs_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted'));
ALTER TABLE {{schema}}.workflows
    DROP CONSTRAINT workflows_status_check,
    ADD CONSTRAINT workflows_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted'));

DROP INDEX {{schema}}.workflow_runs_started_at_idx;
DROP INDEX {{schema}}.usage_metrics_user_id_idx;
DROP INDEX {{schema}}.usage_metrics_organization_id_idx;
DELETE FROM {{schema}}.usage_metrics
WHERE metric_type IN ('daily_requests', 'monthly_tokens');
ALTER TABLE {{schema}}.usage_metrics
    RESET (fillfactor),
    DROP CONSTRAINT usage_metrics_metric_type_check,
    ADD CONSTRAINT usage_metrics_metric_type_check CHECK (
        metric_type IN (
            'token_usage', 'api_calls', 'execution_time', 'plan_count', 'todo_count',
            'success_rate'
        )
    );

UPDATE {{schema}}.organizations SET
    max_users = coalesce(max_users, 10),
    max_daily_requests = coalesce(max_daily_requests, 1000),
    max_monthly_tokens = coalesce(max_monthly_tokens, 1000000)
WHERE max_users IS NULL OR max_daily_requests IS NULL OR max_monthly_tokens IS NULL;
ALTER TABLE {{schema}}.organizations
    DROP CONSTRAINT organizations_timezone_check,
    DROP COLUMN timezone,
    ALTER COLUMN max_users SET NOT NULL,
    ALTER COLUMN max_daily_requests SET NOT NULL,
    ALTER COLUMN max_monthly_tokens SET NOT NULL;
