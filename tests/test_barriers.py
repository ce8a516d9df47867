"""A run that nobody records waits once, at its end, for all that the saver was given."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.errors import DurabilityError
from tests.graphs import MODES, Steps, chain_of, run

Query = Callable[..., list[dict[str, Any]]]
NODES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def saver(migrated: str) -> Iterator[PersistSaver]:
    with PersistSaver.from_conn_string(migrated) as opened:
        yield opened


def thread(thread_id: str = "t") -> Any:
    return {"configurable": {"thread_id": thread_id}}


@contextmanager
def refused(url: str, thread_id: str = "t") -> Iterator[Callable[[], None]]:
    """The database refuses a thread's checkpoints, until told to allow them."""

    def allow() -> None:
        conn.execute("ALTER TABLE checkpoints DROP CONSTRAINT IF EXISTS no_t")

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            f"ALTER TABLE checkpoints ADD CONSTRAINT no_t CHECK (thread_id <> '{thread_id}')"
            " NOT VALID".encode()
        )
        try:
            yield allow
        finally:
            allow()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", ["async", "exit"])
def test_a_run_is_committed_whole_and_at_once(
    saver: PersistSaver, rows: Query, mode: str, durability: str
) -> None:
    graph = chain_of(NODES).compile(checkpointer=saver)
    run(graph, mode, {"count": 0}, thread("before"), durability=durability)
    before = saver.journal.committed_groups
    run(graph, mode, {"count": 0}, thread(), durability=durability)
    found = rows("SELECT metadata ->> 'step' AS step FROM checkpoints WHERE thread_id = 't'")
    # More only where the machine is so slow that the writer does not linger in vain.
    assert saver.journal.committed_groups - before < 6
    assert len(found) == (1 if durability == "exit" else 7)


def test_with_sync_durability_a_node_finds_what_went_before_it_committed(
    saver: PersistSaver, rows: Query
) -> None:
    seen: list[int] = []

    def look(state: Steps) -> Steps:
        seen.append(len(rows("SELECT 1 FROM checkpoints")))
        return {"count": 1}

    builder = chain_of(["a", "b"])
    builder.add_node("look", look)
    builder.add_edge("b", "look")
    builder.compile(checkpointer=saver).invoke({"count": 0}, thread(), durability="sync")
    assert seen == [4]


@pytest.mark.parametrize("mode", MODES)
def test_what_could_not_be_committed_fails_the_run(
    saver: PersistSaver, migrated: str, rows: Query, mode: str
) -> None:
    graph = chain_of(NODES).compile(checkpointer=saver)
    with refused(migrated), pytest.raises(DurabilityError, match="no_t"):
        run(graph, mode, {"count": 0}, thread())
    assert rows("SELECT 1 FROM checkpoints") == []
    assert run(graph, mode, {"count": 0}, thread())
    assert len(rows("SELECT 1 FROM checkpoints")) == 7


@pytest.mark.parametrize("mode", MODES)
def test_the_error_of_a_node_is_not_hidden_by_that_of_the_database(
    saver: PersistSaver, migrated: str, mode: str
) -> None:
    def fail(state: Steps) -> Steps:
        raise ValueError("the node's own")

    builder = StateGraph(Steps)
    builder.add_node("fail", fail)
    builder.add_edge(START, "fail")
    graph = builder.compile(checkpointer=saver)
    with refused(migrated), pytest.raises(ValueError, match="the node's own"):
        run(graph, mode, {"count": 0}, thread())
    # Whoever comes next is not told of what was lost with a run that failed.
    assert graph.get_state(thread()).values == {}


def test_a_failure_is_told_to_its_run_whoever_else_looked(
    saver: PersistSaver, migrated: str, rows: Query
) -> None:
    """A reader that meets the failure first must not let the run go on past the gap."""
    with refused(migrated) as allow:

        def look(state: Steps) -> Steps:
            with pytest.raises(DurabilityError):
                saver.journal.flush(10)
            allow()
            return {"count": 1}

        builder = chain_of(["a"])
        builder.add_node("look", look)
        builder.add_node("after", lambda state: {"count": 3})
        builder.add_edge("a", "look")
        builder.add_edge("look", "after")
        graph = builder.compile(checkpointer=saver)
        with pytest.raises(DurabilityError, match="no_t"):
            graph.invoke({"count": 0}, thread())
    assert rows("SELECT 1 FROM checkpoints") == []
    plain = chain_of(NODES).compile(checkpointer=saver)
    assert plain.invoke({"count": 0}, thread())["count"] == len(NODES)


@pytest.mark.parametrize("own_thread", [False, True])
def test_a_graph_in_a_node_is_committed_when_it_returns(
    saver: PersistSaver, rows: Query, own_thread: bool
) -> None:
    inner = chain_of(["x"]).compile(checkpointer=saver if own_thread else True)
    seen: list[int] = []

    def call(state: Steps) -> Steps:
        inner.invoke({"count": 0}, thread("child") if own_thread else None)
        seen.append(len(rows("SELECT 1 FROM checkpoints WHERE checkpoint_ns <> ''")))
        seen.append(len(rows("SELECT 1 FROM checkpoints WHERE thread_id = 'child'")))
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    builder.compile(checkpointer=saver).invoke({"count": 0}, thread())
    assert max(seen) == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("raises", [False, True])
def test_within_a_recorded_run_a_graph_on_its_own_thread_is_committed_when_it_returns(
    persist: Persist, rows: Query, mode: str, raises: bool
) -> None:
    def fail(state: Steps) -> Steps:
        raise ValueError

    builder = chain_of(NODES)
    if raises:
        builder.add_node("fails", fail)
        builder.add_edge("e", "fails")
    inner = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    found: list[int] = []

    def call(state: Steps) -> Steps:
        with suppress(ValueError):
            run(inner, mode, {"count": 0}, thread("inner"))
        found.append(
            rows("SELECT count(*) AS c FROM checkpoints WHERE thread_id = 'inner'")[0]["c"]
        )
        return {"count": 1}

    outer = StateGraph(Steps)
    outer.add_node("call", call)
    outer.add_edge(START, "call")
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("outer"))
    assert found == [7]
    assert {w.thread_id for w in persist.history.workflows()} == {"outer"}


def test_a_stream_that_is_left_is_committed(saver: PersistSaver, rows: Query) -> None:
    graph = chain_of(NODES).compile(checkpointer=saver)
    stream: Any = graph.stream({"count": 0}, thread())
    next(stream)
    stream.close()
    assert len(rows("SELECT 1 FROM checkpoints")) >= 2
    assert len(saver.journal.barriers) == 0


async def test_a_cancelled_run_leaves_no_barrier(saver: PersistSaver, rows: Query) -> None:
    async def sleep(state: Steps) -> Steps:
        await asyncio.sleep(60)
        return {}

    builder = chain_of(["a"])
    builder.add_node("sleep", sleep)
    builder.add_edge("a", "sleep")
    graph = builder.compile(checkpointer=saver)
    chunks = graph.astream({"count": 0}, thread())
    await anext(chunks)
    task = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(saver.journal.barriers) == 0
    state = await graph.aget_state(thread())
    assert state.next == ("sleep",)
    assert len(rows("SELECT 1 FROM checkpoints")) == 3


def test_a_loop_that_is_never_entered_is_forgotten(
    saver: PersistSaver, rows: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain_of(["a"]).compile(checkpointer=saver)
    monkeypatch.setattr(
        "langgraph.pregel._loop.channels_from_checkpoint", lambda *_, **__: 1 / 0, raising=True
    )
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"count": 0}, thread())
    monkeypatch.undo()
    gc.collect()
    assert len(saver.journal.barriers) == 0
    saver.put(thread(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    assert len(rows("SELECT 1 FROM checkpoints")) == 1


def test_a_loop_of_another_make_waits_for_each_checkpoint(
    saver: PersistSaver, rows: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.saver.saver.opening_loop", lambda: object())
    chain_of(NODES).compile(checkpointer=saver).invoke({"count": 0}, thread())
    assert len(rows("SELECT 1 FROM checkpoints")) == 7
    # Each checkpoint waits for the one before it.
    assert saver.journal.committed_groups >= 7
