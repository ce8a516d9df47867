-- Sessions that are to expire are found by their time.
CREATE INDEX sessions_expires_at_idx ON {{schema}}.sessions (expires_at)
    WHERE status = 'active' AND expires_at IS NOT NULL;
