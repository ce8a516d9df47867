"""Rows of users' tables that the database refuses, where that is to be recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from xxhash import xxh3_128_digest

from langgraph_persist.database.connection import TRANSIENT, is_connection_lost
from langgraph_persist.journal.unit import Fields, Projected, Rows

logger = logging.getLogger(__name__)


def write_carefully(conn: Connection[Any], rows: Sequence[Projected]) -> Rows:
    """Write rows one by one; returns what to record of the lenient ones that were refused."""
    refused: Rows = []
    for row in rows:
        try:
            with conn.transaction():
                conn.execute(row.statement.sql, row.params)
        except psycopg.Error as error:
            hopeless = is_connection_lost(error) or isinstance(error, TRANSIENT)
            if hopeless or not row.statement.lenient:
                raise
            refused.append(("projection_errors", _refusal(row, error)))
    return refused


def _refusal(row: Projected, error: psycopg.Error) -> Fields:
    logger.warning("projection %r: the database refused a row", row.statement.name)
    kind = f"psycopg.errors.{type(error).__name__}"
    fields = projection_error(row.statement.name, row.checkpoint, row.owner, row.origin)
    return fields | {"error_type": kind, "error_message": str(error)}


def projection_error(
    name: str, checkpoint: tuple[str, str, str], owner: Fields, origin: tuple[int, int]
) -> Fields:
    """The row that tells what a projection failed in, once however often it is written."""
    identity = "\0".join((name, *checkpoint, *map(str, origin))).encode()
    _, checkpoint_ns, checkpoint_id = checkpoint
    return owner | {
        "id": UUID(bytes=xxh3_128_digest(identity)),
        "checkpoint_ns": checkpoint_ns,
        "checkpoint_id": checkpoint_id,
        "projection": name,
    }
