"""The schema, forward and back: Alembic running the numbered files of ``sql/migrations``.

An upgrade is safe under any number of processes, and costs an up-to-date database two small
queries: Alembic and SQLAlchemy are imported only when something is to be done. The connection must
reach the server itself, since the lock that keeps others waiting is the session's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas, queries, sql_folder
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.migrate.autogenerate import include_object, include_object_for
from langgraph_persist.migrate.files import migrations
from langgraph_persist.migrate.lock import migration_lock
from langgraph_persist.migrate.optional import metadata_index
from langgraph_persist.migrate.status import Status, check, find_checkpoint_schema

__all__ = [
    "Status",
    "check",
    "current",
    "ddl",
    "distribute",
    "downgrade",
    "find_checkpoint_schema",
    "head",
    "include_object",
    "include_object_for",
    "index_metadata",
    "pending",
    "upgrade",
]

Where: TypeAlias = "str | psycopg.Connection[Any]"

LOCK_TIMEOUT = 60.0


def upgrade(where: Where, schemas: Schemas, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """All tables and views are there afterwards, as this version needs them.

    ``lock_timeout`` is how many seconds to wait for other processes that migrate, or use a table.

    Raises:
        PrivilegeMissing: the user may not do what is to be done.
        MigrationFailed: naming the file; what came before it stays applied.
        MigrationLockTimeout: another process did not finish in time.
        SchemaTooNew: the tables are of a newer version.
        MigrationChecksumMismatch: an applied file was edited.
    """
    with _session(where) as conn:
        if _checked(conn, schemas).up_to_date:
            return
        _require_direct(conn)
        deadline = time.monotonic() + lock_timeout
        with migration_lock(conn, schemas, deadline):
            status = _checked(conn, schemas)
            if not status.up_to_date:
                from langgraph_persist.migrate.runner import Runner

                Runner(conn, schemas, deadline).upgrade(status)


def downgrade(
    where: Where,
    schemas: Schemas,
    revision: str,
    *,
    lock_timeout: float = LOCK_TIMEOUT,
) -> None:
    """Every migration after ``revision`` is undone, with the data it made room for.

    ``"base"`` undoes all; upstream's own tables stay.
    """
    from langgraph_persist.migrate.runner import Runner

    with _session(where) as conn:
        _require_direct(conn)
        deadline = time.monotonic() + lock_timeout
        with migration_lock(conn, schemas, deadline):
            Runner(conn, schemas, deadline).downgrade(_checked(conn, schemas), revision)


def index_metadata(where: Where, schemas: Schemas, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """The optional index for filters on checkpoint metadata is there afterwards, built if need be.

    Writers go on meanwhile.
    """
    from langgraph_persist.migrate.runner import Runner

    with _session(where) as conn:
        _require_direct(conn)
        deadline = time.monotonic() + lock_timeout
        with migration_lock(conn, schemas, deadline):
            Runner(conn, schemas, deadline).build_index(metadata_index(schemas))


def distribute(where: Where, schemas: Schemas, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """The tables are spread over the Citus cluster that the database leads; at once, or not.

    Raises:
        ConfigurationError: it leads none.
    """
    with _session(where) as conn:
        _require_direct(conn)
        found = conn.execute(queries("citus", schemas)["is_citus"].encode()).fetchone()
        if found != (True,):
            raise ConfigurationError(
                "this database leads no Citus cluster: CREATE EXTENSION citus, and add its workers"
            )
        with migration_lock(conn, schemas, time.monotonic() + lock_timeout):
            conn.execute(schemas.render((sql_folder() / "citus.sql").read_text("utf-8")).encode())


def ddl(schemas: Schemas, *, after: str | None = None) -> str:
    """The script that gives a DBA the same tables as :func:`upgrade` would.

    ``after`` is the revision that the database has already, see :func:`current`.
    """
    if after is not None and after not in {migration.revision for migration in migrations()}:
        raise ConfigurationError(f"there is no migration {after!r}; the newest is {head()}")
    from langgraph_persist.migrate import runner

    return runner.ddl(schemas, after)


def head() -> str:
    """The newest revision this version knows."""
    return migrations()[-1].revision


def current(conn: psycopg.Connection[Any], schemas: Schemas) -> str | None:
    """The newest revision applied, if any."""
    applied = check(conn, schemas).applied
    return applied[-1].partition("_")[0] if applied else None


def pending(conn: psycopg.Connection[Any], schemas: Schemas) -> tuple[str, ...]:
    """The names of what :func:`upgrade` would do."""
    return check(conn, schemas).missing


def _checked(conn: psycopg.Connection[Any], schemas: Schemas) -> Status:
    status = check(conn, schemas)
    status.require_known()
    return status


@contextmanager
def _session(where: Where) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit mode; the user's own one is left as it was."""
    if isinstance(where, str):
        with Database(where).connect() as conn:
            yield conn
        return
    if where.info.transaction_status != TransactionStatus.IDLE:
        raise ConfigurationError("migrations need a connection that is not in a transaction")
    autocommit, row_factory = where.autocommit, where.row_factory
    where.autocommit, where.row_factory = True, tuple_row
    try:
        yield where
    finally:
        where.row_factory = row_factory
        if not where.closed:
            where.autocommit = autocommit


def _require_direct(conn: psycopg.Connection[Any]) -> None:
    # The lock would stay behind in the pooler's connection, for good.
    row = conn.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    if row is None or row[0] != conn.info.backend_pid:
        raise ConfigurationError(
            "migrations need a direct connection, and this one goes through a pooler: give the "
            "URL of the server itself, or run the DDL that Persist.migrate(sql=True) returns"
        )
