"""Defects of our own: the graph never notices, and the record says what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_persist import Persist
from langgraph_persist.journal import Unit
from langgraph_persist.journal.salvage import MARKED
from tests.graphs import Chat, fake_model, run, weather

Rows = Callable[..., list[dict[str, Any]]]
OURS = "langgraph_persist."


class Library(BaseRetriever):
    """Knows one text."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document("Cats sleep a lot.")]


def everything(checkpointer: Any, attach: Any) -> Any:
    """A graph with a model, a tool, a retriever, a choice, a subgraph and a human."""
    model = fake_model(*["fine"] * 9)

    def look(state: Chat) -> dict[str, Any]:
        if state["messages"][-1].content == "boom":
            raise ValueError("boom")
        found = Library().invoke("cats")[0].page_content
        return {"messages": [HumanMessage(f"{weather.invoke({'city': 'Oslo'})}. {found}", id="1")]}

    def ask(state: Chat) -> dict[str, Any]:
        said: list[AnyMessage] = [model.invoke(state["messages"])]
        said[0].id = f"{len(state['messages'])}"
        return {"messages": said}

    def check(state: Chat) -> dict[str, Any]:
        return {"messages": [HumanMessage(str(interrupt({"question": "ok?"})), id="3")]}

    inner = StateGraph(Chat)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    builder = StateGraph(Chat)
    builder.add_node("look", look)
    builder.add_node("inner", inner.compile())
    builder.add_node("check", check)
    builder.add_edge(START, "look")
    builder.add_conditional_edges("look", lambda state: "inner", ["inner", "check"])
    builder.add_edge("inner", "check")
    return attach(builder.compile(checkpointer=checkpointer))


def played(graph: Any, mode: str) -> list[Any]:
    """What a run to the question gives, its resume, and a failing one."""
    config: Any = {"configurable": {"thread_id": "t"}}
    given = {"messages": [HumanMessage("hi", id="0")]}
    asked = run(graph, mode, given, config)
    answered = run(graph, mode, Command(resume="yes"), config)
    with pytest.raises(ValueError) as caught:
        run(graph, mode, {"messages": [HumanMessage("boom", id="4")]}, config)
    return [_plain(asked), _plain(answered), str(caught.value)]


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [sorted(chunk) for chunk in result]
    return [(message.id, message.content) for message in result["messages"]]


EVENTS = [
    "handler.callbacks.attempts.parent",
    "handler.callbacks.graph_call",
    "handler.callbacks.node_identity",
    "handler.callbacks.root_input",
    "handler.callbacks.to_json",
    "handler.callbacks.traced_input",
    "handler.callbacks.traced_output",
    "handler.callbacks.retriever_start",
    "handler.callbacks.retriever_end",
    "handler.callbacks.status_of",
    "handler.callbacks.node_outcome",
    "handler.callbacks.Generations.open",
    "handler.callbacks.Generations.end",
    "handler.callbacks.Humans.failed",
    "handler.callbacks.Humans.told",
    "handler.callbacks.Humans.interrupted",
    "handler.callbacks.Humans.proceed",
    "handler.callbacks.Parsed.by_node",
    "handler.callbacks.Skipped.starts",
    "handler.callbacks.Skipped.ended",
    "handler.callbacks.Tools.end",
    "handler.callbacks.Tools.refused",
    "handler.tools.tool_start",
    "handler.tools.tool_end",
    "handler.tools.bound_tools",
    "handler.generations.generation_start",
    "handler.generations.generation_end",
    "handler.generations.billing",
    "handler.recording.keep_for",
    "handler.recording.instance_id",
    "handler.recording.error_fields",
    "handler.recording.total",
    "handler.recording.Recording.begin",
    "handler.recording.Recording.start",
    "handler.recording.Recording.keep",
    "handler.recording.Recording.identity",
    "handler.recording.Recording.owned",
    "handler.recording.Recording.record",
    "handler.recording.Recording.finish_node",
    "handler.recording.Recording._close_open_nodes",
    "handler.recording.Recording._closing_rows",
    "handler.recording.Recording._continue",
    "saver.saver.keep_for",
    "saver.saver.PersistSaver._record_rows",
    "saver.saver.PersistSaver._announce",
    "saver.saver.PersistSaver._opened",
    "saver.saver.Plans.rows",
]


MARKS = "SELECT missing FROM {} WHERE missing IS NOT NULL"
NO_ROW = {"handler.recording.Recording.begin"}
"""What leaves no row that could tell."""


@pytest.mark.parametrize(
    ("broken", "mode"), [(name, ("invoke", "astream")[i % 2]) for i, name in enumerate(EVENTS)]
)
def test_what_fails_in_the_record_costs_the_graph_nothing(
    persist: Persist,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    mode: str,
) -> None:
    expected = played(everything(InMemorySaver(), lambda graph: graph), mode)

    def defect(*args: Any, **kwargs: Any) -> Any:
        raise LookupError("what was said")

    monkeypatch.setattr(OURS + broken, defect)
    assert played(everything(persist.checkpointer, persist.attach), mode) == expected
    persist.flush()
    for table in ("workflows", "workflow_runs", "nodes", "generations", "tool_executions"):
        assert rows(f"SELECT * FROM {table} WHERE status = 'running'") == [], table
    assert persist.handler.failures.counts
    marks = [mark for table in MARKED for mark in rows(MARKS.format(table)) if mark["missing"]]
    assert bool(marks) is (broken not in NO_ROW)
    assert all(why == "failed: LookupError" for mark in marks for why in mark["missing"].values())
    kinds = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(kinds) == len(set(kinds))
    assert "what was said" not in caplog.text


READERS = {
    "on_tool_start": ("tool_call_id", "tool_executions"),
    "on_tool_end": ("tool_end", "tool_executions"),
    "on_retriever_start": ("retriever_start", "retrievals"),
    "on_retriever_end": ("retriever_end", "retrievals"),
    "on_llm_end": ("generation_end", "generations"),
    "on_chat_model_start": ("prompt", "generations"),
    "on_chain_start": ("root_input", "workflows"),
    "on_interrupt": ("hitl_request", "hitl_events"),
}
INSIDES = {
    "tool_call_id": "extract.tools.optional_text",
    "tool_end": "extract.tools._tool_message",
    "retriever_start": "extract.tools.safe_str",
    "retriever_end": "extract.tools.to_json",
    "generation_end": "extract.generations._first_generation",
    "prompt": "extract.generations._prompt",
    "root_input": "extract.runs._kind",
    "hitl_request": "extract.humans._event_type",
}


@pytest.mark.parametrize(("reader", "table"), READERS.values())
def test_a_payload_that_cannot_be_read_is_told_once_and_marks_its_rows(
    persist: Persist,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reader: str,
    table: str,
) -> None:
    expected = played(everything(InMemorySaver(), lambda graph: graph), "invoke")

    def defect(*args: Any, **kwargs: Any) -> Any:
        raise LookupError("what was said")

    monkeypatch.setattr(OURS + INSIDES[reader], defect)
    for _ in range(2):
        persist.checkpointer.delete_thread("t")
        assert played(everything(persist.checkpointer, persist.attach), "invoke") == expected
    assert persist.handler.failures.counts[f"{reader}: LookupError"] > 1
    assert len([m for m in caplog.messages if f"in {reader}:" in m]) == 1
    assert "what was said" not in caplog.text
    marks = [mark["missing"] for mark in rows(MARKS.format(table))]
    assert marks and all([*mark] == [reader] for mark in marks)


class Hostile:
    """An object that lets nobody read it."""

    def _no(self, *args: Any) -> Any:
        raise LookupError("what was said")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = model_dump = _no
    __hash__ = object.__hash__


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_objects_that_cannot_be_read_are_marked_in_their_place(
    persist: Persist, rows: Rows, mode: str
) -> None:
    builder: Any = StateGraph(dict)
    builder.add_node("keep", lambda state: {"held": Hostile(), "count": 1})
    builder.add_edge(START, "keep")
    graph = persist.attach(builder.compile())
    config = {**persist.config("t", tag=Hostile()), "tags": ["a tag"]}
    result = run(graph, mode, {"held": Hostile()}, config)
    assert result["count"] == 1
    mark = {"held": "<unreadable tests.test_failures.Hostile>"}
    (node,) = rows("SELECT input_data, output_data, missing FROM nodes")
    assert node == {"input_data": mark, "output_data": mark | {"count": 1}, "missing": None}
    (workflow,) = rows("SELECT input, metadata, status FROM workflows")
    assert (workflow["input"], workflow["status"]) == (mark, "completed")
    assert workflow["metadata"]["tag"] == mark["held"]


def test_the_writer_outlives_rows_that_are_none(persist: Persist, rows: Rows) -> None:
    journal = persist.handler.journal
    journal.append(Unit("t", [("nodes", {"thread_id": "t"}), ("sessions", {"thread_id": "t"})]))
    journal.flush(10)
    assert rows("SELECT thread_id FROM sessions") == [{"thread_id": "t"}]
    assert persist.handler.failures.counts == {"a row of nodes: no key": 1}


def test_a_column_that_is_no_json_is_left_out_and_said_to_be(persist: Persist, rows: Rows) -> None:
    journal = persist.handler.journal
    odd = {"thread_id": "t", "initial_input": "half \ud800", "language": "en", "metadata": object()}
    journal.append(Unit("t", [("sessions", odd)]))
    journal.flush(10)
    (session,) = rows("SELECT language, initial_input, missing FROM sessions")
    assert (session["language"], session["initial_input"]) == ("en", None)
    assert session["missing"].keys() == {"initial_input", "metadata"}
    assert [*persist.handler.failures.counts.values()] == [1]
