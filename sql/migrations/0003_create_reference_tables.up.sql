CREATE TABLE {{schema}}.organizations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    slug text NOT NULL,
    settings jsonb,
    max_users integer NOT NULL DEFAULT 10,
    max_daily_requests integer NOT NULL DEFAULT 1000,
    max_monthly_tokens bigint NOT NULL DEFAULT 1000000,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organizations_pkey PRIMARY KEY (id),
    CONSTRAINT organizations_slug_key UNIQUE (slug)
);

CREATE TABLE {{schema}}.users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    username text NOT NULL,
    email text,
    name text,
    organization_id uuid,
    role text NOT NULL DEFAULT 'user',
    password_hash text,
    api_key_hash text,
    preferences jsonb,
    language text,
    is_active boolean NOT NULL DEFAULT true,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_username_key UNIQUE (username),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_api_key_hash_key UNIQUE (api_key_hash),
    CONSTRAINT users_organization_id_fkey FOREIGN KEY (organization_id)
        REFERENCES {{schema}}.organizations (id) ON DELETE SET NULL,
    CONSTRAINT users_role_check CHECK (role IN ('admin', 'manager', 'user', 'viewer'))
);

CREATE INDEX users_organization_id_idx ON {{schema}}.users (organization_id);

CREATE TABLE {{schema}}.tools (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    display_name text,
    description text,
    type text,
    layer text,
    parameters_schema jsonb,
    output_schema jsonb,
    executor_class text,
    timeout_seconds double precision,
    tags text[],
    version text,
    dependencies text[],
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tools_pkey PRIMARY KEY (id),
    CONSTRAINT tools_name_key UNIQUE (name),
    CONSTRAINT tools_type_check CHECK (type IN ('data', 'analysis', 'content', 'business'))
);
