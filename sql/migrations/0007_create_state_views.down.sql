DROP VIEW {{schema}}.generation_prompts;
DROP VIEW {{schema}}.node_states;
DROP VIEW {{schema}}.state_contents;
