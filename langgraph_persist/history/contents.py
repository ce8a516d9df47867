"""Puts what a column refers to in its place, like the SQL function ``whole``.

That function cannot be run on Citus, whose statements each ask for one thread's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

Row = dict[str, Any]

_KINDS = {"$stored", "$items", "$message", "$text", "$tool_calls"}
_OF_MESSAGES = {"$message", "$text", "$tool_calls"}


class Source(Protocol):
    """Runs a named statement of ``sql/queries/history.sql``."""

    def rows(self, statement: str, /, **params: object) -> list[Row]: ...


class Contents:
    """The stored content of one thread, as far as it was asked for."""

    def __init__(self, source: Source, thread_id: str) -> None:
        self._source, self._thread_id = source, thread_id
        self._values: dict[str, Row] = {}
        self._messages: dict[str, Row] = {}

    def whole(self, stored: Any) -> Any:
        """The value with everything in its place; what is not stored any more is None."""
        references = list(_references(stored))
        if not references:
            return stored
        values = {id_ for kind, id_ in references if kind not in _OF_MESSAGES}
        self._load("values", self._values, values)
        said = {entry[0] for id_ in values for entry in self._entries(id_)}
        said |= {id_ for kind, id_ in references if kind in _OF_MESSAGES}
        self._load("said", self._messages, said)
        return self._placed(stored)

    def _load(self, statement: str, loaded: dict[str, Row], ids: set[str]) -> None:
        if missing := [UUID(id_) for id_ in ids - loaded.keys()]:
            rows = self._source.rows(statement, thread_id=self._thread_id, ids=missing)
            loaded |= {str(row["id"]): row for row in rows}

    def _placed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [placed for item in value for placed in self._spliced(item)]
        if not isinstance(value, dict):
            return value
        if (reference := _reference(value)) is not None:
            return self._content(*reference)
        return {key: self._placed(item) for key, item in value.items()}

    def _spliced(self, item: Any) -> list[Any]:
        reference = _reference(item)
        if reference is not None and reference[0] == "$items":
            return self._stored(reference[1][0]) or []
        return [self._placed(item)]

    def _content(self, kind: str, arguments: Sequence[str]) -> Any:
        id_ = arguments[0]
        if kind not in _OF_MESSAGES:
            return self._stored(id_)
        if (row := self._messages.get(id_)) is None:
            return None
        if kind == "$message":
            return _message(row, arguments[1] if len(arguments) > 1 else None)
        return row[kind.removeprefix("$")]

    def _stored(self, id_: str) -> Any:
        if (row := self._values.get(id_)) is None:
            return None
        if row["kind"] == "value":
            return row["value"]
        if row["kind"] == "list":
            return [item for part in self._chain(id_) for item in part["value"]]
        rows = ((self._messages.get(content), name) for content, name in self._entries(id_))
        return [
            _message(row, row["message_id"] if name is _OWN else name)
            for row, name in rows
            if row is not None
        ]

    def _entries(self, list_id: str) -> Iterator[tuple[str, Any]]:
        """A list's messages, each with the name it has there."""
        for row in self._chain(list_id):
            for entry in row["value"] if row["kind"] == "messages" else ():
                if isinstance(entry, str):
                    yield entry, _OWN
                else:
                    yield entry[0], entry[1] if len(entry) > 1 else None

    def _chain(self, list_id: str | None) -> list[Row]:
        rows = []
        while list_id is not None and (row := self._values.get(list_id)) is not None:
            rows.append(row)
            list_id = row["base_id"] and str(row["base_id"])
        return rows[::-1]


_OWN: Any = object()
"""Stands for the name that a message's own row has."""


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """The kind and id of all references in a value."""
    if isinstance(value, dict):
        if (reference := _reference(value)) is not None:
            yield reference[0], reference[1][0]
            return
        value = value.values()
    elif not isinstance(value, list):
        return
    for item in value:
        yield from _references(item)


def _reference(value: Any) -> tuple[str, Sequence[str]] | None:
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, arguments),) = value.items()
    if isinstance(arguments, str):
        arguments = [arguments]
    is_one = kind in _KINDS and isinstance(arguments, list) and _is_id(arguments[:1])
    return (kind, arguments) if is_one else None


def _is_id(arguments: list[Any]) -> bool:
    try:
        return bool(UUID(arguments[0]))
    except (ValueError, IndexError, AttributeError, TypeError):
        return False


def _message(row: Row, name: str | None) -> dict[str, Any]:
    named = {
        "type": row["role"],
        "id": name,
        "name": row["name"],
        "tool_call_id": row["tool_call_id"],
    }
    found = {key: value for key, value in named.items() if value is not None}
    found["content"] = row["text"] or "" if row["content"] is None else row["content"]
    if row["tool_calls"] is not None:
        found["tool_calls"] = row["tool_calls"]
    return found | (row["extra"] or {})
