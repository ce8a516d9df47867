"""Running again from a node, and what the history says of nodes and workflows side by side."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from langgraph_persist import Persist
from langgraph_persist.errors import NotRecorded
from langgraph_persist.history import Node, Workflow
from tests.graphs import Steps, chain_of, chat_graph, fan_of, step


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


def run(graph: Any, value: Any, config: Any, asynchronous: bool = False) -> Any:
    if asynchronous:
        return asyncio.run(graph.ainvoke(value, config))
    return graph.invoke(value, config)


def node_of(workflow: Workflow, name: str, status: str = "completed") -> Node:
    return next(n for n in workflow.nodes if (n.node_name, n.status) == (name, status))


def executed(workflow: Workflow) -> list[str]:
    return [node.node_name for node in workflow.nodes]


def asking() -> StateGraph[Any, Any, Any, Any]:
    """Draws up, asks a human, does it."""

    def ask(state: Steps) -> Steps:
        return {"log": [f"answer {interrupt('Shall I?')}"]}

    builder = StateGraph(Steps)
    builder.add_node("draw", step("draw"))
    builder.add_node("ask", ask)
    builder.add_node("do", step("do"))
    for before, after in [(START, "draw"), ("draw", "ask"), ("ask", "do"), ("do", END)]:
        builder.add_edge(before, after)
    return builder


def nested(depth: int = 1) -> StateGraph[Any, Any, Any, Any]:
    """A chain of x, y and z, as deep within nodes ``sub`` as said, between ``a`` and ``b``."""
    inner = chain_of(["x", "y", "z"])
    for _ in range(depth):
        outer = StateGraph(Steps)
        outer.add_node("a", step("a"))
        outer.add_node("sub", inner.compile())
        outer.add_node("b", step("b"))
        for before, after in [(START, "a"), ("a", "sub"), ("sub", "b"), ("b", END)]:
            outer.add_edge(before, after)
        inner = outer
    return inner


def echoing() -> StateGraph[Any, Any, Any, Any]:
    """Answers with what it was asked."""

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(state["messages"][-1].content)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder


# --- replay ---


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_node_is_run_again_and_what_follows(persist: Persist, asynchronous: bool) -> None:
    builder = chain_of(["a", "b", "c"])
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="ann", organization="acme")
    first = run(graph, {"count": 0}, config, asynchronous)
    old = persist.history.last()

    again = run(graph, None, persist.history.replay_config(node_of(old, "b")), asynchronous)

    new = persist.history.last()
    assert again == first
    assert (new.user, new.organization) == (old.user, old.organization) == ("ann", "acme")
    assert executed(new) == ["b", "c"]
    assert (new.replay_of, new.turn, new.runs[0].kind) == (old.id, 2, "replay")
    assert executed(persist.history.workflow(old.id)) == ["a", "b", "c"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_another_answer_leads_elsewhere(persist: Persist, asynchronous: bool) -> None:
    graph = persist.attach(asking().compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    run(graph, {"count": 0}, config, asynchronous)
    said_no = run(graph, Command(resume="no"), config, asynchronous)
    old = persist.history.last()

    asked = run(graph, None, persist.history.replay_config(node_of(old, "ask")), asynchronous)
    assert [i.value for i in asked["__interrupt__"]] == ["Shall I?"]
    said_yes = run(graph, Command(resume="yes"), config, asynchronous)

    assert said_no["log"] == ["draw", "answer no", "do"]
    assert said_yes["log"] == ["draw", "answer yes", "do"]
    new = persist.history.last()
    assert (new.replay_of, new.status) == (old.id, "completed")
    assert [r.kind for r in new.runs] == ["replay", "resume"]
    assert executed(new) == ["ask", "ask", "do"]
    assert new.state_after("do")["log"] == said_yes["log"]
    assert persist.history.workflow(old.id).state_after("do")["log"] == said_no["log"]


def test_the_state_may_be_changed_before(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b", "c"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    old = persist.history.last()
    config = persist.history.replay_config(node_of(old, "c"))
    assert graph.invoke(None, graph.update_state(config, {"count": 40}))["count"] == 41
    new = persist.history.last()
    assert (new.replay_of, executed(new)) == (old.id, ["c"])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("depth", [0, 1])
def test_with_another_state_it_is_of_the_same_user(
    persist: Persist, depth: int, asynchronous: bool
) -> None:
    builder = nested(depth) if depth else chain_of(["x", "y"])
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, {"count": 0}, persist.config("t", user="ann", organization="acme"), asynchronous)
    old = persist.history.last()
    edited = graph.update_state(persist.history.replay_config(node_of(old, "y")), {"count": 40})
    run(graph, None, edited, asynchronous)
    new = persist.history.last()
    assert new.replay_of == old.id
    assert (new.user, new.organization) == ("ann", "acme")


def test_whoever_is_named_runs_it_again(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t", user="ann", organization="acme"))
    edited = graph.update_state(
        persist.history.replay_config(persist.history.last().nodes[1]), {"count": 40}
    )
    graph.invoke(None, {**edited, "metadata": {"user": "eve"}})
    new = persist.history.last()
    assert new.user == "eve"


def test_what_nobody_ran_is_nobodys_again(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    edited = graph.update_state(
        persist.history.replay_config(persist.history.last().nodes[1]), {"count": 40}
    )
    graph.invoke(None, edited)
    assert persist.history.last().user is None


def test_who_answers_at_a_checkpoint_is_not_known_by_its_workflow(
    persist: Persist, rows: Any
) -> None:
    graph = persist.attach(asking().compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="ann")
    graph.invoke({"count": 0}, config)
    newest = graph.get_state(config).config["configurable"]
    graph.invoke(Command(resume="yes"), {"configurable": newest})
    workflow = persist.history.last()
    assert (workflow.user, workflow.status) == ("ann", "completed")
    (event,) = rows("SELECT status, user_id FROM hitl_events")
    assert event == {"status": "completed", "user_id": None}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_node_in_a_subgraph_is_run_again(
    persist: Persist, depth: int, asynchronous: bool
) -> None:
    graph = persist.attach(nested(depth).compile(checkpointer=persist.checkpointer))
    first = run(graph, {"count": 0}, persist.config("t"), asynchronous)
    old = persist.history.last()

    again = run(graph, None, persist.history.replay_config(node_of(old, "y")), asynchronous)

    new = persist.history.last()
    assert again == first
    assert executed(new) == ["sub"] * depth + ["y", "z"] + ["b"] * depth
    assert new.replay_of == old.id
    assert [n.state["count"] for n in new.nodes if n.node_name in "yz"] == [
        n.state["count"] for n in old.nodes if n.node_name in "yz"
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_state_in_a_subgraph_may_be_changed_before(
    persist: Persist, depth: int, asynchronous: bool
) -> None:
    graph = persist.attach(nested(depth).compile(checkpointer=persist.checkpointer))
    first = run(graph, {"count": 0}, persist.config("t"), asynchronous)
    old = persist.history.last()
    config = persist.history.replay_config(node_of(old, "y"))
    if asynchronous:
        edited = asyncio.run(graph.aupdate_state(config, {"count": 40}))
    else:
        edited = graph.update_state(config, {"count": 40})
    again = run(graph, None, edited, asynchronous)
    new = persist.history.last()
    assert executed(new) == ["sub"] * depth + ["y", "z"] + ["b"] * depth
    assert (new.replay_of, again["count"]) == (old.id, 42 + depth)
    assert again["log"] == first["log"]


def test_what_is_not_run_again_changes_nothing(persist: Persist, rows: Any) -> None:
    graph = persist.attach(nested(1).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    node = node_of(persist.history.last(), "y")
    before = graph.get_state(persist.config("t"))
    count = rows("SELECT count(*) FROM checkpoints")

    config = persist.history.replay_config(node)
    assert graph.get_state(config).next == ("y",)
    assert graph.get_state(config).values["count"] == 2

    assert graph.get_state(persist.config("t")) == before
    assert rows("SELECT count(*) FROM checkpoints") == count
    said = before.values["log"]
    assert graph.invoke({"count": 0}, persist.config("t"))["log"][: len(said) + 1] == [*said, "a"]


def test_a_sent_subgraph_is_run_again(persist: Persist) -> None:
    class Wide(TypedDict, total=False):
        count: Annotated[int, operator.add]
        log: Annotated[list[str], operator.add]
        note: str

    wide = StateGraph(Wide)
    wide.add_node("sub", chain_of(["x", "y"]).compile())
    wide.add_node("end", lambda state: {"note": "over"})
    wide.add_conditional_edges(START, lambda s: [Send("sub", {"count": n}) for n in (10, 20)])
    wide.add_edge("sub", "end")
    graph = persist.attach(wide.compile(checkpointer=persist.checkpointer))
    first = graph.invoke({"count": 0}, persist.config("t"))
    old = persist.history.last()
    second = [node for node in old.nodes if node.node_name == "y"][1]
    assert graph.invoke(None, persist.history.replay_config(second)) == first
    again = executed(persist.history.last())
    assert sorted(again) == ["end", "sub", "sub", "x", "y", "y"]


def test_why_there_is_no_state_is_told(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"), durability="exit")
    a, b = persist.history.last().nodes
    assert b.state["count"] == 2
    with pytest.raises(NotRecorded, match="durability='exit', which saves the state after the l"):
        _ = a.state


def test_what_cannot_be_replayed_is_told(persist: Persist, migrated: str) -> None:
    def call(state: Steps) -> Any:
        raise ValueError("broken")

    builder = StateGraph(Steps)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    graph = persist.attach(builder.compile())
    with pytest.raises(ValueError):
        graph.invoke({"count": 0}, persist.config("bare"))
    with pytest.raises(NotRecorded, match="which checkpoint"):
        persist.history.replay_config(persist.history.last().nodes[0])
    nest = persist.attach(nested().compile(checkpointer=persist.checkpointer))
    nest.invoke({"count": 0}, persist.config("t"))
    workflow = persist.history.last()
    persist.flush()
    with psycopg.connect(migrated) as conn:
        conn.execute("DELETE FROM checkpoints")
    with pytest.raises(NotRecorded, match="is gone"):
        persist.history.replay_config(node_of(workflow, "y"))


# --- diff ---


def test_what_nodes_changed(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"note": "n", "count": 0}, persist.config("t"))
    first, second = (persist.history.diff(node) for node in persist.history.last().nodes)
    assert (first.changed, first.added) == ({"count": (0, 1)}, {"log": ["a"]})
    assert (second.added, second.removed) == ({}, {})
    assert second.changed == {"count": (1, 2), "log": (["a"], ["a", "b"])}
    assert "~ count: 1 -> 2" in str(second).splitlines()
    assert "+ log: ['a']" in str(first).splitlines()
    graph.invoke({"count": 7}, persist.config("t"))
    third = persist.history.diff(persist.history.last().nodes[0])
    assert third.changed == {"count": (7, 8), "log": (["a", "b"], ["a", "b", "a"])}


def test_what_was_not_finished_changed_nothing(persist: Persist) -> None:
    graph = persist.attach(asking().compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    workflow = persist.history.last()
    diff = persist.history.diff(node_of(workflow, "ask", "interrupted"))
    assert not diff and str(diff) == "nothing changed"


def test_messages_are_compared_as_they_are(persist: Persist) -> None:
    graph = persist.attach(chat_graph("It is.").compile(checkpointer=persist.checkpointer))
    graph.invoke({"messages": "Sunny?"}, persist.config("t"))
    look, ask = (persist.history.diff(node) for node in persist.history.last().nodes)
    for diff, before in ((look, 1), (ask, 2)):
        old, new = diff.changed["messages"]
        assert (len(old), new[:-1]) == (before, old)


def test_nodes_side_by_side_share_their_step(persist: Persist) -> None:
    graph = persist.attach(fan_of(["p", "q"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    diffs = [persist.history.diff(node) for node in persist.history.last().nodes[:2]]
    assert diffs[0].added == diffs[1].added == {"log": ["p", "q"]}


# --- compare and transcript ---


def test_two_workflows_side_by_side(persist: Persist) -> None:
    def choose(state: Steps) -> str:
        return "long" if state["count"] > 5 else "short"

    builder = StateGraph(Steps)
    for name in ("start", "long", "short", "end"):
        builder.add_node(name, step(name))
    builder.add_edge(START, "start")
    builder.add_conditional_edges("start", choose, ["long", "short"])
    builder.add_edge("long", "end")
    builder.add_edge("short", "end")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for thread, count in (("one", 0), ("two", 9)):
        graph.invoke({"count": count}, persist.config(thread))
    two, one = persist.history.workflows()

    compared = persist.history.compare(one, two)

    assert compared.fields["input"] == ({"count": 0}, {"count": 9})
    assert compared.nodes[0].name == "start"
    assert compared.nodes[0].diff is not None
    assert compared.nodes[0].diff.changed == {"count": (1, 10)}
    assert compared.diverges_at == compared.nodes[0]
    statuses = {
        pair.name: (pair.a and pair.a.status, pair.b and pair.b.status) for pair in compared.nodes
    }
    assert statuses == {
        "start": ("completed", "completed"),
        "short": ("completed", None),
        "long": (None, "completed"),
        "end": ("completed", "completed"),
    }
    assert "differs in count" in str(compared)
    same = persist.history.compare(one, one)
    assert (same.fields, same.diverges_at) == ({}, None)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_turn_that_is_repeated_was_asked_what_its_state_asks(
    persist: Persist, asynchronous: bool
) -> None:
    graph = persist.attach(echoing().compile(checkpointer=persist.checkpointer))
    config, question = persist.config("t"), "Which one? " * 50
    for text in (question, "And then?"):
        run(graph, {"messages": [HumanMessage(text)]}, config, asynchronous)
    first = persist.history.workflows(thread="t")[-1]
    point = persist.history.replay_config(first.nodes[0])
    asked = graph.get_state(point).values["messages"][-1]
    edit = {"messages": [HumanMessage("Which two?", id=asked.id)]}

    run(graph, None, point, asynchronous)
    run(graph, None, graph.update_state(point, edit), asynchronous)

    told = {w.turn: w.user_input for w in persist.history.workflows(thread="t")[:2]}
    assert told == {3: question, 4: "Which two?"}
    persist.evaluations.evaluate_turns("t", lambda turn: (5, str(turn.input)), name="judge")
    judged = {e.turn: e.analysis for e in persist.evaluations.list()}
    assert judged == {1: question, 2: "And then?", 3: question, 4: "Which two?"}


def test_a_turn_that_is_repeated_from_its_input_was_asked_that(persist: Persist) -> None:
    class Request(TypedDict):
        wish: str
        given: str

    builder = StateGraph(Request)
    builder.add_node("grant", lambda state: {"given": f"no {state['wish']}"})
    builder.add_edge(START, "grant")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, {"wish": "a pony"}, persist.config("t"))
    *_, first = graph.get_state_history(persist.config("t"))
    run(graph, None, first.config)
    assert [w.user_input for w in persist.history.workflows()] == ["a pony", "a pony"]


def test_an_answer_is_not_taken_for_what_a_repeated_turn_was_asked(persist: Persist) -> None:
    class Sum(TypedDict, total=False):
        terms: list[int]
        told: str

    builder = StateGraph(Sum)
    builder.add_node("add", lambda state: {"told": str(sum(state["terms"]))})
    builder.add_node("end", lambda state: {})
    builder.add_edge(START, "add")
    builder.add_edge("add", "end")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, {"terms": [1, 2]}, persist.config("t"))
    run(graph, None, persist.history.replay_config(node_of(persist.history.last(), "end")))
    assert [w.user_input for w in persist.history.workflows()] == [None, None]


@pytest.mark.parametrize(
    "settings", [{"exclude": {"channels": ["messages"]}}, {"capture": "structure"}]
)
def test_what_a_repeated_turn_was_asked_may_be_left_out(migrated: str, settings: Any) -> None:
    with Persist(migrated, **settings) as persist:
        graph = persist.attach(echoing().compile(checkpointer=persist.checkpointer))
        run(graph, {"messages": [HumanMessage("Which one?")]}, persist.config("t"))
        run(graph, None, persist.history.replay_config(persist.history.last().nodes[0]))
        assert persist.history.last().replay_of is not None
        assert [w.user_input for w in persist.history.workflows()] == [None, None]


def test_a_transcript(persist: Persist) -> None:
    graph = persist.attach(chat_graph("Yes.", "No.").compile(checkpointer=persist.checkpointer))
    for question in ("Sunny?", "Rainy?"):
        graph.invoke({"messages": question}, persist.config("t"))
    lines = persist.history.transcript("t")
    assert [(line.turn, line.role, line.text) for line in lines] == [
        (1, "human", "Sunny?"),
        (1, "human", "sunny in Oslo"),
        (1, "ai", "Yes."),
        (2, "human", "Rainy?"),
        (2, "human", "sunny in Oslo"),
        (2, "ai", "No."),
    ]
    assert str(lines[2]) == "ai: Yes."
    assert persist.history.transcript("nowhere") == []
