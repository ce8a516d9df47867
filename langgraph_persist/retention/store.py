"""Runs the statements of ``sql/queries/retention.sql``, each piece of work by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from psycopg import Connection, Cursor
from psycopg.rows import dict_row

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.database.statements import Row, Transaction

T = TypeVar("T")


class Store:
    """One database, for deleting a little at a time."""

    def __init__(self, database: Database, schemas: Schemas) -> None:
        self._database, self._schemas = database, schemas
        self._sql = queries("retention", schemas)

    def rows(self, name: str, **params: object) -> list[Row]:
        """What a statement gives, by itself."""

        def run(conn: Connection[Any]) -> list[Row]:
            with conn.cursor(row_factory=dict_row) as cursor:
                return self._transaction(cursor).rows(name, **params)

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
                transaction = self._transaction(cursor)
                transaction.run("lock", key=key)
                return work(transaction)

        return self._database.run(run)

    def _transaction(self, cursor: Cursor[Row]) -> Transaction:
        # Unprepared, so that every statement is planned for the arrays it is given.
        return Transaction(cursor, self._sql, prepare=False)
