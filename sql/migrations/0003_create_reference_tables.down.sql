DROP TABLE {{schema}}.tools;
DROP TABLE {{schema}}.users;
DROP TABLE {{schema}}.organizations;
