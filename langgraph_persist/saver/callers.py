"""Who calls the saver: LangGraph passes it less than there is to record.

A saver is told neither which nodes a loop took from its cache, nor in whose name ``update_state``
writes. Both are read where the call comes from; where that is unknown, they are not recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_LOOP = "langgraph.pregel._loop", ("__enter__", "__aenter__")
_EDIT = "langgraph.pregel.main", ("perform_superstep", "aperform_superstep")
_NEAR = 4


class Update(NamedTuple):
    """What ``update_state`` wrote in the name of one node."""

    as_node: str
    values: Any


class StateEdit(NamedTuple):
    """A call of ``update_state``."""

    updates: Sequence[Update]
    channels: Mapping[str, Any]
    """The graph's channels, as they are saved."""


def opening_loop() -> Any:
    """The loop that reads its first checkpoint by the calling method; None for other readers."""
    return _local("self", *_LOOP)


def state_edit() -> StateEdit | None:
    """What is being saved by the calling method in update_state; None elsewhere."""
    updates = _local("valid_updates", *_EDIT) or _local("updates", *_EDIT)
    if not updates:
        return None
    named = [Update(str(node), values) for values, node in map(_pair, updates)]
    return StateEdit(named, _local("channels", *_EDIT) or {})


def is_editing() -> bool:
    """Whether the calling method is called in update_state."""
    return _local("self", *_EDIT) is not None


def _pair(update: Any) -> tuple[Any, Any]:
    """Values and node: ``StateUpdate`` begins with the values, a checked update with the node."""
    return (update[0], update[1]) if hasattr(update, "values") else (update[1], update[0])


def _local(variable: str, module: str, functions: Sequence[str]) -> Any:
    frame = sys._getframe(2).f_back
    for _ in range(_NEAR):
        if frame is None:
            return None
        if frame.f_code.co_name in functions and frame.f_globals.get("__name__") == module:
            return frame.f_locals.get(variable)
        frame = frame.f_back
    return None
