DELETE FROM {{schema}}.nodes WHERE node_type = 'update';
ALTER TABLE {{schema}}.nodes DROP CONSTRAINT nodes_node_type_check;
ALTER TABLE {{schema}}.nodes ADD CONSTRAINT nodes_node_type_check
    CHECK (node_type IN ('node', 'subgraph', 'task', 'error_handler'));
ALTER TABLE {{schema}}.nodes DROP COLUMN checkpoint_thread_id;
