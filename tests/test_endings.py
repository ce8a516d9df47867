"""However a run ends, every row of it says how, and none stays open."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.uuid import uuid7
from langgraph.errors import NodeCancelledError, NodeTimeoutError
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, TimeoutPolicy

from langgraph_persist import Persist
from langgraph_persist.journal import Rows, Unit
from tests.graphs import MODES, Steps, chain_of, fake_model, run

ASYNC = ["ainvoke", "astream"]
CALLS = ("nodes", "generations", "tool_executions", "workflow_runs", "workflows")


class SlowModel(GenericFakeChatModel):
    """Says one word and then nothing any more."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(60)
        raise AssertionError

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        yield ChatGenerationChunk(message=AIMessageChunk(content="well"))
        await asyncio.sleep(60)


slow_model = SlowModel(messages=iter([]))


@tool
async def slow_tool(city: str) -> str:
    """Never answers."""
    await asyncio.sleep(60)
    return city


class SlowRetriever(BaseRetriever):
    """Never finds anything."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        raise NotImplementedError

    async def _aget_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        await asyncio.sleep(60)
        return []


async def slow(state: Steps) -> Steps:
    await asyncio.sleep(60)
    return {}


def after_a(node: Any, name: str, persist: Persist, **options: Any) -> Any:
    """A graph of a node ``a`` and this one."""
    builder = chain_of(["a"])
    builder.add_node(name, node, **options)
    builder.add_edge("a", name)
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


def side_by_side(persist: Persist, **nodes: Any) -> Any:
    builder = StateGraph(Steps)
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


@pytest.fixture
def statuses(rows: Any) -> Callable[[], dict[str, list[str]]]:
    """The status of every row, by table; nodes by name."""

    def read() -> dict[str, list[str]]:
        found = {
            table: [r["status"] for r in rows(f"SELECT status FROM {table}")] for table in CALLS
        }
        nodes = rows("SELECT node_name, status FROM nodes ORDER BY execution_order")
        return found | {"nodes": sorted(f"{n['node_name']} {n['status']}" for n in nodes)}

    return read


async def cancel_when(started: asyncio.Event, running: Awaitable[Any]) -> None:
    """Run it until the event is set, then cancel it."""
    task = asyncio.ensure_future(running)
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- failed ---


def check_late_node(rows: Any, name: str, otherwise: str) -> None:
    """LangGraph waits for a thread that it cannot stop, but may be too late to keep its result."""
    (node,) = rows("SELECT * FROM nodes WHERE node_name = %s", name)
    kept = rows("SELECT 1 FROM checkpoint_writes WHERE task_id = %s", node["task_id"])
    assert node["status"] == ("completed" if kept else otherwise)
    assert node["output_data"] == {"log": [name]}


@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_a_thread_beside_a_failure(persist: Persist, rows: Any, mode: str, statuses: Any) -> None:
    failing = threading.Event()

    def bad(state: Steps) -> Steps:
        failing.set()
        raise ValueError("no luck")

    def good(state: Steps) -> Steps:
        failing.wait(30)
        return {"log": ["good"]}

    graph = side_by_side(persist, bad=bad, good=good)
    with pytest.raises(ValueError, match="no luck"):
        run(graph, mode, {"count": 0}, persist.config("t"))
    assert "bad failed" in statuses()["nodes"]
    check_late_node(rows, "good", "cancelled")
    assert statuses()["workflows"] == statuses()["workflow_runs"] == ["failed"]


def test_a_result_that_came_too_late_is_not_completed(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when LangGraph has shut its threads down before it could put what a node wrote."""
    saver = persist.checkpointer
    monkeypatch.setattr(saver, "put_writes", lambda config, writes, task_id, task_path="": None)

    def bad(state: Steps) -> Steps:
        time.sleep(0.05)
        raise ValueError("no luck")

    graph = side_by_side(persist, bad=bad, good=lambda state: {"log": ["good"]})
    with pytest.raises(ValueError, match="no luck"):
        graph.invoke({"count": 0}, persist.config("t"))
    check_late_node(rows, "good", "cancelled")


@pytest.mark.parametrize("mode", ASYNC)
def test_a_task_beside_a_failure_is_cancelled(persist: Persist, statuses: Any, mode: str) -> None:
    async def bad(state: Steps) -> Steps:
        raise ValueError("no luck")

    graph = side_by_side(persist, bad=bad, slow=slow)
    with pytest.raises(ValueError, match="no luck"):
        run(graph, mode, {"count": 0}, persist.config("t"))
    assert statuses()["nodes"] == ["bad failed", "slow cancelled"]
    assert statuses()["workflows"] == ["failed"]


@pytest.mark.parametrize("mode", MODES)
def test_a_node_that_raises_a_cancellation_has_failed(
    persist: Persist, rows: Any, mode: str
) -> None:
    """LangGraph fails the run, as nobody had cancelled it."""

    def own(state: Steps) -> Steps:
        raise asyncio.CancelledError("mine")

    async def aown(state: Steps) -> Steps:
        own(state)
        return {}

    graph = after_a(aown if mode in ASYNC else own, "own", persist)
    with pytest.raises(NodeCancelledError):
        run(graph, mode, {"count": 0}, persist.config("t"))
    (node,) = rows("SELECT * FROM nodes WHERE node_name = 'own'")
    assert (node["status"], node["error_message"]) == ("failed", "mine")
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["error_type"] == "langgraph.errors.NodeCancelledError"


# --- cancelled ---


async def test_everything_below_a_cancelled_run_is_closed(
    persist: Persist, rows: Any, statuses: Any
) -> None:
    started = asyncio.Event()

    async def busy(state: Steps) -> Steps:
        calls = [
            slow_model.ainvoke("hi"),
            slow_tool.ainvoke({"city": "Oslo"}),
            SlowRetriever().ainvoke("where?"),
        ]
        waiting = asyncio.gather(*calls)
        asyncio.get_running_loop().call_later(0.05, started.set)
        await waiting
        return {}

    graph = after_a(busy, "busy", persist)
    await cancel_when(started, graph.ainvoke({"count": 0}, persist.config("t")))
    await asyncio.to_thread(persist.flush)
    assert statuses() == {
        "nodes": ["a completed", "busy cancelled"],
        "generations": ["cancelled"],
        "tool_executions": ["cancelled"],
        "workflow_runs": ["cancelled"],
        "workflows": ["cancelled"],
    }
    (retrieval,) = rows("SELECT * FROM retrievals")
    assert (retrieval["query"], retrieval["error_type"]) == (
        "where?",
        "asyncio.exceptions.CancelledError",
    )
    (call,) = rows("SELECT * FROM tool_executions")
    assert call["execution_time_ms"] > 0
    assert call["success"] is None
    assert rows("SELECT generation_count FROM workflows") == [{"generation_count": 1}]


async def test_a_subgraph_is_cancelled_with_its_run(persist: Persist, statuses: Any) -> None:
    started = asyncio.Event()

    async def inside(state: Steps) -> Steps:
        started.set()
        await asyncio.sleep(60)
        return {}

    inner = chain_of(["i"])
    inner.add_node("inside", inside)
    inner.add_edge("i", "inside")
    graph = after_a(inner.compile(), "sub", persist)
    await cancel_when(started, graph.ainvoke({"count": 0}, persist.config("t")))
    await asyncio.to_thread(persist.flush)
    assert statuses()["nodes"] == [
        "a completed",
        "i completed",
        "inside cancelled",
        "sub cancelled",
    ]


async def test_tasks_are_cancelled_with_their_entrypoint(persist: Persist, statuses: Any) -> None:
    started = asyncio.Event()

    @task
    async def inside(n: int) -> int:
        started.set()
        await asyncio.sleep(60)
        return n

    @entrypoint(checkpointer=persist.checkpointer)
    async def flow(n: int) -> int:
        return int(await inside(n))

    graph = persist.attach(flow)
    await cancel_when(started, graph.ainvoke(1, persist.config("t")))
    await asyncio.to_thread(persist.flush)
    assert statuses()["nodes"] == ["flow cancelled", "inside cancelled"]
    assert statuses()["workflows"] == ["cancelled"]


@pytest.mark.parametrize("mode", MODES)
def test_keyboard_interrupt(persist: Persist, statuses: Any, mode: str) -> None:
    def stop(state: Steps) -> Steps:
        raise KeyboardInterrupt

    graph = after_a(stop, "stop", persist)
    with pytest.raises(KeyboardInterrupt):
        run(graph, mode, {"count": 0}, persist.config("t"))
    persist.flush()
    assert statuses()["nodes"] == ["a completed", "stop cancelled"]
    assert statuses()["workflows"] == statuses()["workflow_runs"] == ["cancelled"]


def test_a_stream_closed_early(persist: Persist, statuses: Any) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    stream: Any = graph.stream({"count": 0}, persist.config("t"))
    next(stream)
    stream.close()
    assert statuses()["nodes"] == ["a completed"]
    assert statuses()["workflows"] == ["cancelled"]


async def test_an_async_stream_closed_early(persist: Persist, statuses: Any) -> None:
    async def quick(state: Steps) -> Steps:
        return {"log": ["quick"]}

    graph = side_by_side(persist, quick=quick, slow=slow)
    stream = graph.astream({"count": 0}, persist.config("t"))
    await anext(stream)
    await stream.aclose()
    assert statuses()["nodes"] == ["quick completed", "slow cancelled"]
    assert statuses()["workflows"] == ["cancelled"]


def test_a_chains_stream_closed_early(persist: Persist, statuses: Any) -> None:
    chain = RunnableLambda(str) | fake_model("one two three")
    stream: Any = chain.stream("count", {"callbacks": [persist.handler]})
    next(stream)
    stream.close()
    assert statuses()["generations"] == ["cancelled"]
    assert statuses()["workflows"] == statuses()["workflow_runs"] == ["cancelled"]
    workflow = persist.history.last()
    assert (workflow.user_input, workflow.result) == ("count", None)


async def test_what_a_node_gave_up_on_is_closed_while_it_goes_on(
    persist: Persist, rows: Any
) -> None:
    seen = []

    async def patient(state: Steps) -> Steps:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow_model.ainvoke("hi"), 0.05)
        gc.collect()
        await asyncio.to_thread(persist.flush)
        seen.extend(await asyncio.to_thread(rows, "SELECT status FROM generations"))
        await fake_model("at last").ainvoke("hi")
        return {"count": 1}

    graph = after_a(patient, "patient", persist)
    await graph.ainvoke({"count": 0}, persist.config("t"))
    generations = rows("SELECT * FROM generations ORDER BY started_at")
    assert [g["status"] for g in generations] == ["cancelled", "completed"]
    assert generations[0]["completed_at"] <= generations[1]["started_at"]
    # Its row is held with its node, so that it commits with the node's checkpoint.
    assert [g["status"] for g in seen] == ["running"]


async def test_what_starts_as_its_run_ends_is_not_left_open(
    persist: Persist, statuses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that goes on calls a model at the moment when the run is being closed."""
    handler, going_on = persist.handler, threading.Event()
    ending, called = threading.Event(), threading.Event()
    add, end = handler._spans.add, handler._spans.end

    def add_late(span: Any) -> bool:
        if span.kind == "generation":
            going_on.set()
            ending.wait(30)
        return add(span)

    def end_soon(*told: Any) -> Any:
        going_on.wait(30)
        found = end(*told)
        ending.set()
        called.wait(30)
        return found

    def outlasting(state: Steps) -> Steps:
        fake_model("hm").invoke("hi")
        called.set()
        return {}

    monkeypatch.setattr(handler._spans, "add", add_late)
    monkeypatch.setattr(handler._spans, "end", end_soon)
    graph = after_a(outlasting, "outlasting", persist)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(graph.ainvoke({"count": 0}, persist.config("t")), 0.2)
    await asyncio.to_thread(persist.flush)
    assert statuses()["nodes"] == ["a completed", "outlasting cancelled"]
    assert statuses()["generations"] == []
    assert len(handler._spans) == 0


def test_a_node_that_never_tells_its_end(persist: Persist, statuses: Any) -> None:
    handler, root, node = persist.handler, uuid7(), uuid7()
    within = {"langgraph_node": "lost", "langgraph_step": 1, "langgraph_checkpoint_ns": "lost:1"}
    told: dict[str, Any] = {"name": "lost", "tags": ["graph:step:1"], "metadata": within}
    handler.on_chain_start({}, {}, run_id=root, name="graph")
    handler.on_chain_start({}, {}, run_id=node, parent_run_id=root, **told)
    handler.on_chain_end({}, run_id=root)
    assert statuses()["nodes"] == ["lost cancelled"]
    assert statuses()["workflows"] == ["completed"]
    assert len(handler._spans) == 0


@pytest.mark.parametrize("together", [True, False])
def test_a_start_told_after_the_end_opens_nothing_again(
    persist: Persist, rows: Any, together: bool
) -> None:
    """A thread may be late to say that it starts something, when its run is over."""
    at = "2026-01-01T00:00:00Z"
    ids = {"thread_id": "t", "id": UUID(int=1), "workflow_id": UUID(int=1), "run_id": UUID(int=1)}
    fields = ids | {"started_at": at, "node_name": "n", "tool_name": "n"}
    fields["node_type"] = "node"
    ended = fields | {"status": "cancelled", "completed_at": at}
    opened: Rows = [
        ("sessions", {"thread_id": "t"}),
        ("workflows", ids | {"name": "n", "started_at": at, "status": "running"}),
    ]
    tables = ("nodes", "generations", "tool_executions")
    ends: Rows = [(table, ended) for table in tables]
    late: Rows = [(table, fields | {"status": "running"}) for table in tables]
    journal = persist.checkpointer.journal
    for unit in [opened + ends + late] if together else [opened + ends, late]:
        journal.commit(Unit("t", unit)).result(30)
    for table in tables:
        assert rows(f"SELECT status FROM {table}") == [{"status": "cancelled"}]


# --- bare calls, without any graph ---


@pytest.mark.parametrize("kind", ["model", "tool", "retriever"])
async def test_a_bare_call_that_is_cancelled(
    persist: Persist, rows: Any, statuses: Any, kind: str
) -> None:
    config: Any = {"callbacks": [persist.handler]}
    for _ in range(3):
        calls: dict[str, Any] = {
            "model": lambda: slow_model.ainvoke("hi", config),
            "tool": lambda: slow_tool.ainvoke({"city": "Oslo"}, config),
            "retriever": lambda: SlowRetriever().ainvoke("where?", config),
        }
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(calls[kind](), 0.05)
    gc.collect()
    await asyncio.to_thread(persist.flush)
    assert statuses()["workflows"] == statuses()["workflow_runs"] == ["cancelled"] * 3
    table = {"model": "generations", "tool": "tool_executions"}.get(kind)
    if table is not None:
        assert statuses()[table] == ["cancelled"] * 3
    (duration,) = {r["ok"] for r in rows("SELECT duration_ms < 5000 AS ok FROM workflow_runs")}
    assert duration
    assert len(persist.handler._spans) == 0


async def test_a_bare_stream_that_is_cancelled_keeps_what_was_said(
    persist: Persist, rows: Any
) -> None:
    async def listen() -> None:
        async for _ in slow_model.astream("hi", {"callbacks": [persist.handler]}):
            pass

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(listen(), 0.1)
    (generation,) = rows("SELECT * FROM generations")
    assert (generation["status"], generation["output"]) == ("cancelled", "well")


# --- timed out ---


@pytest.mark.parametrize("mode", ASYNC)
def test_a_node_timed_out(persist: Persist, rows: Any, mode: str) -> None:
    graph = after_a(slow, "slow", persist, timeout=TimeoutPolicy(run_timeout=0.05))
    with pytest.raises(NodeTimeoutError):
        run(graph, mode, {"count": 0}, persist.config("t"))
    for table in ("nodes", "workflows", "workflow_runs"):
        failed = rows(f"SELECT * FROM {table} WHERE status = 'failed'")
        assert [f["error_type"] for f in failed] == ["langgraph.errors.NodeTimeoutError"]
        assert "'slow' exceeded its run timeout" in failed[0]["error_message"]
    assert not rows("SELECT 1 FROM nodes WHERE status = 'cancelled'")


@pytest.mark.parametrize("mode", ASYNC)
def test_a_node_timed_out_once_and_was_retried(persist: Persist, rows: Any, mode: str) -> None:
    tries: list[int] = []

    async def late_once(state: Steps) -> Steps:
        tries.append(1)
        await asyncio.sleep(60 if len(tries) == 1 else 0)
        return {"count": 1}

    again = RetryPolicy(initial_interval=0.001, jitter=False)
    limit = TimeoutPolicy(run_timeout=0.2)
    graph = after_a(late_once, "late", persist, timeout=limit, retry_policy=again)
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = rows("SELECT * FROM nodes WHERE node_name = 'late' ORDER BY attempt")
    assert [(n["attempt"], n["status"]) for n in nodes] == [(1, "failed"), (2, "completed")]
    assert nodes[0]["error_type"] == "langgraph.errors.NodeTimeoutError"
    assert nodes[0]["error_message"].startswith("Node 'late' timed out after 0.2")


@pytest.mark.parametrize("mode", ASYNC)
def test_a_node_timed_out_and_was_handled(persist: Persist, rows: Any, mode: str) -> None:
    async def instead(state: Steps) -> Steps:
        return {"note": "instead"}

    limit = TimeoutPolicy(run_timeout=0.05)
    graph = after_a(slow, "slow", persist, timeout=limit, error_handler=instead)
    run(graph, mode, {"count": 0}, persist.config("t"))
    (node,) = rows("SELECT * FROM nodes WHERE node_name = 'slow'")
    assert (node["status"], node["error_type"]) == ("failed", "langgraph.errors.NodeTimeoutError")
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


@pytest.mark.parametrize("mode", ASYNC)
def test_a_step_timed_out(persist: Persist, rows: Any, mode: str) -> None:
    graph = side_by_side(persist, slow=slow, also=slow)
    graph.step_timeout = 0.1
    with pytest.raises(TimeoutError):
        run(graph, mode, {"count": 0}, persist.config("t"))
    found = rows(
        "SELECT status, error_type FROM nodes UNION ALL SELECT status, error_type FROM workflows"
    )
    assert found == [{"status": "failed", "error_type": "TimeoutError"}] * 3


@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_a_thread_outlives_its_steps_timeout(persist: Persist, rows: Any, mode: str) -> None:
    def busy(state: Steps) -> Steps:
        time.sleep(0.3)
        return {"log": ["busy"]}

    graph = side_by_side(persist, busy=busy)
    graph.step_timeout = 0.1
    with pytest.raises(TimeoutError):
        run(graph, mode, {"count": 0}, persist.config("t"))
    (workflow,) = rows("SELECT status, error_type FROM workflows")
    assert workflow == {"status": "failed", "error_type": "TimeoutError"}
    check_late_node(rows, "busy", "failed")


async def test_a_timeout_of_the_nodes_own_is_its_own(persist: Persist, rows: Any) -> None:
    async def impatient(state: Steps) -> Steps:
        raise TimeoutError("the net is slow")

    graph = side_by_side(persist, impatient=impatient, slow=slow)
    with pytest.raises(TimeoutError):
        await graph.ainvoke({"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows("SELECT * FROM nodes")}
    assert nodes["impatient"]["error_message"] == "the net is slow"
    assert (nodes["slow"]["status"], nodes["slow"]["error_type"]) == ("cancelled", None)


async def test_a_timeout_within_a_subgraph(persist: Persist, rows: Any) -> None:
    inner = chain_of(["i"])
    inner.add_node("slow", slow, timeout=TimeoutPolicy(run_timeout=0.05))
    inner.add_edge("i", "slow")
    graph = after_a(inner.compile(), "sub", persist)
    with pytest.raises(NodeTimeoutError):
        await graph.ainvoke({"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n["status"] for n in rows("SELECT * FROM nodes")}
    assert nodes == {"a": "completed", "sub": "failed", "i": "completed", "slow": "failed"}
