"""Tells which part of a state or of an input cannot be serialised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.constants import START

from langgraph_persist.errors import UnserializableValue
from langgraph_persist.saver.exact import dumps

DEEPEST = 20
"""Keys that a message names at most."""


def unserializable(
    serde: SerializerProtocol,
    channel: str,
    value: Any,
    thread_id: str,
    task_path: str | None,
    error: Exception,
) -> UnserializableValue:
    """The error for a channel's value that this serializer cannot take.

    What a run is given is written to a channel of its own: its key says more.
    """
    path, culprit = _find(serde, value)
    place = f"channel {channel!r}"
    if channel == START:
        place = f"key {path[0]!r} of the input" if path else "the input"
        path = path[1:]
    node = f", written by node {task_path.rpartition(', ')[2]!r}," if task_path else ""
    at = "".join(f"[{key!r:.50}]" for key in path)
    return UnserializableValue(
        f"{place} of thread {thread_id!r}{node} holds a {type(culprit).__qualname__}"
        f"{at and f' at {at}'} that cannot be serialised: {error}",
        channel=channel,
    )


def _find(serde: SerializerProtocol, value: Any) -> tuple[list[Any], Any]:
    """The keys that lead to the innermost part of a value that cannot be serialised."""
    path: list[Any] = []
    # What holds itself has no innermost part.
    while len(path) < DEEPEST and (found := next(_failing(serde, value), None)) is not None:
        key, value = found
        path.append(key)
    return path, value


def _failing(serde: SerializerProtocol, value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, (list, tuple)) else items:
        try:
            dumps(serde, part)
        except Exception:
            yield key, part
