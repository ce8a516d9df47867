CREATE TABLE {{schema}}.plans (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workflow_id uuid,
    status text NOT NULL DEFAULT 'draft',
    current_version integer NOT NULL DEFAULT 1,
    intent jsonb,
    total_todos integer NOT NULL DEFAULT 0,
    completed_todos integer NOT NULL DEFAULT 0,
    failed_todos integer NOT NULL DEFAULT 0,
    estimated_cost numeric,
    actual_cost numeric,
    estimated_duration_seconds double precision,
    actual_duration_seconds double precision,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plans_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT plans_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE,
    CONSTRAINT plans_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT plans_status_check CHECK (
        status IN (
            'draft', 'approved', 'executing', 'paused', 'waiting', 'completed', 'failed',
            'cancelled'
        )
    )
);

CREATE INDEX plans_thread_id_status_idx ON {{schema}}.plans (thread_id, status);

CREATE TABLE {{schema}}.plan_versions (
    thread_id text NOT NULL,
    plan_id uuid NOT NULL,
    version integer NOT NULL,
    todos_snapshot jsonb,
    change_type text NOT NULL DEFAULT 'create',
    change_reason text,
    changed_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plan_versions_pkey PRIMARY KEY (thread_id, plan_id, version),
    CONSTRAINT plan_versions_plan_id_fkey FOREIGN KEY (thread_id, plan_id)
        REFERENCES {{schema}}.plans (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT plan_versions_change_type_check
        CHECK (change_type IN ('create', 'replan', 'user_edit', 'auto_adjust'))
);

CREATE TABLE {{schema}}.todos (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    plan_id uuid NOT NULL,
    title text NOT NULL,
    description text,
    status text NOT NULL DEFAULT 'pending',
    priority integer NOT NULL DEFAULT 0,
    layer text,
    tool_name text,
    tool_params jsonb,
    depends_on uuid[],
    blocks uuid[],
    timeout_seconds double precision,
    max_retries integer,
    retry_count integer NOT NULL DEFAULT 0,
    progress_percentage double precision NOT NULL DEFAULT 0,
    requires_approval boolean NOT NULL DEFAULT false,
    approved_by uuid,
    approved_at timestamptz,
    rejection_reason text,
    input_data jsonb,
    output_path text,
    result_data jsonb,
    execution_order integer,
    error_message text,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT todos_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT todos_plan_id_fkey FOREIGN KEY (thread_id, plan_id)
        REFERENCES {{schema}}.plans (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT todos_approved_by_fkey FOREIGN KEY (approved_by)
        REFERENCES {{schema}}.users (id) ON DELETE SET NULL,
    CONSTRAINT todos_status_check CHECK (
        status IN (
            'pending', 'in_progress', 'completed', 'failed', 'blocked', 'skipped',
            'needs_approval', 'cancelled'
        )
    ),
    CONSTRAINT todos_priority_check CHECK (priority BETWEEN 0 AND 10),
    CONSTRAINT todos_progress_percentage_check CHECK (progress_percentage BETWEEN 0 AND 100)
);

CREATE INDEX todos_plan_id_status_idx ON {{schema}}.todos (thread_id, plan_id, status);
CREATE INDEX todos_plan_id_layer_idx ON {{schema}}.todos (thread_id, plan_id, layer);
CREATE INDEX todos_pending_idx ON {{schema}}.todos (thread_id, plan_id, execution_order)
    WHERE status = 'pending';

CREATE TABLE {{schema}}.execution_results (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    todo_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    success boolean NOT NULL,
    result_data jsonb,
    error_message text,
    error_stack text,
    execution_time_ms double precision,
    tool_name text,
    tool_version text,
    tokens_used bigint,
    api_calls_count integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT execution_results_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT execution_results_todo_id_fkey FOREIGN KEY (thread_id, todo_id)
        REFERENCES {{schema}}.todos (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT execution_results_plan_id_fkey FOREIGN KEY (thread_id, plan_id)
        REFERENCES {{schema}}.plans (thread_id, id) ON DELETE CASCADE
);

CREATE INDEX execution_results_todo_id_idx ON {{schema}}.execution_results (thread_id, todo_id);
CREATE INDEX execution_results_plan_id_success_idx
    ON {{schema}}.execution_results (thread_id, plan_id, success);

CREATE TABLE {{schema}}.tool_executions (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    run_id uuid NOT NULL,
    node_id uuid,
    tool_id uuid,
    todo_id uuid,
    tool_name text NOT NULL,
    tool_call_id text,
    input_params jsonb,
    output_data jsonb,
    success boolean,
    status text NOT NULL DEFAULT 'running',
    error_type text,
    error_message text,
    error_traceback text,
    execution_time_ms double precision,
    tokens_used bigint,
    cost_usd numeric,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tool_executions_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT tool_executions_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT tool_executions_tool_id_fkey FOREIGN KEY (tool_id)
        REFERENCES {{schema}}.tools (id) ON DELETE SET NULL,
    CONSTRAINT tool_executions_todo_id_fkey FOREIGN KEY (thread_id, todo_id)
        REFERENCES {{schema}}.todos (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT tool_executions_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'interrupted', 'cancelled'))
);

CREATE INDEX tool_executions_workflow_id_idx
    ON {{schema}}.tool_executions (thread_id, workflow_id, started_at);
CREATE INDEX tool_executions_started_at_idx
    ON {{schema}}.tool_executions USING brin (started_at);

CREATE TABLE {{schema}}.hitl_events (
    thread_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workflow_id uuid NOT NULL,
    run_id uuid,
    plan_id uuid,
    todo_id uuid,
    node_id uuid,
    event_type text NOT NULL,
    event_data jsonb,
    user_id uuid,
    user_input jsonb,
    user_decision text,
    status text NOT NULL DEFAULT 'pending',
    requested_at timestamptz NOT NULL DEFAULT now(),
    responded_at timestamptz,
    timeout_at timestamptz,
    interrupt_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT hitl_events_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT hitl_events_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT hitl_events_plan_id_fkey FOREIGN KEY (thread_id, plan_id)
        REFERENCES {{schema}}.plans (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT hitl_events_todo_id_fkey FOREIGN KEY (thread_id, todo_id)
        REFERENCES {{schema}}.todos (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT hitl_events_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES {{schema}}.users (id) ON DELETE SET NULL,
    CONSTRAINT hitl_events_event_type_check CHECK (
        event_type IN (
            'plan_review', 'approval_request', 'input_request', 'pause', 'resume', 'cancel',
            'edit', 'replan'
        )
    ),
    CONSTRAINT hitl_events_status_check
        CHECK (status IN ('pending', 'completed', 'timeout', 'cancelled'))
);

CREATE INDEX hitl_events_workflow_id_idx ON {{schema}}.hitl_events (thread_id, workflow_id);
CREATE INDEX hitl_events_pending_idx ON {{schema}}.hitl_events (requested_at)
    WHERE status = 'pending';
