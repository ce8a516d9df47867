"""What is recorded takes little more than what it holds: nothing is stored twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist
from tests.graphs import Chat, answer

TURNS = 200
TABLES = ["sessions", "workflows", "workflow_runs", "nodes", "generations", "tool_executions"]
TABLES += ["messages", "state_values"]
CONTENT = {
    "sessions": ["initial_input"],
    "workflows": ["user_input", "input", "result"],
    "nodes": ["input_data", "output_data", "state"],
    "generations": ["system_prompt", "user_prompt", "prompt", "output", "output_message"],
    "messages": ["text", "content", "extra", "tool_calls"],
    "state_values": ["value"],
}

STORED = "SELECT thread_id, id FROM messages UNION ALL SELECT thread_id, id FROM state_values"

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


def chat(persist: Persist, questions: list[str], answers: list[str], idle: bool) -> Any:
    """A graph that answers, and with ``idle`` has a second node that changes nothing."""
    model = GenericFakeChatModel(messages=iter(map(answer, answers)))
    system = SystemMessage("You are kind. " * 50)

    def ask(state: Chat) -> dict[str, Any]:
        return {"messages": [model.invoke([system, *state["messages"]])]}

    builder = StateGraph(Chat)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    if idle:
        builder.add_node("idle", lambda state: {})
        builder.add_edge("ask", "idle")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for question in questions:
        graph.invoke({"messages": [HumanMessage(question)]}, persist.config("t"))


def texts(seed: int, count: int, size: int) -> list[str]:
    """Texts of words that are like no others, so that no compression helps."""
    chosen = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz     "
    return ["".join(chosen.choices(letters, k=size)) for _ in range(count)]


def bytes_of(rows: Rows, columns: str) -> int:
    found = [
        rows(f"SELECT coalesce(sum({columns.format(table=table)}), 0)::int AS n FROM {table} t")
        for table in TABLES
    ]
    return sum(int(row["n"]) for (row,) in found)


def content_bytes(rows: Rows) -> int:
    total = 0
    for table, columns in CONTENT.items():
        size = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in columns)
        total += rows(f"SELECT coalesce(sum({size}), 0)::int AS n FROM {table}")[0]["n"]
    return total


def test_a_long_chat_takes_little_more_than_its_distinct_content(
    persist: Persist, rows: Rows
) -> None:
    questions, answers = texts(1, TURNS, 1_500), texts(2, TURNS, 4_500)
    chat(persist, questions, answers, idle=False)
    distinct = sum(map(len, questions + answers)) + len("You are kind. " * 50)
    everything = bytes_of(rows, "pg_column_size(t.*)")
    content = content_bytes(rows)
    print(
        f"whole rows {everything / distinct:.3f}, content {content / distinct:.3f} of {distinct:,}"
    )
    assert content <= 1.3 * distinct
    assert everything <= 1.5 * distinct
    last = persist.history.last()
    assert last.turn == TURNS
    (node,) = last.nodes
    said = [message["content"] for message in node.state["messages"]]
    assert said[::2] == questions
    assert said[1::2] == answers
    assert last.result == node.state
    assert node.input_data["messages"] == node.state["messages"][:-1]
    assert last.generations[0].output == answers[-1]


def test_a_node_that_changes_nothing_adds_no_rows_of_content(persist: Persist, rows: Rows) -> None:
    chat(persist, texts(1, 3, 500), texts(2, 3, 500), idle=True)
    once = rows(STORED)
    states = rows("SELECT node_name, state FROM nodes ORDER BY workflow_id, execution_order")
    asked = [row["state"] for row in states if row["node_name"] == "ask"]
    idle = [row["state"] for row in states if row["node_name"] == "idle"]
    assert asked == idle
    persist.checkpointer.delete_thread("t", record="delete")
    chat(persist, texts(1, 3, 500), texts(2, 3, 500), idle=False)
    again = rows(STORED)
    assert len(once) == len(again)


def test_what_a_tool_gives_is_stored_once(persist: Persist, rows: Rows) -> None:
    from langchain.agents import create_agent
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    (found,) = texts(1, 1, 5_000)

    @tool
    def search(query: str) -> str:
        """Search."""
        return found

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    call = {"name": "search", "args": {"query": "q" * 2_000}, "id": "c1"}
    said: list[AIMessage | str] = [AIMessage("", tool_calls=[call]), AIMessage("done")]
    model = Model(messages=iter(said))
    agent = create_agent(model, [search], checkpointer=persist.checkpointer)
    persist.attach(agent).invoke({"messages": [HumanMessage("go")]}, persist.config("t"))
    stored = sum(found in str(row) for table in TABLES for row in rows(f"SELECT * FROM {table}"))
    assert stored == 1
    (called,) = rows("SELECT output_data, input_params FROM tool_contents")
    assert called == {"output_data": found, "input_params": {"query": "q" * 2_000}}
    (kept,) = rows("SELECT * FROM messages WHERE role = 'tool'")
    assert (kept["text"], kept["content"]) == (found, None)
    run = persist.history.last()
    assert run.tool_executions[0].output_data == found
    assert run.generations[0].tool_calls[0]["args"] == call["args"]


def test_long_values_are_compressed_the_fastest_way_that_the_server_has(
    persist: Persist, rows: Rows
) -> None:
    chat(persist, ["Which way? " * 500] * 3, ["That way. " * 500] * 3, idle=False)
    (server,) = rows(
        "SELECT CASE WHEN 'lz4' = ANY (enumvals) THEN 'lz4' ELSE 'pglz' END AS fastest"
        " FROM pg_settings WHERE name = 'default_toast_compression'"
    )
    for column, table in (
        ("text", "messages"),
        ("blob", "checkpoint_blobs"),
        ("blob", "checkpoint_writes"),
    ):
        found = rows(
            f"SELECT DISTINCT pg_column_compression({column}) AS method FROM {table}"
            f" WHERE length({column}) > 4000"
        )
        assert found == [{"method": server["fastest"]}], table
