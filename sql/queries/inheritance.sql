-- repeated_workflow --
-- The workflow that saved a checkpoint, and the thread that it is recorded on.
SELECT c.workflow_id, coalesce(c.metadata ->> 'langgraph_persist_recorded_on', c.thread_id)
FROM {{checkpoint_schema}}.checkpoints AS c
WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = ''
    AND c.checkpoint_id = %(checkpoint_id)s AND c.workflow_id IS NOT NULL

-- workflow_owner --
-- The user and the organization of a workflow.
SELECT u.username, o.slug
FROM {{schema}}.workflows AS w
LEFT JOIN {{schema}}.users AS u ON u.id = w.user_id
LEFT JOIN {{schema}}.organizations AS o ON o.id = w.organization_id
WHERE w.thread_id = %(thread_id)s AND w.id = %(workflow_id)s
