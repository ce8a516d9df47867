"""The record tells the values of DeltaChannels after every node, between their snapshots too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import _messages_delta_reducer
from langgraph.types import Command, Overwrite, interrupt

from langgraph_persist import Persist
from tests.graphs import MODES, run

Rows = Callable[..., list[dict[str, Any]]]
Durability = Literal["sync", "async", "exit"]
DURABILITIES: list[Durability] = ["sync", "async", "exit"]


def append(value: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*value, *chain.from_iterable(writes)]


def merge(value: dict[str, int], writes: Sequence[dict[str, int]]) -> dict[str, int]:
    merged = dict(value)
    for write in writes:
        merged |= write
    return merged


class Delta(TypedDict, total=False):
    """Channels that are stored as what was written to them."""

    log: Annotated[list[str], DeltaChannel(append, snapshot_frequency=3)]
    files: Annotated[dict[str, int], DeltaChannel(merge)]
    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer)]
    count: int


def work(name: str, state: Delta) -> Delta:
    return {
        "log": [name],
        "files": {name: len(state.get("log", []))},
        "messages": [AIMessage(f"{name} at work")],
    }


def ask(state: Delta) -> Delta:
    return {"log": [f"told {interrupt('how?')}"]}


def builder_of(*names: str, asks: bool = False) -> StateGraph[Any, Any, Any, Any]:
    """Nodes side by side (one of them asks a human, perhaps), then one that joins."""
    builder = StateGraph(Delta)
    builder.add_node("join", partial(work, "join"))
    builder.add_edge("join", END)
    for name in names:
        builder.add_node(name, partial(work, name))
    if asks:
        builder.add_node("ask", ask)
    for name in [*names, *(["ask"] if asks else [])]:
        builder.add_edge(START, name)
        builder.add_edge(name, "join")
    return builder


def check_states(graph: Any, rows: Rows) -> int:
    """Compares every recorded state with LangGraph's own; gives how many there are."""
    found = rows(
        "SELECT node_name, checkpoint_id, state_data FROM node_states"
        " WHERE thread_id = 't' AND state_data IS NOT NULL"
    )
    for row in found:
        where = {"thread_id": "t", "checkpoint_id": row["checkpoint_id"]}
        state = graph.get_state({"configurable": where}).values
        assert _plain(row["state_data"]) == _plain(state), row["node_name"]
    return len(found)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what is empty, and of its messages what they say."""
    said = [_said(message) for message in state.get("messages", [])]
    return {key: value for key, value in (state | {"messages": said}).items() if value}


def _said(message: Any) -> Any:
    return message["content"] if isinstance(message, dict) else message.content


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
def test_every_state_is_whole(
    persist: Persist, rows: Rows, mode: str, durability: Durability
) -> None:
    graph = persist.attach(builder_of("a", "b", "c").compile(checkpointer=persist.checkpointer))
    for turn in range(4):
        given: Delta = {"log": [f"turn {turn}"], "messages": [HumanMessage("go")], "count": turn}
        run(graph, mode, given, persist.config("t"), durability=durability)
    assert check_states(graph, rows) == (4 if durability == "exit" else 16)
    last = rows("SELECT state_data FROM node_states ORDER BY node_id DESC LIMIT 1")
    assert len(last[0]["state_data"]["log"]) == 20
    assert last[0]["state_data"]["files"].keys() == {"a", "b", "c", "join"}
    assert [m["content"] for m in last[0]["state_data"]["messages"]][-1] == "join at work"


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
def test_what_was_written_beside_an_interrupt_is_in_the_state_after_it(
    persist: Persist, rows: Rows, mode: str, durability: Durability
) -> None:
    builder = builder_of("a", "z", asks=True)
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for turn in range(2):
        config = persist.config("t")
        run(graph, mode, {"log": [f"turn {turn}"]}, config, durability=durability)
        run(graph, mode, Command(resume="so"), config, durability=durability)
    assert check_states(graph, rows) >= (2 if durability == "exit" else 4)
    found = rows("SELECT state_data FROM node_states WHERE node_name = 'join' ORDER BY node_id")
    assert len(found) == 2
    assert found[0]["state_data"]["log"] == ["turn 0", "a", "told so", "z", "join"]
    assert len(found[1]["state_data"]["log"]) == 10


def test_an_overwrite_is_the_state(persist: Persist, rows: Rows) -> None:
    builder = builder_of("a")
    builder.add_node("reset", lambda state: {"log": Overwrite(["new"])})
    builder.add_edge("a", "reset")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for _ in range(2):
        graph.invoke({"log": ["old"]}, persist.config("t"))
    assert check_states(graph, rows) == 6
    found = rows("SELECT state_data FROM node_states WHERE node_name = 'reset'")
    assert all("old" not in row["state_data"]["log"] for row in found)


@pytest.mark.parametrize("source", ["head", "past"])
def test_edits_and_forks_have_whole_states(persist: Persist, rows: Rows, source: str) -> None:
    graph = persist.attach(builder_of("a", "b").compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    graph.invoke({"log": ["first"], "count": 1}, config)
    graph.invoke({"log": ["second"], "count": 2}, config)
    history = list(graph.get_state_history(config))
    at = config if source == "head" else history[len(history) // 2].config
    edited = graph.update_state(at, {"log": ["edited"], "files": {"e": 1}}, as_node="a")
    graph.invoke(None, persist.config("t") | {"configurable": edited["configurable"]})
    graph.invoke(None, persist.config("t") | {"configurable": history[-2].config["configurable"]})
    assert check_states(graph, rows) > 6
    (update,) = rows(
        "SELECT state_data FROM node_states s JOIN (SELECT * FROM nodes OFFSET 0) n"
        " ON n.thread_id = s.thread_id AND n.id = s.node_id WHERE node_type = 'update'"
    )
    assert "edited" in update["state_data"]["log"] and update["state_data"]["files"]["e"] == 1


def test_a_subgraph_has_states_of_its_own(persist: Persist, rows: Rows) -> None:
    inner = builder_of("a", "b").compile(checkpointer=True)
    outer = StateGraph(Delta)
    outer.add_node("inner", inner)
    outer.add_edge(START, "inner")
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    for turn in range(3):
        graph.invoke({"log": [f"turn {turn}"]}, persist.config("t"))
    found = rows("SELECT state_data FROM node_states WHERE node_name = 'join' ORDER BY node_id")
    whole = graph.get_state(persist.config("t"), subgraphs=True)
    assert len(found) == 3
    assert found[2]["state_data"]["log"][-3:] == ["a", "b", "join"]
    assert found[2]["state_data"]["log"].count("join") > 2
    assert whole.values["log"][-1] == "join"


def test_projections_see_whole_states(migrated: str) -> None:
    seen = []
    with Persist(migrated) as persist:

        @persist.project("follow")
        def follow(old: Any, new: Any, context: Any) -> list[Any]:
            seen.append((len(old.get("log", [])), len(new.get("log", []))))
            return []

        graph = persist.attach(builder_of("a", "b").compile(checkpointer=persist.checkpointer))
        for _ in range(2):
            graph.invoke({"log": ["go"]}, persist.config("t"))
    assert seen == [(0, 0), (0, 1), (1, 3), (3, 4), (4, 4), (4, 5), (5, 7), (7, 8)]


class Moody:
    """A reducer that works once."""

    calls = 0

    def __call__(self, value: list[str], writes: Sequence[list[str]]) -> list[str]:
        Moody.calls += 1
        if Moody.calls > 1:
            raise ValueError("not twice")
        return append(value, writes)


class MoodyDelta(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(Moody())]
    count: int


def test_a_reducer_that_fails_for_the_record_fails_no_graph(persist: Persist, rows: Rows) -> None:
    builder = StateGraph(MoodyDelta)
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_edge(START, "a")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    assert graph.invoke({"count": 1}, persist.config("t")) == {"log": ["a"], "count": 1}
    assert Moody.calls == 2
    assert rows("SELECT status, state FROM nodes") == [
        {"status": "completed", "state": {"count": 1}}
    ]
    assert persist.handler.journal.failures.counts.total() == 1
