DROP INDEX {{schema}}.sessions_expires_at_idx;
