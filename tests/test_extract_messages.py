"""Messages are named by their content, lists by their chain; nothing is stored twice or lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langgraph_persist.extract import (
    is_message_list,
    message_list,
    message_row,
    state_entry,
    to_json_bytes,
)
from tests.test_extract_json import ANY_TEXT, Hostile


def answer() -> AIMessage:
    return AIMessage(
        content=[{"type": "text", "text": "It is "}, {"type": "image"}, "sunny."],
        id="run-1",
        name="bot",
        tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "c1", "type": "tool_call"}],
        additional_kwargs={"reasoning": {"steps": ["a"]}},
        response_metadata={"model_name": "gpt", "usage": {"n": 1}},
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )


MESSAGES: list[BaseMessage] = [
    SystemMessage("Be kind."),
    HumanMessage("Weather?", id="h1"),
    answer(),
    ToolMessage("sunny", tool_call_id="c1", name="f", artifact={"t": 21}, status="success"),
    ChatMessage(content="aside", role="narrator"),
    AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{", "id": "x", "error": "bad"}]),
    HumanMessage("kept", custom={"extra": 1}),
]


def as_json(fields: dict[str, Any]) -> Any:
    return json.loads(orjson.dumps(fields))


class Store:
    """What the database would hold, read back as its view does."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {"messages": {}, "state_values": {}}
        self.known: set[UUID] = set()

    def add(self, rows: list[tuple[str, dict[str, Any]]]) -> None:
        for table, row in rows:
            assert row["id"] not in self.known, "a row came twice"
            self.known.add(row["id"])
            self.tables[table][str(row["id"])] = as_json(row)

    def put(self, messages: list[BaseMessage]) -> int:
        self.list_id, rows = message_list(messages, self.known)
        self.add(rows)
        return len(rows)

    def contents(self, list_id: Any) -> list[Any]:
        if list_id is None:
            return []
        row = self.tables["state_values"][str(list_id)]
        ids = row["value"]
        return self.contents(row["base_id"]) + [self.tables["messages"][i]["content"] for i in ids]


def test_the_row_of_a_message() -> None:
    message_id, row = message_row(answer())
    assert row["id"] == message_id
    assert as_json(row) == {
        "id": str(message_id),
        "message_id": "run-1",
        "role": "ai",
        "text": "It is sunny.",
        "content": [{"type": "text", "text": "It is "}, {"type": "image"}, "sunny."],
        "name": "bot",
        "tool_calls": [{"name": "f", "args": {"a": [1]}, "id": "c1", "type": "tool_call"}],
        "tool_call_id": None,
        "extra": {
            "additional_kwargs": {"reasoning": {"steps": ["a"]}},
            "response_metadata": {"model_name": "gpt", "usage": {"n": 1}},
            "usage_metadata": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        },
    }
    assert as_json(message_row(HumanMessage("hi\x00"))[1])["text"] == "hi\ufffd"


def test_a_streamed_message_is_recorded_as_the_message_it_became() -> None:
    chunk = AIMessageChunk(content="hi", id="1") + AIMessageChunk(content=" you", id="1")
    assert message_row(chunk)[0] == message_row(AIMessage("hi you", id="1"))[0]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_a_message_keeps_its_id_through_a_checkpoint_and_a_copy(message: BaseMessage) -> None:
    serde = JsonPlusSerializer()
    message_id, _ = message_row(message)
    assert message_row(serde.loads_typed(serde.dumps_typed(message)))[0] == message_id
    assert message_row(message.model_copy(deep=True))[0] == message_id
    assert message_row(type(message)(**dict(reversed(message.model_dump().items()))))[0] == (
        message_id
    )


def test_messages_that_differ_have_different_ids() -> None:
    ids = {message_row(message)[0] for message in MESSAGES}
    assert len(ids) == len(MESSAGES)


def change(path: str, edit: Callable[[Any], Any]) -> Callable[[AIMessage], Any]:
    return lambda message: edit(getattr(message, path))


MUTATIONS = {
    "content text": lambda m: setattr(m, "content", "other"),
    "content block": change("content", lambda c: c[0].update(text="other")),
    "content added": change("content", lambda c: c.append("more")),
    "tool call args": change("tool_calls", lambda c: c[0]["args"]["a"].append(2)),
    "nested kwargs": change("additional_kwargs", lambda k: k["reasoning"]["steps"].append("b")),
    "nested metadata": change("response_metadata", lambda k: k["usage"].update(n=2)),
    "usage": change("usage_metadata", lambda u: u.update(input_tokens=9)),
    "id": lambda m: setattr(m, "id", "run-2"),
    "extra field": lambda m: setattr(m, "custom", 1),
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=list(MUTATIONS))
def test_a_message_changed_in_place_is_seen(mutate: Callable[[AIMessage], Any]) -> None:
    store, message = Store(), answer()
    before = as_json(message_row(message)[1])
    messages: list[BaseMessage] = [HumanMessage("a"), message, HumanMessage("b")]
    store.put(messages)
    first = store.list_id
    mutate(message)
    store.put(messages)
    assert store.list_id != first
    assert store.contents(first)[1] == before["content"]
    assert store.contents(store.list_id)[1] == as_json(message_row(message)[1])["content"]


def test_a_growing_chat_stores_each_message_once() -> None:
    store = Store()
    chat: list[BaseMessage] = []
    for turn in range(50):
        chat.append(HumanMessage(f"question {turn}", id=str(turn)))
        assert store.put(chat) == 2
        assert store.put(chat) == 0
    assert len(store.tables["messages"]) == 50
    assert all(len(row["value"]) == 1 for row in store.tables["state_values"].values())
    assert store.contents(store.list_id) == [message.content for message in chat]


def test_a_message_said_twice_is_one_row_listed_twice() -> None:
    store = Store()
    store.put([HumanMessage("a"), HumanMessage("a")])
    assert len(store.tables["messages"]) == 1
    assert store.contents(store.list_id) == ["a", "a"]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(MESSAGES), max_size=8), max_size=8))
def test_every_list_can_be_rebuilt_and_costs_nothing_again(
    lists: list[list[BaseMessage]],
) -> None:
    store = Store()
    for messages in lists:
        store.put(messages)
        assert store.put(messages) == 0
        if messages:
            expected = [json.loads(to_json_bytes(m.content)) for m in messages]
            assert store.contents(store.list_id) == expected


@settings(deadline=None)
@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_equal_lists_have_equal_ids(texts: list[str]) -> None:
    messages: list[BaseMessage] = [HumanMessage(text) for text in texts]
    assert message_list(messages, ())[0] == message_list(copy.deepcopy(messages), ())[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([HumanMessage("a")], True),
        ([HumanMessage("a"), "b"], False),
        ([], False),
        ((HumanMessage("a"),), False),
        (HumanMessage("a"), False),
        (None, False),
        (Hostile(), False),
        ([Hostile()], False),
    ],
    ids=lambda v: type(v).__name__,
)
def test_is_message_list(value: Any, expected: bool) -> None:
    assert is_message_list(value) is expected


def test_a_hostile_message_still_makes_a_row() -> None:
    message = HumanMessage.model_construct(content=Hostile(), id=Hostile())
    row = as_json(message_row(message)[1])
    assert row["role"] == "human"
    assert "unreadable" in row["content"]


def test_small_state_is_inline_and_large_state_is_referred_to_once() -> None:
    entry, rows = state_entry({"n": 1}, ())
    assert (as_json(entry), rows) == ({"v": {"n": 1}}, [])
    assert as_json(state_entry([], ())[0]) == {"v": []}
    assert as_json(state_entry("x" * 126, ())[0]) == {"v": "x" * 126}

    large = {"text": "x" * 127}
    entry, [(table, row)] = state_entry(large, ())
    assert table == "state_values"
    assert entry == {"ref": str(row["id"])}
    assert as_json(row) == {
        "id": str(row["id"]),
        "kind": "value",
        "base_id": None,
        "value": large,
    }
    assert state_entry({"text": "x" * 127}, {row["id"]}) == (entry, [])


def test_a_message_list_in_the_state_is_a_reference_to_the_list() -> None:
    entry, rows = state_entry([HumanMessage("a")], ())
    assert [table for table, _ in rows] == ["messages", "state_values"]
    assert entry == {"ref": str(rows[-1][1]["id"])}
    assert rows[-1][1]["kind"] == "messages"
