"""PgBouncer in transaction mode: every transaction may run on another server connection.

The tests of the saver and the handler run through it too, see ``POOLED`` in conftest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.database.connection import Database
from langgraph_persist.errors import ConfigurationError
from tests.graphs import chain_of
from tests.load import PATIENCE, Load
from tests.servers import PgBouncer, poolers, running_pgbouncer, wait_for

SIZE = 3


@pytest.fixture(params=list(poolers()))
def pooler(request: pytest.FixtureRequest, server_url: str) -> Iterator[PgBouncer]:
    """A small pooler of the test's own."""
    extra = poolers()[request.param] | {"default_pool_size": str(SIZE)}
    with running_pgbouncer(server_url, **extra) as running:
        yield running


@pytest.fixture
def pooled(pooler: PgBouncer, migrated: str) -> str:
    """The migrated database's URL through that pooler."""
    return pooler.url(migrated)


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def put(saver: PostgresSaver, thread_id: str) -> Any:
    return saver.put(thread(thread_id), empty_checkpoint(), {"source": "input", "step": -1}, {})


def get(saver: PostgresSaver, thread_id: str) -> Any:
    return saver.get_tuple(thread(thread_id))


def put_and_get(saver: PostgresSaver, rounds: int = 8) -> None:
    """What several threads write at once is what each of them reads."""

    def one(number: int) -> None:
        for _ in range(rounds):
            put(saver, f"t{number}")
            found = saver.get_tuple(thread(f"t{number}"))
            assert found is not None
            assert found.config["configurable"]["thread_id"] == f"t{number}"

    with ThreadPoolExecutor(SIZE * 2) as executor:
        list(executor.map(one, range(SIZE * 2)))


def test_a_pooler_is_detected(pooled: str, migrated: str) -> None:
    for url, threshold in ((pooled, None), (migrated, 5)):
        database = Database(url)
        with database.connection() as conn, database.connect() as own:
            assert conn.prepare_threshold == own.prepare_threshold == threshold
        database.close()


@contextmanager
def given(url: str, kind: str) -> Iterator[Any]:
    """A pool or connection of the user's, which prepares every statement at once."""
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0}
    if kind == "pool":
        with ConnectionPool(url, min_size=2, max_size=4, kwargs=options, open=True) as pool:
            yield pool
    else:
        with psycopg.connect(url, **options) as conn:
            yield conn


@pytest.mark.parametrize("kind", ["pool", "connection"])
def test_nothing_is_prepared_on_what_the_user_gives(pooled: str, migrated: str, kind: str) -> None:
    with given(pooled, kind) as target, given(pooled, kind) as another:
        savers = [PersistSaver(each) for each in (target, another)]
        for saver in savers:
            put_and_get(saver)
            saver.prune(["t0"])
            saver.delete_thread("t1")
        for saver in savers:
            saver.close()
        with ExitStack() as stack:
            conn = stack.enter_context(target.connection()) if kind == "pool" else target
            assert conn.prepare_threshold == 0


def test_stock_prepares_statements_that_others_meet(pooler: PgBouncer, pooled: str) -> None:
    """Where PgBouncer does not keep prepared statements apart, stock fails and ours does not."""
    with (
        PersistSaver.from_conn_string(pooled) as ours,
        PersistSaver.from_conn_string(pooled) as others,
    ):
        put(ours, "t")
        put(others, "t")
    if pooler.settings.get("max_prepared_statements", "0") != "0":
        return
    with (
        PostgresSaver.from_conn_string(pooled) as first,
        PostgresSaver.from_conn_string(pooled) as second,
        pytest.raises((psycopg.errors.DuplicatePreparedStatement, psycopg.DataError)),
    ):
        put(first, "t")
        put(second, "t")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_runs_go_on_when_server_connections_end(pooled: str, migrated: str, mode: str) -> None:
    with Persist(pooled) as persist:
        load = Load(persist)
        with load.running(mode):
            load.end_connections(migrated, 20)
            load.wait_for_turns(4)
        load.check(migrated)


def test_runs_go_on_when_the_pooler_restarts(pooler: PgBouncer, pooled: str, migrated: str) -> None:
    with Persist(pooled) as persist:
        load = Load(persist)
        with load.running("sync"):
            for _ in range(2):
                load.wait_for_turns(4)
                pooler.stop()
                pooler.start()
            load.wait_for_turns(8)
        load.check(migrated)


def occupied(stack: ExitStack, url: str) -> None:
    """Occupies one of the pooler's server connections until the stack is closed."""
    while True:
        try:
            holder = stack.enter_context(psycopg.connect(url))
            holder.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            continue  # the server took too long to give the pooler a connection


@pytest.mark.parametrize("kind", list(poolers()))
@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_busy_pooler_is_waited_for(
    server_url: str, migrated: str, kind: str, operation: str
) -> None:
    """PgBouncer ends clients that waited ``query_wait_timeout`` for a server connection."""
    extra = poolers()[kind] | {"default_pool_size": str(SIZE), "query_wait_timeout": "1"}
    with running_pgbouncer(server_url, **extra) as pooler, ThreadPoolExecutor(1) as executor:
        saver = PersistSaver(pooler.url(migrated))
        put(saver, "t")
        with ExitStack() as stack:
            for _ in range(SIZE):
                occupied(stack, pooler.url(migrated))
            ended = pooler.logged("query_wait_timeout")
            work = put if operation == "put" else get
            waiting = executor.submit(work, saver, "t")
            wait_for(
                "the end of two tries",
                lambda: waiting.done() or pooler.logged("query_wait_timeout") >= ended + 2,
            )
            assert not waiting.done()
        assert waiting.result(PATIENCE) is not None
        saver.close()


def test_migrations_ask_for_a_direct_connection(pooler: PgBouncer, database: str) -> None:
    pooled = pooler.url(database)
    for open_ in (Persist(pooled).open, PersistSaver(pooled).setup):
        with pytest.raises(ConfigurationError, match=r"need a direct connection.*a pooler"):
            open_()
    script = Persist.migrate(pooled, sql=True)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(script.encode())
    with Persist(pooled) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        assert graph.invoke({"count": 0}, persist.config("t"))["count"] == 1
        assert persist.history.last().status == "completed"


def test_any_checkpoint_schema_works_behind_it(pooler: PgBouncer, database: str) -> None:
    """For all there is to call: no table has a name that could be found without its schema."""
    places: dict[str, Any] = {"schema": 'my "record', "checkpoint_schema": "else where"}
    Persist.migrate(database, **places)
    with Persist(pooler.url(database), **places) as persist:
        saver = persist.checkpointer
        graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=saver))
        for thread_id in ("t", "u", "v"):
            graph.invoke({"count": 0}, persist.config(thread_id, run="one"))
        asyncio.run(graph.ainvoke({"count": 0}, persist.config("w")))
        saver.prune(["t"])
        saver.delete_thread("u", record="delete")
        saver.copy_thread("v", "x", record=True)
        saver.delete_for_runs(["no such run"])
        assert {t.thread_id: t.checkpoints for t in persist.threads()} == {
            "t": 1,
            "v": 4,
            "w": 4,
            "x": 4,
        }
        assert len([*saver.list(None, filter={"run": "one"})]) == 9
        history = saver.get_delta_channel_history(config=thread("v"), channels=["log"])
        assert history["log"]["writes"]
        assert persist.retain(keep_last=2, record_older_than=timedelta(1)).rows["checkpoints"] == 6
        assert persist.history.last().state_after("b")["log"] == ["a", "b"]
        assert graph.invoke({"count": 0}, persist.config("x"))["log"] == ["a", "b"] * 2
    with Persist(database, **places) as persist:
        persist.index_metadata()
