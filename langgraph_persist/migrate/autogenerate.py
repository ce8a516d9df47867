"""For the user's own Alembic: leave the tables of langgraph-persist and LangGraph alone.

In ``env.py``::

    from langgraph_persist.migrate import include_object

    context.configure(..., include_object=include_object)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from langgraph_persist.database.queries import Schemas

IncludeObject: TypeAlias = Callable[[Any, "str | None", Any, bool, Any], bool]

STOCK_TABLES = frozenset(
    {"checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations"}
)


def include_object_for(schemas: Schemas) -> IncludeObject:
    """An ``include_object`` for tables that live in other schemas than the default ones."""

    def include_object(
        object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
    ) -> bool:
        found_only_in_database = type_ == "table" and reflected and compare_to is None
        return not (found_only_in_database and _is_ours(object.schema, name, schemas))

    return include_object


def include_object(
    object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
) -> bool:
    """False for tables of langgraph-persist and LangGraph found in the database.

    The user's own tables are compared as ever, those that share a name with ours too.
    """
    return include_object_for(Schemas())(object, name, type_, reflected, compare_to)


def _is_ours(schema: str | None, name: str | None, schemas: Schemas) -> bool:
    # Alembic calls the default schema None.
    schema = schema or "public"
    if schema == schemas.checkpoints and name in STOCK_TABLES:
        return True
    if schema != "public":
        return schema == schemas.record
    return schemas.record == "public" and name in _record_tables()


def _record_tables() -> set[str]:
    from langgraph_persist.models import Base

    own = {"schema_ledger", "schema_version"}
    return own | {table.name for table in Base.metadata.tables.values()}
