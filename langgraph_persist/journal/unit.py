"""What the journal carries: units, and the group of units that one transaction writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import orjson

from langgraph_persist.errors import DurabilityError

Fields: TypeAlias = dict[str, Any]
"""A row's columns; jsonb ones are ``orjson.Fragment``, serialised when the event happened."""

Rows: TypeAlias = list[tuple[str, Fields]]
"""Rows of the record with their tables' names."""


class Late:
    """A column that the writer works out: it takes too long for whoever queues the row.

    ``work`` gives what orjson takes, and must not raise.
    """

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    @staticmethod
    def value(column: object) -> Any:
        """What a late column holds; as ``default`` for orjson."""
        if not isinstance(column, Late):
            raise TypeError(f"no column holds a {type(column).__name__}")
        return column.work()

    @staticmethod
    def placeholder(column: object) -> None:
        """Stands for a late column where only the size of its row matters."""
        if not isinstance(column, Late):
            raise TypeError(f"no column holds a {type(column).__name__}")


# The order in which tables are written: parents before children, so that no foreign key fails,
# and the same in every process, so that no two of them deadlock.
KEYS: dict[str, tuple[str, ...]] = {
    "organizations": ("slug",),
    "users": ("username",),
    "tools": ("name",),
    "sessions": ("thread_id",),
    "session_updates": ("thread_id",),
    "workflows": ("thread_id", "id"),
    "workflow_promotions": ("thread_id", "id"),
    "workflow_runs": ("thread_id", "id"),
    "lost_runs": ("thread_id", "id"),
    "heartbeats": ("thread_id", "id"),
    "hitl_answers": ("thread_id", "run_id", "interrupt_id", "checkpoint_thread_id"),
    "superseded": ("thread_id", "id", "checkpoint_thread_id"),
    "hitl_refusals": ("thread_id", "task_id"),
    "messages": ("thread_id", "id"),
    "state_values": ("thread_id", "id"),
    "nodes": ("thread_id", "id"),
    "pending_results": ("thread_id", "workflow_id", "checkpoint_ns", "checkpoint_thread_id"),
    "generations": ("thread_id", "id"),
    "tool_executions": ("thread_id", "id"),
    "retrievals": ("thread_id", "id"),
    "todo_lists": ("thread_id", "checkpoint_ns", "checkpoint_id"),
    "hitl_events": ("thread_id", "id"),
    "skipped_nodes": ("thread_id", "id"),
    "workflow_totals": ("thread_id", "id"),
    "run_numbers": ("thread_id", "id"),
    "node_numbers": ("thread_id", "id"),
    "projection_errors": ("thread_id", "id"),
}


class Receipt(Future[None]):
    """Done once a unit, and all before it, are committed; or failed.

    One who blocks on it helps to write; for others (event loops) the journal's thread does.
    """

    def __init__(
        self,
        hasten: Callable[[], None],
        help: Callable[[Future[None], float], None],
        ran: float = 0,
    ) -> None:
        super().__init__()
        self._hasten, self._help, self._ran = hasten, help, ran
        # One who stops waiting (a cancelled task does) must not cancel what others wait for too.
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> None:
        """Returns once it is committed."""
        if not self.done():
            self._help(self, self._ran) if timeout is None else self._hasten()
        super().result(timeout)

    def add_done_callback(self, fn: Callable[[Future[None]], object]) -> None:
        """Calls ``fn`` once it is done."""
        super().add_done_callback(fn)
        if not self.done():
            self._hasten()


class Blob(NamedTuple):
    """A row of ``checkpoint_blobs``."""

    thread_id: str
    checkpoint_ns: str
    channel: str
    version: str
    type: str
    blob: bytes | None


class Write(NamedTuple):
    """A row of ``checkpoint_writes``."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    task_id: str
    task_path: str
    idx: int
    channel: str
    type: str
    blob: bytes


class Statement(NamedTuple):
    """Writes one row of a table of the user's."""

    name: str
    """The projection it is of."""
    sql: bytes
    lenient: bool
    """Whether a row that the database refuses is recorded, instead of failing its thread."""


class Projected(NamedTuple):
    """A row for a table of the user's, to be written once for its checkpoint."""

    statement: Statement
    params: Fields
    checkpoint: tuple[str, str, str]
    """thread_id, checkpoint_ns, checkpoint_id."""
    owner: Fields
    """The columns that say whose it is, should it be refused."""
    origin: tuple[int, int]
    """Which projection it is of, as several may have a name, and which of its rows."""


@dataclass(slots=True, eq=False, repr=False, match_args=False)
class Unit:
    """Rows of one thread that are written together or not at all."""

    thread_id: str
    rows: Rows = field(default_factory=list)
    checkpoint: Fields | None = None
    blobs: list[Blob] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    replace_writes: bool = False
    projected: Sequence[Projected] = ()
    in_run: bool = False
    """Whether the end of a recorded run waits for it."""
    done: Receipt | None = None
    """Set when the unit is committed, or failed."""
    otherwise: Callable[[DurabilityError], Rows] | None = None
    """How the run that ends with this unit has ended if it cannot be committed."""

    queued: float = 0
    """When it was queued, by ``time.monotonic``."""

    count: int = 0
    size: int = 0

    @property
    def saves(self) -> bool:
        """Whether a checkpointer reads any of it back."""
        return self.checkpoint is not None or bool(self.writes)

    def measure(self) -> None:
        """Set ``count``, the number of rows, and ``size``, about how many bytes they take."""
        self.count = len(self.rows) + len(self.blobs) + len(self.writes) + len(self.projected)
        self.count += self.checkpoint is not None
        size = 0
        if self.rows or self.checkpoint is not None:
            # Most of it is already serialised, so this is little more than copying.
            size = len(orjson.dumps((self.rows, self.checkpoint), default=Late.placeholder))
        for blob in self.blobs:
            size += len(blob.blob or b"")
        for write in self.writes:
            size += len(write.blob)
        for row in self.projected:
            size += _size(row.params)
        self.size = size


def serialisable(rows: Rows) -> Rows:
    """The rows without the columns that are no JSON, which they say."""
    return [(table, _serialisable(fields)) for table, fields in rows]


def _serialisable(fields: Fields) -> Fields:
    kept: Fields = {}
    missing: dict[str, str] = {}
    for name, value in fields.items():
        try:
            orjson.dumps(value, default=Late.placeholder)
        except TypeError as error:
            missing[name] = f"failed: {type(error).__name__}"
        else:
            kept[name] = value
    return kept | {"missing": (kept.get("missing") or {}) | missing} if missing else kept


def _size(params: Fields) -> int:
    return sum(len(v) if isinstance(v, (str, bytes)) else 16 for v in params.values())


class Group:
    """Units folded into few statements: rows of one key become one row, later fields winning."""

    def __init__(self, units: list[Unit]) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Fields]] = {}
        self.checkpoints: dict[tuple[str, str, str], Fields] = {}
        self.blobs: dict[tuple[str, str, str, str], Blob] = {}
        self.inserts: dict[tuple[str, str, str, str, int], Write] = {}
        self.upserts: dict[tuple[str, str, str, str, int], Write] = {}
        self.projected: list[Projected] = []
        self.size = sum(unit.size for unit in units)
        self.nameless: list[str] = []
        """The tables of rows without a key, which cannot be written."""
        for unit in units:
            self._add(unit)

    @property
    def lenient(self) -> bool:
        """Whether it holds a row of the user's that may be left out."""
        return any(row.statement.lenient for row in self.projected)

    def add_rows(self, rows: Rows) -> None:
        """Fold more rows in."""
        for table, fields in rows:
            try:
                key = tuple(fields[column] for column in KEYS[table])
            except KeyError:
                self.nameless.append(table)
                continue
            folded = self.rows.setdefault(table, {})
            if (earlier := folded.get(key)) is None:
                folded[key] = fields
            else:
                folded[key] = _fold(earlier, fields)

    def _add(self, unit: Unit) -> None:
        self.add_rows(unit.rows)
        if (row := unit.checkpoint) is not None:
            identity = (row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"])
            self.checkpoints[identity] = row
        self.projected += unit.projected
        for blob in unit.blobs:
            self.blobs.setdefault(blob[:4], blob)
        for write in unit.writes:
            if unit.replace_writes:
                self.upserts[(*write[:4], write.idx)] = write
            else:
                self.inserts.setdefault((*write[:4], write.idx), write)


def _fold(earlier: Fields, later: Fields) -> Fields:
    """Two rows of a key as one. What has ended does not run any more, whoever tells it late."""
    told = {k: v for k, v in later.items() if v is not None}
    if told.get("status") == "running" and earlier.get("completed_at") is not None:
        del told["status"]
    if "missing" in told and earlier.get("missing"):
        told["missing"] = earlier["missing"] | told["missing"]
    return earlier | told
