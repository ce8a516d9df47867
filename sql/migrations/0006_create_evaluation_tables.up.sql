CREATE TYPE {{schema}}.evaluation_type AS ENUM ('TURN_EVAL', 'HOLISTIC_FLOW');

CREATE TABLE {{schema}}.evaluations (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    turn integer,
    evaluation_type {{schema}}.evaluation_type NOT NULL,
    details jsonb NOT NULL,
    evaluator text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT evaluations_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT evaluations_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE,
    CONSTRAINT evaluations_turn_fkey FOREIGN KEY (thread_id, turn)
        REFERENCES {{schema}}.workflows (thread_id, turn) ON DELETE CASCADE,
    CONSTRAINT evaluations_turn_check
        CHECK ((evaluation_type = 'TURN_EVAL') = (turn IS NOT NULL)),
    CONSTRAINT evaluations_details_score_check CHECK (
        CASE
            WHEN jsonb_typeof(details -> 'score') = 'number'
                THEN (details ->> 'score')::numeric BETWEEN 0 AND 100
            ELSE false
        END
    ),
    CONSTRAINT evaluations_details_analysis_check
        CHECK (coalesce(jsonb_typeof(details -> 'analysis') <> 'null', false))
);

CREATE UNIQUE INDEX evaluations_turn_eval_key ON {{schema}}.evaluations (thread_id, turn)
    WHERE evaluation_type = 'TURN_EVAL';
CREATE UNIQUE INDEX evaluations_holistic_flow_key ON {{schema}}.evaluations (thread_id)
    WHERE evaluation_type = 'HOLISTIC_FLOW';

CREATE TABLE {{schema}}.feedback (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workflow_id uuid,
    plan_id uuid,
    user_id uuid,
    rating integer,
    feedback_type text,
    comment text,
    context_data jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feedback_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT feedback_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE,
    CONSTRAINT feedback_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT feedback_plan_id_fkey FOREIGN KEY (thread_id, plan_id)
        REFERENCES {{schema}}.plans (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT feedback_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES {{schema}}.users (id) ON DELETE SET NULL,
    CONSTRAINT feedback_rating_check CHECK (rating BETWEEN 1 AND 5)
);

-- No foreign keys: what was used stays countable after a user or organization is deleted.
CREATE TABLE {{schema}}.usage_metrics (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    organization_id uuid,
    user_id uuid,
    model_name text,
    metric_type text NOT NULL,
    metric_value numeric NOT NULL DEFAULT 0,
    metric_data jsonb,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_metrics_pkey PRIMARY KEY (id),
    CONSTRAINT usage_metrics_metric_type_check CHECK (
        metric_type IN (
            'token_usage', 'api_calls', 'execution_time', 'plan_count', 'todo_count',
            'success_rate'
        )
    ),
    CONSTRAINT usage_metrics_period_end_check CHECK (period_end > period_start)
);

-- One row per bucket, absent parts included; PostgreSQL 14 has no NULLS NOT DISTINCT.
CREATE UNIQUE INDEX usage_metrics_bucket_key ON {{schema}}.usage_metrics (
    period_start,
    metric_type,
    coalesce(organization_id, '00000000-0000-0000-0000-000000000000'::uuid),
    coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid),
    coalesce(model_name, ''::text)
);
