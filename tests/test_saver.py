"""The saver by itself: stock compatibility, accepted targets, odd values, durability."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypedDict

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langchain_core.utils.uuid import uuid7
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from langgraph_persist import PersistSaver
from langgraph_persist.database.connection import Database
from langgraph_persist.errors import (
    ConfigurationError,
    DurabilityError,
    SchemaOutdated,
    UnserializableValue,
)
from tests.graphs import approval_graph, chain_of
from tests.test_encryption import Xor


@pytest.fixture
def saver(migrated: str) -> Iterator[PersistSaver]:
    with PersistSaver.from_conn_string(migrated) as opened:
        yield opened


def config(thread_id: str = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}}


@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_stock_ours_stock_share_a_thread(migrated: str, direct: str) -> None:
    builder = approval_graph()
    with PostgresSaver.from_conn_string(direct) as stock:
        builder.compile(checkpointer=stock).invoke({"count": 0}, config())
    with PersistSaver.from_conn_string(migrated) as ours:
        graph = builder.compile(checkpointer=ours)
        assert graph.get_state(config()).next == ("ask",)
        assert graph.invoke(Command(resume="yes"), config())["log"] == [
            "draft",
            "ask:yes",
            "publish",
        ]
        graph.invoke({"count": 7}, config())
    with PostgresSaver.from_conn_string(direct) as stock:
        graph = builder.compile(checkpointer=stock)
        state = graph.invoke(Command(resume="no"), config())
        assert state["log"] == ["draft", "ask:yes", "publish", "draft", "ask:no", "publish"]
        stock_history = [*graph.get_state_history(config())]
    with PersistSaver.from_conn_string(migrated) as ours:
        history = [*builder.compile(checkpointer=ours).get_state_history(config())]
    assert history == stock_history
    assert len(history) == 10


@pytest.mark.plain_postgres("stock reads no distributed tables")
async def test_async_stock_reads_what_sync_ours_wrote(migrated: str, direct: str) -> None:
    builder = chain_of(["a", "b"])
    with PersistSaver.from_conn_string(migrated) as ours:
        builder.compile(checkpointer=ours).invoke({"count": 0}, config())
        async with AsyncPostgresSaver.from_conn_string(direct) as stock:
            graph = builder.compile(checkpointer=stock)
            assert (await graph.aget_state(config())).values["log"] == ["a", "b"]
            await graph.ainvoke({"count": 0}, config())
        state = await builder.compile(checkpointer=ours).aget_state(config())
        assert state.values["log"] == ["a", "b", "a", "b"]


def test_stock_setup_finds_nothing_to_do(database: str) -> None:
    saver = PersistSaver(database)
    saver.setup()
    saver.close()
    with PostgresSaver.from_conn_string(database) as stock:
        stock.setup()
        assert chain_of(["a"]).compile(checkpointer=stock).invoke({"count": 0}, config())
        created = stock.conn.execute(  # type: ignore[union-attr]
            "SELECT count(*) AS n FROM checkpoints WHERE created_at IS NOT NULL"
        ).fetchone()
    assert created == {"n": 3}


def test_missing_tables_are_named_with_the_remedy(database: str) -> None:
    with (
        PersistSaver.from_conn_string(database) as saver,
        pytest.raises(SchemaOutdated, match=r"does not exist; .*call setup\(\)"),
    ):
        saver.get_tuple(config())


def targets(url: str) -> Iterator[Any]:
    yield url
    with ConnectionPool(url, min_size=1, max_size=2, open=True) as pool:
        yield pool
    with ConnectionPool(
        url,
        max_size=1,
        min_size=1,
        kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0},
    ) as pool:
        yield pool
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn
    with psycopg.connect(url) as conn:
        yield conn


@pytest.mark.parametrize("kind", range(5))
def test_accepted_targets(migrated: str, kind: int) -> None:
    for number, target in enumerate(targets(migrated)):
        if number != kind:
            continue
        saver = PersistSaver(target)
        graph = approval_graph().compile(checkpointer=saver)
        graph.invoke({"count": 0}, config())
        with psycopg.connect(migrated) as other:
            (count,) = other.execute("SELECT count(*) FROM checkpoints").fetchone() or (0,)
        assert count == 3
        asyncio.run(graph.ainvoke(Command(resume="yes"), config()))
        assert len([*graph.get_state_history(config())]) == 5
        saver.close()


def test_a_wrong_target_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not int"):
        PersistSaver(5)  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """The value with a text for every NaN, which equals nothing."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [*map(plain, value)] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "nul \x00 inside",
        "ünïcode \U0001f600",
        float("inf"),
        float("-inf"),
        float("nan"),
        {"k": [float("nan"), float("inf")]},
        "long " * 1000,
        1.5,
        -0.0,
        1e300,
        2**63 - 1,
        -(2**63),
        True,
        None,
        ["nested", {"k": [1, 2]}],
        10**30,
        -(2**63) - 1,
        "lone \ud800",
        ["lone \udfff", {"k\ud800": [10**40, "\x00"]}],
        {10**30: 1},
        HumanMessage("lone \ud800", additional_kwargs={"n": 10**40}),
        {"a", 10**30},
    ],
)
def test_values_come_back_equal(saver: PersistSaver, value: Any) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": value}
    version = saver.get_next_version(None, None)
    checkpoint["channel_versions"] = {"c": version}
    saved = saver.put(config(), checkpoint, {"source": "input", "step": -1}, {"c": version})
    found = saver.get_tuple(saved)
    assert found is not None
    assert plain(found.checkpoint["channel_values"]["c"]) == plain(value)
    assert type(found.checkpoint["channel_values"]["c"]) is type(value)


def test_read_your_own_writes(saver: PersistSaver) -> None:
    checkpoint = empty_checkpoint()
    saved = saver.put(config(), checkpoint, {"source": "input", "step": -1}, {})
    saver.put_writes(saved, [("a", 1), ("b", "x")], "task-1", "path")
    saver.put_writes(saved, [("a", 2)], "task-1", "path")
    saver.put_writes(saved, [("__interrupt__", 1)], "task-2")
    saver.put_writes(saved, [("__interrupt__", 2)], "task-2")
    found = saver.get_tuple(config())
    assert found is not None
    assert sorted(found.pending_writes or []) == [
        ("task-1", "a", 1),
        ("task-1", "b", "x"),
        ("task-2", "__interrupt__", 2),
    ]


def test_with_allowlist_shares_the_journal(saver: PersistSaver) -> None:
    clone = saver.with_allowlist([("tests.graphs", "Steps")])
    assert isinstance(clone, PersistSaver)
    assert clone.journal is saver.journal
    again = copy.copy(saver)
    again.put(config(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    assert saver.get_tuple(config()) is not None


def test_an_unserialisable_value_leaves_the_thread_usable(saver: PersistSaver) -> None:
    def bad(state: Any) -> Any:
        return {"note": object.__new__(type("Local", (), {"__reduce_ex__": None}))}

    builder = chain_of(["a"])
    builder.add_node("bad", bad)
    builder.add_edge("a", "bad")
    with pytest.raises(UnserializableValue, match=r"'note' of thread 't'.*node 'bad'.*Local"):
        builder.compile(checkpointer=saver).invoke({"count": 0}, config())
    before = saver.get_tuple(config())
    assert before is not None
    graph = chain_of(["a"]).compile(checkpointer=saver)
    assert graph.invoke({"count": 0}, config())["log"] == ["a", "a"]
    assert len([*saver.list(config())]) > 3


def test_a_put_that_fails_says_so_and_the_next_works(saver: PersistSaver, migrated: str) -> None:
    with psycopg.connect(migrated, autocommit=True) as conn:
        conn.execute("ALTER TABLE checkpoints ADD CONSTRAINT no_x CHECK (thread_id <> 'x')")
        try:
            with pytest.raises(DurabilityError, match="no_x") as caught:
                saver.put(config("x"), empty_checkpoint(), {"source": "input", "step": -1}, {})
            assert isinstance(caught.value.__cause__, psycopg.errors.CheckViolation)
        finally:
            conn.execute("ALTER TABLE checkpoints DROP CONSTRAINT no_x")
    saver.put(config("x"), empty_checkpoint(), {"source": "input", "step": -1}, {})
    assert saver.get_tuple(config("x")) is not None


async def test_one_object_serves_loops_and_threads(saver: PersistSaver) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)

    async def one(number: int) -> Any:
        return await graph.ainvoke({"count": 0}, config(f"async-{number}"))

    results = await asyncio.gather(
        *[one(n) for n in range(20)],
        *[asyncio.to_thread(graph.invoke, {"count": 0}, config(f"sync-{n}")) for n in range(20)],
    )
    assert all(r["count"] == 2 for r in results)
    assert len({t.config["configurable"]["thread_id"] for t in saver.list(None)}) == 40


def test_thread_id_with_nul_is_refused(saver: PersistSaver) -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        saver.put(config("a\x00b"), empty_checkpoint(), {"source": "input", "step": -1}, {})


def test_inherited_statements_use_the_checkpoint_schema(database: str) -> None:
    saver = PersistSaver(database, checkpoint_schema="else where", schema='my "record')
    saver.setup()
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    for thread_id in ("t", "u", "v"):
        graph.invoke({"count": 0}, config(thread_id))
    saver.prune(["t"])
    saver.delete_thread("u")
    assert len([*saver.list(config("t"))]) == 1
    assert saver.get_tuple(config("u")) is None
    assert saver.get_delta_channel_history(config=config("v"), channels=["log"])["log"]["writes"]
    saver.close()


ANY_CHARACTER = st.characters(categories=["Cs", "Cc", "Lu"])

nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60, max_value=2**90)
    | st.floats()
    | st.text()
    | st.text(ANY_CHARACTER)
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=nested)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_nested_state_comes_back_equal(saver: PersistSaver, value: Any) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": value}
    version = saver.get_next_version(None, None)
    checkpoint["channel_versions"] = {"c": version}
    thread = config(str(uuid7()))
    saved = saver.put(thread, checkpoint, {"source": "input", "step": -1}, {"c": version})
    saver.put_writes(saved, [("c", value)], "task")
    found = saver.get_tuple(saved)
    assert found is not None
    assert plain(found.checkpoint["channel_values"]["c"]) == plain(value)
    assert found.pending_writes is not None
    assert plain([*found.pending_writes[0]]) == plain(["task", "c", value])


@given(
    note=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY_CHARACTER),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(ANY_CHARACTER, max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    key=st.text(ANY_CHARACTER, min_size=1, max_size=5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_metadata_comes_back_equal(saver: PersistSaver, key: str, note: Any) -> None:
    assume(key not in ("source", "step") and not key.startswith("__"))
    metadata: Any = {"source": "input", "step": -1, key: note}
    saved = saver.put(config(str(uuid7())), empty_checkpoint(), metadata, {})
    found = saver.get_tuple(saved)
    assert found is not None
    assert plain(found.metadata) == plain(metadata)


@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_stock_reads_large_integers_and_surrogates(saver: PersistSaver, direct: str) -> None:
    value = {"big": 16**6000, "text": "lone \ud800", "list": [2**64, {"k": "\udc00"}]}
    saved = saver.put(config(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    saver.put_writes(saved, [("c", value)], "task")
    with PostgresSaver.from_conn_string(direct) as stock:
        found = stock.get_tuple(saved)
    assert found is not None
    assert found.pending_writes == [("task", "c", value)]


def test_a_strict_serializer_reads_them_too(migrated: str) -> None:
    saver = PersistSaver(migrated, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    saved = saver.put(config(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    saver.put_writes(saved, [("c", [10**30, "\ud800"])], "task")
    found = saver.get_tuple(saved)
    assert found is not None
    assert found.pending_writes == [("task", "c", [10**30, "\ud800"])]
    saver.close()


def test_a_value_too_large_is_refused_before_anything_is_written(
    saver: PersistSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.saver.saver.LARGEST_VALUE", 1000)
    graph = chain_of(["a"]).compile(checkpointer=saver)
    with pytest.raises(UnserializableValue, match=r"of thread 't' takes 2,0.*Store it"):
        graph.invoke({"note": "x\x00" * 1000}, config())
    assert saver.get_tuple(config()) is None
    assert graph.invoke({"note": "x"}, config())["log"] == ["a"]


def test_100_megabytes_in_one_channel(saver: PersistSaver) -> None:
    value = os.urandom(100_000_000)
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": value}
    checkpoint["channel_versions"] = {"c": "1"}
    saved = saver.put(config(), checkpoint, {"source": "input", "step": -1}, {"c": "1"})
    found = saver.get_tuple(saved)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"c": value}


@pytest.mark.parametrize("v", [3, 4])
def test_checkpoints_too_large_for_one_row_are_read_in_parts(
    saver: PersistSaver, monkeypatch: pytest.MonkeyPatch, v: int
) -> None:
    checkpoint, saved = empty_checkpoint(), config()
    for number in range(2):
        checkpoint["v"], checkpoint["id"] = v, str(uuid6())
        checkpoint["channel_values"] = {"c": [number], "n": number}
        checkpoint["channel_versions"] = {"c": f"{number}", "n": f"{number}"}
        metadata: Any = {"source": "loop", "step": number}
        saved = saver.put(saved, checkpoint, metadata, {"c": f"{number}"})
        saver.put_writes(saved, [("c", number), ("__pregel_tasks", "send")], "task", "path")
    whole = [saver.get_tuple(saved), *saver.list(config()), *saver.list(None)]
    run = Database.run
    failed: list[bool] = []

    def run_short_of_memory(self: Database, work: Any) -> Any:
        failed.append(not failed or not failed[-1])
        if failed[-1]:
            raise psycopg.errors.InternalError_("invalid memory alloc request size 1073741824")
        return run(self, work)

    monkeypatch.setattr(Database, "run", run_short_of_memory)
    assert [saver.get_tuple(saved), *saver.list(config()), *saver.list(None)] == whole
    assert failed == [True, False] * 3
    assert len(whole) == 5


def test_a_long_text_is_stored_once(saver: PersistSaver, migrated: str) -> None:
    graph = chain_of(["a", "b", "c"]).compile(checkpointer=saver)
    graph.invoke({"note": "x" * 100_000}, config())
    with psycopg.connect(migrated) as conn:
        found = conn.execute(
            "SELECT (SELECT count(*) FROM checkpoint_blobs WHERE channel = 'note'),"
            " (SELECT max(length(checkpoint::text)) < 5000 FROM checkpoints)"
        ).fetchone()
    assert found == (1, True)
    assert {len(s.values.get("note", "")) for s in graph.get_state_history(config())} == {
        0,
        100_000,
    }


@pytest.mark.plain_postgres("stock reads no distributed tables")
@pytest.mark.parametrize(
    ("serde", "value"),
    [(None, -1e16), (None, "long " * 1000), (EncryptedSerializer(Xor()), "short")],
    ids=["float", "long text", "encrypted"],
)
def test_what_stock_had_inline_is_not_lost(
    migrated: str, direct: str, serde: Any, value: Any
) -> None:
    builder = StateGraph(Noted)
    builder.add_node("a", lambda state: {"count": state["count"] + 1})
    builder.add_edge(START, "a")
    with PostgresSaver.from_conn_string(direct) as stock:
        builder.compile(checkpointer=stock).invoke({"note": value, "count": 0}, config())
    for count in (1, 2):
        with PersistSaver.from_conn_string(migrated, serde=serde) as ours:
            graph = builder.compile(checkpointer=ours)
            update: Any = {"count": count}
            graph.invoke(update, config())
            assert graph.get_state(config()).values == {"note": value, "count": count + 1}


class Noted(TypedDict):
    note: Any
    count: int


@pytest.mark.plain_postgres("stock reads no distributed tables")
@pytest.mark.parametrize("strict", ["false", "true"])
def test_strict_processes_read_large_integers_and_surrogates(
    migrated: str, direct: str, strict: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests._strict_worker", migrated, direct],
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": strict},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["ours differ:", "logged:", "stock differ:"]
    assert done.stderr == ""
