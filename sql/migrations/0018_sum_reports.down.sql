DROP INDEX {{schema}}.generations_prompt_name_idx;
DROP TABLE
    {{schema}}.report_users,
    {{schema}}.report_nodes,
    {{schema}}.report_models,
    {{schema}}.report_periods;
