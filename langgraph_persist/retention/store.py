"""Runs the statements of retention, each piece of work by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas
from langgraph_persist.database.statements import Row, Statements, Transaction

T = TypeVar("T")


class Store:
    """One database, for deleting a little at a time."""

    def __init__(self, database: Database, schemas: Schemas) -> None:
        self._statements = Statements(database, schemas, "retention", "periods")
        self._lock = f"langgraph_persist.retention:{schemas.checkpoints}"

    def rows(self, name: str, **params: object) -> list[Row]:
        """What a statement gives, by itself."""
        return self._statements.rows(name, **params)

    def harden(self) -> None:
        """All changes are as durable as the server makes any."""
        self.rows("harden")

    def change(self, thread_id: str, work: Callable[[Transaction], T]) -> T:
        """``work`` in one transaction, alone among all that delete of this thread.

        It is sure to survive a crash of the server only after :meth:`harden`.
        """

        def alone(transaction: Transaction) -> T:
            transaction.run("lock", key=f"{self._lock}:{thread_id}")
            return work(transaction)

        return self._statements.transaction(alone)
