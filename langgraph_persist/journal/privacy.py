"""What the record keeps where content is hidden: structure, or content redacted or encrypted."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from langgraph.checkpoint.serde.base import CipherProtocol

from langgraph_persist.checks import methods
from langgraph_persist.errors import UnreadableValue
from langgraph_persist.journal.capture import (
    ERROR_LIMITS,
    LARGEST,
    MAX_BYTES,
    Capture,
    limited,
    too_large,
)
from langgraph_persist.journal.unit import Fields, Late, Rows

_ERROR = {"error_message", "error_traceback"}
_MARK = 64
"""Characters of the mark in a text whose middle is left out."""

CONTENT: dict[str, frozenset[str]] = {
    "tools": frozenset({"description", "parameters_schema"}),
    "sessions": frozenset({"initial_input", "current_context"}),
    "session_updates": frozenset({"current_context"}),
    "workflows": frozenset({"user_input", "input", "settings", "result", *_ERROR}),
    "workflow_promotions": frozenset({"user_input", "settings", "result"}),
    "workflow_runs": frozenset(_ERROR),
    "nodes": frozenset({"input_data", "output_data", "state", *_ERROR}),
    "pending_results": frozenset({"state"}),
    "generations": frozenset(
        {"system_prompt", "user_prompt", "prompt", "output", "output_message", "parsed_output"}
        | {"tool_calls", "invocation_params", *_ERROR}
    ),
    "tool_executions": frozenset({"input_params", "output_data", *_ERROR}),
    "retrievals": frozenset({"query", "documents", *_ERROR}),
    "hitl_events": frozenset({"event_data", "response_schema", "user_input"}),
    "hitl_answers": frozenset({"user_input"}),
    "projection_errors": frozenset(_ERROR),
}
"""The columns, by table, that can hold values of a state, a prompt or an answer."""

LABELS: dict[str, frozenset[str]] = {"workflows": frozenset({"metadata", "tags"})}
"""The columns, by table, with what a config says of its run: never sealed, since it is searched."""

NAMES: dict[str, frozenset[str]] = {"generations": frozenset({"prompt_name", "prompt_version"})}
"""The columns, by table, that a config names something by: redacted, but always kept."""

_TOLD = {
    table: columns | LABELS.get(table, frozenset()) | NAMES.get(table, frozenset())
    for table, columns in CONTENT.items()
}

CONTENT_TABLES = frozenset({"messages", "state_values"})

KEPT = {
    "workflows": frozenset({"input", "result"}),
    "nodes": frozenset({"input_data", "output_data", "state"}),
    "pending_results": frozenset({"state"}),
    "generations": frozenset({"prompt", "output_message", "tool_calls"}),
    "tool_executions": frozenset({"input_params", "output_data"}),
}
"""The columns, by table, that hold content by reference, and so redacted before it was stored."""


def redacted(rows: Rows, capture: Capture) -> Rows:
    """The rows with all content as the redactors leave it."""
    return [
        (table, {k: _redacted(table, k, v, capture) for k, v in fields.items()})
        if table in CONTENT
        else (table, fields)
        for table, fields in rows
    ]


def _redacted(table: str, name: str, value: Any, capture: Capture) -> Any:
    if value is None or name not in _TOLD[table] or name in KEPT.get(table, ()):
        return value
    if isinstance(value, str):
        return capture.clean_text(value)
    if name == "tags":
        return [capture.clean_text(tag) for tag in value]
    return orjson.Fragment(capture.clean_json(orjson.dumps(value, default=Late.value)))


def concise(rows: Rows) -> Rows:
    """The rows with errors of a length to be read: long ones lose their middle, marked."""
    if not any(fields.get("error_message") for _, fields in rows):
        return rows
    return [
        (table, fields | {k: _shortened(k, fields[k]) for k in ERROR_LIMITS if k in fields})
        for table, fields in rows
    ]


def _shortened(name: str, text: Any) -> Any:
    return limited(text, ERROR_LIMITS[name]) if isinstance(text, str) else text


def without_content(rows: Rows, *, labels: bool) -> Rows:
    """The rows with nothing in them that a user, a model or a node said.

    ``labels`` tells whether what a run's config says of it is kept.
    """
    gone = CONTENT if labels else {t: CONTENT[t] | LABELS.get(t, frozenset()) for t in CONTENT}
    return [
        (table, {k: v for k, v in fields.items() if k not in gone.get(table, ())})
        for table, fields in rows
        if table not in CONTENT_TABLES
    ]


def fitting(rows: Rows, max_bytes: int) -> Rows:
    """The rows, each column within these bytes and each row within what one statement takes.

    Columns that hold parts which were cut apart, and errors, are only kept from growing too large.
    """
    return [(table, _fitting(table, fields, max_bytes)) for table, fields in rows]


def _fitting(table: str, fields: Fields, max_bytes: int) -> Fields:
    if fields.get("kind") in ("list", "messages"):
        large = _size(fields["value"]) > LARGEST
        return fields | {"value": [_fit(fields["value"], LARGEST)]} if large else fields
    cut = CONTENT.get(table, frozenset()) - KEPT.get(table, frozenset()) - _ERROR
    rest = max(max_bytes, MAX_BYTES)
    fitted = {k: _fit(v, max_bytes if k in cut else rest) for k, v in fields.items()}
    while sum(map(_size, fitted.values())) > LARGEST:
        rest //= 2
        fitted = {name: _fit(value, rest) for name, value in fitted.items()}
    return fitted


def _fit(value: Any, max_bytes: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= max_bytes + _MARK else limited(value, max_bytes)
    if _size(value) <= max_bytes:
        return value
    return orjson.Fragment(too_large(orjson.dumps(value)))


def _size(value: Any) -> int:
    if isinstance(value, orjson.Fragment):
        return len(orjson.dumps(value))
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode(errors="replace"))


class Seal:
    """Encrypts what the record holds, value by value, and decrypts what was read of it.

    A sealed value is ``{"cipher": name, "data": base64}`` in a jsonb column, the same as text in
    a text column.
    """

    def __init__(self, cipher: CipherProtocol) -> None:
        self._cipher = methods("record_cipher", cipher, ("encrypt", "decrypt"))

    def close(self, data: bytes) -> orjson.Fragment:
        """JSON, encrypted."""
        name, encrypted = self._cipher.encrypt(data)
        sealed = {"cipher": name, "data": base64.b64encode(encrypted).decode()}
        return orjson.Fragment(orjson.dumps(sealed))

    def open(self, value: Any) -> Any:
        """A value read from the database, with all that is sealed in it in the clear."""
        if isinstance(value, str) and value.startswith(_SEALED_TEXT):
            return self.open(orjson.loads(value))
        if isinstance(value, list):
            return [self.open(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"cipher", "data"}:
            return orjson.loads(self._decrypt(value["cipher"], base64.b64decode(value["data"])))
        return {key: self.open(item) for key, item in value.items()}

    def _decrypt(self, cipher: str, data: bytes) -> bytes:
        try:
            return self._cipher.decrypt(cipher, data)
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": .")
            raise UnreadableValue(
                f"the record is encrypted by {cipher!r} and cannot be read ({why}); give the "
                "record_cipher= that it was written with, its key included"
            ) from error

    def rows(self, rows: Rows) -> Rows:
        """The rows with every content column sealed; states and prompts are so already."""
        return [
            (table, {k: self._column(table, k, v) for k, v in fields.items()})
            for table, fields in rows
            if table not in CONTENT_TABLES
        ]

    def _column(self, table: str, name: str, value: Any) -> Any:
        if value is None or name in ("state", "prompt") or name not in CONTENT.get(table, ()):
            return value
        sealed = self.close(orjson.dumps(value))
        return orjson.dumps(sealed).decode() if isinstance(value, str) else sealed


_SEALED_TEXT = '{"cipher":'
