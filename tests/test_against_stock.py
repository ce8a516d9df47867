"""What stock ``PostgresSaver`` does not do and ours does: each claim is tried on both.

A claim that stock meets one day fails here, so that the README's table stays true.
"""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any, TypeAlias

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist, PersistSaver
from tests.conftest import drop_database, make_database
from tests.graphs import chain_of
from tests.load import PATIENCE
from tests.servers import poolers, running_pgbouncer, wait_for
from tests.test_encryption import SECRET, Xor, secrets_of
from tests.test_reading import fill, live_memory
from tests.test_retention import delta_graph
from tests.test_saver import plain

Saver: TypeAlias = PostgresSaver
Opener: TypeAlias = Callable[..., Saver]


STOCK = pytest.param("stock", marks=pytest.mark.plain_postgres("stock reads no distributed tables"))


@pytest.fixture(params=[STOCK, "ours"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_saver(kind: str, migrated: str) -> Iterator[Opener]:
    """Opens a saver of the kind, on a pool, with the URL and options given."""
    with ExitStack() as stack:

        def open_one(url: str = migrated, **options: Any) -> Saver:
            if kind == "ours":
                saver = PersistSaver(url, **options)
                stack.callback(saver.close)
                return saver
            kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
            pool: Any = ConnectionPool(url, min_size=1, max_size=4, kwargs=kwargs, open=True)
            stack.enter_context(pool)
            return PostgresSaver(pool, **options)

        yield open_one


class expected:
    """The claim in the block holds for ours; for stock it ends in one of these errors."""

    def __init__(self, kind: str, *errors: type[BaseException]) -> None:
        self.errors = errors if kind == "stock" else ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self.errors:
            assert kind is not None, "stock does this now"
            return issubclass(kind, self.errors)
        return False


def config(thread_id: str = "t") -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def put(saver: Saver, value: Any, thread_id: str = "t") -> Any:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": value}
    version = saver.get_next_version(None, None)
    checkpoint["channel_versions"] = {"c": version}
    metadata: Any = {"source": "input", "step": -1}
    saved = saver.put(config(thread_id), checkpoint, metadata, {"c": version})
    found = saver.get_tuple(saved)
    assert found is not None
    return found.checkpoint["channel_values"]["c"]


def test_copies_threads(kind: str, open_saver: Opener) -> None:
    saver = open_saver()
    put(saver, "x")
    with expected(kind, NotImplementedError):
        saver.copy_thread("t", "u")
        assert saver.get_tuple(config("u")) is not None


def test_deletes_for_runs(kind: str, open_saver: Opener) -> None:
    with expected(kind, NotImplementedError):
        open_saver().delete_for_runs(["r"])


@pytest.mark.parametrize(
    "value",
    ["nul \x00", "lone \ud800", float("inf"), float("-inf"), float("nan"), 1e300],
    ids=["NUL", "surrogate", "inf", "-inf", "NaN", "large float"],
)
def test_keeps_any_primitive(kind: str, open_saver: Opener, value: Any) -> None:
    with expected(kind, psycopg.Error, TypeError, UnicodeError, ValueError, AssertionError):
        found = put(open_saver(), value)
        assert plain(found) == plain(value)
        assert type(found) is type(value)


@pytest.mark.parametrize("value", ["nul \x00", "\ud800", float("inf"), [1e300, {"\x00": 10**30}]])
def test_keeps_any_primitive_in_metadata(kind: str, open_saver: Opener, value: Any) -> None:
    saver = open_saver()
    metadata: Any = {"source": "input", "step": -1, "note": value}
    with expected(kind, psycopg.Error, UnicodeError, ValueError, AssertionError):
        saved = saver.put(config(), empty_checkpoint(), metadata, {})
        found = saver.get_tuple(saved)
        assert found is not None
        assert found.metadata == metadata


@pytest.mark.parametrize("value", [["lone \ud800"], {"k": [10**30]}], ids=["surrogate", "large"])
def test_keeps_any_primitive_nested(kind: str, open_saver: Opener, value: Any) -> None:
    saver = open_saver()
    saved = saver.put(config(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    with expected(kind, TypeError, AssertionError):
        saver.put_writes(saved, [("c", value)], "task")
        found = saver.get_tuple(saved)
        assert found is not None
        assert found.pending_writes == [("task", "c", value)]


def test_encrypts_every_value(kind: str, open_saver: Opener, migrated: str) -> None:
    saver = open_saver(serde=EncryptedSerializer(Xor()))
    chain_of(["a"]).compile(checkpointer=saver).invoke({"note": SECRET}, config())
    with expected(kind, AssertionError):
        assert secrets_of(migrated) == []


def test_many_set_up_at_once(kind: str, server_url: str) -> None:
    url = make_database(server_url)
    errors: list[BaseException] = []

    def set_up() -> None:
        try:
            if kind == "ours":
                with PersistSaver.from_conn_string(url) as ours:
                    ours.setup()
            else:
                with PostgresSaver.from_conn_string(url) as stock:
                    stock.setup()
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=set_up) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drop_database(server_url, url)
    with expected(kind, AssertionError):
        assert errors == []


def test_outlives_killed_connections(kind: str, open_saver: Opener, migrated: str) -> None:
    saver = open_saver()
    put(saver, "x")
    with expected(kind, psycopg.OperationalError):
        for _ in range(5):
            with psycopg.connect(migrated, autocommit=True) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            assert put(saver, "y") == "y"


def test_lives_in_a_schema_of_choice(kind: str, open_saver: Opener, database: str) -> None:
    with expected(kind, TypeError):
        open_saver(database, checkpoint_schema="my checkpoints").setup()
        saver = open_saver(database, checkpoint_schema="my checkpoints")
        assert put(saver, "x") == "x"
        with psycopg.connect(database) as conn:
            found = conn.execute('SELECT thread_id FROM "my checkpoints".checkpoints').fetchall()
            assert found == [("t",)]


def test_serves_async_with_the_same_object(kind: str, open_saver: Opener) -> None:
    graph = chain_of(["a"]).compile(checkpointer=open_saver())
    with expected(kind, NotImplementedError):
        assert asyncio.run(graph.ainvoke({"count": 0}, config()))["count"] == 1


def test_names_what_cannot_be_serialised(kind: str, open_saver: Opener) -> None:
    with expected(kind, AssertionError):
        try:
            put(open_saver(), object())
        except TypeError as error:
            told = str(error)
        assert "'c'" in told
        assert "'t'" in told


def test_prunes_delta_threads(kind: str, open_saver: Opener) -> None:
    saver = open_saver()
    graph = delta_graph(saver)
    for _ in range(6):
        graph.invoke({"log": ["in"]}, config())
    before = graph.get_state(config()).values
    with expected(kind, NotImplementedError):
        saver.prune(["t"])
        assert graph.get_state(config()).values == before
        assert len([*saver.list(config())]) < 10


def test_keeps_as_many_checkpoints_as_asked(kind: str, open_saver: Opener, migrated: str) -> None:
    saver = open_saver()
    for number in range(5):
        put(saver, [number])
    with Persist(migrated) as persist, expected(kind, AttributeError):
        owner: Any = persist if kind == "ours" else saver
        owner.retain(keep_last=2, older_than=timedelta(0), grace=timedelta(0))
        assert [t.checkpoint["channel_values"]["c"] for t in saver.list(config())] == [[4], [3]]


def test_tells_which_threads_there_are(kind: str, open_saver: Opener, migrated: str) -> None:
    saver = open_saver()
    for thread_id in ("t", "u"):
        put(saver, "x", thread_id)
    with Persist(migrated) as persist, expected(kind, AttributeError):
        owner: Any = persist if kind == "ours" else saver
        assert [thread.thread_id for thread in owner.threads()] == ["u", "t"]


def test_lists_a_few_at_a_time(kind: str, open_saver: Opener, migrated: str) -> None:
    fill(migrated, "t", 2_000)
    saver = open_saver()
    put(saver, "x", "small")
    tracemalloc.start()
    try:
        used = [memory_after_the_first(saver.list(config(name))) for name in ("small", "t")]
    finally:
        tracemalloc.stop()
    with expected(kind, AssertionError):
        assert used[1] - used[0] < 1_000_000


def memory_after_the_first(items: Any) -> int:
    with closing(items):  # stock holds its lock until the last one is taken
        next(items)
        return live_memory()


def test_stores_a_long_text_once(kind: str, open_saver: Opener, migrated: str) -> None:
    graph = chain_of(["a", "b", "c"]).compile(checkpointer=open_saver())
    graph.invoke({"note": "".join(map(str, range(20_000)))}, config())
    with psycopg.connect(migrated) as conn:
        sql = "SELECT length(string_agg(checkpoint::text, '')) FROM checkpoints"
        (size,) = conn.execute(sql.encode()).fetchone() or (0,)
    with expected(kind, AssertionError):
        assert size < 20_000


def test_reads_while_a_write_waits(kind: str, open_saver: Opener, migrated: str) -> None:
    saver = open_saver()
    put(saver, "x")
    waiting = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%checkpoints%'"
    )
    with (
        ThreadPoolExecutor(2) as executor,
        psycopg.connect(migrated) as blocker,
        psycopg.connect(migrated, autocommit=True) as conn,
    ):
        blocker.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")
        write = executor.submit(put, saver, "y", "u")
        wait_for("the write", lambda: conn.execute(waiting).fetchone() is not None)
        read = executor.submit(saver.get_tuple, config())
        with expected(kind, TimeoutError):
            assert read.result(2 if kind == "stock" else PATIENCE) is not None
        assert not write.done()
        blocker.rollback()
        assert write.result(PATIENCE) == "y"


def test_works_behind_a_pooler(kind: str, server_url: str, migrated: str) -> None:
    """In transaction mode, where the pooler does not keep prepared statements apart."""
    saver = PersistSaver if kind == "ours" else PostgresSaver
    with (
        running_pgbouncer(server_url, **poolers()["pgbouncer"]) as pooler,
        ExitStack() as stack,
        expected(kind, psycopg.errors.DuplicatePreparedStatement, psycopg.DataError),
    ):
        for thread_id in ("t", "u"):
            opened = stack.enter_context(saver.from_conn_string(pooler.url(migrated)))
            assert put(opened, [1], thread_id) == [1]


@pytest.mark.citus
@pytest.mark.parametrize("kind", ["stock", "ours"])
def test_serves_tables_that_citus_distributes(kind: str, open_saver: Opener) -> None:
    saver = open_saver()
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    with expected(kind, psycopg.Error):
        graph.invoke({"count": 0}, config())
        assert graph.get_state(config()).values["log"] == ["a", "b"]
        assert len([*saver.list(config())]) == 4
        saver.prune(["t"])
        assert len([*saver.list(config())]) == 1
