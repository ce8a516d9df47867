DROP TABLE {{schema}}.usage_metrics;
DROP TABLE {{schema}}.feedback;
DROP TABLE {{schema}}.evaluations;
DROP TYPE {{schema}}.evaluation_type;
