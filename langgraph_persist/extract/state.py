"""One channel of ``nodes.state``, or a prompt: inline when small, else a reference by hash."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any
from uuid import UUID

import orjson
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json_bytes
from langgraph_persist.extract.messages import Row, is_message_list, message_list

INLINE_LIMIT = 128


def state_entry(
    value: Any,
    known: Container[UUID],
    seal: Callable[[bytes], orjson.Fragment] | None = None,
) -> tuple[dict[str, Any], list[Row]]:
    """``{"v": json}`` or ``{"ref": id}``, and the rows the reference still needs.

    With a ``seal`` everything is inline, in the form the seal gives to its JSON: the hash of
    content would tell whether two contents are equal.

    Rows are ``(table, fields)`` pairs without ``thread_id``; add their ids to ``known`` once
    they are queued. The entry is a dict for orjson, to be put under the channel's name.
    """
    if seal is not None:
        return {"v": seal(to_json_bytes(value))}, []
    if is_message_list(value):
        list_id, rows = message_list(value, known)
        return {"ref": str(list_id)}, rows
    data = to_json_bytes(value)
    if len(data) <= INLINE_LIMIT:
        return {"v": orjson.Fragment(data)}, []
    value_id = UUID(bytes=xxh3_128_digest(data))
    entry = {"ref": str(value_id)}
    if value_id in known:
        return entry, []
    row = {"id": value_id, "kind": "value", "base_id": None, "value": orjson.Fragment(data)}
    return entry, [("state_values", row)]
