"""Upstream's tables, made by upstream's own migrations and recorded as its ``setup()`` does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from langgraph.checkpoint.postgres.base import MIGRATIONS

from langgraph_persist.database.queries import Schemas
from langgraph_persist.migrate.files import EXTENSION, blocking, migrations
from langgraph_persist.migrate.status import STOCK_VERSION

_CONCURRENT_INDEX = re.compile(
    r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (?P<index>\S+)\s+ON (?P<table>[^\s(]+)[^;]*"
)


class ConcurrentIndex(NamedTuple):
    """An index to build outside of a transaction where its table has rows."""

    name: str
    table: str
    sql: str


def stock_sql(version: int) -> str:
    """What brings upstream's tables from this version to its latest; search_path says where.

    Its indexes are built in the transaction, unless they are there by then.
    """
    parts = []
    for v in range(version + 1, STOCK_VERSION + 1):
        parts.append(blocking(MIGRATIONS[v]).strip().rstrip(";") + ";")
        parts.append(
            f"INSERT INTO checkpoint_migrations (v) VALUES ({v}) ON CONFLICT (v) DO NOTHING;"
        )
    return "\n".join(parts)


def concurrent_indexes(version: int, schemas: Schemas) -> Iterator[ConcurrentIndex]:
    """The indexes on upstream's tables that are still to be built: its own, and ours."""
    extension = next(m for m in migrations() if m.name == EXTENSION)
    for sql in (*MIGRATIONS[version + 1 :], extension.up):
        for found in _CONCURRENT_INDEX.finditer(sql):
            yield ConcurrentIndex(
                found["index"], schemas.render(found["table"]), schemas.render(found[0])
            )
