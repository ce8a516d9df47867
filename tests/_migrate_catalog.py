"""What a database holds, as PostgreSQL itself writes it, for comparing two of them."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from langgraph_persist.database.queries import Schemas, quote

Catalog: TypeAlias = dict[str, str]

_RELATIONS = """
SELECT c.relname, c.relkind FROM pg_class c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'v')
"""
_COLUMNS = """
SELECT c.relname || '.' || a.attname,
    format('%%s%%s DEFAULT %%s', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN ' NOT NULL' END, pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'v')
    AND a.attnum > 0 AND NOT a.attisdropped
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text || ' ' || conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = to_regnamespace(%(schema)s) AND conrelid <> 0 AND contype <> 'n'
"""
_INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace(%(schema)s)
"""
_VIEWS = """
SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'v'
"""
_TYPES = """
SELECT t.typname, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
WHERE t.typnamespace = to_regnamespace(%(schema)s) GROUP BY t.typname
"""
_KINDS = {
    "relation": _RELATIONS,
    "column": _COLUMNS,
    "constraint": _CONSTRAINTS,
    "index": _INDEXES,
    "view": _VIEWS,
    "type": _TYPES,
}


def catalog(conn: psycopg.Connection[Any], schema: str) -> Catalog:
    """Everything defined in a schema; its own name is written as ``SCHEMA``."""
    found: Catalog = {}
    # With no search path every name is written with its schema.
    conn.execute("SELECT set_config('search_path', '', false)")
    for kind, sql in _KINDS.items():
        for name, definition in conn.execute(sql, {"schema": quote(schema)}).fetchall():
            found[f"{kind} {_neutral(name, schema)}"] = _neutral(str(definition), schema)
    conn.execute("RESET search_path")
    return found


def whole_catalog(url: str, schemas: Schemas) -> dict[str, Catalog]:
    """Both schemas' definitions, and the rows that migrations wrote."""
    with psycopg.connect(url, autocommit=True) as conn:
        found = {role: catalog(conn, schema) for role, schema in schemas._asdict().items()}
        found["rows"] = {}
        for table in (
            "{{schema}}.schema_version",
            "{{schema}}.schema_ledger",
            "{{checkpoint_schema}}.checkpoint_migrations",
        ):
            sql = schemas.render(f"SELECT to_jsonb(t) - 'applied_at' FROM {table} t")
            if conn.execute("SELECT to_regclass(%s)", [schemas.render(table)]).fetchone() != (
                None,
            ):
                rows = conn.execute(sql.encode()).fetchall()
                found["rows"][table] = str(sorted(str(row) for row in rows))
    return found


def difference(one: Catalog, other: Catalog) -> dict[str, tuple[str | None, str | None]]:
    """What differs, by name: as in the one, as in the other."""
    return {
        name: (one.get(name), other.get(name))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    }


def _neutral(text: str, schema: str) -> str:
    for name in {schema, quote(schema)}:
        text = text.replace(f"{name}.", "SCHEMA.")
    return text
