DROP VIEW {{schema}}.prompt_versions;
DROP VIEW {{schema}}.daily_costs;
DROP VIEW {{schema}}.session_transcript;
DROP VIEW {{schema}}.workflow_timeline;
DROP VIEW {{schema}}.model_usage;
DROP VIEW {{schema}}.node_performance;
DROP VIEW {{schema}}.user_success_rates;
