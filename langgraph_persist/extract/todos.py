"""Lists of todos in a state: what they say, what became of the list before, and as a row.

A todo is a dict, model or dataclass with a text (``content`` in LangChain's, ``title`` elsewhere)
and, where the state has them, the columns of table ``todos`` under their own or a common name;
or a bare text. Statuses of other vocabularies are read as the nearest of ours.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json, to_json_bytes
from langgraph_persist.extract.guard import first, mapping, total
from langgraph_persist.extract.shapes import shape_of
from langgraph_persist.extract.text import is_a, optional_text
from langgraph_persist.journal import Capture

Todo: TypeAlias = dict[str, Any]
Seal: TypeAlias = Callable[[bytes], orjson.Fragment]

CHANNEL = "todos"
"""The channel that LangChain's TodoListMiddleware keeps its list in."""

SIMILAR = 0.7
"""How alike the words of a reworded todo are, by difflib."""

_REWORDED = 50
"""Todos; a longer list of unmatched ones is not compared text by text."""

_STATUSES = {
    "pending": ("todo", "open", "new", "not_started", "queued", "planned"),
    "in_progress": ("doing", "running", "active", "started", "executing", "working"),
    "completed": ("complete", "done", "finished", "success", "succeeded"),
    "failed": ("error", "failure"),
    "blocked": ("on_hold", "paused", "waiting"),
    "skipped": ("skip",),
    "needs_approval": ("awaiting_approval", "pending_approval", "approval_required"),
    "cancelled": ("canceled", "removed", "rejected", "aborted"),
}
_STATUS = {word: status for status, words in _STATUSES.items() for word in (status, *words)}
_CLOSED = ("completed", "failed", "skipped", "cancelled")
_PRIORITIES = {"low": 2, "medium": 5, "normal": 5, "high": 8, "urgent": 10, "critical": 10}

# What a plan says; the rest is how far it is.
_PLANNED = ("title", "description", "priority", "layer", "tool_name", "tool_params", "depends_on")
_TEXTS = ("title", "description", "output_path", "rejection_reason", "error_message")
_VALUES = ("tool_params", "input_data", "result_data")


def _no_todos() -> list[Todo] | None:
    return None


@total(_no_todos)
def read_todos(value: Any) -> list[Todo] | None:
    """The todos in a channel's value, or None where it is no list of todos."""
    if is_a(value, (dict, Mapping)):
        value = [{"id": key, **_fields(item)} for key, item in value.items()]
    if not is_a(value, (list, tuple)):
        return None
    found = [_todo(_fields(item)) for item in value]
    if any(todo is None for todo in found):
        return None
    return _with_positions([todo for todo in found if todo is not None])


class Privacy(NamedTuple):
    """What may be stored of todos."""

    content: bool
    """Whether anything that was said is kept."""
    capture: Capture
    seal: Seal | None
    """What encrypts it."""


class Comparison(NamedTuple):
    """What became of a list of todos."""

    previous: list[int | None]
    """For each new todo, where it was in the old list."""
    change: str | None
    """``create``, ``replan``, ``auto_adjust`` or ``user_edit``; None where only work went on."""
    fresh: bool
    """Whether it is another plan: the old one was at its end, and nothing of it is left."""


def compare_todos(old: Sequence[Todo], new: Sequence[Todo], *, by_user: bool) -> Comparison:
    """Which todos of the new list are in the old one, and what kind of change it is.

    Todos are the same by id, else by text, else if they are reworded. Replaced is a plan of which
    no open todo is kept, or which was done and is to be done anew; adjusted one that keeps some.
    """
    previous = _pair(old, new)
    kept = {index for index in previous if index is not None}
    still_open = [index for index, todo in enumerate(old) if todo["status"] not in _CLOSED]
    fresh = not kept and not still_open
    if fresh:
        return Comparison(previous, "create" if new else None, True)
    if previous == [*range(len(old))] and [*map(_plan, old)] == [*map(_plan, new)]:
        return Comparison(previous, None, False)
    if by_user:
        return Comparison(previous, "user_edit", False)
    replaced = kept.isdisjoint(still_open) if still_open else _begins_anew(old, new, previous)
    return Comparison(previous, "replan" if new and replaced else "auto_adjust", False)


def todo_list(
    key: tuple[str, str, str],
    old: Sequence[Todo],
    new: Sequence[Todo],
    *,
    by_user: bool,
    privacy: Privacy,
) -> dict[str, Any]:
    """The change of a list as a row, told apart by its checkpoint; ids follow from that."""
    compared = compare_todos(old, new, by_user=by_user)
    cleaned = [_cleaned(todo, privacy.capture) for todo in new] if privacy.content else [*new]
    shown = [_protected(todo, place, privacy) for place, todo in enumerate(cleaned, 1)]
    thread_id, checkpoint_ns, checkpoint_id = key
    return {
        "thread_id": thread_id,
        "checkpoint_ns": checkpoint_ns,
        "checkpoint_id": checkpoint_id,
        "plan_id": _id(key, "plan"),
        "change": compared.change,
        "fresh": compared.fresh,
        "estimated_cost": _sum(new, "estimated_cost"),
        "estimated_duration_seconds": _sum(new, "estimated_duration_seconds"),
        "todos": [
            todo
            | {
                "id": _id(key, str(place)),
                "execution_order": place,
                "previous": None if index is None else index + 1,
            }
            for place, (todo, index) in enumerate(zip(shown, compared.previous, strict=True), 1)
        ],
        "snapshot": _snapshot(cleaned, privacy),
    }


# --- reading ---


def _fields(item: Any) -> Mapping[Any, Any]:
    if is_a(item, str):
        return {"title": item}
    return mapping(item) or mapping(shape_of(item))


def _todo(item: Mapping[Any, Any]) -> Todo | None:
    title = optional_text(first(item, "title", "content", "task", "name", "text", "description"))
    if title is None:
        return None
    description = optional_text(item.get("description"))
    return {
        "key": optional_text(first(item, "id", "key")),
        "title": title,
        "description": None if description == title else description,
        "status": _status(item.get("status")),
        "priority": _priority(item.get("priority")),
        "layer": optional_text(item.get("layer")),
        "tool_name": optional_text(first(item, "tool_name", "tool")),
        "tool_params": _given(first(item, "tool_params", "tool_args", "params")),
        "depends_on": _names(first(item, "depends_on", "dependencies")),
        "blocks": _names(item.get("blocks")),
        "timeout_seconds": _number(first(item, "timeout_seconds", "timeout")),
        "max_retries": _count(item.get("max_retries")),
        "retry_count": _count(first(item, "retry_count", "retries")),
        "progress_percentage": _percentage(first(item, "progress_percentage", "progress")),
        "requires_approval": item.get("requires_approval") is True,
        "approved_by": optional_text(item.get("approved_by")),
        "rejection_reason": optional_text(item.get("rejection_reason")),
        "input_data": _given(first(item, "input_data", "input")),
        "output_path": optional_text(item.get("output_path")),
        "result_data": _given(first(item, "result_data", "result", "output")),
        "error_message": optional_text(first(item, "error_message", "error")),
        "estimated_cost": _number(item.get("estimated_cost")),
        "estimated_duration_seconds": _number(item.get("estimated_duration_seconds")),
    }


def _status(value: Any) -> str:
    value = getattr(value, "value", value)
    text = optional_text(value) or ""
    return _STATUS.get(text.strip().lower().replace("-", "_").replace(" ", "_"), "pending")


def _priority(value: Any) -> int:
    if is_a(value, str):
        return _PRIORITIES.get(value.strip().lower(), 0)
    number = _number(value)
    return 0 if number is None else int(min(max(number, 0), 10))


def _number(value: Any) -> float | None:
    if type(value) is bool or not is_a(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(min(max(number, 0), 2**31 - 1))


def _percentage(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else min(max(number, 0.0), 100.0)


def _given(value: Any) -> orjson.Fragment | None:
    return None if value is None else to_json(value)


def _names(value: Any) -> list[str]:
    items = value if is_a(value, (list, tuple, set, frozenset)) else ()
    return [text for item in items if (text := optional_text(item)) is not None]


def _with_positions(todos: list[Todo]) -> list[Todo]:
    """Todos whose dependencies are places in the list, from 1, not ids or texts."""
    places: dict[str, int] = {}
    for place, todo in enumerate(todos, 1):
        for name in (todo["title"], todo["key"]):
            if name is not None:
                places[name] = place
    for todo in todos:
        for column in ("depends_on", "blocks"):
            todo[column] = [places[name] for name in todo[column] if name in places]
    return todos


# --- comparing ---


def _plan(todo: Todo) -> bytes:
    return orjson.dumps([todo[name] for name in _PLANNED])


def _pair(old: Sequence[Todo], new: Sequence[Todo]) -> list[int | None]:
    previous: list[int | None] = [None] * len(new)
    free = dict(enumerate(old))
    for name in ("key", "title"):
        for place, todo in enumerate(new):
            if previous[place] is None and todo[name] is not None:
                same = (i for i, other in free.items() if other[name] == todo[name])
                if (index := next(same, None)) is not None:
                    previous[place] = index
                    del free[index]
    if len(free) <= _REWORDED:
        _pair_reworded(free, new, previous)
    return previous


def _pair_reworded(free: dict[int, Todo], new: Sequence[Todo], previous: list[int | None]) -> None:
    for place, todo in enumerate(new):
        if previous[place] is not None or todo["key"] is not None:
            continue
        open_ones = (item for item in free.items() if not _is_settled(item[1]))
        alike = {index: _likeness(other, todo) for index, other in open_ones}
        best = max(alike, key=alike.__getitem__, default=None)
        if best is not None and alike[best] >= SIMILAR:
            previous[place] = best
            del free[best]


def _begins_anew(old: Sequence[Todo], new: Sequence[Todo], previous: Sequence[int | None]) -> bool:
    """Whether all that is kept of a finished list was done, and is open again."""
    kept = [
        (old[index], todo) for index, todo in zip(previous, new, strict=True) if index is not None
    ]
    return all(was["status"] == "completed" and now["status"] not in _CLOSED for was, now in kept)


def _is_settled(todo: Todo) -> bool:
    return todo["key"] is not None or todo["status"] in _CLOSED


def _likeness(one: Todo, other: Todo) -> float:
    words, others = (todo["title"].casefold().split()[:100] for todo in (one, other))
    return difflib.SequenceMatcher(None, words, others).ratio()


# --- rows ---


def _id(key: tuple[str, str, str], what: str) -> UUID:
    return UUID(bytes=xxh3_128_digest("\0".join((*key, what)).encode()))


def _sum(todos: Sequence[Todo], name: str) -> float | None:
    given = [todo[name] for todo in todos if todo[name] is not None]
    return sum(given) if given else None


def _cleaned(todo: Todo, capture: Capture) -> Todo:
    """The todo as the redactors leave it."""
    if not capture.redactors:
        return todo
    texts = {k: capture.clean_text(todo[k]) for k in (*_TEXTS, "key") if todo[k] is not None}
    values = {
        k: orjson.Fragment(capture.clean_json(orjson.dumps(todo[k])))
        for k in _VALUES
        if todo[k] is not None
    }
    return todo | texts | values


def _protected(todo: Todo, place: int, privacy: Privacy) -> Todo:
    """The todo as it may be stored: sealed, or without what was said."""
    seal = privacy.seal
    if privacy.content and seal is None:
        return todo
    hidden: Todo = dict.fromkeys((*_TEXTS, *_VALUES))
    if seal is None or not privacy.content:
        return todo | hidden | {"key": None, "title": f"todo {place}"}
    for name in _TEXTS:
        if todo[name] is not None:
            hidden[name] = orjson.dumps(seal(to_json_bytes(todo[name]))).decode()
    for name in _VALUES:
        if todo[name] is not None:
            hidden[name] = seal(orjson.dumps(todo[name]))
    return todo | hidden | {"key": None}


def _snapshot(todos: Sequence[Todo], privacy: Privacy) -> Any:
    if not privacy.content:
        return None
    shown = [{k: v for k, v in todo.items() if v not in (None, [], False)} for todo in todos]
    return shown if privacy.seal is None else privacy.seal(orjson.dumps(shown))
