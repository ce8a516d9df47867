"""The recorder: what runs outside of LangChain, told by hand, with graphs in it or without."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from psycopg.rows import dict_row

from langgraph_persist import Persist, Recorder
from langgraph_persist.errors import (
    ConfigurationError,
    DurabilityError,
    JournalClosed,
    NotRecorded,
    QuotaExceeded,
)
from langgraph_persist.quotas import User, Users
from tests.graphs import Steps, approval_graph, chain_of, chat_graph, fake_model

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


@pytest.fixture
def recorder(persist: Persist) -> Recorder:
    return persist.recorder


@pytest.fixture
def rows(migrated: str) -> Rows:
    def query(sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(migrated, row_factory=dict_row) as conn:
            conn.execute("SET search_path = langgraph_persist, public")
            return conn.execute(sql.encode()).fetchall()

    return query


def values(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found]


NODES = "SELECT node_name, status FROM nodes ORDER BY execution_order"


# --- workflows and nodes ---


def test_a_workflow_by_hand_reads_like_any_other(persist: Persist, recorder: Recorder) -> None:
    with recorder.start_workflow(
        "import",
        thread_id="t",
        user="alice",
        organization="acme",
        input={"question": "all of it?"},
        settings={"limit": 3},
        metadata={"ticket": 7},
        tags=["nightly"],
    ) as workflow:
        with recorder.node("read", input={"path": "a.csv"}) as node:
            node.complete(state={"rows": [1, 2]}, output={"count": 2})
        with recorder.node("clean"):
            pass
        with recorder.node("upload") as node:
            node.skip("nothing new")
        recorder.complete_workflow({"rows": 2})

    found = persist.history.workflow(workflow.id)
    assert (found.thread_id, found.turn, found.name, found.status) == (
        "t",
        1,
        "import",
        "completed",
    )
    assert (found.user, found.organization, found.user_input) == ("alice", "acme", "all of it?")
    assert (found.settings, found.metadata) == ({"limit": 3}, {"ticket": 7})
    assert (found.tags, found.result) == (["nightly"], {"rows": 2})
    assert [(n.node_name, n.status) for n in found.nodes] == [
        ("read", "completed"),
        ("clean", "completed"),
        ("upload", "skipped"),
    ]
    assert (found.nodes[0].input_data, found.nodes[0].output_data) == (
        {"path": "a.csv"},
        {"count": 2},
    )
    assert found.state_after("read") == {"rows": [1, 2]}
    assert found.nodes[2].metadata == {"reason": "nothing new"}
    assert found.duration_ms is not None and found.node_count == 2
    (run,) = found.runs
    assert (run.kind, run.status, run.id) == ("start", "completed", workflow.id)
    assert "upload" in str(found.timeline())


def test_the_next_workflow_of_a_session_is_its_next_turn(
    recorder: Recorder, rows: Rows, persist: Persist
) -> None:
    for name in ("one", "two"):
        with recorder.start_workflow(name, thread_id="t"):
            pass
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    turns = rows("SELECT name, turn FROM workflows ORDER BY turn")
    assert values(turns) == [("one", 1), ("two", 2), ("LangGraph", 3)]


def test_an_exception_is_recorded_and_goes_on(recorder: Recorder, persist: Persist) -> None:
    def fail() -> None:
        with recorder.node("outer"), recorder.node("inner"):
            print(1 / 0)

    with pytest.raises(ZeroDivisionError), recorder.start_workflow() as workflow:
        fail()
    found = persist.history.workflow(workflow.id)
    assert (found.status, found.error_type) == ("failed", "ZeroDivisionError")
    for node in found.nodes:
        assert (node.status, node.error_message) == ("failed", "division by zero")
        assert node.error_traceback is not None and "1 / 0" in node.error_traceback
    outer, inner = found.nodes
    assert inner.parent_node_id == outer.id


def test_a_failure_that_is_handled_fails_its_node_only(
    recorder: Recorder, persist: Persist
) -> None:
    with recorder.start_workflow() as workflow, recorder.node("fetch") as node:
        try:
            raise LookupError("gone")
        except LookupError as error:
            node.fail(error)
    found = persist.history.workflow(workflow.id)
    assert (found.status, found.nodes[0].status) == ("completed", "failed")
    assert found.nodes[0].error_message == "gone"


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (lambda recorder: recorder.complete_workflow("done"), "completed", None),
        (lambda recorder: recorder.fail(ValueError("no")), "failed", "ValueError"),
        (lambda recorder: recorder.cancel(), "cancelled", None),
    ],
)
def test_a_workflow_ends_without_a_block(
    recorder: Recorder, rows: Rows, end: Callable[[Recorder], None], status: str, error: str | None
) -> None:
    recorder.start_workflow()
    recorder.node("open").__enter__()
    end(recorder)
    assert values(rows("SELECT status, error_type FROM workflows")) == [(status, error)]
    assert values(rows(NODES)) == [("open", "cancelled")]
    with pytest.raises(ConfigurationError, match="no workflow is recorded in this context"):
        end(recorder)


def test_what_is_under_way_is_seen_as_running(
    recorder: Recorder, rows: Rows, persist: Persist
) -> None:
    with recorder.start_workflow(), recorder.node("slow"):
        persist.flush()
        assert values(rows("SELECT status FROM workflows")) == [("running",)]
        assert values(rows(NODES)) == [("slow", "running")]


def test_misuse_is_told(recorder: Recorder) -> None:
    with pytest.raises(ConfigurationError, match="call start_workflow"):
        recorder.node("lost")
    with pytest.raises(ConfigurationError, match="call start_workflow"):
        recorder.record_tool("lost")
    with recorder.start_workflow() as workflow:
        with recorder.node("once") as node:
            pass
        with pytest.raises(ConfigurationError, match="'once' was entered before"), node:
            pass
    with pytest.raises(ConfigurationError, match="has ended already"):
        recorder.node("late", workflow=workflow)


def test_another_thread_names_its_workflow(recorder: Recorder, persist: Persist) -> None:
    with recorder.start_workflow() as workflow:

        def work() -> None:
            with recorder.node("there", workflow=workflow):
                recorder.record_tool("search")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    found = persist.history.workflow(workflow.id)
    assert found.tool_executions[0].node_id == found.nodes[0].id


async def test_workflows_side_by_side_in_one_loop(recorder: Recorder, persist: Persist) -> None:
    gate = asyncio.Barrier(3)

    async def one(name: str) -> Any:
        async with recorder.start_workflow(name, thread_id=name) as workflow:
            await gate.wait()
            async with recorder.node(f"{name}-1") as node:
                await gate.wait()
                node.complete(state={"name": name})
            recorder.complete_workflow(name)
        return workflow.id

    ids = await asyncio.gather(*map(one, ("a", "b", "c")))
    for id, name in zip(ids, ("a", "b", "c"), strict=True):
        found = await asyncio.to_thread(persist.history.workflow, id)
        assert (found.status, found.result) == ("completed", name)
        assert [node.node_name for node in found.nodes] == [f"{name}-1"]


async def test_a_cancelled_task_cancels_its_workflow(recorder: Recorder, rows: Rows) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with recorder.start_workflow(), recorder.node("wait"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    joined = "SELECT w.status, n.status FROM workflows w JOIN nodes n USING (thread_id)"
    found = await asyncio.to_thread(rows, joined)
    assert found == [{"status": "cancelled"}]


def test_what_nodes_by_hand_changed(recorder: Recorder, persist: Persist) -> None:
    with recorder.start_workflow() as workflow:
        with recorder.node("first") as node:
            node.complete(state={"x": 1})
        with recorder.node("outer") as outer:
            with recorder.node("inner") as node:
                node.complete(state={"x": 1, "y": [2]})
            with recorder.node("silent"):
                pass
            with recorder.node("last") as node:
                node.complete(state={"x": 3, "y": [2]})
            outer.complete(state={"x": 4})
    nodes = {node.node_name: node for node in persist.history.workflow(workflow.id).nodes}
    diffs = {name: persist.history.diff(nodes[name]) for name in ("inner", "last", "outer")}
    assert (diffs["inner"].added, diffs["inner"].changed) == ({"y": [2]}, {})
    assert (diffs["last"].added, diffs["last"].changed) == ({}, {"x": (1, 3)})
    assert (diffs["outer"].added, diffs["outer"].changed) == ({}, {"x": (1, 4)})
    with pytest.raises(NotRecorded, match="the state before"):
        persist.history.diff(nodes["first"])
    with pytest.raises(NotRecorded, match="or was told it"):
        persist.history.diff(nodes["silent"])


# --- calls ---


def test_a_generation_has_its_prompt_tokens_and_cost(migrated: str) -> None:
    prices: Any = {"house-1": {"input": "1", "output": "2"}}
    question: Any = [
        ("system", "Be brief."),
        HumanMessage("Why?"),
        {"role": "user", "content": "?"},
    ]
    with Persist(migrated, prices=prices) as persist:
        recorder = persist.recorder
        with recorder.start_workflow() as workflow, recorder.node("ask") as node:
            id = recorder.record_generation(
                "house-1",
                provider="house",
                prompt=question,
                output="Because.",
                prompt_tokens=1_000_000,
                completion_tokens=500_000,
                params={"temperature": 0.5, "api_key": "secret"},
                finish_reason="stop",
                prompt_name="why",
                prompt_version="2",
                latency_ms=250,
            )
        found = persist.history.workflow(workflow.id)
        (generation,) = found.generations
        said = [message["content"] for message in generation.prompt]
        assert generation.system_prompt == "Be brief."
    assert (generation.id, generation.node_id, generation.status) == (id, node.id, "completed")
    assert (generation.model_name, generation.model_provider) == ("house-1", "house")
    assert said == ["Be brief.", "Why?", "?"]
    assert generation.output == "Because."
    assert (generation.prompt_tokens, generation.total_tokens) == (1_000_000, 1_500_000)
    assert (generation.cost_usd, generation.latency_ms) == (Decimal(2), 250)
    assert (generation.temperature, generation.finish_reason) == (0.5, "stop")
    assert "secret" not in str(generation.invocation_params)
    assert (generation.prompt_name, generation.prompt_version) == ("why", "2")
    assert (found.generation_count, found.total_tokens, found.cost_usd) == (
        1,
        1_500_000,
        Decimal(2),
    )


def test_generations_of_other_forms(recorder: Recorder, persist: Persist) -> None:
    began = datetime(2026, 1, 2, tzinfo=UTC)
    usage: Any = {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}
    message = AIMessage("Hi", usage_metadata=usage, response_metadata={"model_name": "m-2"})
    with recorder.start_workflow() as workflow:
        recorder.record_generation("m", prompt="Hello", output=message, started_at=began)
        recorder.record_generation("m", output={"answer": 42}, usage=usage, cost_usd=0.25)
        recorder.record_generation("m", error=TimeoutError("too slow"))
        recorder.record_generation(None)
    said, parsed, failed, bare = persist.history.workflow(workflow.id).generations
    assert (said.model_name, said.output, said.total_tokens) == ("m-2", "Hi", 9)
    assert said.started_at == began and said.user_prompt == "Hello"
    assert (parsed.parsed_output, parsed.cost_usd) == ({"answer": 42}, Decimal("0.25"))
    assert parsed.price_source == "given"
    assert (failed.status, failed.error_message) == ("failed", "too slow")
    assert (bare.model_name, bare.status, bare.prompt) == (None, "completed", [])


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"error": TimeoutError("too late")},
        {"error": ValueError("no JSON"), "output": "{"},
        {"output": {"answer": 42}},
        {"output": ChatMessage(content="42", role="assistant")},
    ],
    ids=["untold", "failed", "unreadable", "parsed", "message"],
)
def test_what_a_call_used_counts_whatever_came_of_it(migrated: str, answer: Any) -> None:
    with Persist(migrated, prices={"house-1": {"input": "1", "output": "2"}}) as persist:
        persist.organizations.save("acme", max_monthly_tokens=1_000)
        with persist.recorder.start_workflow(organization="acme") as workflow:
            persist.recorder.record_generation(
                "house-1",
                prompt="Why?",
                prompt_tokens=1_000,
                completion_tokens=500,
                finish_reason="length",
                **answer,
            )
        found = persist.history.workflow(workflow.id)
        (generation,) = found.generations
        used = {quota.name: quota.used for quota in persist.organizations.quotas("acme")}
        with pytest.raises(QuotaExceeded):
            persist.recorder.start_workflow(organization="acme")
    assert (generation.prompt_tokens, generation.completion_tokens) == (1_000, 500)
    assert (generation.total_tokens, generation.cost_usd) == (1_500, Decimal("0.002"))
    assert generation.finish_reason == "length"
    assert (found.total_tokens, found.cost_usd) == (1_500, Decimal("0.002"))
    assert used["monthly_tokens"] == 1_500
    said = answer.get("output")
    assert generation.output == getattr(said, "content", said if isinstance(said, str) else None)
    assert generation.error_type == (type(e).__name__ if (e := answer.get("error")) else None)


@pytest.mark.parametrize(
    "at",
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(2026, 1, 2)],
    ids=["min", "max", "naive"],
)
def test_a_call_was_at_a_time_that_can_be_counted(
    recorder: Recorder, persist: Persist, at: datetime
) -> None:
    with recorder.start_workflow():
        for record in (recorder.record_generation, recorder.record_tool):
            with pytest.raises(ConfigurationError, match="since 1970 and not in the future"):
                record("m", started_at=at)
        recorder.record_generation("m", started_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert [sum.period_start.year for sum in persist.usage.metrics(metric="api_calls")] == [1970]


def test_a_tool_execution(recorder: Recorder, persist: Persist, rows: Rows) -> None:
    with recorder.start_workflow() as workflow:
        recorder.record_tool(
            "search",
            input={"q": "cats"},
            output=["cat"],
            tool_call_id="c1",
            tokens_used=3,
            cost_usd=Decimal("0.1"),
            execution_time_ms=12.5,
        )
        recorder.record_tool("search", error=LookupError("none"))
    good, bad = persist.history.workflow(workflow.id).tool_executions
    assert (good.tool_name, good.input_params, good.output_data) == (
        "search",
        {"q": "cats"},
        ["cat"],
    )
    assert (good.success, good.cost_usd, good.execution_time_ms) == (True, Decimal("0.1"), 12.5)
    assert (bad.success, bad.status, bad.error_type) == (False, "failed", "LookupError")
    known = "SELECT count(*) FROM tool_executions x JOIN tools t ON t.id = x.tool_id"
    assert values(rows(known)) == [(2,)]


# --- mixed with automatic recording ---


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_graph_in_a_node_belongs_to_the_workflow(
    recorder: Recorder, persist: Persist, rows: Rows, asynchronous: bool
) -> None:
    graph = persist.attach(chat_graph("It is.").compile(checkpointer=persist.checkpointer))

    def invoke() -> None:
        with recorder.start_workflow("mixed", thread_id="t"):
            with recorder.node("prepare"):
                pass
            with recorder.node("chat"):
                graph.invoke({"messages": "Sunny?"}, persist.config("t"))
            with recorder.node("finish"):
                recorder.record_generation("m", prompt_tokens=1, completion_tokens=1)

    async def ainvoke() -> None:
        async with recorder.start_workflow("mixed", thread_id="t"):
            async with recorder.node("prepare"):
                pass
            async with recorder.node("chat"):
                await graph.ainvoke({"messages": "Sunny?"}, persist.config("t"))
            async with recorder.node("finish"):
                recorder.record_generation("m", prompt_tokens=1, completion_tokens=1)

    asyncio.run(ainvoke()) if asynchronous else invoke()

    (workflow,) = persist.history.workflows()
    assert (workflow.name, workflow.turn, workflow.status) == ("mixed", 1, "completed")
    assert len(workflow.runs) == 1
    names = {node.id: node.node_name for node in workflow.nodes}
    assert [
        (n.node_name, n.node_type, n.parent_node_id and names[n.parent_node_id], n.status)
        for n in workflow.nodes
    ] == [
        ("prepare", "node", None, "completed"),
        ("chat", "subgraph", None, "completed"),
        ("look", "node", "chat", "completed"),
        ("ask", "node", "chat", "completed"),
        ("finish", "node", None, "completed"),
    ]
    assert len(workflow.state_after("ask")["messages"]) == 3
    assert [names[g.node_id] for g in workflow.generations if g.node_id] == ["ask", "finish"]
    assert (workflow.generation_count, workflow.node_count) == (2, 5)
    assert workflow.total_tokens == sum(g.total_tokens or 0 for g in workflow.generations)
    owners = rows("SELECT DISTINCT workflow_id FROM checkpoints")
    assert values(owners) == [(workflow.id,)]


def test_graphs_at_the_same_time_keep_their_own_results(
    recorder: Recorder, persist: Persist
) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))

    async def main() -> Any:
        async with recorder.start_workflow(thread_id="t") as workflow:
            runs = [graph.ainvoke({"count": i * 10}, persist.config(f"t{i}")) for i in range(5)]
            await asyncio.gather(*runs)
        return workflow.id

    found = persist.history.workflow(asyncio.run(main()))
    assert sorted(n.state["count"] for n in found.nodes) == sorted(
        i * 10 + step for i in range(5) for step in (1, 2)
    )
    assert found.status == "completed"


def test_models_and_graphs_outside_of_nodes_and_after_the_end(
    recorder: Recorder, persist: Persist, rows: Rows
) -> None:
    callbacks: Any = {"callbacks": [persist.handler]}
    with recorder.start_workflow("mixed", thread_id="t"):
        fake_model("Yes").invoke("Really?", callbacks)
    fake_model("No").invoke("Still?", callbacks)
    found = rows(
        "SELECT w.name, g.output, g.node_id FROM generations g JOIN workflows w"
        " ON w.thread_id = g.thread_id AND w.id = g.workflow_id ORDER BY g.started_at"
    )
    assert values(found) == [("mixed", "Yes", None), ("GenericFakeChatModel", "No", None)]


def test_an_interrupted_graph_goes_on_in_the_next_workflow(
    recorder: Recorder, persist: Persist, rows: Rows
) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    with recorder.start_workflow("ask", thread_id="t"), recorder.node("run"):
        graph.invoke({"count": 0}, persist.config("t"))
    with recorder.start_workflow("answer", thread_id="t"), recorder.node("run"):
        graph.invoke(Command(resume="yes"), persist.config("t"))
    found = rows(
        "SELECT w.name, n.node_name, n.status FROM nodes n"
        " JOIN workflows w ON w.thread_id = n.thread_id AND w.id = workflow_id"
        " ORDER BY w.turn, n.execution_order"
    )
    assert values(found) == [
        ("ask", "run", "completed"),
        ("ask", "draft", "completed"),
        ("ask", "ask", "interrupted"),
        ("answer", "run", "completed"),
        ("answer", "ask", "completed"),
        ("answer", "publish", "completed"),
    ]


def test_a_graph_within_goes_on_where_it_was_asked(
    recorder: Recorder, persist: Persist, rows: Rows
) -> None:
    def ask_twice(state: Steps) -> Steps:
        return {"log": [interrupt("first?"), interrupt("second?")]}

    builder = StateGraph(Steps)
    builder.add_node("ask", ask_twice)
    builder.add_edge(START, "ask")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    with recorder.start_workflow("job", thread_id="t"):
        graph.invoke({"count": 0}, config)
        for said in ("one", "two"):
            (event,) = persist.history.pending()
            graph.invoke(Command(resume={event.interrupt_id: said}), config)
        assert persist.history.pending() == []
        graph.invoke({"count": 0}, config)
        (event,) = persist.history.pending()
    told = rows("SELECT status, user_input FROM hitl_events ORDER BY requested_at")
    assert values(told) == [("completed", "one"), ("completed", "two"), ("pending", None)]
    begun = rows("SELECT status, attempt FROM nodes ORDER BY execution_order")
    assert values(begun) == [
        ("interrupted", 1),
        ("interrupted", 2),
        ("completed", 3),
        ("interrupted", 1),
    ]


@pytest.mark.parametrize("by", ["hand", "a run"])
def test_a_graph_within_waits_on_its_own_thread(
    recorder: Recorder, persist: Persist, rows: Rows, by: str
) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    with recorder.start_workflow("ask", thread_id="job"), recorder.node("run"):
        graph.invoke({"count": 0}, persist.config("t"))
    (event,) = persist.history.pending()
    assert (event.thread_id, event.resume_thread_id) == ("job", "t")
    if by == "hand":
        with recorder.start_workflow("answer", thread_id="other job"), recorder.node("run"):
            graph.invoke(Command(resume="yes"), persist.config("t"))
    else:
        graph.invoke(Command(resume="yes"), persist.config("t"))
    assert values(rows("SELECT status, user_input FROM hitl_events")) == [("completed", "yes")]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("by", ["hand", "a run"])
def test_what_is_told_in_a_graphs_node_is_that_nodes(
    recorder: Recorder, persist: Persist, rows: Rows, by: str, asynchronous: bool
) -> None:
    def ask(state: Steps) -> Steps:
        recorder.record_generation(
            "m", prompt="so?", output="so.", prompt_tokens=5, completion_tokens=2, cost_usd=0.5
        )
        with recorder.node("look"):
            recorder.record_tool("search")
        recorder.record_tool("send")
        return {"count": 1}

    async def aask(state: Steps) -> Steps:
        return ask(state)

    builder = StateGraph(Steps)
    builder.add_node("ask", aask if asynchronous else ask)
    builder.add_edge(START, "ask")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))

    def call() -> None:
        if asynchronous:
            asyncio.run(graph.ainvoke({"count": 0}, persist.config("t")))
        else:
            graph.invoke({"count": 0}, persist.config("t"))

    if by == "hand":
        with recorder.start_workflow("job", thread_id="t"), recorder.node("outer"):
            call()
    else:
        call()
    workflow = persist.history.last()
    assert (workflow.status, workflow.generation_count, workflow.total_tokens) == (
        "completed",
        1,
        7,
    )
    assert workflow.cost_usd == Decimal("0.5")
    found = rows(
        "SELECT c.name, n.node_name FROM nodes n JOIN ("
        " SELECT node_id, model_name AS name FROM generations"
        " UNION ALL SELECT node_id, tool_name FROM tool_executions"
        " UNION ALL SELECT parent_node_id, node_name FROM nodes"
        ") c ON c.node_id = n.id ORDER BY 1"
    )
    inside = [("ask", "outer")] if by == "hand" else []
    asked = [("look", "ask"), ("m", "ask"), ("search", "look"), ("send", "ask")]
    assert values(found) == inside + asked


def test_what_is_told_in_an_excluded_node_is_left_out(migrated: str, rows: Rows) -> None:
    with Persist(migrated, exclude={"nodes": ["ask"]}) as persist:

        def ask(state: Steps) -> Steps:
            persist.recorder.record_generation("m", prompt="Zebra?", output="Zebra.")
            return {"count": 1}

        builder = StateGraph(Steps)
        builder.add_node("ask", ask)
        builder.add_edge(START, "ask")
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
    (told,) = rows("SELECT g.* FROM generations g JOIN nodes n ON n.id = g.node_id")
    assert told["model_name"] == "m"
    assert "Zebra" not in repr(told)
    assert rows("SELECT * FROM messages") == []


def test_a_graphs_node_ends_no_workflow(recorder: Recorder, persist: Persist) -> None:
    graph = StateGraph(Steps)
    graph.add_node("end", lambda state: recorder.complete_workflow())
    graph.add_edge(START, "end")
    with pytest.raises(ConfigurationError, match="ends when its run does"):
        persist.attach(graph.compile()).invoke({"count": 0}, persist.config("t"))


def test_a_recorder_of_another_database_is_not_joined(
    recorder: Recorder, persist: Persist, migrated_anew: str
) -> None:
    with Persist(migrated_anew) as other, recorder.start_workflow("here"):
        graph = other.attach(chain_of(["a"]).compile(checkpointer=other.checkpointer))
        graph.invoke({"count": 0}, other.config("t"))
        assert [w.name for w in other.history.workflows()] == ["LangGraph"]


# --- durability and privacy ---


def test_the_end_of_a_workflow_waits_for_its_commit(recorder: Recorder, migrated: str) -> None:
    with recorder.start_workflow():
        pass
    with psycopg.connect(migrated) as conn:
        query = "SELECT status FROM langgraph_persist.workflows"
        assert conn.execute(query).fetchall() == [("completed",)]


def test_what_could_not_be_committed_is_told(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise psycopg.errors.InsufficientPrivilege("no")

    with Persist(migrated) as persist:
        recorder = persist.recorder
        monkeypatch.setattr("langgraph_persist.journal.journal.write_group", fail)
        with pytest.raises(DurabilityError), recorder.start_workflow(thread_id="t"):
            pass
        with pytest.raises(KeyError), recorder.start_workflow(thread_id="u"):
            raise KeyError("mine")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize(
    ("how", "below", "calls"), [("block", 4, 4), ("async", 2, 2), ("bare", 0, 2)]
)
def test_what_forked_processes_record_is_there_when_they_end(
    migrated: str, rows: Rows, how: str, below: int, calls: int
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests._recorder_worker", migrated, how],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stderr) == (0, "")
    found = rows(NODES)
    assert [node["status"] for node in found] == ["completed"] * (below + 2)
    assert found[0]["node_name"] == "around"
    numbers = rows("SELECT execution_order FROM nodes ORDER BY 1")
    assert values(numbers) == [(n,) for n in range(1, below + 3)]
    told = "SELECT count(*) AS n, count(node_id) AS placed FROM tool_executions"
    assert rows(told) == [{"n": calls, "placed": calls}]
    (workflow,) = rows("SELECT status, node_count FROM workflows")
    assert workflow == {"status": "completed", "node_count": below + 2}


def test_a_closed_one_is_told(migrated: str) -> None:
    with Persist(migrated) as persist:
        recorder = persist.recorder
    with pytest.raises(JournalClosed):
        recorder.start_workflow()


def test_a_user_is_made_once(recorder: Recorder, persist: Persist) -> None:
    persist.organizations.save("acme")
    made = recorder.get_or_create_user("alice", name="Alice", email="a@b.c", organization="acme")
    again = recorder.get_or_create_user("alice", name="Another")
    assert (again.id, again.name, again.organization) == (made.id, "Alice", "acme")


def test_of_two_who_make_a_user_one_does(
    recorder: Recorder, persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("acme", "other"):
        persist.organizations.save(slug)

    def get(users: Users, username: str) -> User:
        monkeypatch.undo()
        persist.users.save(username, organization="acme", name="Alice")
        raise NotRecorded("not yet")

    monkeypatch.setattr(Users, "get", get)
    found = recorder.get_or_create_user("alice", name="Bob", email="b@c.d", organization="other")
    assert (found.name, found.email, found.organization) == ("Alice", None, "acme")


def test_a_graph_that_ends_leaves_the_workflow_alive(recorder: Recorder, persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    with recorder.start_workflow(thread_id="t") as workflow:
        graph.invoke({"count": 0}, persist.config("t"))
        beating = [fields["id"] for _, fields in persist.handler.journal.heartbeat.rows()]
        assert beating == [workflow.id]
    assert persist.handler.journal.heartbeat.rows() == []
