"""What stock ``PostgresSaver`` does not do and ours does: each claim is tried on both.

A claim that stock meets one day fails here, so that the README's table stays true.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from langgraph_persist import PersistSaver
from tests.conftest import drop_database, make_database
from tests.graphs import chain_of
from tests.test_encryption import SECRET, Xor, secrets_of

Saver: TypeAlias = PostgresSaver
Opener: TypeAlias = Callable[..., Saver]


STOCK = pytest.param("stock", marks=pytest.mark.plain_postgres)


@pytest.fixture(params=[STOCK, "ours"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_saver(kind: str, migrated: str) -> Iterator[Opener]:
    """Opens a saver of the kind, on a pool, with the options given."""
    with ExitStack() as stack:

        def open_one(**options: Any) -> Saver:
            if kind == "ours":
                saver = PersistSaver(migrated, **options)
                stack.callback(saver.close)
                return saver
            kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
            pool: Any = ConnectionPool(migrated, min_size=1, max_size=4, kwargs=kwargs, open=True)
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
    ["nul \x00", "lone \ud800", float("inf"), float("-inf")],
    ids=["NUL", "surrogate", "inf", "-inf"],
)
def test_keeps_any_primitive(kind: str, open_saver: Opener, value: Any) -> None:
    with expected(kind, psycopg.Error, TypeError, UnicodeError, ValueError):
        assert put(open_saver(), value) == value


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


def test_lives_in_a_schema_of_choice(kind: str, open_saver: Opener) -> None:
    with expected(kind, TypeError):
        saver = open_saver(checkpoint_schema="langgraph_persist_checkpoints")
        assert isinstance(saver, BaseCheckpointSaver)


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
