DROP INDEX {{schema}}.generations_prompt_name_idx;
CREATE INDEX generations_prompt_name_idx ON {{schema}}.generations (prompt_name, started_at)
    WHERE prompt_name IS NOT NULL;
DROP TABLE
    {{schema}}.report_users,
    {{schema}}.report_nodes,
    {{schema}}.report_models,
    {{schema}}.report_periods;
