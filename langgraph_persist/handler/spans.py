"""What the handler remembers of runs under way: one span for each callback run."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from langgraph_persist.journal import Fields, OpenNode, Run
from langgraph_persist.usage import Cost, ModelCall

Kind = Literal["chain", "node", "generation", "tool", "retriever"]
RunKind = Literal["start", "resume", "replay", "fork"]


class Clock:
    """When something started, and how long ago that is by the monotonic clock."""

    __slots__ = ("_ended", "_started", "at")

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._ended: float | None = None

    def stop(self) -> None:
        """Let the time stand still: what comes after is our own work."""
        self._ended = time.perf_counter()

    @property
    def now(self) -> datetime:
        """The time by this clock: never before the start, whatever the wall clock did."""
        return self.at + timedelta(milliseconds=self.elapsed_ms)

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the start, up to the end if that was."""
        ended = time.perf_counter() if self._ended is None else self._ended
        return (ended - self._started) * 1000


@dataclass(slots=True, eq=False)
class Root:
    """A root run: one row of ``workflow_runs``, and the workflow that it starts or continues."""

    run: Run
    kind: RunKind
    name: str
    workflow: Fields
    """What the workflow's first row says; sent once the workflow is known."""
    user: str | None
    organization: str | None
    clock: Clock = field(default_factory=Clock)
    spans: dict[UUID, Span] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: bool = False
    interrupted: bool = False
    nodes: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    costs: list[Cost] = field(default_factory=list)
    outer: Run | None = None
    """The run in whose context this one was started."""

    def next_order(self) -> int:
        """The next node's place in the order of execution, from 1."""
        with self.lock:
            self.nodes += 1
            return self.nodes

    def attempt(self, task_id: str) -> int:
        """How often the task was begun, this time included."""
        with self.lock:
            self.attempts[task_id] += 1
            return self.attempts[task_id]


@dataclass(slots=True, eq=False)
class Span:
    """One callback run below a root, or the root itself."""

    id: UUID
    kind: Kind
    root: Root
    parent: Span | None
    node: OpenNode | None
    """The node that this happens in; a node's own span has its own."""
    fields: Fields = field(default_factory=dict)
    """The columns that its row needs again when it ends."""
    clock: Clock = field(default_factory=Clock)
    model: ModelCall | None = None
    """What a model was called with."""
    streamed: bool = False
    first_token_ms: float | None = None
    partial: list[str] = field(default_factory=list)
    """The tokens streamed so far, in case the rest never comes."""
    costs: list[Cost] = field(default_factory=list)
    """Those of the model calls in this tool."""
    tokens: int | None = None
    """How many these took."""
    ends_root: bool = False
