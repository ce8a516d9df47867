CREATE INDEX sessions_updated_at_idx ON {{schema}}.sessions (updated_at, thread_id);
CREATE INDEX sessions_user_id_updated_at_idx
    ON {{schema}}.sessions (user_id, updated_at, thread_id);
