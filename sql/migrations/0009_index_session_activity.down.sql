DROP INDEX {{schema}}.sessions_user_id_updated_at_idx;
DROP INDEX {{schema}}.sessions_updated_at_idx;
