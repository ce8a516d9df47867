DROP INDEX {{schema}}.sessions_ended_idx;
DROP INDEX {{schema}}.evaluations_score_idx;
DROP INDEX {{schema}}.evaluations_holistic_flow_idx;
DROP INDEX {{schema}}.evaluations_evaluator_idx;
DROP INDEX {{schema}}.feedback_feedback_type_idx;
DROP INDEX {{schema}}.feedback_plan_id_idx;
DROP INDEX {{schema}}.feedback_user_id_idx;
