-- What has been applied: the text of an applied file may not change any more.
CREATE TABLE {{schema}}.schema_ledger (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_ledger_pkey PRIMARY KEY (name)
);
