"""Values as they stand in the record: what is large or a message is stored once, by reference.

A reference is an object of one key: ``{"$stored": id}`` for a row of ``state_values``,
``{"$message": [id, name]}`` for a message, ``{"$text": [id]}`` for what a message says and
``{"$items": id}``, within a list, for all elements of a stored list. The SQL function ``whole``
puts what they stand for in their places. What only looks like one is stored by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, cast

import orjson
from langchain_core.messages import BaseMessage, SystemMessage
from langgraph.types import Command, Send
from pydantic import BaseModel
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json_bytes
from langgraph_persist.extract.messages import (
    Row,
    chain,
    is_message,
    is_message_list,
    list_row,
    message_entry,
    message_list,
    snapshot,
    spoken_entry,
    uuid_text,
)
from langgraph_persist.extract.shapes import shape_of
from langgraph_persist.extract.text import class_test, clean_text, excerpt, is_a
from langgraph_persist.journal.capture import EVERYTHING, Capture, left_out, limited

INLINE_LIMIT = 128
"""Bytes of JSON up to which a value stands where it is."""

_PART_LIMIT = 512
_SKELETON_LIMIT = 2048
_FEW = 2
_SHORT = 8
_SHORT_TEXT = 31
_DOLLAR = ord("$")
_DEPTH = 2
_LIST_BYTES = 1024
_LIST_LENGTH = 4096
_MEMORY = 4096
_ROLES = {"user": "human", "human": "human", "assistant": "ai", "ai": "ai", "system": "system"}
_CALLS_LIMIT = 512
_is_command = class_test(Command, Send)
_is_model = class_test(BaseModel)
_is_nested = class_test(BaseMessage, Command, Send)
_is_system = class_test(SystemMessage)
_CHANNELS_OF = ("update", "arg")
_TEXT = frozenset({str})
_SIMPLE = frozenset({str, int, float, bool, type(None)})

Seal = Callable[[bytes], orjson.Fragment]

_WHOLE = frozenset({"__start__", "__end__", "__previous__"})
"""Channels that hold what a graph, or a function as one, is given and gives."""

_EXCLUDED = orjson.Fragment(left_out("excluded"))


class Keep:
    """Content for the columns of the record, as far as it may be kept: JSON in its place.

    What it gives is for orjson. With a ``seal`` the channels of a state and prompts are in the
    form that it gives to their JSON; the other columns are sealed as a whole, later.
    """

    by_reference = False

    def __init__(self, capture: Capture = EVERYTHING, seal: Seal | None = None) -> None:
        self.capture = capture
        self._seal = seal
        self.rows: list[Row] = []
        """The rows that references still need: ``(table, fields)`` pairs without ``thread_id``."""

    def json(self, value: Any) -> orjson.Fragment:
        """Any value."""
        return orjson.Fragment(self._data(value))

    def _data(self, value: Any) -> bytes:
        return self.capture.fitting(self.capture.clean_json(to_json_bytes(value)))

    def channel(self, name: str, value: Any) -> Any:
        """The value of one channel of a state."""
        if name in self.capture.channels:
            return _EXCLUDED
        value = self._shown(name, value)
        return self.json(value) if self._seal is None else self._seal(self._data(value))

    def _shown(self, name: str, value: Any) -> Any:
        """A channel's value without what is left out where that is a whole input or output."""
        return without(value, self.capture.channels) if name in _WHOLE else value

    def document(self, value: Any) -> Any:
        """What went into a run or a node, or came out: channels, most often."""
        return None if value is None else self.json(without(value, self.capture.channels))

    def prompt(self, messages: list[BaseMessage]) -> Any:
        """The messages that a model is given."""
        return self.json(messages) if self._seal is None else self._seal(self._data(messages))

    def message(self, message: BaseMessage) -> Any:
        """One message."""
        return self.json(message)

    def calls(self, message: Any) -> Any:
        """The tools that one message calls."""
        return self.json(message.tool_calls)

    def said(self, message: BaseMessage) -> Any:
        """What one message says."""
        return self.json(message.content)

    def text(self, text: str | None) -> str | None:
        """A text, for a column of that type."""
        if text is None:
            return None
        text = self.capture.clean_text(text) if self.capture.redactors else text
        return limited(text, self.capture.max_bytes)

    def excerpt(self, text: str | None) -> str | None:
        """A text that is stored elsewhere, too; where that is so, a long one's beginning."""
        return self.text(text)


class References(Keep):
    """Content by reference: what is large or a message is stored once.

    ``known`` has the ids whose rows are on their way; add those of ``rows`` once these are queued.
    """

    by_reference = True

    def __init__(self, known: Container[str], capture: Capture = EVERYTHING) -> None:
        self.capture, self._known = capture, known
        self._new: set[str] = set()
        self.rows: list[Row] = []

    def channel(self, name: str, value: Any) -> Any:
        if name in self.capture.channels:
            return _EXCLUDED
        return self._stored(self._channel, self._shown(name, value))

    def document(self, value: Any) -> Any:
        return None if value is None else self._stored(self._document, value)

    def prompt(self, messages: list[BaseMessage]) -> Any:
        return self._stored(self._entry, messages)

    def message(self, message: BaseMessage) -> Any:
        return self._stored(self._entry, message)

    def calls(self, message: Any) -> Any:
        return self._stored(self._calls, message)

    def said(self, message: BaseMessage) -> Any:
        return self._stored(self._said, message)

    def excerpt(self, text: str | None) -> str | None:
        if text is None or not (self.capture.redactors or len(text) > self.capture.max_bytes):
            return text and excerpt(text)
        return excerpt(self.text(text))

    def _stored(self, work: Callable[[Any], Any], value: Any) -> orjson.Fragment:
        before = len(self.rows)
        try:
            return orjson.Fragment(orjson.dumps(work(value)))
        except Exception:
            # Another thread may be changing it.
            self._take_back(before)
            data = self._data(without(value, self.capture.channels))
            return orjson.Fragment(orjson.dumps(self._value(data)))

    def __contains__(self, id_: object) -> bool:
        return id_ in self._new or id_ in self._known

    def _document(self, value: Any) -> Any:
        if (fields := _fields(value)) is None:
            return self._entry(value)
        parts: dict[str, Any] = {}
        channels, is_command = self.capture.channels, _is_command(type(value))
        plain = not self.capture.redactors and self.capture.max_bytes >= INLINE_LIMIT
        for key, item in fields.items():
            if key in channels:
                parts[key] = _EXCLUDED
            elif plain and _is_short(item):
                parts[key] = item
            elif is_command and key in _CHANNELS_OF:
                parts[key] = self._document(item)
            else:
                parts[key] = self._spoken(item) if key == "messages" else self._entry(item)
        return parts

    def _entry(self, value: Any, depth: int = _DEPTH, limit: int = INLINE_LIMIT) -> Any:
        kind = type(value)
        if kind is list or kind is tuple:
            if not _SIMPLE.issuperset(map(type, value)):
                if is_message_list(value):
                    return self._messages(value)
                if depth and _is_mixed(value):
                    return [self._part(item, depth, limit) for item in value]
        elif kind not in _SIMPLE and is_message(kind):
            return self._message(value)
        data = self._json(value)
        if len(data) <= limit and len(data) <= self.capture.max_bytes and not _may_refer(data):
            return orjson.Fragment(data)
        if kind is list:
            grows = len(data) > _LIST_BYTES and _grows(value)
            return self._list(value, data) if grows else self._value(data)
        if kind not in _SIMPLE and depth and (fields := _fields(value)) is not None:
            return self._mapping(fields, data, depth - 1)
        return self._value(data)

    def _json(self, value: Any) -> bytes:
        data = to_json_bytes(value)
        return self.capture.clean_json(data) if self.capture.redactors else data

    def _channel(self, value: Any) -> Any:
        if is_message_list(value):
            return {"$stored": self._list_id(value)}
        return self._entry(value)

    def _list_id(self, messages: list[BaseMessage]) -> str:
        data = snapshot(messages) if self._takes_all_of(messages) else None
        if data is None or len(data) > self.capture.max_bytes:
            list_id, rows = message_list(messages, self, self.capture)
            self._add(rows)
            return list_id
        digest = xxh3_128_digest(data)
        if (known := _conversations.get(digest)) is not None and known in self:
            return known
        parts, base = self._new_parts(messages, data, _message_json, _conversations)
        new = messages if base is None else messages[-len(parts) :]
        list_id, rows = message_list(new, self, self.capture, base)
        self._add(rows)
        _remember(_conversations, digest, list_id)
        return list_id

    def _takes_all_of(self, messages: list[BaseMessage]) -> bool:
        """Whether a list is kept as it is, and long enough to be remembered."""
        return len(messages) > _FEW and not self.capture.redactors

    def _part(self, value: Any, depth: int, limit: int) -> Any:
        if _is_command(type(value)):
            return self._document(value)
        return self._entry(value, depth, limit)

    def _message(self, message: BaseMessage) -> dict[str, Any]:
        entry = message_entry(message, self.capture)
        self._add(entry.rows(self))
        return {"$message": entry.reference}

    def _messages(self, messages: list[BaseMessage]) -> Any:
        """Few ones each by itself, and those that are set before a conversation."""
        if len(messages) <= _FEW:
            return [self._message(message) for message in messages]
        head = 0
        while head < len(messages) - 1 and _is_system(type(messages[head])):
            head += 1
        if not head:
            return {"$stored": self._list_id(messages)}
        before = [self._message(message) for message in messages[:head]]
        return [*before, {"$items": self._list_id(messages[head:])}]

    def _calls(self, message: Any) -> Any:
        data = self._json(message.tool_calls)
        if len(data) <= _CALLS_LIMIT and not _may_refer(data):
            return orjson.Fragment(data)
        entry = message_entry(message, self.capture)
        self._add(entry.rows(self))
        return {"$tool_calls": entry.reference[:1]}

    def _said(self, message: BaseMessage) -> Any:
        if not is_a(message.content, str) or len(message.content) <= INLINE_LIMIT:
            return self._entry(message.content)
        entry = message_entry(message, self.capture)
        self._add(entry.rows(self))
        return {"$text": entry.reference[:1]}

    def _spoken(self, value: Any) -> Any:
        """Messages in one of the short forms that LangGraph takes."""
        if is_a(value, str):
            return self._text("human", value)
        if type(value) is list and len(value) <= _SHORT and not is_message_list(value):
            return [self._short(item) for item in value]
        return self._entry(value)

    def _short(self, value: Any) -> Any:
        if type(value) is tuple and len(value) == 2 and value[0] in _ROLES:
            return [value[0], self._text(_ROLES[value[0]], value[1])]
        if type(value) is dict and (role := value.get("role")) in _ROLES:
            return {
                key: self._text(_ROLES[role], item) if key == "content" else self._entry(item)
                for key, item in value.items()
            }
        return self._text("human", value) if is_a(value, str) else self._entry(value)

    def _text(self, role: str, text: Any) -> Any:
        if not is_a(text, str) or len(text) <= INLINE_LIMIT:
            return self._entry(text)
        entry = spoken_entry(role, text, self.capture)
        self._add(entry.rows(self))
        return {"$text": entry.reference}

    def _mapping(self, fields: Mapping[Any, Any], data: bytes, depth: int) -> Any:
        """Item by item where that refers to something; else as a whole."""
        inner = References(self, self.capture)
        parts = {key: inner._entry(item, depth, _PART_LIMIT) for key, item in fields.items()}
        skeleton = orjson.dumps(parts)
        if not _may_refer(skeleton) or len(skeleton) > _SKELETON_LIMIT:
            return self._value(data)
        self._add(inner.rows)
        return orjson.Fragment(skeleton)

    def _list(self, values: list[Any], data: bytes) -> Any:
        """A list that may grow: only what is new of it is stored."""
        # Left out parts and redactors would make more of it than its JSON tells.
        plain = not self.capture.redactors and len(data) <= self.capture.max_bytes
        digest = xxh3_128_digest(data)
        if plain and (known := _lists.get(digest)) is not None and known in self:
            return {"$stored": known}
        parts, base = self._new_parts(values, data, to_json_bytes, _lists) if plain else ([], None)
        if base is None:
            parts = [*map(to_json_bytes if plain else self._fitting_json, values)]
        list_id, start, base = chain(map(xxh3_128_digest, parts), self, base)
        if start < len(parts):
            rest = b"[" + b",".join(parts[start:]) + b"]"
            self._add([list_row("list", list_id, base, rest)])
        if plain:
            _remember(_lists, digest, list_id)
        return {"$stored": list_id}

    def _new_parts(
        self,
        values: list[Any],
        data: bytes,
        json: Callable[[Any], bytes],
        memory: Mapping[bytes, str],
    ) -> tuple[list[bytes], str | None]:
        """The last elements of a list that is known without these, and what it was then."""
        parts: list[bytes] = []
        for value in values[: -_FEW - 1 : -1]:
            parts.insert(0, json(value))
            end = b"," + b",".join(parts) + b"]"
            if not data.endswith(end):
                break
            base = memory.get(xxh3_128_digest(data[: -len(end)] + b"]"))
            if base is not None and base in self:
                return parts, base
        return [], None

    def _fitting_json(self, value: Any) -> bytes:
        return self.capture.fitting(self._json(value))

    def _value(self, data: bytes) -> Any:
        data = self.capture.fitting(data)
        value_id = uuid_text(xxh3_128_digest(data))
        if value_id not in self:
            self._add([list_row("value", value_id, None, data)])
        return {"$stored": value_id}

    def _take_back(self, length: int) -> None:
        """Forget the rows from this one on."""
        rows, self._new = self.rows[:length], set()
        self.rows.clear()
        self._add(rows)

    def _add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        for _, fields in rows:
            self._new.add(fields["id"])
            if "entry_id" in fields:
                self._new.add(fields["entry_id"])


class Nothing(Keep):
    """No content at all."""

    def json(self, value: Any) -> Any:
        return None

    def channel(self, name: str, value: Any) -> Any:
        return None

    document = prompt = message = calls = said = text = excerpt = cast(Any, json)


def without(value: Any, channels: Container[str]) -> Any:
    """A value without what these channels hold, if it has channels."""
    if not channels or (fields := _fields(value)) is None:
        return value
    return {
        key: _EXCLUDED
        if key in channels
        else without(item, channels)
        if _is_command(type(value))
        else item
        for key, item in fields.items()
    }


_lists: dict[bytes, str] = {}
"""The ids of lists by the hash of their JSON: a long one mostly comes again unchanged."""


_conversations: dict[bytes, str] = {}
"""The ids of lists of messages by the hash of their snapshot."""


def _remember(memory: dict[bytes, str], digest: bytes, list_id: str) -> None:
    if len(memory) >= _MEMORY:
        memory.clear()
    memory[digest] = list_id


def _message_json(message: BaseMessage) -> bytes:
    """The snapshot of one message."""
    return (snapshot([message]) or b"[]")[1:-1]


def _may_refer(data: bytes) -> bool:
    """Whether there is anything in this JSON that reads like a reference."""
    # A single byte is found, or missed, ten times as fast, and by its number at once.
    return _DOLLAR in data and b'{"$' in data


def _fields(value: Any) -> Mapping[str, Any] | None:
    """What a value holds by name, if it is of that kind."""
    kind = type(value)
    if kind is dict:
        found = value
    elif _is_command(kind) or _is_model(kind) or dataclasses.is_dataclass(kind):
        found = shape_of(value)
    else:
        return None
    plain = type(found) is dict and len(found) <= _LIST_LENGTH and _are_names(found)
    return found if plain else None


def _is_short(value: Any) -> bool:
    """Whether a value is so simple that its JSON surely stands where it is, as orjson has it."""
    kind = type(value)
    if kind is str:
        return len(value) <= _SHORT_TEXT and value.isprintable()
    return value is None or kind is bool or (kind is int and -(2**63) <= value < 2**63)


def _are_names(keys: Iterable[Any]) -> bool:
    if _TEXT.issuperset(map(type, keys)) and all(map(str.isidentifier, keys)):
        return True
    return all(map(_is_name, keys))


def _is_name(key: Any) -> bool:
    if type(key) is not str:
        return False
    return not (key.startswith("$") or clean_text(key) != key)


def _is_mixed(values: Sequence[Any]) -> bool:
    """Whether a list is a short one that holds messages beside others."""
    return 0 < len(values) <= _SHORT and any(map(_is_nested, map(type, values)))


def _grows(values: list[Any]) -> bool:
    return 1 < len(values) <= _LIST_LENGTH and not is_a(values[0], (int, float))
