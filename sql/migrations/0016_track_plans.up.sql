-- Which list of todos a plan is the record of: the graph's namespace, and the version of its channel.
ALTER TABLE {{schema}}.plans
    ADD COLUMN checkpoint_ns text,
    ADD COLUMN channel_version text;

-- The id that the state has for a todo.
ALTER TABLE {{schema}}.todos ADD COLUMN key text;
