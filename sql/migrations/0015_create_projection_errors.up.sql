-- Why a projection wrote nothing for a checkpoint, where that was to be recorded, not raised.
CREATE TABLE {{schema}}.projection_errors (
    thread_id text NOT NULL,
    id uuid NOT NULL,
    workflow_id uuid,
    checkpoint_ns text NOT NULL,
    checkpoint_id text NOT NULL,
    projection text NOT NULL,
    error_type text,
    error_message text,
    error_traceback text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projection_errors_pkey PRIMARY KEY (thread_id, id),
    CONSTRAINT projection_errors_workflow_id_fkey FOREIGN KEY (thread_id, workflow_id)
        REFERENCES {{schema}}.workflows (thread_id, id) ON DELETE CASCADE,
    CONSTRAINT projection_errors_thread_id_fkey FOREIGN KEY (thread_id)
        REFERENCES {{schema}}.sessions (thread_id) ON DELETE CASCADE
);
