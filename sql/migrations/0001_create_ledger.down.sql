DROP TABLE {{schema}}.schema_ledger;
