"""Messages and lists of messages, each stored once per thread under a hash of its content.

What LangChain calls a message's id is no part of its content: ``add_messages`` gives one to what
a user or a tool said only later. It stands in an *entry* ``[content id, LangChain's id]``.

A list is a chain: the id of its first k entries is ``h_k = H(h_(k-1), entry_k)``, so a list that
grew needs one ``state_values`` row with only the entries after its longest known prefix.

No message is remembered between calls. Messages can be changed in place, down to a nested dict of
their metadata, and only reading all of it can tell. What is remembered is the hash of all that was
read (:func:`snapshot`), so the ids always are those of the content at the time of the call.

Rows are ``(table, fields)`` pairs without ``thread_id`` (and ``turn``), which the caller adds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import orjson
from langchain_core.messages import BaseMessage
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json, to_json_bytes
from langgraph_persist.extract.shapes import message_dict
from langgraph_persist.extract.text import (
    class_test,
    content_text,
    is_a,
    optional_text,
    qualified_name,
    unreadable,
)
from langgraph_persist.journal.capture import EVERYTHING, Capture, limited

Row = tuple[str, dict[str, Any]]

is_message = class_test(BaseMessage)

_EMPTY_LIST = bytes(16)
_PLAIN = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_COLUMNS = frozenset({"type", "content", "name", "tool_calls", "tool_call_id"})


def is_message_list(value: Any) -> bool:
    """Whether this is a non-empty list of nothing but messages."""
    return type(value) is list and bool(value) and all(map(is_message, map(type, value)))


def uuid_text(digest: bytes) -> str:
    """A hash as the text of a UUID, in a third of the time that making an object of it takes."""
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Entry(NamedTuple):
    """One message of a list: what it says, and what it is called."""

    content_id: str
    """The id of what it says."""
    id: str
    """The id of both."""
    digest: bytes
    """The hash of both."""
    name: str | None
    """LangChain's id."""
    fields: dict[str, Any]
    """All of it but the name."""

    @property
    def reference(self) -> list[str]:
        """The entry as JSON."""
        return [self.content_id] if self.name is None else [self.content_id, self.name]

    def rows(self, known: Container[str]) -> list[Row]:
        """The row of table ``messages``, unless this entry's is on its way."""
        return [] if self.id in known else [("messages", _row(self))]


def message_entry(message: BaseMessage, capture: Capture = EVERYTHING) -> Entry:
    """A message by its content and its name.

    The same content has the same hash in every process and after a round trip through a
    checkpoint, whatever the order in which the fields were set.
    """
    try:
        fields = message_dict(message)
    except Exception:
        fields = {"type": qualified_name(type(message)), "content": unreadable(message)}
    name = optional_text(fields.pop("id", None))
    return _entry(fields, name, capture)


def spoken_entry(role: str, text: str, capture: Capture = EVERYTHING) -> Entry:
    """The entry of a message that says this and has nothing else."""
    return _entry({"type": role, "content": text}, None, capture)


def _entry(fields: dict[str, Any], name: str | None, capture: Capture) -> Entry:
    data = to_json_bytes(fields)
    if capture.redactors or len(data) > capture.max_bytes:
        fields = _allowed(data, capture)
        data = to_json_bytes(fields)
    digest = xxh3_128_digest(data)
    content_id = uuid_text(digest)
    if name is None:
        return Entry(content_id, content_id, digest, name, fields)
    digest = xxh3_128_digest(digest + name.encode())
    return Entry(content_id, uuid_text(digest), digest, name, fields)


def _allowed(data: bytes, capture: Capture) -> dict[str, Any]:
    """What may be kept of a message: what is too large of it is told by its size."""
    found = orjson.loads(capture.clean_json(data))
    if not isinstance(found, dict):
        found = {"content": found}
    fields = {"type": "unknown", "content": ""} | found
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = limited(value, capture.max_bytes)
        else:
            fields[key] = orjson.loads(capture.fitting(orjson.dumps(value)))
    return fields


def snapshot(messages: Sequence[BaseMessage]) -> bytes | None:
    """All that messages hold, as a JSON list, in a tenth of the time that their entries take.

    None where only the entries tell: of messages with fields of no class, or that hold objects.
    """
    try:
        if any([message.__pydantic_extra__ for message in messages]):
            return None
        return orjson.dumps([message.__dict__ for message in messages], None, _PLAIN)
    except Exception:
        return None


def message_list(
    messages: Sequence[BaseMessage],
    known: Container[str],
    capture: Capture = EVERYTHING,
    base: str | None = None,
) -> tuple[str, list[Row]]:
    """The id of a list of messages and the rows still missing to rebuild it.

    ``known`` holds ids (of messages, entries and lists) whose rows are already on their way; the
    caller adds those of the rows returned. Following ``base_id`` gives the list back exactly.
    The list may go on after ``base``, which is known.
    """
    entries = [message_entry(message, capture) for message in messages]
    list_id, start, base = chain([entry.digest for entry in entries], known, base)
    if start == len(entries):
        return list_id, []
    new = {entry.digest: entry for entry in entries[start:]}
    rows = [row for entry in new.values() for row in entry.rows(known)]
    value = [entry.reference for entry in entries[start:]]
    return list_id, [*rows, list_row("messages", list_id, base, orjson.dumps(value))]


def chain(
    digests: Iterable[bytes], known: Container[str], base: str | None = None
) -> tuple[str, int, str | None]:
    """The id of a list, the length of its longest known prefix, and the id of that.

    The list may go on after ``base``, which is known.
    """
    newest = _EMPTY_LIST if base is None else bytes.fromhex(base.replace("-", ""))
    hashes = [newest]
    for digest in digests:
        newest = xxh3_128_digest(newest + digest)
        hashes.append(newest)
    list_id = candidate = uuid_text(newest)
    for length in range(len(hashes) - 1, 0, -1):
        if candidate in known:
            return list_id, length, candidate
        candidate = uuid_text(hashes[length - 1])
    return list_id, 0, base


def list_row(kind: str, list_id: str, base: str | None, value: bytes) -> Row:
    """The row of a list that goes on with these after ``base``."""
    fragment = orjson.Fragment(value)
    return "state_values", {"id": list_id, "kind": kind, "base_id": base, "value": fragment}


def _row(entry: Entry) -> dict[str, Any]:
    read = entry.fields
    calls, content = read.get("tool_calls"), read["content"]
    extra = {name: value for name, value in read.items() if name not in _COLUMNS}
    return {
        "id": entry.content_id,
        "entry_id": entry.id,
        "message_id": entry.name,
        "role": optional_text(read["type"]) or "unknown",
        "text": content_text(content),
        "content": None if is_a(content, str) else to_json(content),
        "name": optional_text(read.get("name")),
        "tool_calls": to_json(calls) if calls else None,
        "tool_call_id": optional_text(read.get("tool_call_id")),
        "extra": to_json(extra) if extra else None,
    }
