"""Alembic over the numbered files: each is one transaction with its version and ledger row.

Imported only when there is something to migrate: Alembic and SQLAlchemy cost more than the check.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias, cast

import psycopg
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script.base import Script
from alembic.script.revision import RevisionMap
from alembic.util import CommandError
from sqlalchemy import Connection, StaticPool, create_engine
from sqlalchemy.exc import DBAPIError

from langgraph_persist.database.queries import Schemas, queries, quote
from langgraph_persist.errors import ConfigurationError, MigrationFailed, PrivilegeMissing
from langgraph_persist.migrate.files import EXTENSION, Migration, migrations, split
from langgraph_persist.migrate.status import STOCK_VERSION, Status
from langgraph_persist.migrate.stock import ConcurrentIndex, concurrent_indexes, stock_sql

VERSION_TABLE = "schema_version"
# Short: while a statement waits for a table's lock, everybody else waits behind it.
LOCK_TIMEOUT_MS = 1000

Execute: TypeAlias = Callable[[str], None]


class Runner:
    """Migrates over one connection in autocommit mode, whose caller holds the migration lock."""

    def __init__(self, conn: psycopg.Connection[Any], schemas: Schemas, deadline: float) -> None:
        self._conn = conn
        self._schemas = schemas
        self._deadline = deadline
        self._queries = queries("migrate", schemas)
        self._names = {"schema": schemas.record, "checkpoint_schema": schemas.checkpoints}
        self._engine = create_engine(
            "postgresql+psycopg://", creator=lambda: conn, poolclass=StaticPool
        )

    def upgrade(self, status: Status) -> None:
        """Whatever the status misses is there afterwards."""
        self._transaction("CREATE SCHEMA", self._create_schemas)
        if status.stock_missing:
            for index in concurrent_indexes(status.stock_version, self._schemas):
                self.build_index(index, only_if_filled=True)
            work = partial(self._upgrade_stock, status)
            self._transaction("langgraph-checkpoint-postgres", work)
        for migration in _named(status.pending):
            step = _step(migration, is_upgrade=True)
            self._transaction(f"{migration.name}.up.sql", partial(self._run, step))

    def downgrade(self, status: Status, revision: str) -> None:
        """The migrations after that revision are undone; after ``base``, all of them."""
        applied = _named(status.applied)
        if revision != "base" and revision not in {m.revision for m in applied}:
            raise ConfigurationError(f"{revision!r} is not among the applied migrations")
        for migration in reversed(applied):
            if revision == "base" or migration.revision > revision:
                step = _step(migration, is_upgrade=False)
                self._transaction(f"{migration.name}.down.sql", partial(self._run, step))

    def _create_schemas(self, _: Connection) -> None:
        # Asked for first: CREATE SCHEMA IF NOT EXISTS needs the privilege even if it exists.
        for (schema,) in self._fetch("missing_schemas", self._names):
            self._execute(f"CREATE SCHEMA {quote(schema)}")

    def _upgrade_stock(self, status: Status, _: Connection) -> None:
        if status.stock_version < STOCK_VERSION:
            self._execute(stock_sql(status.stock_version))
        if EXTENSION in status.applied:
            # Made anew by stock's setup(), or another checkpoint schema than before.
            self._execute(_named([EXTENSION])[0].up_sql(self._schemas))

    def _run(self, step: RevisionStep, connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts=_options(self._schemas, [step]))
        context.run_migrations(execute=self._execute, schemas=self._schemas)

    def build_index(self, index: ConcurrentIndex, *, only_if_filled: bool = False) -> None:
        """An index is there and valid afterwards, its table's writers not kept waiting."""
        with self._failures(f"index {index.name}"), self._session_settings():
            for (leftover,) in self._fetch("invalid_index", index._asdict()):
                self._execute(f"DROP INDEX CONCURRENTLY {leftover}")
            if not only_if_filled or self._fetch("is_filled", index._asdict())[0][0]:
                self._execute(index.sql)

    def _transaction(self, name: str, work: Callable[[Connection], None]) -> None:
        """``work`` in one transaction, again while a table's lock could not be had."""
        with self._failures(name):
            while True:
                try:
                    return self._once(work)
                except (psycopg.errors.LockNotAvailable, DBAPIError) as error:
                    if not self._may_retry(error):
                        raise
                    time.sleep(random.uniform(0.1, 0.5))

    def _once(self, work: Callable[[Connection], None]) -> None:
        self._conn.autocommit = False
        try:
            with self._engine.begin() as connection:
                self._fetch("settings", self._settings(LOCK_TIMEOUT_MS))
                work(connection)
        finally:
            if not self._conn.closed:
                self._conn.autocommit = True

    def _may_retry(self, error: Exception) -> bool:
        cause = getattr(error, "orig", error)
        late = time.monotonic() > self._deadline
        return isinstance(cause, psycopg.errors.LockNotAvailable) and not late

    @contextmanager
    def _session_settings(self) -> Iterator[None]:
        before = self._fetch("current_settings", {})[0]
        patience = max(self._deadline - time.monotonic(), 1) * 1000
        self._fetch("session_settings", self._settings(int(patience)))
        try:
            yield
        finally:
            if not self._conn.closed:
                keys = ("lock_timeout", "statement_timeout", "search_path")
                self._fetch("session_settings", dict(zip(keys, before, strict=True)))

    def _settings(self, lock_timeout: int) -> dict[str, str]:
        return {
            "lock_timeout": f"{lock_timeout}ms",
            "statement_timeout": "0",
            "search_path": quote(self._schemas.checkpoints),
        }

    @contextmanager
    def _failures(self, name: str) -> Iterator[None]:
        """Turns PostgreSQL's refusals into errors that say what failed and what to do."""
        try:
            yield
        except (psycopg.Error, DBAPIError, CommandError) as error:
            cause = getattr(error, "orig", error)
            if isinstance(cause, psycopg.errors.InsufficientPrivilege):
                raise PrivilegeMissing(self._privilege_message(name, cause)) from error
            raise MigrationFailed(
                f"migration {name} failed and was rolled back: {str(cause).strip()}"
            ) from error

    def _privilege_message(self, name: str, error: psycopg.Error) -> str:
        grants = "; ".join(str(row[0]) for row in self._fetch("missing_privileges", self._names))
        return (
            f"the database user {self._conn.info.user} may not run {name}: "
            f"{error.diag.message_primary}. A DBA can grant what is missing"
            f"{f' ({grants})' if grants else ''}, or run the DDL that Persist.migrate(sql=True) "
            "returns"
        )

    def _execute(self, sql: str) -> None:
        for statement in split(sql):
            self._conn.execute(statement.encode())

    def _fetch(self, query: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._conn.execute(self._queries[query].encode(), params).fetchall()


def ddl(schemas: Schemas, after: str | None) -> str:
    """The script of all migrations after that revision, made without a database."""
    out = io.StringIO()
    steps = [
        _step(migration, is_upgrade=True)
        for migration in migrations()
        if after is None or migration.revision > after
    ]
    opts = _options(schemas, steps) | {"as_sql": True, "output_buffer": out, "starting_rev": after}
    # With the default style SQLAlchemy would double the percent signs in a schema's name.
    context = MigrationContext.configure(
        dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, opts=opts
    )
    execute = context.impl.static_output
    for index in concurrent_indexes(STOCK_VERSION, schemas):
        statement = " ".join(index.sql.split())
        execute(f"-- Where {index.table} has many rows, run this before, so writers go on:")
        execute(f"-- {statement};")
    execute("BEGIN;")
    for schema in dict.fromkeys(schemas):
        execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)};")
    execute(f"SET LOCAL search_path = {quote(schemas.checkpoints)};")
    execute(stock_sql(-1))
    context.run_migrations(execute=execute, schemas=schemas)
    execute("COMMIT;")
    return out.getvalue()


def _named(names: Iterable[str]) -> list[Migration]:
    wanted = set(names)
    return [migration for migration in migrations() if migration.name in wanted]


def _options(schemas: Schemas, steps: list[RevisionStep]) -> dict[str, Any]:
    return {
        "version_table": VERSION_TABLE,
        "version_table_schema": schemas.record,
        "fn": lambda heads, context: steps,
    }


def _step(migration: Migration, *, is_upgrade: bool) -> RevisionStep:
    revisions = RevisionMap(_scripts)
    script = cast("Script", revisions.get_revision(migration.revision))
    make = MigrationStep.upgrade_from_script if is_upgrade else MigrationStep.downgrade_from_script
    return make(revisions, script)


def _scripts() -> list[Script]:
    """Alembic's revisions, one per numbered file: each follows the one before."""
    scripts: list[Script] = []
    for migration in migrations():
        module = _module(migration, after=scripts[-1].revision if scripts else None)
        scripts.append(Script(module, migration.revision, f"{migration.name}.up.sql"))
    return scripts


def _module(migration: Migration, after: str | None) -> ModuleType:
    """What Alembic expects of a revision's file."""

    def upgrade(*, execute: Execute, schemas: Schemas) -> None:
        execute(migration.upgrade_sql(schemas))

    def downgrade(*, execute: Execute, schemas: Schemas) -> None:
        execute(migration.downgrade_sql(schemas))

    module = ModuleType(migration.name, migration.name)
    vars(module).update(down_revision=after, upgrade=upgrade, downgrade=downgrade)
    return module
