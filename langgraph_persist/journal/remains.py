"""What is left of units that could not be committed: what ran, but nothing of what came of it."""

from __future__ import annotations

from langgraph_persist.journal.unit import Fields, Rows, Unit

OUTLINE = frozenset({"organizations", "users", "sessions", "workflows", "workflow_runs", "nodes"})
"""The tables that tell that something ran, if no more than that can be told."""

_TABLES = OUTLINE | {
    "tools",
    "messages",
    "state_values",
    "generations",
    "tool_executions",
    "retrievals",
}
"""The tables that tell what ran; the others tell what came of it, which is lost."""

_RESULT = ("state", "checkpoint_id", "input_checkpoint_id", "checkpoint_thread_id")
"""The columns of nodes that tell of checkpoints, which are lost or may be."""


class Remains:
    """The rows of the record that are lost, by thread, until a run that is told of it ends.

    Beyond ``max_bytes`` nothing more is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rows: dict[str, Rows] = {}
        self._sizes: dict[str, int] = {}

    def add(self, unit: Unit) -> None:
        """A unit is lost."""
        if unit.rows and sum(self._sizes.values()) + unit.size <= self._max_bytes:
            self._rows.setdefault(unit.thread_id, []).extend(unit.rows)
            self._sizes[unit.thread_id] = self._sizes.get(unit.thread_id, 0) + unit.size

    def take(self, thread_id: str) -> Rows:
        """What may still be written of a thread; its nodes were in vain, and say so."""
        self._sizes.pop(thread_id, None)
        rows = self._rows.pop(thread_id, [])
        return [(table, _left(table, fields)) for table, fields in rows if _is_left(table, fields)]


def _is_left(table: str, fields: Fields) -> bool:
    """Whether a row still holds: how its run ended is told anew."""
    ends_run = table in ("workflows", "workflow_runs") and fields.get("status") != "running"
    return table in _TABLES and not ends_run


def _left(table: str, fields: Fields) -> Fields:
    if table != "nodes":
        return fields
    left = {name: value for name, value in fields.items() if name not in _RESULT}
    if left.get("status") in ("running", "completed"):
        left["status"] = "cancelled"
    return left
