"""What a run starts and does not wait for, and what it starts in other processes."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist
from langgraph_persist.handler import spans
from tests.graphs import Steps, answer, chain_of, fake_model

TOTALS = "SELECT node_count, generation_count, total_tokens FROM workflows"
NODES = "SELECT node_name, status, checkpoint_id IS NULL AS unsaved FROM nodes ORDER BY started_at"
ROOT = Path(__file__).parent.parent


class Held(GenericFakeChatModel):
    """Answers once it may."""

    asked: Any
    may_answer: Any

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.set()
        assert self.may_answer.wait(30)
        return self.answer()

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.set()
        async with asyncio.timeout(30):
            await self.may_answer.wait()
        return self.answer()

    def answer(self) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer("two words"))])


def held(event: Any) -> Held:
    return Held(messages=iter([]), asked=event(), may_answer=event())


def node_that(work: Any) -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(Steps).add_node("start", work).add_edge(START, "start")


def memory_of(persist: Persist, model: Any) -> Any:
    """A graph that asks a model, then counts; on a thread of its own."""

    async def extract(state: Steps) -> Steps:
        return {"note": (await model.ainvoke("remember")).content}

    builder = StateGraph(Steps).add_node("extract", extract)
    builder.add_node("save", lambda state: {"count": 1})
    builder.add_edge(START, "extract").add_edge("extract", "save")
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


async def test_a_call_that_ends_after_its_run_is_recorded(persist: Persist, rows: Any) -> None:
    model, tasks = held(asyncio.Event), []

    async def start(state: Steps) -> Steps:
        tasks.append(asyncio.create_task(model.ainvoke("title")))
        await model.asked.wait()
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    await graph.ainvoke({"count": 0}, persist.config("t"))
    assert rows("SELECT status, generation_count FROM workflows") == [
        {"status": "completed", "generation_count": 0}
    ]
    model.may_answer.set()
    assert (await tasks[0]).content == "two words"
    # What nobody else waits for is committed when it returns.
    (generation,) = rows("SELECT * FROM generations")
    (node,) = rows("SELECT id FROM nodes")
    assert (generation["status"], generation["output"]) == ("completed", "two words")
    assert (generation["total_tokens"], generation["node_id"]) == (9, node["id"])
    assert rows(TOTALS) == [{"node_count": 1, "generation_count": 1, "total_tokens": 9}]
    assert not len(persist.handler._spans)


def test_so_is_one_in_another_thread(persist: Persist, rows: Any) -> None:
    model = held(threading.Event)
    calls: list[Future[Any]] = []

    def start(state: Steps) -> Steps:
        calls.append(pool.submit(copy_context().run, model.invoke, "title"))
        assert model.asked.wait(30)
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    with ThreadPoolExecutor(1) as pool:
        graph.invoke({"count": 0}, persist.config("t"))
        model.may_answer.set()
        calls[0].result(30)
    assert rows("SELECT status, output FROM generations") == [
        {"status": "completed", "output": "two words"}
    ]
    assert rows(TOTALS) == [{"node_count": 1, "generation_count": 1, "total_tokens": 9}]


async def test_a_graph_goes_on_after_the_run_that_started_it(persist: Persist, rows: Any) -> None:
    model, tasks = held(asyncio.Event), []
    memory = memory_of(persist, model)

    async def start(state: Steps) -> Steps:
        own = persist.config("memory")
        tasks.append(asyncio.create_task(memory.ainvoke({"count": 0}, own)))
        await model.asked.wait()
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    await graph.ainvoke({"count": 0}, persist.config("t"))
    assert [n["status"] for n in rows(NODES) if n["node_name"] == "start"] == ["completed"]
    model.may_answer.set()
    assert (await tasks[0])["note"] == "two words"
    assert rows(NODES) == [
        {"node_name": name, "status": "completed", "unsaved": False}
        for name in ("start", "extract", "save")
    ]
    assert rows(TOTALS) == [{"node_count": 3, "generation_count": 1, "total_tokens": 9}]
    assert rows("SELECT count(*) AS n FROM checkpoints WHERE thread_id = 'memory'") == [{"n": 4}]
    saved = {row["checkpoint_id"] for row in rows("SELECT checkpoint_id FROM checkpoints")}
    assert {row["checkpoint_id"] for row in rows("SELECT checkpoint_id FROM nodes")} <= saved
    assert not len(persist.handler._spans) and not persist.checkpointer.journal.runs._by_call


async def test_a_graph_that_fails_after_its_run_says_so(persist: Persist, rows: Any) -> None:
    go_on, asked, tasks = asyncio.Event(), asyncio.Event(), []

    async def fail(state: Steps) -> Steps:
        asked.set()
        await go_on.wait()
        raise ValueError("no")

    memory = persist.attach(node_that(fail).compile(checkpointer=persist.checkpointer))

    async def start(state: Steps) -> Steps:
        own = persist.config("memory")
        tasks.append(asyncio.create_task(memory.ainvoke({"count": 0}, own)))
        await asked.wait()
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    await graph.ainvoke({"count": 0}, persist.config("t"))
    go_on.set()
    with pytest.raises(ValueError, match="no"):
        await tasks[0]
    failed = rows("SELECT * FROM nodes WHERE parent_node_id IS NOT NULL")
    assert [(n["status"], n["error_message"]) for n in failed] == [("failed", "no")]
    assert failed[0]["input_checkpoint_id"] and failed[0]["checkpoint_thread_id"] == "memory"
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


async def test_what_is_cancelled_after_its_run_says_so(persist: Persist, rows: Any) -> None:
    model, tasks = held(asyncio.Event), []

    async def start(state: Steps) -> Steps:
        tasks.append(asyncio.create_task(model.ainvoke("title")))
        await model.asked.wait()
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    await graph.ainvoke({"count": 0}, persist.config("t"))
    tasks.pop().cancel()
    await asyncio.sleep(0)
    gc.collect()
    persist.flush()
    assert rows("SELECT status FROM generations") == [{"status": "cancelled"}]
    assert not len(persist.handler._spans)


def test_what_nobody_reads_on_is_given_up(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_BACKGROUND", 2)
    kept: list[Any] = []

    def read(config: Any) -> None:
        kept.append(fake_model("two words").stream("hi", config))
        next(kept[-1])

    def start(state: Steps, config: RunnableConfig) -> Steps:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(read, config).result(30)
        return {}

    graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
    for number in range(4):
        graph.invoke({"count": 0}, persist.config(f"t{number}"))
    persist.flush()
    found = rows("SELECT thread_id, status FROM generations ORDER BY 1")
    assert [g["status"] for g in found] == ["cancelled", "cancelled", "running", "running"]
    assert len(persist.handler._spans) == 2
    for stream in kept:
        assert list(stream)
    persist.flush()
    found = rows("SELECT thread_id, status, output FROM generations ORDER BY 1")
    assert [g["status"] for g in found] == ["cancelled"] * 2 + ["completed"] * 2
    assert found[3]["output"] == "two words"


# --- runs that never tell their end ---


class Guard(BaseCallbackHandler):
    """Refuses every run."""

    raise_error = True

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionError("not today")


class Slow(AsyncCallbackHandler):
    """Takes its time for every run."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        self.told.set()
        await asyncio.sleep(60)


@pytest.mark.filterwarnings("ignore:Error in Guard")
def test_a_run_that_another_handler_refuses_is_over(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    with pytest.raises(PermissionError):
        graph.invoke({"count": 0}, persist.config("t") | {"callbacks": [Guard()]})
    gc.collect()
    persist.flush()
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]
    assert rows("SELECT status FROM workflow_runs") == [{"status": "cancelled"}]
    assert not len(persist.handler._spans)


async def test_so_is_one_that_is_cancelled_as_it_starts(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    slow = Slow()
    config = persist.config("t") | {"callbacks": [slow]}
    running = asyncio.create_task(graph.ainvoke({"count": 0}, config))
    await slow.told.wait()
    running.cancel()
    await asyncio.wait([running])
    del running
    gc.collect()
    persist.flush()
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]


def test_what_is_under_way_at_the_close_is_cancelled(migrated: str, rows: Any) -> None:
    with Persist(migrated) as persist:
        graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
        stream: Any = graph.stream({"count": 0}, persist.config("t"), stream_mode="updates")
        assert next(stream) == {"a": {"count": 1, "log": ["a"]}}
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]
    assert rows("SELECT status FROM workflow_runs") == [{"status": "cancelled"}]
    stream.close()


# --- forked processes ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("outlives", [False, True], ids=["awaited", "outlives"])
def test_what_a_forked_process_does_is_of_the_run(migrated: str, rows: Any, outlives: bool) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.test_background", migrated, *["outlives"] * outlives],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stderr) == (0, "")
    found = rows(
        "SELECT n.node_name, n.status, p.node_name AS parent, n.checkpoint_id IS NULL AS unsaved"
        " FROM nodes n LEFT JOIN nodes p ON (p.thread_id, p.id) = (n.thread_id, n.parent_node_id)"
        " ORDER BY n.execution_order"
    )
    place = {"status": "completed", "unsaved": False}
    assert found == [
        {"node_name": "start", "parent": None} | place,
        {"node_name": "ask", "parent": "start"} | place,
    ]
    generations = rows(
        "SELECT n.node_name, g.status FROM generations g"
        " JOIN nodes n ON (n.thread_id, n.id) = (g.thread_id, g.node_id) ORDER BY 1"
    )
    assert generations == [
        {"node_name": "ask", "status": "completed"},
        {"node_name": "start", "status": "completed"},
    ]
    assert rows(TOTALS) == [{"node_count": 2, "generation_count": 2, "total_tokens": 16}]
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert rows("SELECT count(*) AS n FROM checkpoints WHERE thread_id = 'child'") == [{"n": 3}]


def main(url: str, outlives: str = "") -> None:
    """A node whose forked process calls a model and a graph, and leaves without a farewell."""
    fork = multiprocessing.get_context("fork")
    ended = fork.Event()

    def ask(state: Steps) -> Steps:
        fake_model("one").invoke("who?")
        return {"count": 1}

    def work() -> None:
        if outlives:
            assert ended.wait(30)
        fake_model("one").invoke("who?")
        below.invoke({"count": 0}, persist.config("child"))
        os._exit(0)

    def start(state: Steps) -> Steps:
        process = fork.Process(target=work)
        process.start()
        processes.append(process)
        if not outlives:
            process.join()
        return {}

    processes: list[Any] = []
    inner = StateGraph(Steps).add_node("ask", ask).add_edge(START, "ask")
    with Persist(url) as persist:
        below = persist.attach(inner.compile(checkpointer=persist.checkpointer))
        graph = persist.attach(node_that(start).compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        ended.set()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert not persist.handler.failures.counts


if __name__ == "__main__":
    main(*sys.argv[1:])
