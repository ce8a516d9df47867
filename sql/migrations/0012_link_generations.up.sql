-- The model that was asked for, where model_name is the one that answered; and the failed call that
-- a call repeats, with the same model or another.
ALTER TABLE {{schema}}.generations
    ADD COLUMN requested_model text,
    ADD COLUMN retry_of uuid;
