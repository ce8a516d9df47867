"""Rows page by page, without a cursor that a pooler or a cluster would have to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from langgraph_persist.database.statements import Row, Statements

PAGE = 100

BySession: TypeAlias = Iterator[tuple[str, list[Row]]]
"""Rows with the session that they are of."""


class Listed(Protocol):
    """A row that a page can begin after."""

    @property
    def created_at(self) -> Any: ...

    @property
    def id(self) -> UUID: ...


def newest(
    statements: Statements,
    name: str,
    filters: Mapping[str, Any],
    limit: int,
    before: Listed | None,
) -> list[Row]:
    """One page, the newest first."""
    at, id = (before.created_at, before.id) if before is not None else (None, None)
    return statements.rows(name, **filters, limit=limit, before=at, before_id=id)


def by_session(statements: Statements, name: str, filters: Mapping[str, Any]) -> BySession:
    """All rows, those of a session together as far as they are on one page."""
    after: dict[str, Any] = {"after_thread": None, "after_id": None}
    while rows := statements.rows(name, **filters, **after, limit=PAGE):
        for thread_id, group in groupby(rows, key=lambda row: row["thread_id"]):
            yield thread_id, list(group)
        after = {"after_thread": rows[-1]["thread_id"], "after_id": rows[-1]["id"]}
