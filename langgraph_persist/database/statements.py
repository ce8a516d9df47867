"""Named statements on one database: each by itself, or several in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from psycopg import Connection, Cursor
from psycopg.rows import DictRow, dict_row

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.database.text import storable

T = TypeVar("T")
Row: TypeAlias = DictRow


class Transaction:
    """Named statements within one transaction, each planned for the arguments it is given."""

    def __init__(self, cursor: Cursor[Row], sql: Mapping[str, str]) -> None:
        self._cursor, self._sql = cursor, sql

    def rows(self, name: str, /, **params: object) -> list[Row]:
        """What a statement gives."""
        cursor = self._execute(name, params)
        return cursor.fetchall() if cursor.description else []

    def run(self, name: str, /, **params: object) -> int:
        """Execute a statement; how many rows it changed."""
        return self._execute(name, params).rowcount

    def _execute(self, name: str, params: Mapping[str, object]) -> Cursor[Row]:
        given = {name: _storable(value) for name, value in params.items()}
        return self._cursor.execute(self._sql[name].encode(), given, prepare=False)


class Statements:
    """The statements of some files of ``sql/queries``, for one database.

    Args:
        database: where.
        schemas: where the tables are.
        areas: the files' names.
        flush: called before each statement, so that what was recorded so far is seen.
        decrypt: gives a column's value in the clear, where the record is encrypted.
    """

    def __init__(
        self,
        database: Database,
        schemas: Schemas,
        *areas: str,
        flush: Callable[[], object] = lambda: None,
        decrypt: Callable[[Any], Any] | None = None,
    ) -> None:
        self._database, self._flush, self._decrypt = database, flush, decrypt
        self._sql = {n: text for a in areas for n, text in queries(a, schemas).items()}

    def rows(self, name: str, /, **params: object) -> list[Row]:
        """What a statement gives; it must be idempotent, as it is repeated on a lost connection."""
        self._flush()
        rows = self._database.run(lambda conn: self._on(conn).rows(name, **params))
        if (decrypt := self._decrypt) is None:
            return rows
        return [{column: decrypt(value) for column, value in row.items()} for row in rows]

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """``work`` in one transaction, again as a whole where the connection is lost."""
        self._flush()

        def run(conn: Connection[Any]) -> T:
            with conn.transaction():
                return work(self._on(conn))

        return self._database.run(run)

    def _on(self, conn: Connection[Any]) -> Transaction:
        return Transaction(conn.cursor(row_factory=dict_row), self._sql)


def _storable(value: Any) -> Any:
    """A parameter whose text, if it has any, PostgreSQL takes."""
    if isinstance(value, str):
        return storable(value)
    return [_storable(one) for one in value] if isinstance(value, list) else value
