"""Runs the statements of ``sql/queries/retention.sql``, each piece of work by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from psycopg import Connection, Cursor
from psycopg.rows import DictRow, dict_row

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas, queries

T = TypeVar("T")
Row: TypeAlias = DictRow


class Transaction:
    """Named statements within one transaction."""

    def __init__(self, cursor: Cursor[Row], sql: Mapping[str, str]) -> None:
        self._cursor, self._sql = cursor, sql

    def rows(self, name: str, **params: object) -> list[Row]:
        """What a statement gives."""
        return self._execute(name, params).fetchall()

    def run(self, name: str, **params: object) -> int:
        """Execute a statement; how many rows it changed."""
        return self._execute(name, params).rowcount

    def _execute(self, name: str, params: Mapping[str, object]) -> Cursor[Row]:
        # Unprepared, so that every statement is planned for the arrays it is given.
        return self._cursor.execute(self._sql[name].encode(), params, prepare=False)


class Store:
    """One database, for deleting a little at a time."""

    def __init__(self, database: Database, schemas: Schemas) -> None:
        self._database, self._schemas = database, schemas
        self._sql = queries("retention", schemas)

    def rows(self, name: str, **params: object) -> list[Row]:
        """What a statement gives, by itself."""

        def run(conn: Connection[Any]) -> list[Row]:
            with conn.cursor(row_factory=dict_row) as cursor:
                return Transaction(cursor, self._sql).rows(name, **params)

        return self._database.run(run)

    def harden(self) -> None:
        """All changes are as durable as the server makes any."""
        self.rows("harden")

    def change(self, thread_id: str, work: Callable[[Transaction], T]) -> T:
        """``work`` in one transaction, alone among all that delete of this thread.

        It is sure to survive a crash of the server only after :meth:`harden`.
        """
        key = f"langgraph_persist.retention:{self._schemas.checkpoints}:{thread_id}"

        def run(conn: Connection[Any]) -> T:
            with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
                transaction = Transaction(cursor, self._sql)
                transaction.run("lock", key=key)
                return work(transaction)

        return self._database.run(run)
