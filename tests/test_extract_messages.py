"""Messages are named by their content, lists by their chain; nothing is stored twice or lost."""

from __future__ import annotations

import copy
import dataclasses
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
from langgraph.types import Command, Send

from langgraph_persist.extract import (
    References,
    is_message_list,
    message_entry,
    message_list,
    to_json_bytes,
)
from langgraph_persist.extract.keep import _lists
from langgraph_persist.journal import Capture
from tests.test_extract_json import ANY_TEXT, VALUES, Hostile


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


def row_of(message: BaseMessage) -> dict[str, Any]:
    ((_, row),) = message_entry(message).rows(())
    return row


def id_of(message: BaseMessage) -> str:
    return message_entry(message).id


class Store:
    """What the database would hold, read back as its views do."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {"messages": {}, "state_values": {}}
        self.known: set[str] = set()

    def add(self, rows: list[tuple[str, dict[str, Any]]]) -> None:
        for table, row in rows:
            key = row.get("entry_id", row["id"])
            assert key not in self.known, "a row came twice"
            self.known |= {key, row["id"]}
            self.tables[table][str(row["id"])] = as_json(row)

    def put(self, messages: list[BaseMessage]) -> int:
        self.list_id, rows = message_list(messages, self.known)
        self.add(rows)
        return len(rows)

    def keep(self, value: Any, how: str = "document") -> Any:
        """A value's column as JSON, and its rows in their tables."""
        keep = References(self.known)
        column = keep.channel("c", value) if how == "channel" else getattr(keep, how)(value)
        self.add(keep.rows)
        return as_json(column)

    def parts(self, list_id: Any) -> list[Any]:
        if list_id is None:
            return []
        row = self.tables["state_values"][str(list_id)]
        return [*self.parts(row["base_id"]), *row["value"]]

    def message(self, content_id: str, name: str | None = None) -> dict[str, Any]:
        row = self.tables["messages"][content_id]
        shown = {"type": row["role"], "id": name, "name": row["name"]}
        shown |= {"tool_call_id": row["tool_call_id"], "tool_calls": row["tool_calls"]}
        content = row["text"] if row["content"] is None else row["content"]
        kept = {key: value for key, value in shown.items() if value is not None}
        return {**kept, "content": content, **(row["extra"] or {})}

    def contents(self, list_id: Any) -> list[Any]:
        return [self.message(*entry)["content"] for entry in self.parts(list_id)]

    def stored(self, id_: str) -> Any:
        row = self.tables["state_values"][id_]
        if row["kind"] == "value":
            return row["value"]
        parts = self.parts(id_)
        return parts if row["kind"] == "list" else [self.message(*entry) for entry in parts]

    def whole(self, value: Any) -> Any:
        if isinstance(value, list):
            return [whole for item in value for whole in self.spliced(item)]
        if not isinstance(value, dict):
            return value
        match value:
            case {"$stored": id_, **rest} if not rest:
                return self.stored(id_)
            case {"$message": entry, **rest} if not rest:
                return self.message(*entry)
            case {"$text": [id_], **rest} if not rest:
                return self.tables["messages"][id_]["text"]
        return {key: self.whole(item) for key, item in value.items()}

    def spliced(self, item: Any) -> list[Any]:
        match item:
            case {"$items": id_, **rest} if not rest:
                return list(self.stored(id_))
        return [self.whole(item)]


def test_the_row_of_a_message() -> None:
    row = row_of(answer())
    assert row["entry_id"] == id_of(answer()) != row["id"]
    assert as_json(row) == {
        "id": str(row["id"]),
        "entry_id": str(row["entry_id"]),
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
    plain = as_json(row_of(HumanMessage("hi\x00")))
    assert (plain["text"], plain["content"]) == ("hi\ufffd", None)


def test_a_message_that_is_given_an_id_later_stays_one_row() -> None:
    store = Store()
    message = HumanMessage("hi")
    store.put([message])
    unnamed = store.list_id
    message.id = "1"
    store.put([message])
    assert len(store.tables["messages"]) == 1
    assert store.parts(unnamed) == [[str(row_of(message)["id"])]]
    assert store.parts(store.list_id) == [[str(row_of(message)["id"]), "1"]]


def test_a_streamed_message_is_recorded_as_the_message_it_became() -> None:
    chunk = AIMessageChunk(content="hi", id="1") + AIMessageChunk(content=" you", id="1")
    assert id_of(chunk) == id_of(AIMessage("hi you", id="1"))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.type)
def test_a_message_keeps_its_id_through_a_checkpoint_and_a_copy(message: BaseMessage) -> None:
    serde = JsonPlusSerializer()
    message_id = id_of(message)
    assert id_of(serde.loads_typed(serde.dumps_typed(message))) == message_id
    assert id_of(message.model_copy(deep=True)) == message_id
    assert id_of(type(message)(**dict(reversed(message.model_dump().items())))) == message_id


def test_messages_that_differ_have_different_ids() -> None:
    ids = {id_of(message) for message in MESSAGES}
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
    before = json.loads(to_json_bytes(message.content))
    messages: list[BaseMessage] = [HumanMessage("a"), message, HumanMessage("b")]
    store.put(messages)
    first = store.list_id
    mutate(message)
    store.put(messages)
    assert store.list_id != first
    assert store.contents(first)[1] == before
    assert store.contents(store.list_id)[1] == json.loads(to_json_bytes(message.content))


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
    row = as_json(row_of(message))
    assert row["role"] == "human"
    assert "unreadable" in row["content"]


def test_small_state_is_inline_and_large_state_is_referred_to_once() -> None:
    store = Store()
    values: list[Any] = [{"n": 1}, [], "x" * 126]
    for small in values:
        assert store.keep(small, "channel") == small
    assert not store.known

    large = {"text": "x" * 127}
    entry = store.keep(large, "channel")
    ((id_, row),) = store.tables["state_values"].items()
    assert entry == {"$stored": id_}
    assert row == {"id": id_, "kind": "value", "base_id": None, "value": large}
    assert store.keep({"text": "x" * 127}, "channel") == entry
    assert len(store.known) == 1


def test_a_message_list_in_the_state_is_a_reference_to_the_list() -> None:
    store = Store()
    entry = store.keep([HumanMessage("a")], "channel")
    assert store.tables["state_values"][entry["$stored"]]["kind"] == "messages"


# --- inputs, outputs and prompts ---


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


LONG = "long " * 100
DOCUMENTS: dict[str, Any] = {
    "nothing": {},
    "small": {"n": 1, "log": ["a"]},
    "a text": LONG,
    "a long channel": {"doc": LONG, "n": 1},
    "messages": {"messages": [*MESSAGES, *MESSAGES]},
    "one message": {"messages": [answer()]},
    "a bare message": answer(),
    "a tuple of messages": {"pair": (answer(), HumanMessage("x"))},
    "a message deep down": {"agents": {"one": {"last": answer(), "text": LONG}}},
    "commands": [Command(update={"messages": [answer()]}, goto="n"), Command(update={"n": 1})],
    "a send": {"todo": Send("n", {"doc": LONG})},
    "files": {"files": {"a.py": "a" * 600, "b.py": "b" * 900, "c.py": "c"}},
    "many files": {"files": {f"{n}.py": "a" * 20 for n in range(300)}},
    "a dataclass": Point(LONG, {"a": {1}}),
    "what reads like a reference": {"a": {"$stored": str(UUID(int=1))}, "b": [{"$text": ["x"]}]},
    "its key as a channel": {"$message": ["x"], "n": 1},
    "and deep down": {"a": {"b": {"c": {"$items": str(UUID(int=1))}, "text": LONG}}},
    "odd keys": {1: LONG, None: 2},
    "unicode": {"t": "\x00\ud800ä" * 200},
}


@pytest.mark.parametrize("value", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_comes_back_whole(value: Any) -> None:
    store = Store()
    kept = store.keep(value)
    assert store.whole(kept) == json.loads(to_json_bytes(value))
    count = len(store.known)
    assert store.keep(value) == kept
    assert len(store.known) == count


@settings(deadline=None)
@given(VALUES)
def test_any_document_and_channel_comes_back_whole(value: Any) -> None:
    for how in ("document", "channel"):
        store = Store()
        assert store.whole(store.keep(value, how)) == json.loads(to_json_bytes(value))


SPOKEN: list[Any] = [
    LONG,
    [LONG],
    [("user", LONG)],
    [{"role": "user", "content": LONG}],
    [{"role": "human", "content": LONG, "name": "bob"}, {"role": "assistant", "content": "ok"}],
    [HumanMessage(LONG), ("user", "short")],
]


@pytest.mark.parametrize("said", SPOKEN, ids=str)
def test_what_was_said_is_the_message_that_it_becomes(said: Any) -> None:
    store = Store()
    given = {"messages": said}
    kept = store.keep(given)
    assert store.whole(kept) == json.loads(to_json_bytes(given))
    assert LONG not in json.dumps(kept)
    store.put([HumanMessage(LONG, id="1")])
    assert sum(row["text"] == LONG for row in store.tables["messages"].values()) == 1


def test_a_list_that_grows_stores_what_is_new() -> None:
    store = Store()
    log: list[Any] = [{"line": n, "text": "x" * 100} for n in range(20)]
    for n in range(20, 40):
        log.append({"line": n, "text": "y" * 100})
        before = len(store.known)
        kept = store.keep(log, "channel")
        assert len(store.known) == before + 1
        assert store.whole(kept) == log
    stored = sum(len(row["value"]) for row in store.tables["state_values"].values())
    assert stored == len(log)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4), ANY_TEXT), max_size=12))
def test_a_list_may_grow_shrink_and_change(steps: list[tuple[int, int, str]]) -> None:
    store = Store()
    log: list[Any] = ["x" * 1000, "y" * 1000, {"z": 1}]
    for at, new, text in steps:
        del log[max(at, 1) :]
        log += [text, {"text": text}, [text], None][:new]
        expected = json.loads(to_json_bytes(log))
        kept = store.keep(log, "channel")
        assert store.whole(kept) == expected
        _lists.clear()
        again = Store()
        assert again.keep(copy.deepcopy(log), "channel") == kept
        assert again.whole(kept) == expected
        assert store.whole(store.keep(log[:-1], "channel")) == expected[:-1]


def test_a_mapping_stores_the_large_part_that_changed() -> None:
    store = Store()
    files = {f"{n}.txt": str(n) * 1000 for n in range(9)}
    store.keep(files, "channel")
    before = len(store.known)
    files["3.txt"] = "changed" * 200
    assert store.whole(store.keep(files, "channel")) == files
    assert len(store.known) == before + 1


def test_a_prompt_shares_the_conversation_with_the_state() -> None:
    store = Store()
    chat: list[BaseMessage] = [HumanMessage(f"m{n}", id=str(n)) for n in range(9)]
    store.keep(chat, "channel")
    prompt: list[BaseMessage] = [SystemMessage("Be kind."), *chat]
    count = len(store.known)
    assert store.whole(store.keep(prompt, "prompt")) == json.loads(to_json_bytes(prompt))
    assert len(store.known) == count + 1
    only: list[BaseMessage] = [SystemMessage("a"), SystemMessage("b"), SystemMessage("c")]
    assert store.whole(store.keep(only, "prompt")) == json.loads(to_json_bytes(only))


def test_what_changes_meanwhile_does_not_raise() -> None:
    class Shifty(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    assert Store().keep({"a": Point(Shifty(b=1), "x" * 600)})


# --- long lists that come again ---

PAGES = [{"page": number, "text": "word " * 40} for number in range(20)]


def test_a_long_list_that_comes_again_is_stored_in_every_thread() -> None:
    for store in (Store(), Store()):
        for _ in range(2):
            assert store.whole(store.keep({"pages": PAGES})) == {"pages": PAGES}
        assert len(store.tables["state_values"]) == 1


def test_a_long_list_changed_in_place_is_another() -> None:
    store, pages = Store(), copy.deepcopy(PAGES)
    before = store.keep({"pages": pages})
    pages[7]["text"] = "changed"
    after = store.keep({"pages": pages})
    assert store.whole(before) == {"pages": PAGES}
    assert store.whole(after) == {"pages": pages}


def test_a_long_list_is_no_other_where_parts_are_redacted_or_left_out() -> None:
    store = Store()
    whole = store.keep({"pages": PAGES})
    for capture in (Capture(redactors=(lambda value: value,)), Capture(max_bytes=100)):
        keep = References(store.known, capture)
        column = as_json(keep.document({"pages": PAGES}))
        store.add(keep.rows)
        assert (column == whole) is bool(capture.redactors)


# --- conversations that come again ---

OTHERS: list[BaseMessage] = [HumanMessage("a"), HumanMessage("b", id="1"), SystemMessage("c")]


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=list(MUTATIONS))
def test_a_message_changed_in_a_known_conversation_is_seen(
    mutate: Callable[[AIMessage], Any],
) -> None:
    store, message = Store(), answer()
    messages = [*OTHERS, message, *OTHERS]
    before = store.keep(messages, "channel")
    mutate(message)
    after = store.keep(messages, "channel")
    assert after != before
    assert after == {"$stored": message_list(messages, ())[0]}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.sampled_from(MESSAGES))), max_size=9))
def test_a_conversation_has_the_id_of_its_entries(
    steps: list[tuple[int, list[BaseMessage]]],
) -> None:
    store, chat = Store(), list(OTHERS)
    for at, new in steps:
        chat[at:] = copy.deepcopy(new)
        if not chat:
            continue
        for _ in range(2):
            assert store.keep(chat, "channel") == {"$stored": message_list(chat, ())[0]}
        said = [json.loads(to_json_bytes(message.content)) for message in chat]
        assert store.contents(message_list(chat, ())[0]) == said


def test_a_conversation_is_stored_in_every_thread_and_grows_there() -> None:
    for store in (Store(), Store()):
        chat = list(OTHERS)
        for n in range(20):
            chat += [HumanMessage(f"m{n}.{part}") for part in range(n % 4)]
            store.keep(chat, "channel")
        assert store.contents(store.keep(chat, "channel")["$stored"]) == [m.content for m in chat]
        assert sum(len(row["value"]) for row in store.tables["state_values"].values()) == len(chat)


def test_messages_of_other_classes_are_no_known_conversation() -> None:
    class Remark(HumanMessage):
        mood: str = "glad"

    store = Store()
    before = store.keep([*OTHERS, HumanMessage("x")], "channel")
    assert store.keep([*OTHERS, Remark(content="x")], "channel") != before
    odd = HumanMessage("x")
    odd.__pydantic_extra__ = {"custom": 1}
    assert store.keep([*OTHERS, odd], "channel") != before
    assert store.keep([*OTHERS, HumanMessage("x")], "channel") == before


def test_a_conversation_is_read_anew_where_parts_are_redacted_or_left_out() -> None:
    chat = [*OTHERS, HumanMessage("secret " * 40)]
    store = Store()
    whole = store.keep(chat, "channel")
    hides = Capture(redactors=(lambda v: v.replace("secret", "***") if type(v) is str else v,))
    for capture in (hides, Capture(max_bytes=100)):
        keep = References(store.known, capture)
        column = as_json(keep.channel("c", chat))
        store.add(keep.rows)
        assert column != whole
        assert "secret secret secret secret" * 4 not in json.dumps(store.whole(column))
