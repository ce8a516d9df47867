"""Reads checkpoints that are too large for one row of an answer, which is half a gigabyte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row, tuple_row

TOO_LARGE = (psycopg.errors.InternalError_, psycopg.errors.ProgramLimitExceeded)
"""What PostgreSQL says of such a row, among other things."""


def select_apart(
    conn: Connection[Any], sql: Mapping[str, str], where: str, args: Sequence[Any]
) -> list[DictRow]:
    """What the query for whole checkpoints would give, read value by value."""
    query = f"{sql['select_bare_checkpoints']} {where}".encode()
    with (
        conn.cursor(binary=True, row_factory=dict_row) as cur,
        conn.cursor(binary=True, row_factory=tuple_row) as parts,
    ):
        rows = cur.execute(query, args, prepare=False).fetchall()
        for row in rows:
            for column in ("channel_values", "pending_writes"):
                found = parts.execute(sql[f"select_{column}"].encode(), row).fetchall()
                row[column] = [[*part] for part in found]
    return rows
