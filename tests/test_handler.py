"""What the handler records, read back from the tables."""

from __future__ import annotations

import asyncio
import json
import operator
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from psycopg.conninfo import make_conninfo

from langgraph_persist import Persist, PersistCallbackHandler
from langgraph_persist.errors import DurabilityError
from langgraph_persist.journal import runs
from tests.graphs import (
    MODES,
    Steps,
    answer,
    approval_graph,
    chain_of,
    chat_graph,
    fake_model,
    fan_of,
    run,
    weather,
)


@contextmanager
def unraised(handler: PersistCallbackHandler) -> Iterator[None]:
    yield
    assert not handler.failures.counts


@pytest.mark.parametrize("mode", MODES)
def test_sequence(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chain_of(["a", "b", "c"]).compile(checkpointer=persist.checkpointer))
    with unraised(persist.handler):
        run(graph, mode, {"count": 0}, persist.config("t", user="alice", organization="acme", k=1))
    (workflow,) = rows(
        "SELECT w.*, u.username, o.slug FROM workflows w JOIN users u ON u.id = w.user_id"
        " JOIN organizations o ON o.id = w.organization_id"
    )
    assert workflow["status"] == "completed"
    assert workflow["turn"] == 1
    assert workflow["input"] == {"count": 0}
    assert workflow["result"]["count"] == 3
    assert workflow["node_count"] == 3
    assert workflow["metadata"]["k"] == 1
    assert (workflow["username"], workflow["slug"]) == ("alice", "acme")
    assert workflow["completed_at"] > workflow["started_at"]
    (executed,) = rows("SELECT * FROM workflow_runs")
    assert (executed["kind"], executed["status"], executed["attempt"]) == ("start", "completed", 1)
    nodes = rows(
        "SELECT * FROM nodes NATURAL JOIN (SELECT node_id AS id, state_data"
        " FROM node_states) s ORDER BY execution_order"
    )
    assert [n["node_name"] for n in nodes] == ["a", "b", "c"]
    assert [n["status"] for n in nodes] == ["completed"] * 3
    assert [n["state_data"]["count"] for n in nodes] == [1, 2, 3]
    assert nodes[2]["state_data"]["log"] == ["a", "b", "c"]
    assert nodes[0]["input_data"] == {"count": 0, "log": []}
    assert nodes[0]["output_data"] == {"count": 1, "log": ["a"]}
    assert all(n["duration_ms"] > 0 for n in nodes)
    linked = rows(
        "SELECT n.node_name, c.workflow_id = n.workflow_id AS ours, w.task_id IS NOT NULL AS wrote"
        " FROM nodes n JOIN checkpoints c USING (thread_id, checkpoint_id)"
        " LEFT JOIN LATERAL (SELECT task_id FROM checkpoint_writes w"
        "   WHERE w.thread_id = n.thread_id AND w.task_id = n.task_id"
        "   AND w.checkpoint_id = n.input_checkpoint_id LIMIT 1) w ON true"
    )
    assert len(linked) == 3
    assert all(row["ours"] and row["wrote"] for row in linked)
    assert workflow["id"] == executed["id"]
    assert executed["checkpoint_id"] == nodes[2]["checkpoint_id"]


@pytest.mark.parametrize(
    "element",
    [
        lambda i: {"page": i, "text": "x" * 600},
        lambda i: ["y" * 600, i],
        lambda i: f"{i}" * 600,
        lambda i: None if i % 2 else "z" * 900,
        lambda i: str(uuid4()) * 20,
    ],
    ids=["objects", "lists", "texts", "nulls", "ids"],
)
def test_lists_of_anything_are_read_whole_in_sql(persist: Persist, rows: Any, element: Any) -> None:
    """Long lists are stored part by part, as they grow."""

    class Search(TypedDict):
        found: Annotated[list[Any], operator.add]

    builder = StateGraph(Search)
    parts = {name: [element(i) for i in range(3)] for name in ("first", "second")}
    for name, part in parts.items():
        builder.add_node(name, lambda state, part=part: {"found": part})
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    whole = [*parts["first"], *parts["second"]]
    assert graph.invoke({"found": []}, persist.config("t"))["found"] == whole
    found = rows("SELECT state_data, input_data, output_data FROM node_states ORDER BY node_id")
    assert [row["state_data"]["found"] for row in found] == [parts["first"], whole]
    assert [row["input_data"]["found"] for row in found] == [[], parts["first"]]
    assert [row["output_data"]["found"] for row in found] == [*parts.values()]
    assert rows("SELECT result FROM workflow_contents")[0]["result"]["found"] == whole
    stored = rows("SELECT kind FROM state_values WHERE kind = 'list'")
    assert len(stored) > 1
    assert persist.history.last().state_after("second")["found"] == whole
    assert persist.history.transcript("t")


@pytest.mark.parametrize("mode", MODES)
def test_chat_with_tool(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chat_graph("It is sunny").compile(checkpointer=persist.checkpointer))
    with unraised(persist.handler):
        run(graph, mode, {"messages": [HumanMessage("Weather?")]}, persist.config("t"))
    (generation,) = rows(
        "SELECT g.*, n.node_name, p.messages FROM generations g"
        " JOIN nodes n ON n.thread_id = g.thread_id AND n.id = g.node_id"
        " JOIN generation_prompts p ON p.generation_id = g.id"
    )
    assert generation["node_name"] == "ask"
    assert generation["status"] == "completed"
    assert generation["output"] == "It is sunny"
    assert generation["model_name"] == "fake-1"
    assert generation["finish_reason"] == "stop"
    assert generation["prompt_tokens"] == 7
    assert generation["completion_tokens"] == 3
    assert generation["latency_ms"] > 0
    assert [m["content"] for m in generation["messages"]] == ["Weather?", "sunny in Oslo"]
    assert generation["user_prompt"] == "sunny in Oslo"
    (call,) = rows(
        "SELECT t.*, n.node_name FROM tool_executions t"
        " JOIN nodes n ON n.thread_id = t.thread_id AND n.id = t.node_id"
    )
    assert (call["node_name"], call["tool_name"], call["success"]) == ("look", "weather", True)
    assert call["input_params"] == {"city": "Oslo"}
    assert call["output_data"] == "sunny in Oslo"
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["total_tokens"] == 10
    assert workflow["generation_count"] == 1
    assert workflow["user_input"] == "Weather?"
    state = rows("SELECT state_data FROM node_states WHERE node_name = 'ask'")[0]["state_data"]
    assert [m["type"] for m in state["messages"]] == ["human", "human", "ai"]


def test_streamed_tokens_give_time_to_first_token(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chat_graph("one two three").compile(checkpointer=persist.checkpointer))
    chunks = list(
        graph.stream(
            {"messages": [HumanMessage("go")]}, persist.config("t"), stream_mode="messages"
        )
    )
    assert len(chunks) > 2
    (generation,) = rows("SELECT * FROM generations")
    assert generation["streamed"]
    assert 0 < generation["time_to_first_token_ms"] <= generation["latency_ms"]
    assert generation["output"] == "one two three"


@pytest.mark.parametrize("mode", MODES)
def test_parallel_nodes_share_the_state(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(fan_of(["x", "y", "z"]).compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = rows(
        "SELECT node_name, checkpoint_id, state_data FROM node_states WHERE node_name <> 'join'"
    )
    assert {n["node_name"] for n in nodes} == {"x", "y", "z"}
    assert len({n["checkpoint_id"] for n in nodes}) == 1
    assert all(sorted(n["state_data"]["log"]) == ["x", "y", "z"] for n in nodes)
    assert all(n["state_data"].keys() == {"count", "log"} for n in nodes)


def failing_graph() -> StateGraph[Any, Any, Any, Any]:
    def bad(state: Steps) -> Steps:
        raise ValueError("no luck\x00 today")

    builder = chain_of(["a"])
    builder.add_node("bad", bad)
    builder.add_edge("a", "bad")
    return builder


@pytest.mark.parametrize("mode", MODES)
def test_failure(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(failing_graph().compile(checkpointer=persist.checkpointer))
    with pytest.raises(ValueError, match="no luck"):
        run(graph, mode, {"count": 0}, persist.config("t"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["status"] == "failed"
    assert workflow["error_type"] == "ValueError"
    assert workflow["error_message"].startswith("no luck")
    nodes = {n["node_name"]: n for n in rows("SELECT * FROM nodes")}
    assert nodes["a"]["status"] == "completed"
    assert nodes["bad"]["status"] == "failed"
    assert "in bad" in nodes["bad"]["error_traceback"]
    assert nodes["bad"]["checkpoint_id"] is None
    assert nodes["bad"]["input_checkpoint_id"] == nodes["a"]["checkpoint_id"]


@pytest.mark.parametrize("mode", MODES)
def test_failed_run_is_continued_by_none(persist: Persist, rows: Any, mode: str) -> None:
    broken = [True]

    def shaky(state: Steps) -> Steps:
        if broken[0]:
            raise OSError("net down")
        return {"log": ["shaky"]}

    builder = chain_of(["a"])
    builder.add_node("shaky", shaky)
    builder.add_edge("a", "shaky")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(OSError, match="net down"):
        run(graph, mode, {"count": 0}, persist.config("t"))
    broken[0] = False
    run(graph, mode, None, persist.config("t"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["status"] == "completed"
    assert workflow["error_type"] is None
    assert workflow["node_count"] == 3
    runs = rows("SELECT * FROM workflow_runs ORDER BY attempt")
    assert [(r["kind"], r["attempt"], r["status"]) for r in runs] == [
        ("start", 1, "failed"),
        ("resume", 2, "completed"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_interrupt_and_resume_are_one_workflow(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["status"] == "interrupted"
    assert [n["status"] for n in rows("SELECT status FROM nodes ORDER BY execution_order")] == [
        "completed",
        "interrupted",
    ]
    run(graph, mode, Command(resume="yes"), persist.config("t"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["status"] == "completed"
    assert workflow["node_count"] == 4
    assert 0 < workflow["active_ms"] < workflow["duration_ms"]
    runs = rows("SELECT * FROM workflow_runs ORDER BY attempt")
    assert [(r["kind"], r["status"]) for r in runs] == [
        ("start", "interrupted"),
        ("resume", "completed"),
    ]
    asked = rows("SELECT * FROM nodes WHERE node_name = 'ask' ORDER BY started_at")
    assert asked[0]["task_id"] == asked[1]["task_id"]
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert [w["turn"] for w in rows("SELECT turn FROM workflows ORDER BY turn")] == [1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_a_workflow_stays_its_starters(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    run(
        graph,
        mode,
        {"count": 0},
        persist.config("t", user="alice", organization="acme", plan="gold"),
    )
    run(graph, mode, Command(resume="yes"), persist.config("t", user="carol", organization="other"))
    (workflow,) = rows(
        "SELECT username, slug, w.metadata FROM workflows w JOIN users u ON u.id = w.user_id"
        " JOIN organizations o ON o.id = w.organization_id"
    )
    assert (workflow["username"], workflow["slug"]) == ("alice", "acme")
    assert workflow["metadata"]["plan"] == "gold"
    assert rows("SELECT initial_input FROM sessions") == [{"initial_input": None}]


def test_resume_in_another_process_continues_the_workflow(migrated: str, rows: Any) -> None:
    inputs: list[Any] = [{"count": 0}, Command(resume="ok")]
    for value in inputs:
        with Persist(migrated) as persist:
            # Nothing of the first run is left in memory.
            graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
            graph.invoke(value, persist.config("t"))
    assert len(rows("SELECT * FROM workflows")) == 1
    assert len(rows("SELECT * FROM workflow_runs")) == 2


def test_a_thread_deleted_elsewhere_is_stored_anew(persist: Persist, rows: Any) -> None:
    """What this process knows to be stored is not any more."""
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    note = "long " * 1_000
    graph.invoke({"count": 0, "note": note}, persist.config("t"))
    with Persist(make_conninfo(persist.url, connect_timeout=21)) as other:
        other.checkpointer.delete_thread("t", record="delete")
    graph.invoke({"count": 0, "note": note}, persist.config("t"))
    (node,) = rows("SELECT state_data FROM node_states")
    assert node["state_data"]["note"] == note


def test_what_was_deleted_elsewhere_is_stored_anew_after_a_while(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MEMORY_SECONDS", 0)
    model = persist.attach(fake_model("yes", "yes"))
    question = "long " * 1_000
    model.invoke(question, persist.config("t"))
    with Persist(make_conninfo(persist.url, connect_timeout=21)) as other:
        other.checkpointer.delete_thread("t", record="delete")
    model.invoke(question, persist.config("t"))
    (prompted,) = rows("SELECT messages FROM generation_prompts")
    assert [message["content"] for message in prompted["messages"]] == [question]


@pytest.mark.parametrize("mode", MODES)
def test_static_interrupt(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(
        chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer, interrupt_before=["b"])
    )
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert rows("SELECT status FROM workflows") == [{"status": "interrupted"}]
    run(graph, mode, None, persist.config("t"))
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


@pytest.mark.parametrize("mode", MODES)
def test_time_travel_is_a_new_workflow(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    run(graph, mode, {"count": 0}, config)
    before_b = next(s for s in graph.get_state_history(config) if s.next == ("b",))
    run(graph, mode, None, before_b.config)
    first, second = rows("SELECT * FROM workflows ORDER BY turn")
    assert second["replay_of"] == first["id"]
    assert [r["kind"] for r in rows("SELECT kind FROM workflow_runs ORDER BY started_at")] == [
        "start",
        "replay",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_without_checkpointer(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile())
    run(graph, mode, {"count": 0}, {"callbacks": []})
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["thread_id"] == str(workflow["id"])
    nodes = rows("SELECT * FROM nodes ORDER BY execution_order")
    assert [(n["status"], n["state"]) for n in nodes] == [("completed", None)] * 2


def test_with_a_foreign_checkpointer(persist: Persist, rows: Any) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=InMemorySaver()))
    graph.invoke({"count": 0}, persist.config("t"))
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert len(rows("SELECT * FROM workflows WHERE status = 'completed'")) == 1
    assert len(rows("SELECT * FROM workflow_runs")) == 2


@pytest.mark.parametrize("mode", MODES)
def test_plain_runnable(persist: Persist, rows: Any, mode: str) -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | fake_model("fine thanks")
    run(chain, mode, {"q": "How?"}, {"callbacks": [persist.handler]})
    (workflow,) = rows("SELECT * FROM workflows")
    assert (workflow["status"], workflow["name"]) == ("completed", "RunnableSequence")
    assert workflow["input"] == {"q": "How?"}
    (generation,) = rows("SELECT * FROM generations")
    assert generation["output"] == "fine thanks"
    assert generation["node_id"] is None


def test_bare_model_and_bare_tool(persist: Persist, rows: Any) -> None:
    config: Any = {"callbacks": [persist.handler]}
    fake_model("hello there").invoke("hi", config)
    weather.invoke({"city": "Rome"}, config)
    workflows = rows("SELECT status, input_type, user_input FROM workflows ORDER BY started_at")
    assert [w["status"] for w in workflows] == ["completed"] * 2
    assert (workflows[0]["input_type"], workflows[0]["user_input"]) == ("human_message", "hi")
    (generation,) = rows("SELECT * FROM generations")
    assert generation["id"] == generation["run_id"] == generation["workflow_id"]
    (call,) = rows("SELECT * FROM tool_executions")
    assert call["input_params"] == {"city": "Rome"}


@pytest.mark.parametrize("mode", MODES)
def test_runs_without_a_graph_are_told_like_those_of_one(persist: Persist, mode: str) -> None:
    def config(thread_id: str) -> Any:
        named = {"thread_id": thread_id}
        return {"callbacks": [persist.handler], "configurable": named, "run_name": "ask"}

    prompt = ChatPromptTemplate.from_messages([("human", "{what}")])
    run(fake_model("Because."), mode, "Why?", config("model"))
    run(prompt | fake_model("So."), mode, {"what": "How?"}, config("chain"))
    run(weather, mode, {"city": "Rome"}, config("tool"))
    for thread_id, asked, told in (("model", "Why?", "Because."), ("chain", "How?", "So.")):
        lines = persist.history.transcript(thread_id)
        assert [(line.role, line.text) for line in lines] == [("human", asked), ("ai", told)]
    names = {workflow.thread_id: workflow.name for workflow in persist.history.workflows()}
    assert names == dict.fromkeys(("model", "chain", "tool"), "ask")


def test_a_config_is_of_the_thread_it_names(persist: Persist) -> None:
    config = persist.config("t", metadata={"session_id": "other"}, callbacks=[persist.handler])
    fake_model("hello").invoke("hi", config)
    assert persist.history.last().thread_id == "t"


@pytest.mark.parametrize("mode", MODES)
def test_subgraph_nodes_have_their_parent(persist: Persist, rows: Any, mode: str) -> None:
    inner = chain_of(["in1", "in2"]).compile()
    builder = chain_of(["a"])
    builder.add_node("sub", inner)
    builder.add_edge("a", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows("SELECT * FROM nodes")}
    assert nodes["sub"]["node_type"] == "subgraph"
    assert nodes["in1"]["parent_node_id"] == nodes["sub"]["id"]
    assert nodes["in2"]["checkpoint_ns"].startswith("sub:")
    assert all(n["status"] == "completed" for n in nodes.values())
    stored = {c["checkpoint_id"] for c in rows("SELECT checkpoint_id FROM checkpoints")}
    assert {n["checkpoint_id"] for n in nodes.values()} <= stored


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_durabilities(persist: Persist, rows: Any, durability: Any) -> None:
    inner = chain_of(["in1"]).compile()
    builder = chain_of(["a", "b"])
    builder.add_node("sub", inner)
    builder.add_edge("b", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"), durability=durability)
    nodes = rows("SELECT * FROM nodes")
    assert {(n["node_name"], n["status"]) for n in nodes} == {
        (name, "completed") for name in ("a", "b", "sub", "in1")
    }
    saved = rows(
        "SELECT node_name FROM nodes JOIN checkpoints"
        " USING (thread_id, checkpoint_ns, checkpoint_id)"
    )
    # What subgraphs do is not saved with "exit".
    saves = {"a", "b", "sub"} if durability == "exit" else {"a", "b", "sub", "in1"}
    assert {n["node_name"] for n in saved} == saves
    assert {n["node_name"] for n in nodes if n["checkpoint_id"]} == saves
    query = "SELECT node_name, state_data FROM node_states ORDER BY node_id"
    after = {row["node_name"]: row["state_data"] for row in rows(query)}
    assert after["sub"]["count"] == 3
    # What was between is not saved with "exit", so what is not known is not said.
    known = {"a": None, "b": None} if durability == "exit" else {"a": 1, "b": 2}
    assert {n: after[n] and after[n]["count"] for n in "ab"} == known


@pytest.mark.parametrize("mode", MODES)
def test_retries_are_attempts_of_one_task(persist: Persist, rows: Any, mode: str) -> None:
    tries = []

    def shaky(state: Steps) -> Steps:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("shaky", shaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "shaky")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = rows("SELECT * FROM nodes ORDER BY attempt")
    assert [(n["attempt"], n["status"]) for n in nodes] == [
        (1, "failed"),
        (2, "failed"),
        (3, "completed"),
    ]
    assert len({n["task_id"] for n in nodes}) == 1


@pytest.mark.parametrize("mode", MODES)
def test_send_keeps_each_tasks_own_input(persist: Persist, rows: Any, mode: str) -> None:
    builder = StateGraph(Steps)
    builder.add_node("work", lambda arg: {"log": [str(arg["count"])]})
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"count": i}) for i in range(4)], ["work"]
    )
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = rows("SELECT * FROM nodes")
    assert sorted(n["input_data"]["count"] for n in nodes) == [0, 1, 2, 3]


async def test_cancelled_run_leaves_nothing_running(persist: Persist, rows: Any) -> None:
    started = asyncio.Event()

    async def slow(state: Steps) -> Steps:
        started.set()
        await asyncio.sleep(30)
        return {}

    builder = chain_of(["a"])
    builder.add_node("slow", slow)
    builder.add_edge("a", "slow")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    task = asyncio.create_task(graph.ainvoke({"count": 0}, persist.config("t")))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(persist.flush)
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]
    assert {n["status"] for n in rows("SELECT status FROM nodes")} == {"completed", "cancelled"}


def test_generator_closed_early_is_cancelled(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a", "b", "c"]).compile(checkpointer=persist.checkpointer))
    stream: Any = graph.stream({"count": 0}, persist.config("t"))
    next(stream)
    stream.close()
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]


def test_turns_count_under_concurrency(persist: Persist, rows: Any) -> None:
    graph = persist.attach(RunnableLambda(lambda x: x))
    graph.batch(list(range(20)), [persist.config("t", user="bob")] * 20)
    turns = [w["turn"] for w in rows("SELECT turn FROM workflows ORDER BY turn")]
    assert turns == list(range(1, 21))
    assert rows("SELECT turns FROM sessions") == [{"turns": 20}]
    assert len(rows("SELECT * FROM users")) == 1


def test_attached_twice_records_once(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, {**persist.config("t"), "callbacks": [persist.handler]})
    assert len(rows("SELECT * FROM workflows")) == 1
    assert len(rows("SELECT * FROM nodes")) == 1


def test_inputs_are_recorded_as_they_were(persist: Persist, rows: Any) -> None:
    def mutate(state: Steps) -> Steps:
        state["log"].append("changed behind the back")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("mutate", mutate)
    builder.add_edge(START, "mutate")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0, "log": ["as given"]}, persist.config("t"))
    (node,) = rows("SELECT * FROM nodes")
    assert node["input_data"]["log"] == ["as given"]


def test_odd_values_are_recorded(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    odd = "nul \x00 inside"
    graph.invoke(
        {"count": 1, "note": odd, "log": [odd]},
        persist.config("t", user="o\x00dd", tag="\x00"),
    )
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["input"]["note"] == "nul \ufffd inside"
    state = graph.get_state(persist.config("t")).values
    assert state["note"] == odd
    assert state["log"] == [odd, "a"]


def test_a_broken_value_never_reaches_the_graph(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("langgraph_persist.handler.tools.tool_start", broken)
    graph = persist.attach(chat_graph("fine").compile(checkpointer=persist.checkpointer))
    result = graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
    assert result["messages"][-1].content == "fine"
    assert persist.handler.failures.counts == {"on_tool_start: RuntimeError": 1}
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


def test_behaviour_is_the_same_without_the_handler(persist: Persist) -> None:
    def outcome(graph: Any, config: Any) -> Any:
        return json.dumps(list(graph.stream({"count": 0}, config, stream_mode="updates")))

    builder = chain_of(["a", "b"])
    bare = builder.compile(checkpointer=InMemorySaver())
    recorded = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    assert outcome(bare, persist.config("t")) == outcome(recorded, persist.config("t"))


def test_other_handlers_still_hear(persist: Persist) -> None:
    class Counting(BaseCallbackHandler):
        ends = 0

        def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
            self.ends += 1

    counting = Counting()
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, {**persist.config("t"), "callbacks": [counting]})
    assert counting.ends >= 2


def test_child_graph_with_a_thread_of_its_own(persist: Persist, rows: Any) -> None:
    child = chain_of(["c1"]).compile(checkpointer=persist.checkpointer)

    def call(state: Steps) -> Steps:
        child.invoke({"count": 0}, {"configurable": {"thread_id": "child"}})
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("parent"))
    assert {n["node_name"]: n["status"] for n in rows("SELECT * FROM nodes")} == {
        "call": "completed",
        "c1": "completed",
    }
    assert len(rows("SELECT * FROM workflows")) == 1
    assert rows("SELECT count(*) AS n FROM checkpoints WHERE thread_id = 'child'")[0]["n"] == 3


def test_error_needs_a_target() -> None:
    with pytest.raises(TypeError, match="needs a URL"):
        PersistCallbackHandler()


def test_a_completed_sibling_of_a_failure_keeps_its_pending_writes(
    persist: Persist, rows: Any
) -> None:
    def bad(state: Steps) -> Steps:
        time.sleep(0.05)
        raise ValueError("no luck")

    builder = StateGraph(Steps)
    builder.add_node("good", lambda state: {"log": ["good"]})
    builder.add_node("bad", bad)
    builder.add_edge(START, "good")
    builder.add_edge(START, "bad")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(ValueError, match="no luck"):
        graph.invoke({"count": 0}, persist.config("t"))
    (good,) = rows(
        "SELECT n.status, w.channel FROM nodes n JOIN checkpoint_writes w"
        " USING (thread_id, checkpoint_id, task_id) WHERE node_name = 'good' AND channel = 'log'"
    )
    assert good == {"status": "completed", "channel": "log"}


def test_nothing_of_a_run_is_remembered_after_its_end(persist: Persist) -> None:
    graph = persist.attach(chat_graph("hi").compile(checkpointer=persist.checkpointer))
    graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
    with pytest.raises(ValueError, match="no luck"):
        persist.attach(failing_graph().compile()).invoke({"count": 0})
    assert not persist.handler._spans
    assert not persist.handler.journal.runs._by_thread
    assert not persist.handler.journal.runs._by_call


@pytest.mark.parametrize("mode", MODES)
def test_functional_api(persist: Persist, rows: Any, mode: str) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint(checkpointer=persist.checkpointer)
    def flow(n: int) -> int:
        return sum(future.result() for future in [double(i) for i in range(n)])

    run(persist.attach(flow), mode, 3, persist.config("t"))
    nodes = rows("SELECT * FROM nodes ORDER BY execution_order")
    assert [(n["node_name"], n["node_type"]) for n in nodes] == [("flow", "node")] + [
        ("double", "task")
    ] * 3
    assert {n["parent_node_id"] for n in nodes[1:]} == {nodes[0]["id"]}
    assert all(n["status"] == "completed" and n["checkpoint_id"] for n in nodes)
    state = rows("SELECT state_data FROM node_states WHERE node_name = 'flow'")[0]["state_data"]
    assert state["__end__"] == 6


@pytest.mark.parametrize("mode", MODES)
def test_a_function_that_did_not_return_has_no_result(persist: Persist, mode: str) -> None:
    @entrypoint(checkpointer=persist.checkpointer)
    def flow(n: int) -> int:
        if n > 1 and interrupt("go on?") == "no":
            raise RuntimeError
        return n

    graph, config = persist.attach(flow), persist.config("t")

    def result(value: Any) -> tuple[str, Any]:
        with suppress(RuntimeError):
            run(graph, mode, value, config)
        workflow = persist.history.last()
        return workflow.status, workflow.result

    assert result(1) == ("completed", 1)
    assert result(2) == ("interrupted", None)
    assert result(Command(resume="yes")) == ("completed", 2)
    assert result(3) == ("interrupted", None)
    assert result(Command(resume="no")) == ("failed", None)


def test_a_state_without_keys(persist: Persist, rows: Any) -> None:
    schema: Any = Annotated[list[str], operator.add]
    builder: Any = StateGraph(schema)
    builder.add_node("a", lambda state: ["a"])
    builder.add_edge(START, "a")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke(["x"], persist.config("t"))
    assert rows("SELECT state_data FROM node_states")[0]["state_data"] == {"__root__": ["x", "a"]}


@pytest.mark.parametrize("mode", MODES)
def test_agent(persist: Persist, rows: Any, mode: str) -> None:
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call-1"}

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    model = Model(messages=iter([answer("", tool_calls=[call]), answer("It is sunny")]))
    agent = persist.attach(create_agent(model, [weather], checkpointer=persist.checkpointer))
    with unraised(persist.handler):
        run(agent, mode, {"messages": [HumanMessage("Weather?")]}, persist.config("t"))
    nodes = rows("SELECT node_name, status FROM nodes ORDER BY execution_order")
    assert [(n["node_name"], n["status"]) for n in nodes] == [
        ("model", "completed"),
        ("tools", "completed"),
        ("model", "completed"),
    ]
    first, second = rows("SELECT * FROM generations ORDER BY started_at")
    assert first["tool_calls"][0]["name"] == "weather"
    assert second["output"] == "It is sunny"
    (executed,) = rows("SELECT * FROM tool_executions")
    assert executed["tool_call_id"] == "call-1"
    assert executed["node_id"] is not None


def test_handler_alone_sets_up(database: str) -> None:
    handler = PersistCallbackHandler(database)
    handler.setup()
    fake_model("hello").invoke("hi", {"callbacks": [handler]})
    handler.close()
    with psycopg.connect(database) as conn:
        found = conn.execute("SELECT output FROM langgraph_persist.generations").fetchall()
    assert found == [("hello",)]


def test_missing_tables_are_named_with_the_remedy(database: str) -> None:
    handler = PersistCallbackHandler(database)
    with pytest.raises(DurabilityError, match=r"does not exist.*call setup\(\)"):
        fake_model("hello").invoke("hi", {"callbacks": [handler]})
    handler.close()


def test_a_failure_is_told_to_its_run_whoever_else_looked(
    persist: Persist, migrated: str, rows: Any
) -> None:
    """A reader that meets the failure first must not let the run go on past the gap."""
    admin = psycopg.connect(migrated, autocommit=True)
    admin.execute("ALTER TABLE checkpoint_blobs ADD CONSTRAINT no_t CHECK (thread_id <> 't')")
    looked: list[str] = []

    def look(state: Steps) -> Steps:
        with pytest.raises(DurabilityError):
            persist.flush(10)
        admin.execute("ALTER TABLE checkpoint_blobs DROP CONSTRAINT no_t")
        persist.history.workflows()
        looked.append("x")
        return {"count": 2}

    builder = chain_of(["a"], seconds=0.1)
    builder.add_node("look", look)
    builder.add_node("after", lambda state: {"count": 3})
    builder.add_edge("a", "look")
    builder.add_edge("look", "after")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(DurabilityError, match="no_t"):
        graph.invoke({"log": ["in"]}, persist.config("t"))
    admin.close()
    assert looked
    assert graph.get_state(persist.config("t")).values == {}
    assert rows("SELECT 1 FROM nodes WHERE status = 'completed'") == []
    plain = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    plain.invoke({"log": ["in"]}, persist.config("u"))
    assert rows("SELECT status FROM workflows WHERE thread_id = 'u'") == [{"status": "completed"}]


def test_token_counts_beyond_any_integer_do_not_fail_the_run(persist: Persist, rows: Any) -> None:
    huge = {"input_tokens": 2**63 - 1, "output_tokens": 0, "total_tokens": 2**63 - 1}

    def ask(state: Steps) -> Steps:
        for _ in range(3):
            answered = answer("x")
            answered.usage_metadata = huge  # type: ignore[assignment]
            GenericFakeChatModel(messages=iter([answered])).invoke("hi")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t", user="x" * 10_000))
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["status"] == "completed"
    assert workflow["total_tokens"] == 2**63 - 1


def test_update_state_during_a_run_waits_for_its_own_commit(
    persist: Persist, migrated: str
) -> None:
    def during(state: Steps) -> Steps:
        plain.update_state(persist.config("t"), {"note": "by hand"}, as_node="during")
        with psycopg.connect(migrated) as conn:
            found = conn.execute(
                "SELECT count(*) FROM checkpoints WHERE metadata ->> 'source' = 'update'"
            ).fetchone()
        assert found == (1,)
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("during", during)
    builder.add_edge(START, "during")
    plain = builder.compile(checkpointer=persist.checkpointer)
    persist.attach(plain).invoke({"count": 0}, persist.config("t"))


def test_an_abandoned_run_collected_in_the_writer_does_not_stop_it(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    abandoned: list[Any] = [graph.stream({"count": 0}, persist.config("left"))]
    next(abandoned[0])
    journal = persist.handler.journal
    write = journal._write

    def collecting(units: Any) -> None:
        abandoned.clear()
        write(units)

    journal._write = collecting  # type: ignore[method-assign]
    assert graph.invoke({"count": 0}, persist.config("t"))["count"] == 2


async def test_what_goes_on_after_a_cancelled_run_is_no_workflow(
    persist: Persist, rows: Any
) -> None:
    model, done = fake_model("late"), threading.Event()

    def slow(state: Steps) -> Steps:
        time.sleep(0.3)
        model.invoke("still there?")
        done.set()
        return {}

    builder = StateGraph(Steps)
    builder.add_node("slow", slow)
    builder.add_edge(START, "slow")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(graph.ainvoke({"count": 0}, persist.config("t")), 0.1)
    await asyncio.to_thread(done.wait, 10)
    await asyncio.to_thread(persist.flush)
    assert len(rows("SELECT * FROM workflows")) == 1
