"""Rows of the record that PostgreSQL refuses: written without the columns that it does not take.

That is tried only for a group that was refused as a whole. What a row lacks stands in its column
``missing``, of a message under that name in ``extra``, and in the place of a state's value; where
not even the rest of a row is taken, or there is no place to say so, it is counted and logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg import Connection

from langgraph_persist.journal.capture import left_out
from langgraph_persist.journal.unit import KEYS, Fields, Late

REFUSED = re.compile("22...|23...|44000|54...|P0...|09000|27000|XX000")
"""The SQLSTATEs that are about a row, not about the server, the connection or the statement.

XX000 is what a value ends with that would take more than a gigabyte of memory to read.
"""

_RUN = ("workflow_id", "run_id", "status", "started_at")
REQUIRED: dict[str, tuple[str, ...]] = {
    "organizations": ("id", "name"),
    "users": ("id",),
    "tools": ("id",),
    "workflows": ("name", "status", "started_at", "user", "organization", "is_new", "admitted"),
    "workflow_runs": ("workflow_id", "kind", "status", "started_at", "user"),
    "messages": ("role", "workflow_id"),
    "nodes": (*_RUN, "node_name", "node_type"),
    "generations": _RUN,
    "tool_executions": (*_RUN, "tool_name"),
    "retrievals": ("workflow_id", "run_id"),
    "hitl_events": ("workflow_id", "event_type", "requested_at", "interrupt_id"),
    "projection_errors": ("checkpoint_ns", "checkpoint_id", "projection"),
}
"""The columns besides the key, by table, without which a row would be none."""

MARKED = frozenset(
    {"sessions", "workflows", "workflow_runs", "nodes", "generations", "tool_executions"}
    | {"retrievals", "hitl_events"}
)
"""The tables with a column ``missing``."""


class Refusal(NamedTuple):
    """What was left out of a table."""

    table: str
    column: str | None
    """None for a row as a whole."""
    kind: str
    thread_id: str | None

    def __str__(self) -> str:
        what = "a row of" if self.column is None else f"{self.column} of a row of"
        return f"{what} {self.table}: {self.kind}"


def is_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL took offence at a row, so that others may be written."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and REFUSED.fullmatch(state) is not None


class Salvage:
    """Writes what can be written of tables' rows, in a transaction under way.

    ``execute(table, rows, counted)`` writes rows, and adds them to what is counted if wanted.
    """

    def __init__(
        self, conn: Connection[Any], execute: Callable[[str, Sequence[Fields], bool], None]
    ) -> None:
        self._conn, self._execute = conn, execute
        self.refusals: list[Refusal] = []

    def write(self, table: str, rows: list[Fields]) -> None:
        """Write the rows of a table, each as far as it is taken."""
        if self._try(table, rows, counted=True) is None:
            return
        rows = self._fit_all(table, rows)
        if (error := self._try(table, rows, counted=True)) is None:
            return
        self._refuse(f"usage ({table})", None, error)
        if self._try(table, rows, counted=False) is not None:
            for row in rows:
                if (error := self._try(table, [row], counted=False)) is not None:
                    self._refuse(table, row, error)

    def _try(
        self, table: str, rows: Sequence[Fields], *, counted: bool, keep: bool = True
    ) -> psycopg.Error | None:
        """Write rows, all or none; the error if they are refused."""
        try:
            with self._conn.transaction(force_rollback=not keep):
                self._execute(table, rows, counted)
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            return error
        return None

    def _probe(self, table: str, rows: Sequence[Fields]) -> psycopg.Error | None:
        """The error that writing these rows would end with."""
        return self._try(table, rows, counted=False, keep=False)

    def _refuse(
        self, table: str, row: Fields | None, error: psycopg.Error, column: str | None = None
    ) -> None:
        thread_id = None if row is None else row.get("thread_id")
        self.refusals.append(Refusal(table, column, type(error).__name__, thread_id))

    def _fit_all(self, table: str, rows: list[Fields]) -> list[Fields]:
        """The rows as they are taken."""
        if not rows or (error := self._probe(table, rows)) is None:
            return rows
        if len(rows) > 1:
            half = len(rows) // 2
            return self._fit_all(table, rows[:half]) + self._fit_all(table, rows[half:])
        if (fitted := self._fit(table, rows[0], error)) is None:
            self._refuse(table, rows[0], error)
            return []
        return [fitted]

    def _fit(self, table: str, row: Fields, error: psycopg.Error) -> Fields | None:
        """What is taken of a row, with a mark for the rest; None for nothing."""
        if table == "state_values":
            mark = orjson.Fragment(left_out(_reason(error, row.get("value"))))
            kept = {k: row[k] for k in KEYS[table]} | {"kind": "value", "value": mark}
            if self._probe(table, [kept]) is not None:
                return None
            self._refuse(table, row, error, "value")
            return kept
        required = {*KEYS[table], *REQUIRED.get(table, ()), "missing"}
        kept = {name: value for name, value in row.items() if name in required}
        if self._probe(table, [kept]) is not None:
            return None
        names = [k for k, value in row.items() if value is not None and k not in required]
        kept, missing = self._grow(table, row, kept, names)
        for name, why in missing.items():
            self._refuse(table, row, why, name)
        return _marked(table, kept, {n: _reason(e, row[n]) for n, e in missing.items()})

    def _grow(
        self, table: str, row: Fields, kept: Fields, names: list[str]
    ) -> tuple[Fields, dict[str, psycopg.Error]]:
        """The row with as many of these columns as are taken, and why the others are not."""
        whole = kept | {name: row[name] for name in names}
        if not names or (error := self._probe(table, [whole])) is None:
            return whole, {}
        if len(names) == 1:
            return kept, {names[0]: error}
        half = len(names) // 2
        kept, missing = self._grow(table, row, kept, names[:half])
        kept, more = self._grow(table, row, kept, names[half:])
        return kept, missing | more


def _marked(table: str, kept: Fields, missing: dict[str, str]) -> Fields:
    if table in MARKED:
        return kept | {"missing": (kept.get("missing") or {}) | missing}
    if table == "messages":
        extra = orjson.loads(orjson.dumps(kept.get("extra"))) or {}
        return kept | {"extra": extra | {"missing": missing}}
    return kept


def _reason(error: psycopg.Error, value: Any) -> str:
    """Why a column is missing; nothing of what it held."""
    name = error.diag.constraint_name
    size = len(orjson.dumps(value, default=Late.value))
    named = "" if name is None else f" ({name})"
    return f"refused by PostgreSQL: {type(error).__name__}{named}, {size:,} bytes"
