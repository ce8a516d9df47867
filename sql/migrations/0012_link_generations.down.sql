ALTER TABLE {{schema}}.generations
    DROP COLUMN requested_model,
    DROP COLUMN retry_of;
