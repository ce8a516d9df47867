from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.base import MIGRATIONS
from psycopg.rows import dict_row
from sqlalchemy import Column, Integer, MetaData, NullPool, Table, create_engine

from langgraph_persist.database.queries import Schemas, quote, sql_folder
from langgraph_persist.errors import (
    ConfigurationError,
    MigrationChecksumMismatch,
    MigrationFailed,
    MigrationLockTimeout,
    PrivilegeMissing,
    SchemaOutdated,
    SchemaTooNew,
)
from langgraph_persist.migrate import (
    check,
    current,
    ddl,
    downgrade,
    files,
    find_checkpoint_schema,
    head,
    include_object,
    include_object_for,
    pending,
    upgrade,
)
from langgraph_persist.migrate.files import migrations, split
from langgraph_persist.migrate.lock import migration_lock
from tests._migrate_catalog import Catalog, difference, whole_catalog
from tests.conftest import drop_database, make_database

S = Schemas()
ODD = Schemas('My "schema"', "Check points")

REVISIONS = [migration.revision for migration in files.migrations()]


@pytest.fixture(scope="module")
def scratch(server_url: str) -> Iterator[str]:
    url = make_database(server_url, spread=False)
    yield url
    drop_database(server_url, url)


@pytest.fixture(scope="module")
def fresh(scratch: str) -> dict[str, Catalog]:
    """What an upgrade makes of an empty database."""
    upgrade(scratch, S)
    found = whole_catalog(scratch, S)
    wipe(scratch)
    return found


@pytest.fixture
def database(scratch: str, fresh: dict[str, Catalog]) -> Iterator[str]:
    """An empty database, emptied afterwards."""
    yield scratch
    wipe(scratch)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the migrations to edit; ``files.migrations.cache_clear()`` reads it again."""
    copy = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    monkeypatch.setattr("langgraph_persist.migrate.files.sql_folder", lambda: copy)
    files.migrations.cache_clear()
    yield copy / "migrations"
    files.migrations.cache_clear()


def value(conn: psycopg.Connection[Any], query: str, *params: object) -> Any:
    row = conn.execute(query.encode(), params or None).fetchone()
    return row and row[0]


def wipe(url: str) -> None:
    """Empties a database, faster than dropping and making it."""
    with psycopg.connect(url, autocommit=True) as conn:
        found = conn.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|info)'")
        for (name,) in found.fetchall():
            conn.execute(f"DROP SCHEMA {quote(name)} CASCADE".encode())
        conn.execute("CREATE SCHEMA public")
        conn.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


def assert_same(one: dict[str, Catalog], other: dict[str, Catalog]) -> None:
    for part in one:
        assert difference(one[part], other[part]) == {}


@contextmanager
def role(conn: psycopg.Connection[Any]) -> Iterator[str]:
    """A login without any privilege."""
    name = f"role_{uuid.uuid4().hex[:12]}"
    conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'".encode())
    conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        yield name
    finally:
        conn.execute(f"DROP OWNED BY {name}".encode())
        conn.execute(f"DROP ROLE {name}".encode())


@contextmanager
def acting_as(conn: psycopg.Connection[Any], name: str) -> Iterator[None]:
    conn.execute(f"SET ROLE {name}".encode())
    try:
        yield
    finally:
        conn.execute("RESET ROLE")


def stock_setup(url: str) -> None:
    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()


def stock_put(url: str, thread: str, writes: int = 1) -> None:
    with PostgresSaver.from_conn_string(url) as saver:
        config = saver.put(
            {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}, empty_checkpoint(), {}, {}
        )
        saver.put_writes(config, [("channel", n) for n in range(writes)], "task")


# --- fresh databases ---


def test_a_fresh_database_gets_everything(database: str, conn: psycopg.Connection[Any]) -> None:
    assert check(conn, S).missing[0] == "tables of langgraph-checkpoint-postgres"
    assert check(conn, S).pending == tuple(m.name for m in files.migrations())
    assert current(conn, S) is None

    upgrade(database, S)

    status = check(conn, S)
    assert status.up_to_date and status.missing == status.unknown == status.edited == ()
    assert current(conn, S) == head() == REVISIONS[-1]
    assert pending(conn, S) == ()
    assert value(conn, "SELECT count(*) FROM pg_views WHERE schemaname = 'langgraph_persist'") == 12
    assert value(conn, "SELECT count(*) FROM langgraph_persist.user_success_rates") == 0


def test_a_second_upgrade_changes_nothing(database: str) -> None:
    upgrade(database, S)
    before = whole_catalog(database, S)
    upgrade(database, S)
    assert whole_catalog(database, S) == before


def test_stock_setup_finds_nothing_to_do(database: str, conn: psycopg.Connection[Any]) -> None:
    upgrade(database, S)
    before = whole_catalog(database, S)
    stock_setup(database)
    assert whole_catalog(database, S) == before
    stock_put(database, "t")
    assert value(conn, "SELECT created_at > now() - interval '1 minute' FROM checkpoints")


def test_twenty_processes_at_once_all_succeed(database: str) -> None:
    script = Path(__file__).with_name("_migrate_race.py")
    root = script.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", f"tests.{script.stem}", database, "20"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(database) as conn:
        assert check(conn, S).up_to_date


def test_the_check_of_an_up_to_date_database_imports_neither_alembic_nor_sqlalchemy(
    database: str,
) -> None:
    upgrade(database, S)
    code = """
import sys
from langgraph_persist.database.queries import Schemas
from langgraph_persist.migrate import upgrade
upgrade(sys.argv[1], Schemas())
print([name for name in ("alembic", "sqlalchemy") if name in sys.modules])
"""
    root = Path(__file__).parent.parent
    out = subprocess.check_output([sys.executable, "-c", code, database], cwd=root, text=True)
    assert out == "[]\n"


@pytest.mark.parametrize("schemas", [S, ODD, Schemas("one", "one")], ids=["default", "odd", "one"])
def test_the_ddl_gives_the_same_database_as_an_upgrade(database: str, schemas: Schemas) -> None:
    upgrade(database, schemas)
    upgraded = whole_catalog(database, schemas)
    wipe(database)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(ddl(schemas).encode())
        assert check(conn, schemas).up_to_date
    assert_same(whole_catalog(database, schemas), upgraded)


def test_the_ddl_can_start_where_a_database_is(
    database: str, conn: psycopg.Connection[Any], fresh: dict[str, Catalog]
) -> None:
    upgrade(database, S)
    downgrade(database, S, "0004")
    conn.execute(ddl(S, after=current(conn, S)).encode())
    assert_same(whole_catalog(database, S), fresh)
    with pytest.raises(ConfigurationError, match="no migration '0815'"):
        ddl(S, after="0815")


# --- back ---


def test_every_step_back_and_forth_gives_the_same(database: str) -> None:
    stock_setup(database)
    states = {"base": whole_catalog(database, S)}
    upgrade(database, S)
    top = whole_catalog(database, S)
    for revision in reversed(REVISIONS[:-1]):
        downgrade(database, S, revision)
        states[revision] = whole_catalog(database, S)
        with psycopg.connect(database) as conn:
            assert current(conn, S) == revision
    downgrade(database, S, "base")
    assert whole_catalog(database, S)["checkpoints"] == states["base"]["checkpoints"]
    assert [
        name for name in whole_catalog(database, S)["record"] if "schema_version" not in name
    ] == []

    upgrade(database, S)
    assert whole_catalog(database, S) == top


def test_files_are_split_into_statements(database: str) -> None:
    """A server refuses to prepare more than one."""
    with PostgresSaver.from_conn_string(database) as stock:
        stock.setup()
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA langgraph_persist")
        for migration in migrations():
            for statement in split(migration.upgrade_sql(S)):
                conn.execute(statement.encode(), prepare=True)
        for migration in reversed(migrations()):
            for statement in split(migration.downgrade_sql(S)):
                conn.execute(statement.encode(), prepare=True)


def test_what_ends_a_statement() -> None:
    found = split("-- a;\nSELECT ';' AS b,\n2;\nDO $x$\nBEGIN;\nEND $y$ a;\n$y$;$x$;\nSELECT 3")
    assert [*found] == [
        "-- a;\nSELECT ';' AS b,\n2;\n",
        "DO $x$\nBEGIN;\nEND $y$ a;\n$y$;$x$;\n",
        "SELECT 3",
    ]


def test_a_downgrade_to_no_known_revision_is_refused(database: str) -> None:
    upgrade(database, S)
    with pytest.raises(ConfigurationError, match="'0815' is not among"):
        downgrade(database, S, "0815")


def test_all_migrations_have_both_ways_and_follow_each_other() -> None:
    folder = sql_folder() / "migrations"
    names = [m.name for m in files.migrations()]
    expected = {f"{name}.{way}.sql" for name in names for way in ("up", "down")}
    assert {path.name for path in folder.iterdir()} == expected
    assert [f"{n:04}" for n in range(1, len(names) + 1)] == REVISIONS


# --- databases that stock made ---


def test_a_filled_stock_database_keeps_its_rows_and_files(
    database: str, conn: psycopg.Connection[Any], fresh: dict[str, Catalog]
) -> None:
    stock_setup(database)
    stock_put(database, "old", writes=3)
    table_files = "SELECT array_agg(pg_relation_filenode(c)) FROM unnest(%s::regclass[]) c"
    tables = ["checkpoints", "checkpoint_blobs", "checkpoint_writes"]
    before = value(conn, table_files, tables)

    upgrade(database, S)

    assert value(conn, table_files, tables) == before
    assert value(conn, "SELECT count(*) FROM checkpoint_writes") == 3
    stock_put(database, "new")
    rows = conn.execute(
        "SELECT thread_id, created_at IS NULL FROM checkpoints ORDER BY thread_id DESC"
    )
    assert rows.fetchall() == [("old", True), ("new", False)]
    assert_same(whole_catalog(database, S), fresh)


@pytest.mark.parametrize("version", [0, 3, 5, 7])
def test_an_older_stock_database_is_brought_up(
    database: str, conn: psycopg.Connection[Any], fresh: dict[str, Catalog], version: int
) -> None:
    for v, statement in enumerate(MIGRATIONS[: version + 1]):
        conn.execute(statement.encode())
        conn.execute("INSERT INTO checkpoint_migrations VALUES (%s)", [v])
    if version >= 3:
        conn.execute(
            "INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)"
            " VALUES ('t', 'c', 'k', 0, 'x', '')"
        )
    assert check(conn, S).stock_version == version

    upgrade(database, S)

    assert_same(whole_catalog(database, S), fresh)


def test_an_invalid_leftover_of_the_index_is_built_anew(
    database: str, conn: psycopg.Connection[Any], fresh: dict[str, Catalog]
) -> None:
    stock_setup(database)
    stock_put(database, "t")
    index = "checkpoint_writes_thread_id_task_id_idx"
    conn.execute(f"CREATE INDEX {index} ON checkpoint_writes (idx)".encode())
    conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [index])
    upgrade(database, S)
    assert_same(whole_catalog(database, S), fresh)


def test_writers_go_on_while_the_index_is_built(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    stock_setup(database)
    stock_put(database, "t")
    insert = (
        "INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)"
        " VALUES (%s, 'c', 'k', 0, 'x', '')"
    )
    with psycopg.connect(database) as writer:
        writer.execute(insert, ["open"])
        upgrading = threading.Thread(target=upgrade, args=(database, S))
        upgrading.start()
        wait_for(conn, "SELECT count(*) > 0 FROM pg_stat_progress_create_index")
        conn.execute("SET lock_timeout = '200ms'")
        conn.execute(insert, ["meanwhile"])
        assert upgrading.is_alive()
    upgrading.join()
    assert check(conn, S).up_to_date


def test_a_table_in_use_is_waited_for_in_short_tries(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    stock_setup(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT FROM checkpoints")
        upgrading = threading.Thread(target=upgrade, args=(database, S))
        upgrading.start()
        wait_for(conn, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
        # It gives up soon, so whoever queued behind it goes on.
        started = time.monotonic()
        conn.execute("SELECT FROM checkpoints")
        assert time.monotonic() - started < 3
        assert upgrading.is_alive()
    upgrading.join()
    assert check(conn, S).up_to_date


def test_a_table_in_use_for_too_long_fails_the_migration(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    stock_setup(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT FROM checkpoints")
        with pytest.raises(MigrationFailed, match=r"0002_extend_stock_tables.up.sql.*lock timeout"):
            upgrade(database, S, lock_timeout=0.1)
    assert current(conn, S) == "0001"
    upgrade(database, S)
    assert check(conn, S).up_to_date


def test_stock_tables_made_anew_are_extended_again(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    upgrade(database, S)
    conn.execute(
        "DROP TABLE checkpoints, checkpoint_blobs, checkpoint_writes, checkpoint_migrations"
    )
    stock_setup(database)
    with pytest.raises(SchemaOutdated, match="tables of langgraph-checkpoint-postgres"):
        check(conn, S).require()
    upgrade(database, S)
    check(conn, S).require()
    elsewhere = Schemas(S.record, "elsewhere")
    upgrade(database, elsewhere)
    check(conn, elsewhere).require()


def wait_for(conn: psycopg.Connection[Any], query: str) -> None:
    for _ in range(500):
        if value(conn, query):
            return
        time.sleep(0.02)
    raise AssertionError(f"never true: {query}")


# --- what can go wrong ---


def test_an_edited_file_is_refused_by_name(
    database: str, conn: psycopg.Connection[Any], sql: Path
) -> None:
    upgrade(database, S)
    edited = sql / "0003_create_reference_tables.up.sql"
    edited.write_text(edited.read_text("utf-8") + "\n-- a harmless word\n", "utf-8")
    files.migrations.cache_clear()
    with pytest.raises(MigrationChecksumMismatch, match="0003_create_reference_tables"):
        upgrade(database, S)
    with pytest.raises(MigrationChecksumMismatch, match="0003_create_reference_tables"):
        downgrade(database, S, "0002")
    assert current(conn, S) == head()


def test_line_endings_do_not_count_as_edits(database: str, sql: Path) -> None:
    upgrade(database, S)
    for path in sql.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    files.migrations.cache_clear()
    upgrade(database, S)


def test_a_failing_migration_leaves_nothing_half_done(
    database: str, conn: psycopg.Connection[Any], sql: Path
) -> None:
    bad = sql / "0099_break_things.up.sql"
    bad.write_text("CREATE TABLE {{schema}}.half (); SELECT 1 / 0;", "utf-8")
    (sql / "0099_break_things.down.sql").write_text("DROP TABLE {{schema}}.half;", "utf-8")
    files.migrations.cache_clear()

    with pytest.raises(MigrationFailed, match=r"0099_break_things.up.sql.*division by zero"):
        upgrade(database, S)

    assert value(conn, "SELECT to_regclass('langgraph_persist.half')") is None
    assert value(conn, "SELECT version_num FROM langgraph_persist.schema_version") == REVISIONS[-1]
    assert current(conn, S) == REVISIONS[-1]
    bad.write_text("CREATE TABLE {{schema}}.half ();", "utf-8")
    files.migrations.cache_clear()
    upgrade(database, S)
    assert current(conn, S) == "0099"


def test_a_failing_downgrade_leaves_nothing_half_done(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    upgrade(database, S)
    conn.execute(
        "CREATE VIEW public.users_names AS SELECT name FROM langgraph_persist.organizations"
    )
    with pytest.raises(MigrationFailed, match=r"0003_create_reference_tables.down.sql"):
        downgrade(database, S, "base")
    assert current(conn, S) == "0003"
    assert value(conn, "SELECT count(*) FROM langgraph_persist.users") == 0


def test_a_newer_database_is_refused(database: str, conn: psycopg.Connection[Any]) -> None:
    upgrade(database, S)
    conn.execute("INSERT INTO langgraph_persist.schema_ledger VALUES ('0815_from_the_future', 'x')")
    with pytest.raises(SchemaTooNew, match="0815_from_the_future"):
        upgrade(database, S)
    with pytest.raises(SchemaTooNew, match="upgrade this installation"):
        check(conn, S).require()


def test_an_outdated_database_tells_what_is_missing(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    upgrade(database, S)
    downgrade(database, S, "0008")
    lacking = tuple(m.name for m in files.migrations() if m.revision > "0008")
    assert pending(conn, S) == lacking
    with pytest.raises(SchemaOutdated, match=rf"lacks {', '.join(lacking)}; open it without"):
        check(conn, S).require()


def test_another_migration_is_waited_for_no_longer_than_asked(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    with migration_lock(conn, S, time.monotonic()):
        message = f"backend {conn.info.backend_pid}\\)"
        with pytest.raises(MigrationLockTimeout, match=message):
            upgrade(database, S, lock_timeout=0.2)
        # Who shares the stock tables only has to wait too.
        with pytest.raises(MigrationLockTimeout):
            upgrade(database, Schemas("other", S.checkpoints), lock_timeout=0.2)
        upgrade(database, Schemas("other", "elsewhere"), lock_timeout=0.2)
    upgrade(database, S)
    assert value(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_missing_privilege_names_the_grant(conn: psycopg.Connection[Any]) -> None:
    with role(conn) as name:
        with acting_as(conn, name), pytest.raises(PrivilegeMissing) as caught:
            upgrade(conn, S)
        assert f"GRANT CREATE ON DATABASE {conn.info.dbname} TO {name}" in str(caught.value)
        assert f"GRANT USAGE, CREATE ON SCHEMA public TO {name}" in str(caught.value)
        assert "Persist.migrate(sql=True)" in str(caught.value)


def test_the_owner_of_the_stock_tables_is_asked_for(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    stock_setup(database)
    with role(conn) as name:
        conn.execute(f"GRANT CREATE ON DATABASE {conn.info.dbname} TO {name}".encode())
        conn.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {name}".encode())
        conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}".encode())
        with acting_as(conn, name), pytest.raises(PrivilegeMissing, match="0002_extend") as caught:
            upgrade(conn, S)
        assert f"ALTER TABLE public.checkpoints OWNER TO {name}" in str(caught.value)


def test_what_a_dba_has_migrated_needs_no_privilege_to_create(
    conn: psycopg.Connection[Any],
) -> None:
    conn.execute(ddl(S).encode())
    with role(conn) as name:
        with acting_as(conn, name), pytest.raises(PrivilegeMissing, match="grant USAGE"):
            check(conn, S)
        for schema in S:
            conn.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}".encode())
            conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}".encode())
        with acting_as(conn, name):
            upgrade(conn, S)
            check(conn, S).require()


def test_a_pooler_is_refused_before_anything_is_locked(database: str) -> None:
    class Pooled(psycopg.Connection[Any]):
        @property
        def info(self) -> Any:
            return SimpleNamespace(
                transaction_status=super().info.transaction_status, backend_pid=1
            )

    with Pooled.connect(database) as conn:
        with pytest.raises(ConfigurationError, match="direct connection"):
            upgrade(conn, S)
        with pytest.raises(ConfigurationError, match="direct connection"):
            downgrade(conn, S, "base")
        assert value(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_the_users_own_connection_is_left_as_it_was(database: str) -> None:
    with psycopg.connect(database, row_factory=dict_row) as conn:
        conn.execute("SET search_path = pg_catalog")
        conn.execute("SET lock_timeout = '7s'")
        with pytest.raises(ConfigurationError, match="not in a transaction"):
            upgrade(conn, S)
        conn.commit()
        upgrade(conn, S)
        assert not conn.autocommit
        assert conn.execute("SHOW search_path").fetchone() == {"search_path": "pg_catalog"}
        assert conn.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "7s"}
        assert check(conn, S).up_to_date


def test_a_failed_check_does_not_abort_the_users_transaction(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("CREATE TABLE mine ()")
        assert not check(conn, S).up_to_date
        assert conn.execute("SELECT count(*) FROM mine").fetchone() == (0,)


# --- several installations, and the user's own ---


def test_two_installations_do_not_disturb_each_other(database: str) -> None:
    upgrade(database, ODD)
    before = whole_catalog(database, ODD)
    third = Schemas("third", ODD.checkpoints)
    upgrade(database, S)
    upgrade(database, third)
    assert whole_catalog(database, ODD) == before
    downgrade(database, S, "base")
    downgrade(database, third, "base")
    assert whole_catalog(database, ODD) == before


def test_the_checkpoint_schema_is_where_stock_would_look(conn: psycopg.Connection[Any]) -> None:
    assert find_checkpoint_schema(conn) == "public"
    conn.execute("CREATE SCHEMA a")
    conn.execute("CREATE SCHEMA b")
    conn.execute("SET search_path = a, b, public")
    assert find_checkpoint_schema(conn) == "a"
    conn.execute("CREATE TABLE b.checkpoints ()")
    assert find_checkpoint_schema(conn) == "b"
    conn.execute("SET search_path = nowhere")
    assert find_checkpoint_schema(conn) == "public"


def operations(url: str, metadata: MetaData, **options: Any) -> set[tuple[str, str]]:
    """What the user's own ``alembic revision --autogenerate`` would write."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, metadata)
    return {(op[0], op[-1].name) for op in found if isinstance(op, tuple)}


OWN = {("add_table", "new"), ("remove_table", "gone"), ("add_column", "label")}


@pytest.mark.parametrize("include_schemas", [False, True])
@pytest.mark.parametrize(
    "schemas", [S, ODD, Schemas("public", "public")], ids=["default", "odd", "public"]
)
def test_the_users_autogenerate_sees_their_own_tables_only(
    database: str, conn: psycopg.Connection[Any], schemas: Schemas, include_schemas: bool
) -> None:
    upgrade(database, schemas)
    conn.execute("CREATE TABLE gone (id integer PRIMARY KEY)")
    conn.execute("CREATE TABLE kept (id integer PRIMARY KEY)")
    metadata = MetaData()
    Table("new", metadata, Column("id", Integer, primary_key=True))
    Table("kept", metadata, Column("id", Integer, primary_key=True), Column("label", Integer))

    chosen = include_object if schemas == S else include_object_for(schemas)
    options = {"include_schemas": include_schemas}
    assert operations(database, metadata, include_object=chosen, **options) == OWN
    # Without it, their next migration would drop our tables.
    if include_schemas or schemas != ODD:
        assert operations(database, metadata, **options) > OWN


def test_the_users_table_of_the_same_name_is_theirs(
    database: str, conn: psycopg.Connection[Any]
) -> None:
    upgrade(database, S)
    conn.execute("CREATE TABLE users (id integer PRIMARY KEY)")
    conn.execute("CREATE TABLE sessions (id integer PRIMARY KEY)")
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True), Column("label", Integer))
    assert operations(database, metadata, include_object=include_object) == {
        ("add_column", "label"),
        ("remove_table", "sessions"),
    }
    conn.execute(f"DROP SCHEMA {quote(S.record)} CASCADE".encode())
