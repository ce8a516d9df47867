-- The thread that a node's checkpoints are on, where its graph saves on one of its own.
ALTER TABLE {{schema}}.nodes ADD COLUMN checkpoint_thread_id text;

-- 'update': what update_state wrote in a node's name.
ALTER TABLE {{schema}}.nodes DROP CONSTRAINT nodes_node_type_check;
ALTER TABLE {{schema}}.nodes ADD CONSTRAINT nodes_node_type_check
    CHECK (node_type IN ('node', 'subgraph', 'task', 'error_handler', 'update')) NOT VALID;
ALTER TABLE {{schema}}.nodes VALIDATE CONSTRAINT nodes_node_type_check;
