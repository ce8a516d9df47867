"""The saver by itself: stock compatibility, accepted targets, odd values, durability."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langchain_core.utils.uuid import uuid7
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from langgraph_persist import PersistSaver
from langgraph_persist.errors import (
    ConfigurationError,
    DurabilityError,
    SchemaOutdated,
    UnserializableValue,
)
from tests.graphs import approval_graph, chain_of


@pytest.fixture
def saver(migrated: str) -> Iterator[PersistSaver]:
    with PersistSaver.from_conn_string(migrated) as opened:
        yield opened


def config(thread_id: str = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}}


@pytest.mark.plain_postgres
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


@pytest.mark.plain_postgres
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


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "nul \x00 inside",
        "ünïcode \U0001f600",
        float("inf"),
        float("-inf"),
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
    assert found.checkpoint["channel_values"]["c"] == value
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
    assert chain_of(["a"]).compile(checkpointer=saver).invoke({"count": 0}, config("u"))
    assert saver.get_tuple(config()) is not None


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


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60, max_value=2**90)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Lu"]))
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
    assert found.checkpoint["channel_values"]["c"] == value
    assert found.pending_writes == [("task", "c", value)]


@pytest.mark.plain_postgres
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
    with pytest.raises(UnserializableValue, match=r"of thread 't' takes 2,0.*Store it"):
        chain_of(["a"]).compile(checkpointer=saver).invoke({"note": "x\x00" * 1000}, config())


def test_100_megabytes_in_one_channel(saver: PersistSaver) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": b"x" * 100_000_000}
    checkpoint["channel_versions"] = {"c": "1"}
    saved = saver.put(config(), checkpoint, {"source": "input", "step": -1}, {"c": "1"})
    found = saver.get_tuple(saved)
    assert found is not None
    assert len(found.checkpoint["channel_values"]["c"]) == 100_000_000
