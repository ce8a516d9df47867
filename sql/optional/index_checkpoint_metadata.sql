-- For list(filter=…) over many threads. Build it outside of a transaction; writers go on meanwhile.
CREATE INDEX CONCURRENTLY IF NOT EXISTS checkpoints_metadata_idx
    ON {{checkpoint_schema}}.checkpoints USING gin (metadata jsonb_path_ops);
