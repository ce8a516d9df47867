"""Runs the statements inherited from stock on tables of any schema."""

from __future__ import annotations

import re
from typing import Any

from psycopg import Connection, Cursor
from psycopg.pq import Format
from psycopg.rows import DictRow, dict_row

from langgraph_persist.database.queries import quote

_TABLE = re.compile(
    r"\b(FROM|JOIN|INTO|UPDATE)\s+(checkpoints|checkpoint_blobs|checkpoint_writes)\b", re.IGNORECASE
)


class StockCursor(Cursor[DictRow]):
    """A binary cursor that puts a schema before the stock tables' bare names."""

    def __init__(self, connection: Connection[Any], schema: str) -> None:
        super().__init__(connection, row_factory=dict_row)
        self.format = Format.BINARY
        self._qualified = rf"\1 {quote(schema)}.\2"

    def execute(self, query: Any, params: Any = None, **options: Any) -> StockCursor:
        """Like any cursor's; the statement's tables are those of the schema."""
        if isinstance(query, str):
            query = _TABLE.sub(self._qualified, query).encode()
        return super().execute(query, params, **options)
