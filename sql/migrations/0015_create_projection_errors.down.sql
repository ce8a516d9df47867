DROP TABLE {{schema}}.projection_errors;
