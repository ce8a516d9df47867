"""A value that cannot be stored: what the error names, and how the record says what failed."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.graph import StateGraph
from langgraph.types import Command

from langgraph_persist import Persist
from langgraph_persist.errors import UnserializableValue
from tests.graphs import chain_of, run, step

ERROR = "langgraph_persist.errors.UnserializableValue"


class Local:
    """Cannot be serialised."""

    __slots__ = ()
    __reduce_ex__ = None  # type: ignore[assignment]


def bad(state: Any) -> Any:
    return {"note": Local()}


def telling(state: Any) -> Any:
    return Command(update={"note": Local()})


def graph_of(node: Any, beside: bool = False) -> StateGraph[Any, Any, Any, Any]:
    """a, then the bad node, another beside it if wanted, then c."""
    builder = chain_of(["a"])
    builder.add_node("bad", node)
    builder.add_edge("a", "bad")
    builder.add_node("c", step("c"))
    builder.add_edge("bad", "c")
    if beside:
        builder.add_node("other", step("other"))
        builder.add_edge("a", "other")
    return builder


def statuses(persist: Persist) -> dict[str, tuple[str, str | None]]:
    return {n.node_name: (n.status, n.error_type) for n in persist.history.last().nodes}


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("node", [bad, telling])
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_the_node_that_wrote_it_has_failed(
    persist: Persist, mode: str, durability: str, node: Any, beside: bool
) -> None:
    graph = persist.attach(graph_of(node, beside).compile(checkpointer=persist.checkpointer))
    with pytest.raises(UnserializableValue, match=r"'note' of thread 't'.* holds a Local that"):
        run(graph, mode, {"count": 0}, persist.config("t"), durability=durability)
    workflow = persist.history.last()
    assert (workflow.status, workflow.error_type) == ("failed", ERROR)
    found = statuses(persist)
    assert found["bad"] == ("failed", ERROR)
    failed = next(n for n in workflow.nodes if n.node_name == "bad")
    assert "'note' of thread 't'" in str(failed.error_message)
    lost = durability == "exit"
    assert found["a"] == ("cancelled" if lost else "completed", None)
    # Whatever ran after it has no checkpoint that could hold it.
    assert found.get("c", ("cancelled", None)) == ("cancelled", None)


def test_the_graph_goes_on_from_before_it(persist: Persist) -> None:
    graph = persist.attach(graph_of(bad).compile(checkpointer=persist.checkpointer))
    with pytest.raises(UnserializableValue):
        graph.invoke({"count": 0}, persist.config("t"))
    mended = graph_of(step("mended")).compile(checkpointer=persist.checkpointer)
    result = persist.attach(mended).invoke(None, persist.config("t"))
    assert result["log"] == ["a", "mended", "c"]
    nodes = [(n.node_name, n.status) for n in persist.history.last().nodes]
    assert nodes[-2:] == [("bad", "completed"), ("c", "completed")]


def test_a_node_around_it_has_failed_too(persist: Persist) -> None:
    outer = chain_of(["z"])
    outer.add_node("sub", graph_of(bad).compile())
    outer.add_edge("z", "sub")
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    with pytest.raises(UnserializableValue):
        graph.invoke({"count": 0}, persist.config("t"))
    found = statuses(persist)
    assert found["sub"] == found["bad"] == ("failed", ERROR)
    assert found["z"] == found["a"] == ("completed", None)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_the_key_of_an_input_is_named(persist: Persist, durability: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    given: Any = {"count": 0, "note": {"deep": [1, Local()]}}
    message = r"key 'note' of the input of thread 't' holds a Local at \['deep'\]\[1\] that cannot"
    with pytest.raises(UnserializableValue, match=message):
        graph.invoke(given, persist.config("t"), durability=durability)
    assert persist.history.last().error_type == ERROR


def test_what_holds_itself_is_refused(persist: Persist) -> None:
    endless: list[Any] = []
    endless.append(endless)
    builder = chain_of(["a"])
    builder.add_node("endless", lambda state: {"note": endless})
    builder.add_edge("a", "endless")
    graph = builder.compile(checkpointer=persist.checkpointer)
    with pytest.raises(UnserializableValue, match="'note' of thread 't'"):
        graph.invoke({"count": 0}, persist.config("t"))
