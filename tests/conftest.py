"""Fixtures: one server a session, one migrated database a session, its rows deleted per test."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from langgraph_persist import Persist
from langgraph_persist.database.queries import Schemas, quote
from tests import citus
from tests.servers import PgBouncer, folder, poolers, running_pgbouncer

POOLED = {
    f"tests.test_{name}"
    for name in (
        "saver",
        "conformance",
        "concurrency",
        "encryption",
        "reading",
        "retention",
        "handler",
    )
}

LEFT_OUT = pytest.StashKey[Counter[str]]()

# What a test may fill; the rest goes with its session.
ROWS = [
    "langgraph_persist.sessions",
    "langgraph_persist.report_models",
    "langgraph_persist.report_nodes",
    "langgraph_persist.report_periods",
    "langgraph_persist.report_users",
    "langgraph_persist.tools",
    "langgraph_persist.usage_metrics",
    "langgraph_persist.users",
    "langgraph_persist.organizations",
    "public.checkpoints",
    "public.checkpoint_blobs",
    "public.checkpoint_writes",
]


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A superuser's URL on a real server: the one named by the environment, else the embedded."""
    if url := os.environ.get("LANGGRAPH_PERSIST_TEST_URL"):
        yield url
        return
    from langgraph_persist.database.embedded import start_embedded

    # PgBouncer, which is run as another account, must reach the server's socket.
    with folder() as home, start_embedded(home / ".langgraph_persist") as server:
        server.directory.chmod(0o755)
        yield server.url


def sibling(url: str, database: str) -> str:
    """The same server's URL for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def make_database(server_url: str, *, spread: bool = True) -> str:
    """A fresh empty database's URL; a cluster's workers have it too, if it is to be spread."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {quote(name)} TEMPLATE template0 ENCODING 'UTF8'".encode())
    url = sibling(server_url, name)
    if spread and citus.leads(server_url):
        citus.join_cluster(server_url, url)
    return url


def make_migrated_database(server_url: str) -> str:
    """A fresh database with all tables."""
    from langgraph_persist.migrate import upgrade

    url = make_database(server_url)
    upgrade(url, Schemas())
    if citus.leads(server_url):
        citus.distribute(url)
    return url


def drop_database(server_url: str, url: str) -> None:
    name = urlsplit(url).path.lstrip("/")
    if citus.leads(server_url):
        citus.leave_cluster(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)".encode())


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    """The URL of a fresh empty database, dropped afterwards."""
    url = make_database(server_url)
    yield url
    drop_database(server_url, url)


@pytest.fixture(scope="session")
def _migrated_database(server_url: str) -> Iterator[str]:
    url = make_migrated_database(server_url)
    yield url
    drop_database(server_url, url)


@pytest.fixture
def migrated_anew(server_url: str) -> Iterator[str]:
    """The URL of a fresh database with all tables, dropped afterwards."""
    url = make_migrated_database(server_url)
    yield url
    drop_database(server_url, url)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other engine: Citus, or plain PostgreSQL."""
    other = "plain_postgres" if citus.ENABLED else "citus"
    marks = {item: mark for item in items if (mark := item.get_closest_marker(other))}
    config.hook.pytest_deselected(items=[*marks])
    items[:] = [item for item in items if item not in marks]
    config.stash[LEFT_OUT] = Counter(map(_reason, marks.values()))


def _reason(mark: pytest.Mark) -> str:
    if mark.name == "citus":
        return "no Citus cluster is given"
    if not mark.args:
        raise pytest.UsageError("a test marked plain_postgres says why: plain_postgres(reason)")
    return str(mark.args[0])


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let tests interrupt a worker of pytest-xdist, which ignores that, as they do any process."""
    if hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells what it has left out, as all others have."""
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        left_out = session.config.stash.get(LEFT_OUT, Counter())
        told["left_out"] = {**left_out}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in terminalreporter.config.stash.get(LEFT_OUT, Counter()).most_common():
        terminalreporter.line(f"{count} left out: {reason}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of the saver and the handler run once more through each kind of pooler."""
    unpooled = metafunc.definition.get_closest_marker("unpooled")
    if "migrated" in metafunc.fixturenames and metafunc.module.__name__ in POOLED and not unpooled:
        ways = [pytest.param("direct", id=pytest.HIDDEN_PARAM), *poolers()]
        metafunc.parametrize("migrated", ways, indirect=True)


@pytest.fixture(scope="session")
def _pooler(server_url: str) -> Iterator[Callable[[str, str], str]]:
    """Gives URLs through a pooler of a kind, which is started when first asked for."""
    with ExitStack() as stack:
        started: dict[str, PgBouncer] = {}

        def through(kind: str, url: str) -> str:
            if kind not in started:
                extra = poolers()[kind]
                started[kind] = stack.enter_context(running_pgbouncer(server_url, **extra))
            return started[kind].url(url)

        yield through


@pytest.fixture
def direct(_migrated_database: str) -> str:
    """The migrated database's URL for stock, which ``migrated`` may not be: a pooler's, say."""
    return _migrated_database


@pytest.fixture
def migrated(request: pytest.FixtureRequest, _migrated_database: str) -> Iterator[str]:
    """The URL of the migrated database; its rows are deleted after the test."""
    kind = getattr(request, "param", "direct")
    if kind == "direct":
        yield _migrated_database
    else:
        yield request.getfixturevalue("_pooler")(kind, _migrated_database)
    with psycopg.connect(_migrated_database, autocommit=True) as conn, conn.transaction():
        if citus.ENABLED:
            conn.execute("SET LOCAL citus.multi_shard_modify_mode TO sequential")
        for table in ROWS:
            conn.execute(f"DELETE FROM {table}".encode())


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


@pytest.fixture
def rows(migrated: str) -> Callable[..., list[dict[str, Any]]]:
    """Runs a query in a connection of its own, so that it sees only what is committed."""

    def query(sql: str, *args: Any) -> list[dict[str, Any]]:
        with psycopg.connect(migrated, row_factory=dict_row) as conn:
            conn.execute("SET search_path = langgraph_persist, public")
            return conn.execute(sql.encode(), args).fetchall()

    return query


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with no URL in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANGGRAPH_PERSIST_URL", raising=False)
    return tmp_path
