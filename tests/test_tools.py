"""Tools, retrievers and their failures, read back from the tables."""

from __future__ import annotations

import json
import threading
from typing import Annotated, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.tools import InjectedState, ToolRuntime
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import BaseModel

from langgraph_persist import Persist
from langgraph_persist.extract import bound_tools, refused_calls
from tests.graphs import MODES, Chat, run, weather
from tests.models import Scripted, said
from tests.test_encryption import Xor


def wanted(name: str, args: dict[str, Any] | None = None, call_id: str = "call-1") -> AIMessage:
    """An answer that calls a tool."""
    return said("", tool_calls=[{"name": name, "args": args or {}, "id": call_id}])


def tool_graph(tools: Any, *asked: AIMessage, **kwargs: Any) -> StateGraph[Any, Any, Any, Any]:
    """A model that asks for tools, and the node that runs them."""
    model = Scripted(answers=list(asked)).bind_tools(tools)
    builder = StateGraph(Chat)
    builder.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools, **kwargs))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tools")
    return builder


GO: Any = {"messages": [HumanMessage("go")]}


@tool
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


@tool(response_format="content_and_artifact")
def draw(what: str) -> tuple[str, dict[str, Any]]:
    """Draws."""
    return f"a {what}", {"svg": f"<{what}/>", "bytes": b"\x00\x01"}


@tool
def move(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Changes the state."""
    return Command(update={"messages": [ToolMessage(f"at {to}", tool_call_id=tool_call_id)]})


@tool
def look(where: str, state: Annotated[Any, InjectedState], runtime: ToolRuntime) -> str:
    """Sees the state, which the model does not give."""
    return f"{where}: {len(state['messages'])}"


def handled_failure() -> Any:
    @tool
    def refuse(what: str) -> str:
        """Refuses."""
        raise ToolException(f"no {what}")

    refuse.handle_tool_error = True
    return refuse


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("made", "args", "output"),
    [
        (weather, {"city": "Oslo"}, "sunny in Oslo"),
        (draw, {"what": "cat"}, {"content": "a cat", "artifact": {"svg": "<cat/>"}}),
        (look, {"where": "here"}, "here: 2"),
    ],
)
def test_a_call_that_a_model_asked_for(
    persist: Persist, rows: Any, mode: str, made: Any, args: Any, output: Any
) -> None:
    graph = tool_graph([made], wanted(made.name, args)).compile(checkpointer=persist.checkpointer)
    run(persist.attach(graph), mode, GO, persist.config("t"))
    (called,) = rows(
        "SELECT e.*, n.node_name, t.name FROM tool_executions e"
        " JOIN nodes n ON n.thread_id = e.thread_id AND n.id = e.node_id"
        " JOIN tools t ON t.id = e.tool_id"
    )
    assert (called["status"], called["success"], called["node_name"]) == (
        "completed",
        True,
        "tools",
    )
    assert (called["tool_name"], called["name"]) == (made.name, made.name)
    assert called["tool_call_id"] == "call-1"
    assert called["input_params"] == args
    if isinstance(output, dict):
        called["output_data"]["artifact"].pop("bytes")
    assert called["output_data"] == output
    assert called["execution_time_ms"] > 0
    assert called["completed_at"] >= called["started_at"]
    assert not persist.handler.failures.counts


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_that_returns_a_command(persist: Persist, rows: Any, mode: str) -> None:
    graph = tool_graph([move], wanted("move", {"to": "b"})).compile()
    run(persist.attach(graph), mode, GO, persist.config("t"))
    (called,) = rows("SELECT * FROM tool_executions")
    assert (called["success"], called["tool_call_id"]) == (True, "call-1")
    assert called["input_params"] == {"to": "b"}
    assert called["output_data"]["type"] == "Command"
    (given,) = rows("SELECT output_data FROM tool_contents")
    assert given["output_data"]["update"]["messages"][0]["content"] == "at b"


@pytest.mark.parametrize("mode", MODES)
def test_the_record_of_a_refused_call_is_what_was_asked(
    persist: Persist, rows: Any, mode: str
) -> None:
    def refuse(state: Any) -> Any:
        (call,) = state["messages"][-1].tool_calls
        call["args"]["high"] = "changed"
        return {"messages": [ToolMessage("no", tool_call_id=call["id"], status="error")]}

    model = Scripted(answers=[wanted("fly", {"high": True})])
    builder = StateGraph(Chat)
    builder.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("refuse", refuse)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "refuse")
    run(persist.attach(builder.compile()), mode, GO, {})
    (refused,) = rows("SELECT tool_name, tool_call_id, input_params, missing FROM tool_executions")
    assert refused == {
        "tool_name": "fly",
        "tool_call_id": "call-1",
        "input_params": {"high": True},
        "missing": None,
    }


@pytest.mark.parametrize("description", ["half a \ud83e", "\0", ""])
def test_a_call_is_recorded_whatever_its_tool_is_described_as(
    persist: Persist, rows: Any, description: str
) -> None:
    odd = weather.model_copy(update={"description": description})
    odd.invoke(
        {"name": "weather", "args": {"city": "Bonn"}, "id": "call-1", "type": "tool_call"},
        {"callbacks": [persist.handler]},
    )
    (called,) = rows("SELECT tool_call_id, input_params, missing FROM tool_executions")
    assert called == {"tool_call_id": "call-1", "input_params": {"city": "Bonn"}, "missing": None}
    assert not persist.handler.failures.counts


@pytest.mark.parametrize("mode", MODES)
def test_failures_that_the_node_survives(persist: Persist, rows: Any, mode: str) -> None:
    tools = [fail, handled_failure(), weather]
    calls = [("fail", {"why": "no luck"}), ("refuse", {"what": "go"}), ("weather", {"town": 1})]
    calls.append(("fly", {"high": True}))
    asked = said(
        "",
        tool_calls=[
            {"name": name, "args": args, "id": f"call-{index}"}
            for index, (name, args) in enumerate(calls)
        ],
    )
    graph = tool_graph(tools, asked, handle_tool_errors=True)
    run(
        persist.attach(graph.compile(checkpointer=persist.checkpointer)),
        mode,
        GO,
        persist.config("t"),
    )
    assert {n["status"] for n in rows("SELECT status FROM nodes")} == {"completed"}
    found = {row["tool_name"]: row for row in rows("SELECT * FROM tool_executions")}
    assert all((r["status"], r["success"]) == ("failed", False) for r in found.values())
    assert len(found) == 4
    assert found["fail"]["error_type"] == "ValueError"
    assert "no luck" in found["fail"]["error_message"]
    assert "in fail" in found["fail"]["error_traceback"]
    assert found["refuse"]["error_message"] == "no go"
    assert found["weather"]["error_type"].endswith("ValidationError")
    assert found["weather"]["input_params"] == {"town": 1}
    # No tool of that name has ever run.
    assert found["fly"]["error_message"].startswith("Error: fly is not a valid tool")
    assert found["fly"]["input_params"] == {"high": True}
    assert (found["fly"]["tool_id"], found["fly"]["execution_time_ms"]) == (None, None)
    assert found["fly"]["tool_call_id"] == "call-3"
    assert len({row["node_id"] for row in found.values()}) == 1


@pytest.mark.parametrize("mode", MODES)
def test_an_agents_unknown_tool(persist: Persist, rows: Any, mode: str) -> None:
    model = Scripted(answers=[wanted("fly"), said("I cannot fly")])
    agent = create_agent(model, [weather], checkpointer=persist.checkpointer)
    run(persist.attach(agent), mode, GO, persist.config("t"))
    (called,) = rows("SELECT * FROM tool_executions")
    assert (called["tool_name"], called["success"]) == ("fly", False)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


def test_a_failure_that_ends_the_run(persist: Persist, rows: Any) -> None:
    graph = tool_graph([fail], wanted("fail", {"why": "over"}), handle_tool_errors=False).compile()
    with pytest.raises(ValueError, match="over"):
        persist.attach(graph).invoke(GO, persist.config("t"))
    (called,) = rows("SELECT * FROM tool_executions")
    assert (called["status"], called["success"]) == ("failed", False)


def test_other_messages_of_tools_are_no_calls(persist: Persist, rows: Any) -> None:
    """A model's node may answer for a tool, as one does that asks a human."""
    answers = [AIMessage("I will not"), ToolMessage("rejected", tool_call_id="x", status="error")]
    builder = StateGraph(Chat)
    builder.add_node("review", lambda state: {"messages": answers})
    builder.add_edge(START, "review")
    persist.attach(builder.compile()).invoke(GO, persist.config("t"))
    assert rows("SELECT * FROM tool_executions") == []


def test_the_registry_holds_what_models_are_told_of(persist: Persist, rows: Any) -> None:
    graph = tool_graph([weather, draw], wanted("weather", {"city": "Rome"})).compile()
    persist.attach(graph).invoke(GO, persist.config("t"))
    found = {row["name"]: row for row in rows("SELECT * FROM tools")}
    assert found.keys() == {"weather", "draw"}
    assert found["weather"]["description"] == "The weather of a city."
    schema = found["weather"]["parameters_schema"]
    assert schema["properties"] == {"city": {"type": "string"}}
    assert schema["required"] == ["city"]
    # A tool that no model was told of is known by what it says of itself.
    handled_failure().invoke({"what": "x"}, {"callbacks": [persist.handler]})
    (own,) = rows("SELECT * FROM tools WHERE name = 'refuse'")
    assert (own["description"], own["parameters_schema"]) == ("Refuses.", None)
    assert rows("SELECT 1 FROM tool_executions WHERE tool_id IS NULL") == []


def test_a_changed_tool_replaces_the_old_and_keeps_what_users_added(
    persist: Persist, rows: Any, migrated: str
) -> None:
    def version(description: str) -> Any:
        @tool(description=description)
        def search(query: str) -> str:
            return query

        return search

    def call(description: str) -> None:
        graph = tool_graph([version(description)], wanted("search", {"query": "x"})).compile()
        persist.attach(graph).invoke(GO, persist.config("t"))

    call("old")
    (first,) = rows("UPDATE tools SET layer = 'web', version = '7' RETURNING id, updated_at")
    call("old")
    call("new")
    (second,) = rows("SELECT * FROM tools")
    assert second["id"] == first["id"]
    assert (second["description"], second["layer"], second["version"]) == ("new", "web", "7")
    assert second["parameters_schema"]["properties"] == {"query": {"type": "string"}}
    assert {r["tool_id"] for r in rows("SELECT tool_id FROM tool_executions")} == {first["id"]}


def test_what_tools_are_is_as_hidden_as_what_they_do(migrated: str, rows: Any) -> None:
    graph = tool_graph([weather], wanted("weather", {"city": "Oslo"})).compile()
    with Persist(migrated, record_cipher=Xor()) as persist:
        persist.attach(graph).invoke(GO, persist.config("t"))
    (found,) = rows("SELECT * FROM tools")
    assert found["name"] == "weather"
    assert found["parameters_schema"].keys() == {"cipher", "data"}
    assert "weather of" not in str(found)
    assert rows("SELECT 1 FROM tool_executions WHERE tool_id IS NULL") == []


def test_two_models_that_are_told_of_two_versions_of_a_tool(persist: Persist, rows: Any) -> None:
    def call(description: str) -> str:
        @tool(description=description)
        def search(query: str) -> str:
            return query

        graph = tool_graph([search], wanted("search", {"query": "x"})).compile()
        persist.attach(graph).invoke(GO, persist.config("t"))
        return str(rows("SELECT description FROM tools")[0]["description"])

    told = ["one", "one", "two", "one", "two", "two"]
    assert [call(description) for description in told] == told


def test_an_unchanged_tool_is_sent_once(persist: Persist) -> None:
    graph = persist.attach(tool_graph([weather], wanted("weather", {"city": "x"})).compile())
    sent: list[str] = []
    append = persist.handler.journal.append

    def watching(unit: Any) -> None:
        sent.extend(fields["name"] for table, fields in unit.rows if table == "tools")
        append(unit)

    persist.handler.journal.append = watching  # type: ignore[method-assign]
    for _ in range(3):
        graph.invoke(GO, persist.config("t"))
    assert sent == ["weather"]


def test_many_register_a_tool_at_once(persist: Persist, rows: Any) -> None:
    graph = tool_graph([weather, draw, fail], wanted("weather", {"city": "x"})).compile()
    handlers = [Persist(persist.url) for _ in range(4)]

    def go(own: Persist, thread_id: str) -> None:
        own.attach(graph).invoke(GO, own.config(thread_id))

    threads = [threading.Thread(target=go, args=(own, str(i))) for i, own in enumerate(handlers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in handlers:
        own.close()
    assert len(rows("SELECT * FROM tools")) == 3
    assert len(rows("SELECT * FROM tool_executions WHERE tool_id IS NOT NULL")) == 4


class Place(BaseModel):
    """Where it is."""

    city: str


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("chat completions", {"tools": [{"type": "function", "function": {"parameters": SCHEMA}}]}),
    ("responses", {"tools": [{"type": "function", "parameters": SCHEMA}]}),
    ("messages", {"tools": [{"input_schema": SCHEMA}]}),
    ("converse", {"toolConfig": {"tools": [{"toolSpec": {"inputSchema": {"json": SCHEMA}}}]}}),
    ("gemini", {"tools": [{"function_declarations": [{"parameters": SCHEMA}]}]}),
    ("functions", {"functions": [{"parameters": SCHEMA}]}),
]


def named(form: Any) -> Any:
    """The form with a name and a description beside each schema."""
    if isinstance(form, list):
        return [named(item) for item in form]
    if not isinstance(form, dict):
        return form
    filled = {key: value if value is SCHEMA else named(value) for key, value in form.items()}
    if any(key in form for key in ("parameters", "input_schema", "inputSchema")):
        filled |= {"name": "weather", "description": "d"}
    return filled


@pytest.mark.parametrize("form", [form for _, form in FORMS], ids=[name for name, _ in FORMS])
def test_tools_in_any_providers_form(form: dict[str, Any]) -> None:
    (found,) = bound_tools(invocation_params=named(form))
    schema = json.loads(orjson.dumps(found.pop("parameters_schema")))
    assert found == {"name": "weather", "description": "d"}
    assert schema == SCHEMA


def test_providers_own_tools_have_no_schema() -> None:
    given = {"tools": [{"type": "web_search_20250305", "name": "web_search"}, {"type": "x"}]}
    assert bound_tools(invocation_params=given) == [
        {"name": "web_search", "description": None, "parameters_schema": None}
    ]


def test_unconverted_tools_are_read_too() -> None:
    (found,) = bound_tools(invocation_params={"tools": [weather]})
    assert found["description"] == "The weather of a city."
    assert json.loads(orjson.dumps(found["parameters_schema"]))["required"] == ["city"]


def test_the_schema_of_an_answer_is_no_tool(persist: Persist, rows: Any) -> None:
    model = Scripted(answers=[wanted("Place", {"city": "Oslo"})])
    asked = model.with_structured_output(Place)
    assert asked.invoke("where?", {"callbacks": [persist.handler]}) == Place(city="Oslo")
    assert rows("SELECT * FROM tools") == []


JUNK = st.recursive(
    st.none() | st.integers() | st.text() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tools", "function", "name", "parameters", "messages", "json"]), inner
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(JUNK)
def test_odd_tools_never_raise(junk: Any) -> None:
    orjson.dumps(bound_tools(invocation_params=junk, options=junk))
    orjson.dumps(bound_tools(invocation_params={"tools": [junk]}))
    orjson.dumps(refused_calls(junk))


# --- retrievers ---


class Library(BaseRetriever):
    """Finds what it was given, with scores; or fails."""

    fails: bool = False

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.fails:
            raise ConnectionError("no library")
        return [
            Document(f"{query} {n}", id=str(n), metadata={"score": 0.9 - n / 10, "source": "a.txt"})
            for n in range(2)
        ]


@pytest.mark.parametrize("mode", MODES)
def test_a_retrieval(persist: Persist, rows: Any, mode: str) -> None:
    library = Library()
    builder = StateGraph(Chat)

    def search(state: Chat) -> Any:
        found = library.invoke(str(state["messages"][-1].content))
        return {"messages": [AIMessage(found[0].page_content)]}

    builder.add_node("search", search)
    builder.add_edge(START, "search")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"messages": [HumanMessage("cats\x00")]}, persist.config("t"))
    (found,) = rows(
        "SELECT r.*, n.node_name FROM retrievals r"
        " JOIN nodes n ON n.thread_id = r.thread_id AND n.id = r.node_id"
    )
    assert (found["query"], found["document_count"], found["node_name"]) == ("cats�", 2, "search")
    assert found["documents"][1] == {
        "id": "1",
        "page_content": "cats� 1",
        "metadata": {"score": 0.8, "source": "a.txt"},
    }
    assert found["latency_ms"] > 0
    assert found["error_type"] is None
    assert not persist.handler.failures.counts


@pytest.mark.parametrize("mode", MODES)
def test_a_retrieval_that_fails(persist: Persist, rows: Any, mode: str) -> None:
    chain = RunnableLambda(str.lower) | Library(fails=True)
    with pytest.raises(ConnectionError, match="no library"):
        run(chain, mode, "Cats", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT * FROM retrievals")
    assert (found["query"], found["document_count"]) == ("cats", 0)
    assert (found["error_type"], found["error_message"]) == ("ConnectionError", "no library")
    assert found["latency_ms"] > 0
    assert rows("SELECT status FROM workflows") == [{"status": "failed"}]


def test_a_bare_retriever(persist: Persist, rows: Any) -> None:
    Library().invoke("dogs", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT * FROM retrievals")
    assert (found["query"], found["node_id"]) == ("dogs", None)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
