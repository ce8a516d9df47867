"""Root inputs and outputs, tools, retrievers and errors as rows."""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import ToolException, tool
from langgraph.types import Command
from pydantic import BaseModel

from langgraph_persist.extract import (
    error_fields,
    is_resume,
    retriever_end,
    retriever_start,
    root_input,
    tool_end,
    tool_start,
)
from langgraph_persist.journal import Failures
from langgraph_persist.journal.privacy import concise
from tests.test_extract_json import VALUES, Hostile


def as_json(fields: Any) -> Any:
    return json.loads(orjson.dumps(fields))


class Question(BaseModel):
    question: str


@dataclass
class Trip:
    topic: str


INPUTS: list[tuple[Any, str, str | None]] = [
    (None, "none", None),
    ("hi\x00", "text", "hi\ufffd"),
    (Command(resume="yes"), "resume", "yes"),
    (Command(resume={"id": "yes"}), "resume", None),
    (Command(goto="n", update={"query": "cats"}), "command", "cats"),
    (Command(goto="n"), "command", None),
    (HumanMessage("hi"), "human_message", "hi"),
    (HumanMessage([{"type": "text", "text": "see"}, {"type": "image"}]), "human_message", "see"),
    ([HumanMessage("a"), AIMessage("b")], "messages", "a"),
    ([AIMessage("a"), HumanMessage("b")], "human_message", "b"),
    ({"messages": [HumanMessage("a")]}, "human_message", "a"),
    ({"messages": [("user", "a")]}, "human_message", "a"),
    ({"messages": [("ai", "a")], "topic": "t"}, "messages", "t"),
    ({"messages": [{"role": "user", "content": "a"}]}, "human_message", "a"),
    ({"messages": {"role": "assistant", "content": "a"}}, "messages", None),
    ({"messages": ["a"]}, "human_message", "a"),
    ({"messages": "a"}, "human_message", "a"),
    ({"messages": [], "input": "a"}, "dict", "a"),
    ({"messages": [3]}, "messages", None),
    ({"topic": "cats", "n": 3}, "dict", "cats"),
    ({"user_input": 3, "query": "q", "topic": "t"}, "dict", "q"),
    ({"n": 3}, "dict", None),
    ({"q": "why?"}, "dict", "why?"),
    ({"q": "why?", "user_id": "u", "id": "i", "n": 3, "history": [("ai", "a")]}, "dict", "why?"),
    ({"q": "why?", "language": "en"}, "dict", None),
    ({"user_id": "u"}, "dict", None),
    ({"chat": [("user", "a"), ("ai", "b")]}, "dict", "a"),
    ({"chat": [("user", "a")], "n": 3}, "dict", None),
    ({"messages": [AIMessage("a")], "mode": "fast"}, "messages", None),
    (Command(goto="n", update={"mode": "fast"}), "command", None),
    ({}, "other", None),
    (Question(question="why?"), "dict", "why?"),
    (Trip("cats"), "dict", "cats"),
    (42, "other", None),
    ([1, 2], "other", None),
    (Hostile(), "other", None),
]


@pytest.mark.parametrize(("value", "kind", "said"), INPUTS, ids=lambda v: type(v).__name__)
def test_root_input(value: Any, kind: str, said: str | None) -> None:
    fields = root_input(value)
    assert (fields["input_type"], fields["user_input"]) == (kind, said)
    as_json(fields)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (Command(resume=False), True),
        (Command(goto="n"), False),
        ({}, False),
        (Hostile(), False),
    ],
    ids=lambda v: type(v).__name__,
)
def test_is_resume(value: Any, expected: bool) -> None:
    assert is_resume(value) is expected


class Recorder(BaseCallbackHandler):
    run_inline = True
    raise_error = True

    def __init__(self) -> None:
        self.fields: list[Any] = []

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.fields.append(as_json(tool_start(serialized, input_str, **kwargs)))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.fields.append(as_json(tool_end(output)))

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.fields.append(as_json(retriever_start(query)))

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.fields.append(as_json(retriever_end(documents)))


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool(response_format="content_and_artifact")
def render(name: str) -> tuple[str, Any]:
    """Renders."""
    return f"drew {name}", {"svg": name}


@tool
def refuse(a: int) -> int:
    """Fails."""
    raise ToolException(f"no {a}")


refuse.handle_tool_error = True


def call(name: str, /, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": "c1", "type": "tool_call"}


@pytest.mark.parametrize(
    ("run", "given_input", "start", "end"),
    [
        (
            add,
            {"a": 1, "b": 2},
            {"tool_name": "add", "tool_call_id": None, "input_params": {"a": 1, "b": 2}},
            {"output_data": 3, "success": True},
        ),
        (
            add,
            call("add", a=1, b=2),
            {"tool_name": "add", "tool_call_id": "c1", "input_params": {"a": 1, "b": 2}},
            {"output_data": "3", "success": True, "tool_call_id": "c1"},
        ),
        (
            render,
            call("render", name="x"),
            {"tool_name": "render", "tool_call_id": "c1", "input_params": {"name": "x"}},
            {
                "output_data": {"content": "drew x", "artifact": {"svg": "x"}},
                "success": True,
                "tool_call_id": "c1",
            },
        ),
        (
            refuse,
            call("refuse", a=1),
            {"tool_name": "refuse", "tool_call_id": "c1", "input_params": {"a": 1}},
            {
                "output_data": "no 1",
                "success": False,
                "error_message": "no 1",
                "tool_call_id": "c1",
            },
        ),
        (
            render,
            "x",
            {"tool_name": "render", "tool_call_id": None, "input_params": {"input": "x"}},
            {"output_data": "drew x", "success": True},
        ),
    ],
    ids=["called directly", "called by a model", "artifact", "handled error", "text"],
)
def test_a_tool_run(run: Any, given_input: Any, start: Any, end: Any) -> None:
    recorder = Recorder()
    run.invoke(given_input, {"callbacks": [recorder], "run_name": "other"})
    assert recorder.fields == [start, end]


def test_a_tool_that_answers_with_a_command() -> None:
    message = ToolMessage("done", tool_call_id="c9", status="error")
    outputs: list[Any] = [Command(update={"messages": [message]}), [Command(goto="x"), message]]
    for output in outputs:
        end = as_json(tool_end(output))
        assert (end["tool_call_id"], end["success"]) == ("c9", False)
    assert as_json(tool_end(Command(update={"a": 1})))["success"] is True


class Library(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(query, metadata={"page": 1})]


def test_a_retrieval() -> None:
    recorder = Recorder()
    Library().invoke("cats\x00", {"callbacks": [recorder]})
    assert recorder.fields == [
        {"query": "cats\ufffd"},
        {
            "documents": [{"page_content": "cats\ufffd", "metadata": {"page": 1}}],
            "document_count": 1,
        },
    ]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_an_error_with_its_cause() -> None:
    fields = error_fields(raised(ValueError("bad\x00"), raised(KeyError("why"))))
    assert fields["error_type"] == "ValueError"
    assert fields["error_message"] == "bad\ufffd"
    trace = fields["error_traceback"]
    assert "KeyError: 'why'" in trace
    assert "direct cause" in trace
    assert "raised\n    raise error from cause" in trace
    assert "\x00" not in trace


def test_long_errors_keep_their_ends() -> None:
    told = error_fields(raised(ValueError("first " + "x" * 1_000_000 + " last")))
    assert len(told["error_message"]) < 100_100
    assert len(told["error_traceback"]) < 320_100
    ((_, fields),) = concise([("nodes", dict(told))])
    for column, limit in (("error_message", 10_000), ("error_traceback", 32_000)):
        text = fields[column]
        assert len(text) < limit + 100
        assert "characters left out" in text
        assert text.rstrip().endswith("last")
    assert fields["error_message"].startswith("first")


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("bottom")


def test_of_many_calls_the_first_and_the_last_are_shown() -> None:
    try:
        deep(500)
    except ValueError as error:
        error.add_note("dig no deeper")
        trace = error_fields(error)["error_traceback"]
    lines = trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in test_of_many_calls" in lines[1]
    assert "  … 382 calls left out …" in lines
    assert lines[-3:] == ['    raise ValueError("bottom")', "ValueError: bottom", "dig no deeper"]


def test_of_many_causes_the_nearest_are_shown() -> None:
    error = raised(ValueError("0"))
    for number in range(1, 40):
        error = raised(ValueError(str(number)), error)
    trace = error_fields(error)["error_traceback"]
    shown = [line for line in trace.splitlines() if line.startswith("ValueError: ")]
    assert shown == [f"ValueError: {number}" for number in range(28, 40)]
    assert trace.startswith("… earlier exceptions left out …")
    assert trace.count("direct cause of the following") == 12


def test_a_short_traceback_is_as_python_has_it() -> None:
    error = raised(BaseExceptionGroup("both", [raised(KeyError("a"), ValueError("b"))]))
    assert error_fields(error)["error_traceback"] == "".join(traceback.format_exception(error))


def test_an_error_that_cannot_be_shown_is_still_named() -> None:
    fields = error_fields(raised(Unspeakable()))
    assert fields["error_type"] == f"{__name__}.Unspeakable"
    assert fields["error_message"] == f"<unreadable {__name__}.Unspeakable>"
    assert "Unspeakable" in fields["error_traceback"]
    assert error_fields(Hostile())["error_type"].endswith("Hostile")  # type: ignore[arg-type]


@settings(deadline=None)
@given(VALUES)
def test_odd_payloads_never_raise(value: Any) -> None:
    rows = [root_input(value), tool_end(value), retriever_start(value)]
    rows += [retriever_end(value), tool_start(value, value, value, value, value, value)]
    as_json(rows)


def test_hostile_payloads_are_logged_without_their_content(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Hostile()
    monkeypatch.setattr("langgraph_persist.extract.guard._elsewhere", Failures())
    with caplog.at_level(logging.WARNING):
        assert as_json(tool_start(bad, bad, bad, bad, bad, bad))["tool_name"] == "tool"  # type: ignore[arg-type]
        assert as_json(retriever_end(bad))["document_count"] is None
        as_json([tool_end(bad), retriever_start(bad)])
    assert caplog.messages
    assert all(": RuntimeError at " in message for message in caplog.messages)
