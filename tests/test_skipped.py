"""Targets of conditional edges and Commands that were not chosen, as rows of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, Send, interrupt

from langgraph_persist import Persist
from tests.graphs import MODES, Steps, chain_of, fake_model, run, step, weather


@pytest.fixture(autouse=True)
def unraised(persist: Persist) -> Iterator[None]:
    yield
    assert not persist.handler.failures.counts


def skipped(rows: Any, thread_id: str = "t") -> list[tuple[str, int]]:
    found = rows(
        "SELECT node_name, step FROM nodes WHERE status = 'skipped' AND thread_id = %s"
        " ORDER BY step, node_name",
        thread_id,
    )
    return [(row["node_name"], row["step"]) for row in found]


def branching(route: Any, ends: Any = None, names: str = "abcd") -> Any:
    """A node that chooses among others, each of which ends the graph."""
    builder = StateGraph(Steps)
    for name in names:
        builder.add_node(name, step(name))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", route, ends)
    return builder


def to_b(state: Steps) -> str:
    return "b"


@pytest.mark.parametrize("mode", MODES)
def test_conditional_edge(persist: Persist, rows: Any, mode: str) -> None:
    builder = branching(to_b, ["b", "c", "d", END])
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows("SELECT * FROM nodes")}
    assert {name: n["status"] for name, n in nodes.items()} == {
        "a": "completed",
        "b": "completed",
        "c": "skipped",
        "d": "skipped",
    }
    assert nodes["c"]["input_checkpoint_id"] == nodes["b"]["input_checkpoint_id"]
    assert nodes["c"]["input_checkpoint_id"] == nodes["a"]["checkpoint_id"] is not None
    assert nodes["c"]["checkpoint_id"] is nodes["c"]["state"] is nodes["c"]["duration_ms"] is None
    assert nodes["c"]["metadata"] == {"skipped_by": ["a"]}
    assert [n["node_count"] for n in rows("SELECT node_count FROM workflows")] == [2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("saves", [False, True])
def test_without_a_checkpointer_of_ours(
    persist: Persist, rows: Any, mode: str, saves: bool
) -> None:
    checkpointer = InMemorySaver() if saves else None
    builder = branching(to_b, {"b": "b", "no": "c"}, "abc")
    graph = persist.attach(builder.compile(checkpointer=checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert skipped(rows) == [("c", 2)]


def test_choosing_the_end_skips_all(persist: Persist, rows: Any) -> None:
    builder = branching(lambda state: END, ["b", "c", END], "abc")
    persist.attach(builder.compile(checkpointer=persist.checkpointer)).invoke(
        {"count": 0}, persist.config("t")
    )
    assert skipped(rows) == [("b", 2), ("c", 2)]
    (last,) = rows("SELECT checkpoint_id FROM nodes WHERE node_name = 'a'")
    assert {n["input_checkpoint_id"] for n in rows("SELECT * FROM nodes WHERE step = 2")} == {
        last["checkpoint_id"]
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("route", [to_b, RunnableLambda(to_b), lambda state: ["b"]])
def test_from_the_start(persist: Persist, rows: Any, mode: str, route: Any) -> None:
    builder = StateGraph(Steps)
    for name in "bc":
        builder.add_node(name, step(name))
    builder.add_conditional_edges(START, route, ["b", "c"])
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert skipped(rows) == [("c", 1)]


def test_a_router_typed_with_its_ends(persist: Persist, rows: Any) -> None:
    def route(state: Steps) -> Literal["b", "c"]:
        return "b"

    persist.attach(branching(route, names="abc").compile()).invoke({}, persist.config("t"))
    assert skipped(rows) == [("c", 2)]


def test_ends_that_are_not_declared_are_not_guessed(persist: Persist, rows: Any) -> None:
    persist.attach(branching(to_b).compile()).invoke({}, persist.config("t"))
    assert skipped(rows) == []


def test_a_node_chosen_by_another_or_by_an_edge_is_not_skipped(persist: Persist, rows: Any) -> None:
    builder = StateGraph(Steps)
    for name in ("a", "x", "b", "c", "d", "e"):
        builder.add_node(name, lambda state: {"log": ["x"]})
    builder.add_edge(START, "a")
    builder.add_edge(START, "x")
    builder.add_conditional_edges("a", to_b, ["b", "c", "d", "e"])
    builder.add_conditional_edges("x", lambda state: [Send("c", {})], ["c", "e"])
    builder.add_edge("x", "d")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({}, persist.config("t"))
    assert skipped(rows) == [("e", 2)]
    (row,) = rows("SELECT metadata FROM nodes WHERE status = 'skipped'")
    assert row["metadata"] == {"skipped_by": ["a", "x"]}


@pytest.mark.parametrize("mode", MODES)
def test_command(persist: Persist, rows: Any, mode: str) -> None:
    def decide(state: Steps) -> Command[Literal["b", "c", "d"]]:
        return Command(goto=["b", Send("c", {})], update={"count": 1})

    builder = StateGraph(Steps)
    builder.add_node("decide", decide)
    for name in "bcd":
        builder.add_node(name, lambda state: {"log": ["x"]})
    builder.add_edge(START, "decide")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert skipped(rows) == [("d", 2)]


@pytest.mark.parametrize("mode", MODES)
def test_command_to_the_parent(persist: Persist, rows: Any, mode: str) -> None:
    def leave(state: Steps) -> Command[Any]:
        return Command(goto="b", graph=Command.PARENT)

    inner = StateGraph(Steps)
    inner.add_node("leave", leave)
    inner.add_edge(START, "leave")
    builder = StateGraph(Steps)
    builder.add_node("sub", inner.compile(), destinations=("b", "c"))
    for name in "bc":
        builder.add_node(name, step(name))
    builder.add_edge(START, "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    assert skipped(rows) == [("c", 2)]


def test_what_a_loop_never_came_to_is_skipped_once(persist: Persist, rows: Any) -> None:
    builder = StateGraph(Steps)
    for name in ("a", "again", "out", "never"):
        builder.add_node(name, step(name))
    builder.add_edge(START, "a")
    builder.add_edge("again", "a")
    builder.add_conditional_edges(
        "a", lambda state: "again" if state["count"] < 4 else "out", ["again", "out", "never"]
    )
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    assert skipped(rows) == [("never", 6)]
    (row,) = rows("SELECT input_checkpoint_id FROM nodes WHERE status = 'skipped'")
    last = rows("SELECT checkpoint_id FROM nodes WHERE node_name = 'a' ORDER BY step DESC LIMIT 1")
    assert row["input_checkpoint_id"] == last[0]["checkpoint_id"]


def test_in_subgraphs(persist: Persist, rows: Any) -> None:
    builder = chain_of(["first"])
    builder.add_node("sub", branching(to_b, ["b", "c"], "abc").compile())
    builder.add_edge("first", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows("SELECT * FROM nodes")}
    assert nodes["c"]["status"] == "skipped"
    assert nodes["c"]["parent_node_id"] == nodes["b"]["parent_node_id"] == nodes["sub"]["id"]
    assert nodes["c"]["checkpoint_ns"] == nodes["b"]["checkpoint_ns"]
    assert nodes["c"]["input_checkpoint_id"] == nodes["b"]["input_checkpoint_id"]


@pytest.mark.parametrize("mode", MODES)
def test_an_agent_that_calls_no_tool_skips_them(persist: Persist, rows: Any, mode: str) -> None:
    """Its routers are not traced: what they chose shows in what runs next."""

    class Model(type(fake_model())):  # type: ignore[misc]
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    model = Model(messages=fake_model("fine").messages)
    agent = persist.attach(create_agent(model, [weather], checkpointer=persist.checkpointer))
    run(agent, mode, {"messages": [("human", "hi")]}, persist.config("t"))
    assert skipped(rows) == [("tools", 2)]


def test_a_chosen_node_that_never_started_is_not_skipped(persist: Persist, rows: Any) -> None:
    builder = branching(to_b, ["b", "c"], "abc")
    graph = persist.attach(
        builder.compile(checkpointer=persist.checkpointer, interrupt_before=["b"])
    )
    graph.invoke({"count": 0}, persist.config("t"))
    assert skipped(rows) == [("c", 2)]
    graph.invoke(None, persist.config("t"))
    assert skipped(rows) == [("c", 2)]


def test_deferred_and_cached_nodes_are_not_skipped(persist: Persist, rows: Any) -> None:
    builder = StateGraph(Steps)
    builder.add_node("a", step("a"))
    builder.add_node("late", step("late"), defer=True)
    builder.add_node("cached", step("cached"), cache_policy=CachePolicy())
    builder.add_node("c", step("c"))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: ["late", "cached"], ["late", "cached", "c"])
    graph = persist.attach(
        builder.compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    )
    for thread_id in ("t", "u"):
        graph.invoke({"count": 0}, persist.config(thread_id))
        assert skipped(rows, thread_id) == [("c", 2)]


def test_an_interrupted_sibling_does_not_hide_a_choice(persist: Persist, rows: Any) -> None:
    def ask(state: Steps) -> Steps:
        return {"log": [interrupt("?")]}

    builder = branching(to_b, ["b", "c"], "abc")
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert skipped(rows) == [("c", 2)]
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


def test_over_a_pause_a_node_is_skipped_only_if_it_never_runs(persist: Persist, rows: Any) -> None:
    routes = iter(["b", "d"])
    builder = StateGraph(Steps)
    for name in "abcd":
        builder.add_node(name, step(name))
    builder.add_node("ask", lambda state: {"log": [interrupt("go on?")]})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: next(routes), ["b", "c", "d"])
    builder.add_edge("b", "ask")
    builder.add_edge("ask", "a")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    assert skipped(rows) == [("c", 2), ("d", 2)]
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert skipped(rows) == [("c", 2)]
    found = rows("SELECT node_name FROM nodes WHERE status = 'completed' ORDER BY execution_order")
    assert [row["node_name"] for row in found] == ["a", "b", "ask", "a", "d"]


def test_with_every_durability(persist: Persist, rows: Any) -> None:
    builder = branching(to_b, ["b", "c"], "abc")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    durabilities: list[Any] = ["sync", "async", "exit"]
    for durability in durabilities:
        graph.invoke({"count": 0}, persist.config(durability), durability=durability)
        assert skipped(rows, durability) == [("c", 2)]
