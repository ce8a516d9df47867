"""Tells what of a checkpoint cannot be read, and what it takes to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_persist.errors import UnreadableValue
from langgraph_persist.saver.values import encrypts


def unreadable(
    serde: SerializerProtocol, row: Mapping[str, Any], error: Exception
) -> UnreadableValue:
    """The error for a row of ``select_checkpoints`` that this serializer cannot read."""
    what, type_ = "a value", ""
    for name, kind, data in _values(row):
        try:
            serde.loads_typed((kind, data))
        except Exception:
            what, type_ = name, kind
            break
    _, _, cipher = type_.partition("+")
    where = f"thread {row['thread_id']!r}, checkpoint {row['checkpoint_id']}"
    why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": .")
    remedy = "give the serde= that it was written with"
    if encrypts(serde):
        remedy += ", its cipher and its key included"
    elif cipher:
        remedy = f"it is encrypted by {cipher!r}: {remedy}"
    return UnreadableValue(f"{what} of {where}, cannot be read ({why}); {remedy}")


def _values(row: Mapping[str, Any]) -> Iterator[tuple[str, str, bytes]]:
    """The values that are stored apart: what they are, their types and their bytes."""
    for channel, type_, data in row.get("channel_values") or ():
        yield f"channel {channel.decode()!r}", type_.decode(), data
    for task_id, channel, type_, data, *_ in row.get("pending_writes") or ():
        what = f"what task {task_id.decode()} wrote to {channel.decode()!r}"
        yield what, type_.decode(), data
