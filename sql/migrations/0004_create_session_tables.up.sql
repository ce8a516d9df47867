CREATE TABLE {{schema}}.sessions (
    thread_id text NOT NULL,
    user_id uuid,
    organization_id uuid,
    status text NOT NULL DEFAULT 'active',
    language text,
    initial_input text,
    current_context jsonb,
    metadata jsonb,
    turns integer NOT NULL DEFAULT 0,
    retry_of text,
    ended_at timestamptz,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sessions_pkey PRIMARY KEY (thread_id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES {{schema}}.users (id) ON DELETE SET NULL,
    CONSTRAINT sessions_organization_id_fkey FOREIGN KEY (organization_id)
        REFERENCES {{schema}}.organizations (id) ON DELETE SET NULL,
    CONSTRAINT sessions_status_check
        CHECK (status IN ('active', 'completed', 'expired', 'error'))
);

CREATE INDEX sessions_active_idx ON {{schema}}.sessions (user_id, created_at)
    WHERE status = 'active';
CREATE INDEX sessions_organization_id_idx ON {{schema}}.sessions (organization_id);

CREATE TABLE {{schema}}.workflows (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    user_id uuid,
    organization_id uuid,
    turn integer NOT NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'running',
    replay_of uuid,
    user_input text,
    input_type text,
    input jsonb,
    settings jsonb,
    result jsonb,
    metadata jsonb,
    tags text[],
    error_type text,
    error_message text,
    error_traceback text,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    duration_ms double precision,
    active_ms double precision,
    node_count integer NOT NULL DEFAULT 0,
    generation_count integer NOT NULL DEFAULT 0,
    prompt_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    total_tokens bigint NOT NULL DEFAULT 0,
    cost_usd numeric,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflows_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT workflows_thread_id_turn_key UNIQUE (thread_id, turn),
    CONSTRAINT workflows_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE,
    CONSTRAINT workflows_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES {{schema}}.users (id) ON DELETE SET NULL,
    CONSTRAINT workflows_organization_id_fkey FOREIGN KEY (organization_id)
        REFERENCES {{schema}}.organizations (id) ON DELETE SET NULL,
    CONSTRAINT workflows_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted'))
);

CREATE INDEX workflows_id_idx ON {{schema}}.workflows (id);
CREATE INDEX workflows_started_at_idx ON {{schema}}.workflows (started_at);
CREATE INDEX workflows_user_id_started_at_idx ON {{schema}}.workflows (user_id, started_at);
CREATE INDEX workflows_organization_id_started_at_idx
    ON {{schema}}.workflows (organization_id, started_at);
CREATE INDEX workflows_thread_id_status_idx ON {{schema}}.workflows (thread_id, status);
CREATE INDEX workflows_not_completed_idx ON {{schema}}.workflows (status, started_at)
    WHERE status <> 'completed';

CREATE TABLE {{schema}}.workflow_runs (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    kind text NOT NULL DEFAULT 'start',
    status text NOT NULL DEFAULT 'running',
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    duration_ms double precision,
    instance_id text,
    heartbeat_at timestamptz,
    checkpoint_id text,
    error_type text,
    error_message text,
    error_traceback text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_runs_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT workflow_runs_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT workflow_runs_kind_check CHECK (kind IN ('start', 'resume', 'replay', 'fork')),
    CONSTRAINT workflow_runs_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted'))
);

CREATE INDEX workflow_runs_workflow_id_idx ON {{schema}}.workflow_runs (thread_id, workflow_id);
CREATE INDEX workflow_runs_running_idx ON {{schema}}.workflow_runs (heartbeat_at)
    WHERE status = 'running';

-- Content, each piece once per session: its id is the hash of what it holds.
CREATE TABLE {{schema}}.messages (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    message_id text,
    turn integer,
    role text NOT NULL,
    text text,
    content jsonb,
    name text,
    tool_calls jsonb,
    tool_call_id text,
    extra jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT messages_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE
);

-- kind 'value': value itself. kind 'messages': ids of messages that follow those of base_id.
CREATE TABLE {{schema}}.state_values (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL DEFAULT 'value',
    value jsonb NOT NULL,
    base_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT state_values_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT state_values_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE,
    CONSTRAINT state_values_kind_check CHECK (kind IN ('value', 'messages'))
);

CREATE TABLE {{schema}}.nodes (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    run_id uuid NOT NULL,
    parent_node_id uuid,
    node_name text NOT NULL,
    node_type text NOT NULL DEFAULT 'node',
    execution_order integer,
    step integer,
    attempt integer NOT NULL DEFAULT 1,
    task_id text,
    checkpoint_ns text,
    triggers text[],
    status text NOT NULL DEFAULT 'running',
    cached boolean NOT NULL DEFAULT false,
    input_checkpoint_id text,
    checkpoint_id text,
    input_data jsonb,
    output_data jsonb,
    state jsonb,
    error_type text,
    error_message text,
    error_traceback text,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    duration_ms double precision,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT nodes_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT nodes_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT nodes_node_type_check
        CHECK (node_type IN ('node', 'subgraph', 'task', 'error_handler')),
    CONSTRAINT nodes_status_check CHECK (
        status IN (
            'pending', 'running', 'completed', 'failed', 'skipped', 'interrupted', 'cancelled'
        )
    )
);

CREATE INDEX nodes_workflow_id_idx
    ON {{schema}}.nodes (thread_id, workflow_id, execution_order);
CREATE INDEX nodes_started_at_idx ON {{schema}}.nodes USING brin (started_at);

CREATE TABLE {{schema}}.generations (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    run_id uuid NOT NULL,
    node_id uuid,
    model_name text,
    model_provider text,
    system_prompt text,
    user_prompt text,
    prompt jsonb,
    output text,
    output_message jsonb,
    parsed_output jsonb,
    tool_calls jsonb,
    temperature double precision,
    max_tokens bigint,
    invocation_params jsonb,
    prompt_tokens bigint,
    completion_tokens bigint,
    total_tokens bigint,
    cache_read_tokens bigint,
    cache_creation_tokens bigint,
    reasoning_tokens bigint,
    cost_usd numeric,
    price_source text,
    latency_ms double precision,
    time_to_first_token_ms double precision,
    streamed boolean NOT NULL DEFAULT false,
    finish_reason text,
    cache_hit boolean NOT NULL DEFAULT false,
    attempt integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'running',
    error_type text,
    error_message text,
    error_traceback text,
    prompt_name text,
    prompt_version text,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT generations_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT generations_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT generations_status_check
        CHECK (status IN ('running', 'completed', 'failed', 'interrupted', 'cancelled')),
    CONSTRAINT generations_prompt_tokens_check CHECK (
        coalesce(cache_read_tokens, 0) + coalesce(cache_creation_tokens, 0) <= prompt_tokens
    )
);

CREATE INDEX generations_workflow_id_idx
    ON {{schema}}.generations (thread_id, workflow_id, started_at);
CREATE INDEX generations_started_at_idx ON {{schema}}.generations USING brin (started_at);

CREATE TABLE {{schema}}.retrievals (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    run_id uuid NOT NULL,
    node_id uuid,
    query text,
    documents jsonb,
    document_count integer NOT NULL DEFAULT 0,
    latency_ms double precision,
    error_type text,
    error_message text,
    error_traceback text,
    started_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retrievals_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT retrievals_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE
);

CREATE INDEX retrievals_workflow_id_idx ON {{schema}}.retrievals (thread_id, workflow_id);
