-- Sums of past hours and days, which reports are read from: no more than a cache of the record.
-- A period is listed here while its sums are right; who writes to it later takes it off the list.
CREATE TABLE {{schema}}.report_periods (
    kind text NOT NULL,
    period_start timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT report_periods_pkey PRIMARY KEY (kind, period_start),
    CONSTRAINT report_periods_kind_check CHECK (kind IN ('models', 'nodes', 'users'))
);

-- Model calls of an hour: of all organizations together (is_total), and of each.
-- A latency of m milliseconds is counted in the bucket floor(50 * ln(m)), which is 2 % wide.
CREATE TABLE {{schema}}.report_models (
    id bigint GENERATED ALWAYS AS IDENTITY,
    period_start timestamptz NOT NULL,
    is_total boolean NOT NULL,
    organization_id uuid,
    model_provider text,
    model_name text,
    calls bigint NOT NULL,
    failed bigint NOT NULL,
    cache_hits bigint NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    total_tokens bigint,
    cache_read_tokens bigint,
    cache_creation_tokens bigint,
    reasoning_tokens bigint,
    cost_usd numeric,
    timed bigint NOT NULL,
    latency_ms double precision,
    streamed bigint NOT NULL,
    first_token_ms double precision,
    buckets integer[],
    counts bigint[],
    CONSTRAINT report_models_pkey PRIMARY KEY (id)
);
CREATE INDEX report_models_period_start_idx ON {{schema}}.report_models (is_total, period_start);

-- Executions of nodes on a day of UTC, in the same way.
CREATE TABLE {{schema}}.report_nodes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    period_start timestamptz NOT NULL,
    is_total boolean NOT NULL,
    organization_id uuid,
    workflow_name text NOT NULL,
    node_name text NOT NULL,
    node_type text NOT NULL,
    executions bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    timed bigint NOT NULL,
    duration_ms double precision,
    max_ms double precision,
    buckets integer[],
    counts bigint[],
    CONSTRAINT report_nodes_pkey PRIMARY KEY (id)
);
CREATE INDEX report_nodes_period_start_idx ON {{schema}}.report_nodes (is_total, period_start);

-- Model calls of each user on a day of UTC: of all models together (is_total), and of each.
CREATE TABLE {{schema}}.report_users (
    id bigint GENERATED ALWAYS AS IDENTITY,
    period_start timestamptz NOT NULL,
    is_total boolean NOT NULL,
    organization_id uuid,
    user_id uuid,
    model_provider text,
    model_name text,
    calls bigint NOT NULL,
    failed bigint NOT NULL,
    cache_hits bigint NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    total_tokens bigint,
    cost_usd numeric,
    CONSTRAINT report_users_pkey PRIMARY KEY (id)
);
CREATE INDEX report_users_period_start_idx ON {{schema}}.report_users (is_total, period_start);

-- With all that is compared: the calls of a prompt are far apart. Costs nothing where none has a name.
DROP INDEX {{schema}}.generations_prompt_name_idx;
CREATE INDEX generations_prompt_name_idx
    ON {{schema}}.generations (prompt_name, started_at)
    INCLUDE (
        prompt_version, thread_id, workflow_id, model_name, status, cache_hit,
        prompt_tokens, completion_tokens, cost_usd, latency_ms
    )
    WHERE prompt_name IS NOT NULL;
