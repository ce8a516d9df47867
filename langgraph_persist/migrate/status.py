"""Whether a database's tables are as this version needs them, asked by two small queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from langgraph.checkpoint.postgres.base import MIGRATIONS
from psycopg.rows import tuple_row

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import (
    MigrationChecksumMismatch,
    PrivilegeMissing,
    SchemaOutdated,
    SchemaTooNew,
)
from langgraph_persist.migrate.files import migrations

STOCK_VERSION = len(MIGRATIONS) - 1


class Status(NamedTuple):
    """What is applied in a database, against what this version ships.

    ``stock_version`` is upstream's, -1 without its tables; ``extended`` tells whether they have
    our columns. ``unknown`` and ``edited`` name migrations that are not ours, or no longer as
    they were applied.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    edited: tuple[str, ...]
    stock_version: int
    extended: bool

    @property
    def up_to_date(self) -> bool:
        return not (self.missing or self.unknown or self.edited)

    @property
    def stock_missing(self) -> bool:
        return not self.extended or self.stock_version < STOCK_VERSION

    @property
    def missing(self) -> tuple[str, ...]:
        """What an upgrade would do, in order."""
        stock = ("tables of langgraph-checkpoint-postgres",) if self.stock_missing else ()
        return stock + self.pending

    def require_known(self) -> None:
        """Nothing is applied that this version does not know.

        Raises:
            SchemaTooNew: there are newer migrations.
            MigrationChecksumMismatch: an applied file was edited.
        """
        if self.unknown:
            raise SchemaTooNew(
                f"the database has migrations this langgraph-persist does not know "
                f"({', '.join(self.unknown)}); upgrade this installation"
            )
        if self.edited:
            files = ", ".join(f"sql/migrations/{name}.up.sql" for name in self.edited)
            raise MigrationChecksumMismatch(
                f"{files} was edited after it had been applied; restore the file as released and "
                "write a new migration instead"
            )

    def require(self) -> None:
        """The tables are exactly as this version needs them.

        Raises:
            SchemaOutdated: something is missing, or one of :meth:`require_known`'s errors.
        """
        self.require_known()
        if self.missing:
            raise SchemaOutdated(
                f"the database lacks {', '.join(self.missing)}; open it without migrate=False, "
                "or let its owner do what Persist.migrate(url, schema=…, sql=True) returns"
            )


def check(conn: psycopg.Connection[Any], schemas: Schemas) -> Status:
    """How far this database is migrated; neither Alembic nor SQLAlchemy is imported for it.

    Raises:
        PrivilegeMissing: the user may not read the tables that tell.
    """
    applied: Mapping[str, str] = dict(_rows(conn, schemas, "ledger"))
    stock_version, extended = next(iter(_rows(conn, schemas, "stock")), (-1, False))
    shipped = {migration.name: migration.sha256 for migration in migrations()}
    return Status(
        applied=tuple(name for name in shipped if name in applied),
        pending=tuple(name for name in shipped if name not in applied),
        unknown=tuple(name for name in applied if name not in shipped),
        edited=tuple(n for n, sha256 in applied.items() if shipped.get(n, sha256) != sha256),
        stock_version=stock_version,
        extended=extended,
    )


def find_checkpoint_schema(conn: psycopg.Connection[Any]) -> str:
    """The schema where stock's unqualified ``checkpoints`` is, or would be created."""
    row = _fetch(conn, queries("migrate", Schemas())["find_checkpoint_schema"], {})[0]
    return str(row[0])


def _rows(conn: psycopg.Connection[Any], schemas: Schemas, name: str) -> list[tuple[Any, ...]]:
    """The named query's rows; none where its tables do not exist."""
    sql = queries("migrate", schemas)
    params = {"schema": schemas.record, "checkpoint_schema": schemas.checkpoints}
    try:
        # Asking first keeps the server's log free of errors that are none.
        if _fetch(conn, sql[f"has_{name}"], params) == [(True,)]:
            return _fetch(conn, sql[name], params)
        return []
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []
    except psycopg.errors.InsufficientPrivilege as error:
        raise PrivilegeMissing(
            f"the database user {conn.info.user} may not read the tables of langgraph-persist: "
            f"{error.diag.message_primary}; grant USAGE on the schemas {schemas.record} and "
            f"{schemas.checkpoints}, and SELECT, INSERT, UPDATE, DELETE on their tables"
        ) from error


def _fetch(conn: psycopg.Connection[Any], sql: str, params: dict[str, Any]) -> list[Any]:
    # A failing query must not abort the caller's transaction.
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(sql.encode(), params).fetchall()
