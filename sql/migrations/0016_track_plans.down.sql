ALTER TABLE {{schema}}.todos DROP COLUMN key;
ALTER TABLE {{schema}}.plans
    DROP COLUMN checkpoint_ns,
    DROP COLUMN channel_version;
