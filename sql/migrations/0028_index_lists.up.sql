-- Lists of what few rows are: by user, plan or kind, by evaluator or score, of sessions that ended.
CREATE INDEX feedback_user_id_idx ON {{schema}}.feedback (user_id, created_at);
CREATE INDEX feedback_plan_id_idx ON {{schema}}.feedback (plan_id) WHERE plan_id IS NOT NULL;
CREATE INDEX feedback_feedback_type_idx ON {{schema}}.feedback (feedback_type, created_at)
    WHERE feedback_type IS NOT NULL;
CREATE INDEX evaluations_evaluator_idx ON {{schema}}.evaluations (evaluator, created_at);
CREATE INDEX evaluations_holistic_flow_idx ON {{schema}}.evaluations (created_at)
    WHERE evaluation_type = 'HOLISTIC_FLOW';
CREATE INDEX evaluations_score_idx ON {{schema}}.evaluations (((details ->> 'score')::numeric));
CREATE INDEX sessions_ended_idx ON {{schema}}.sessions (status, updated_at, thread_id)
    WHERE status IN ('expired', 'error');
