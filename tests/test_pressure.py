"""A full journal holds up what is recorded, and never an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from langgraph.graph import START, StateGraph

from langgraph_persist import PersistCallbackHandler, PersistSaver
from langgraph_persist.database.connection import Database
from langgraph_persist.journal import Journal, Unit
from tests.graphs import Steps, fake_model

Rows = Callable[..., list[dict[str, Any]]]
MAX_ROWS = 12
NODES = [f"n{number}" for number in range(12)]
PATIENCE = 10


@pytest.fixture
def journal(migrated: str) -> Iterator[Journal]:
    opened = Journal(Database(migrated), max_rows=MAX_ROWS)
    yield opened
    opened.close()


@asynccontextmanager
async def standstill(url: str) -> AsyncIterator[None]:
    """Nothing can be written within; after some seconds it can, lest a held loop hangs forever."""
    with psycopg.connect(url) as conn:
        conn.execute("LOCK TABLE langgraph_persist.sessions")
        ends = threading.Timer(PATIENCE, conn.close)
        ends.start()
        try:
            yield
        finally:
            ends.cancel()
            ends.join()


def chain_of_models() -> StateGraph[Any, Any, Any, Any]:
    """Async nodes one after the other, each asking a model."""
    builder = StateGraph(Steps)

    def asks(name: str) -> Any:
        async def node(state: Steps) -> Steps:
            await fake_model("yes").ainvoke(name)
            return {"log": [name]}

        return node

    for before, name in zip([START, *NODES], NODES, strict=False):
        builder.add_node(name, asks(name))
        builder.add_edge(before, name)
    return builder


async def tick_while_full(journal: Journal, *runs: asyncio.Task[Any]) -> None:
    """The loop goes on for others, again and again, while the journal is full and no run ends."""
    while not journal.full:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0.001)
        assert journal.full
        assert journal._rows <= 2 * MAX_ROWS
        assert not any(run.done() for run in runs)


def config(thread_id: str, *callbacks: Any) -> Any:
    return {"configurable": {"thread_id": thread_id}, "callbacks": [*callbacks]}


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@pytest.mark.parametrize("quotas", [True, False])
async def test_the_loop_goes_on_while_the_journal_is_full(
    journal: Journal, migrated: str, rows: Rows, durability: Any, quotas: bool
) -> None:
    saver = PersistSaver(migrated, journal=journal)
    handler = PersistCallbackHandler(journal=journal, enforce_quotas=quotas)
    graph = chain_of_models().compile(checkpointer=saver)
    async with standstill(migrated):
        call = graph.ainvoke({"count": 0}, config("t", handler), durability=durability)
        running = asyncio.create_task(call)
        if durability != "sync":  # which waits for each checkpoint by itself
            await tick_while_full(journal, running)
    result = await running
    assert result["log"] == NODES
    assert not handler.failures.counts
    assert rows("SELECT count(*)::integer AS n FROM nodes WHERE status = 'completed'") == [
        {"n": len(NODES)}
    ]
    assert rows("SELECT count(*)::integer AS n FROM generations") == [{"n": len(NODES)}]


async def test_many_runs_at_once_share_the_room_there_is(
    journal: Journal, migrated: str, rows: Rows
) -> None:
    handler = PersistCallbackHandler(journal=journal)
    graph = chain_of_models().compile(checkpointer=PersistSaver(migrated, journal=journal))
    async with standstill(migrated):
        names = [f"t{number}" for number in range(10)]
        runs = [asyncio.create_task(graph.ainvoke({}, config(t, handler))) for t in names]
        while not journal.full:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0.001)
            assert journal.full
    results = await asyncio.gather(*runs)
    assert all(result["log"] == NODES for result in results)
    assert rows("SELECT count(*)::integer AS n FROM workflows WHERE status = 'completed'") == [
        {"n": 10}
    ]


async def test_one_who_stops_waiting_for_room_does_not_stop_others(
    journal: Journal, migrated: str
) -> None:
    async with standstill(migrated):
        for number in range(MAX_ROWS):
            journal.append(unit(f"t{number}"))
        waiting = [asyncio.create_task(journal.has_room()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert [task.done() for task in waiting] == [True, False, False]
    await asyncio.gather(*waiting[1:])
    assert not journal.full


async def test_beyond_twice_full_the_loop_waits_too(journal: Journal, migrated: str) -> None:
    blocker = psycopg.connect(migrated)
    blocker.execute("LOCK TABLE langgraph_persist.sessions")
    for number in range(2 * MAX_ROWS):
        journal.append(unit(f"t{number}"))
    assert (journal._rows, journal.committed_units) == (2 * MAX_ROWS, 0)
    threading.Timer(0.2, blocker.close).start()
    journal.append(unit("last"))
    assert journal.committed_units > 0
    assert journal.flush(PATIENCE) == 2 * MAX_ROWS + 1


async def test_closing_ends_the_wait_for_room(journal: Journal, migrated: str) -> None:
    async with standstill(migrated):
        for number in range(MAX_ROWS):
            journal.append(unit(f"t{number}"))
        waiting = asyncio.create_task(journal.has_room())
        closing = asyncio.create_task(asyncio.to_thread(journal.close))
        await asyncio.sleep(0.01)
        assert not waiting.done()
    await closing
    await asyncio.wait_for(waiting, PATIENCE)


def unit(thread_id: str) -> Unit:
    return Unit(thread_id, [("sessions", {"thread_id": thread_id})])
