"""One migration at a time, over all processes.

The lock is a session's, polled for: a session that blocks in ``pg_advisory_lock`` holds a snapshot
that ``CREATE INDEX CONCURRENTLY`` would wait for.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import MigrationLockTimeout


@contextmanager
def migration_lock(
    conn: psycopg.Connection[Any], schemas: Schemas, deadline: float
) -> Iterator[None]:
    """Nobody else migrates these schemas meanwhile.

    ``conn`` is in autocommit mode; ``deadline`` is a value of ``time.monotonic``.

    Raises:
        MigrationLockTimeout: another session kept the lock until the deadline.
    """
    keys = sorted({_key(schema) for schema in schemas})
    while (taken := _try_locks(conn, keys)) is not None:
        if time.monotonic() > deadline:
            raise MigrationLockTimeout(
                f"another process (PostgreSQL backend {_holder(conn, taken)}) has been migrating "
                "for too long; wait for it or end it, then retry"
            )
        time.sleep(random.uniform(0.03, 0.1))
    try:
        yield
    finally:
        if not conn.closed:
            _unlock(conn, keys)


def _key(schema: str) -> int:
    digest = hashlib.sha256(f"langgraph_persist:{schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _try_locks(conn: psycopg.Connection[Any], keys: list[int]) -> int | None:
    """Takes all locks or none; returns the key that somebody else holds."""
    for n, key in enumerate(keys):
        if not _value(conn, "try_lock", key):
            _unlock(conn, keys[:n])
            return key
    return None


def _unlock(conn: psycopg.Connection[Any], keys: list[int]) -> None:
    for key in keys:
        _value(conn, "unlock", key)


def _holder(conn: psycopg.Connection[Any], key: int) -> str:
    return str(_value(conn, "lock_holder", key) or "gone by now")


def _value(conn: psycopg.Connection[Any], query: str, key: int) -> Any:
    row = conn.execute(queries("migrate", Schemas())[query].encode(), {"key": key}).fetchone()
    return row and row[0]
