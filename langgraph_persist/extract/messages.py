"""Messages and lists of messages, each stored once per thread under a hash of its content.

A list is a chain: the id of its first k messages is ``h_k = H(h_(k-1), id_k)``, so a list that
grew needs one ``state_values`` row naming only the messages after its longest known prefix.

Nothing is remembered between calls. Messages can be changed in place, down to a nested dict of
their metadata, and only reading all of it can tell; that reading is the serialisation itself.
So the ids always are those of the content at the time of the call.

Rows are ``(table, fields)`` pairs without ``thread_id`` (and ``turn``), which the caller adds.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from typing import Any
from uuid import UUID

import orjson
from langchain_core.messages import BaseMessage
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json, to_json_bytes
from langgraph_persist.extract.shapes import message_dict
from langgraph_persist.extract.text import content_text, optional_text, qualified_name, unreadable

Row = tuple[str, dict[str, Any]]

_EMPTY_LIST = bytes(16)
_COLUMNS = frozenset({"type", "content", "id", "name", "tool_calls", "tool_call_id"})


def is_message_list(value: Any) -> bool:
    """Whether this is a non-empty list of nothing but messages."""
    return type(value) is list and bool(value) and all(map(_is_message, map(type, value)))


@functools.lru_cache(maxsize=1024)
def _is_message(cls: type) -> bool:
    return issubclass(cls, BaseMessage)


def message_row(message: BaseMessage) -> tuple[UUID, dict[str, Any]]:
    """The content hash of a message and its row of table ``messages``.

    The same content has the same id in every process and after a round trip through a
    checkpoint, whatever the order in which the fields were set.
    """
    read = _read(message)
    message_id = UUID(bytes=xxh3_128_digest(to_json_bytes(read)))
    return message_id, _row(message_id, read)


def message_list(messages: Sequence[BaseMessage], known: Container[UUID]) -> tuple[UUID, list[Row]]:
    """The id of a list of messages and the rows still missing to rebuild it.

    ``known`` holds ids (of messages and of lists) whose rows are already on their way; the
    caller adds those of the rows returned. Following ``base_id`` gives the list back exactly.
    """
    read = [_read(message) for message in messages]
    digests = [xxh3_128_digest(to_json_bytes(fields)) for fields in read]
    chain = _chain(digests)
    list_id = UUID(bytes=chain[-1])
    start, base = _longest_known(chain, known)
    if start == len(read):
        return list_id, []
    ids = [UUID(bytes=digest) for digest in digests[start:]]
    new = dict(zip(ids, read[start:], strict=True))
    rows: list[Row] = [("messages", _row(i, new[i])) for i in new if i not in known]
    if list_id != base:
        rows.append(("state_values", _list_row(list_id, base, ids)))
    return list_id, rows


def _chain(digests: Sequence[bytes]) -> list[bytes]:
    chain = [_EMPTY_LIST]
    for digest in digests:
        chain.append(xxh3_128_digest(chain[-1] + digest))
    return chain


def _longest_known(chain: Sequence[bytes], known: Container[UUID]) -> tuple[int, UUID | None]:
    for length in range(len(chain) - 1, 0, -1):
        if (candidate := UUID(bytes=chain[length])) in known:
            return length, candidate
    return 0, None


def _list_row(list_id: UUID, base: UUID | None, ids: list[UUID]) -> dict[str, Any]:
    value = orjson.Fragment(orjson.dumps(ids))
    return {"id": list_id, "kind": "messages", "base_id": base, "value": value}


def _read(message: BaseMessage) -> dict[str, Any]:
    try:
        return message_dict(message)
    except Exception:
        return {"type": qualified_name(type(message)), "content": unreadable(message)}


def _row(message_id: UUID, read: dict[str, Any]) -> dict[str, Any]:
    calls = read.get("tool_calls")
    extra = {name: value for name, value in read.items() if name not in _COLUMNS}
    return {
        "id": message_id,
        "message_id": optional_text(read.get("id")),
        "role": optional_text(read["type"]) or "unknown",
        "text": content_text(read["content"]),
        "content": to_json(read["content"]),
        "name": optional_text(read.get("name")),
        "tool_calls": to_json(calls) if calls else None,
        "tool_call_id": optional_text(read.get("tool_call_id")),
        "extra": to_json(extra) if extra else None,
    }
