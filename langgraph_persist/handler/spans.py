"""What the handler remembers of runs under way: one span for each callback run."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from uuid import UUID

from langchain_core.utils.uuid import uuid7
from langgraph.types import TracePolicy

from langgraph_persist.extract import clean_text
from langgraph_persist.handler import ids
from langgraph_persist.handler.calls import GraphCall, teller
from langgraph_persist.journal import (
    Clock,
    Fields,
    Journal,
    Loaded,
    OpenNode,
    Rows,
    Run,
    Start,
    Within,
)
from langgraph_persist.usage import Cost, ModelCall, total

if TYPE_CHECKING:
    from langgraph_persist.handler.skipped import Choice, Course

Kind = Literal["chain", "node", "generation", "tool", "retriever"]
RunKind = Literal["start", "resume", "replay", "fork"]


@dataclass(slots=True, eq=False)
class Root:
    """A root run: one row of ``workflow_runs``, and the workflow that it starts or continues."""

    run: Run
    kind: RunKind
    name: str
    workflow: Fields
    """What the workflow's first row says; sent once the workflow is known."""
    content: Rows
    """What that row refers to."""
    user: str | None
    organization: str | None
    language: str | None = None
    is_named: bool = True
    """Whether these are who runs it, and not those of the workflow that it repeats."""
    admitted: bool = False
    """Whether its request is counted already, or was refused."""
    clock: Clock = field(default_factory=Clock)
    spans: dict[int, Span] = field(default_factory=dict)
    """What goes on below it, by the number that its id is."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: bool = False
    ended: bool = False
    outlived: bool = False
    """Whether something of it goes on after its end: in the background, or in a forked process."""
    forked: bool = False
    """Whether a process was forked in it, which may record what it does."""
    interrupted: bool = False
    branches: bool = False
    """Whether it calls graphs that have edges to choose from."""
    is_graph: bool = False
    saves_elsewhere: bool = False
    """Whether it is a graph whose checkpoints are not ours."""
    commands: bool = False
    """Whether its input is a Command that answers nothing: where there is something to continue,
    it continues that."""
    answers: list[Fields] | None = None
    """What its input answers of what was asked before; None once that is recorded."""
    requests: set[str] = field(default_factory=set)
    """The interrupts that it raised."""
    paused_in: OpenNode | None = None
    """The node in which a graph paused as it was compiled to."""
    loaded: Loaded | None = None
    attempts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    totals: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    costs: list[Cost] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)
    """What models wanted tools to be called with, by tool_call_id; the newest."""
    answered_by: dict[Hashable, Span] = field(default_factory=dict)
    """The calls that gave these answers; the newest."""
    repeats: bool = False
    """Whether anything was retried or a call has failed, so that other calls may repeat it."""
    falls_back: bool = False
    """Whether anything in it has tried one alternative after the other."""
    outer: Run | None = None
    """The run in whose context this one was started."""
    within: Within | None = None
    """Where it runs, if that is in a workflow that is recorded by hand: it is part of it."""

    @property
    def node(self) -> Fields | None:
        """The row of the node that is recorded by hand and around it."""
        return self.within.node if self.within is not None else None

    @property
    def human(self) -> str | None:
        """Who gives the answers that its input has, if that is known."""
        return self.user if self.is_named else None

    @property
    def asked_in(self) -> UUID | None:
        """The workflow that asked what this run answers: by hand, it may be another one."""
        other = self.loaded.workflow_id if self.within and self.loaded else None
        return other or self.run.workflow_id

    def attempt(self, task_id: str) -> int:
        """How often the task was begun, this time included."""
        with self.lock:
            self.attempts[task_id] += 1
            return self.attempts[task_id]


class Failed(NamedTuple):
    """A model call that has failed, and may be tried again."""

    id: UUID
    attempt: int
    prompt: object


@dataclass(slots=True, eq=False)
class Generating:
    """A model call under way."""

    model: ModelCall
    prompt: object
    """What tells whether another call asks the same."""
    attempt: int
    streams_by: str | None = None
    """The kind of event that brings the answer bit by bit: of two kinds only one counts."""
    first_token_ms: float | None = None
    partial: list[str] = field(default_factory=list)
    """The text streamed so far, in case the rest never comes."""

    def unfinished(self) -> Fields:
        """The columns that are known when no answer has come, or only a part of one."""
        fields: Fields = {"time_to_first_token_ms": self.first_token_ms}
        if self.streams_by is not None:
            fields["streamed"] = True
        if self.partial:
            fields["output"] = "".join(self.partial)
        return fields


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
    start: Start | None = None
    """The rows that say that a call has begun."""
    generating: Generating | None = None
    attempt: int = 1
    """How often a retry has called this, as far as it told."""
    falls_back: bool = False
    """Whether this tries one alternative after the other."""
    failed: tuple[Failed, ...] = ()
    """The failed calls in this that none has replaced yet; the newest."""
    parses: tuple[Any] | None = None
    """What a parser was given."""
    answered: Span | None = None
    """The last model call in this node that was answered."""
    costs: tuple[Cost, ...] = ()
    """Those of the model calls in this tool."""
    tokens: int | None = None
    """How many these took."""
    tool_calls: frozenset[str] = frozenset()
    """The calls that tools in this node have run."""
    ends_root: bool = False
    policy: TracePolicy | None = None
    """What a node's own run may record of its input and output."""
    call: GraphCall | None = None
    """The call of a graph that this is, as far as it is known."""
    course: Course | None = None
    """For the call of a graph that has edges to choose from: how it went so far."""
    choice: Choice | None = None
    """For a node of such a graph: where it led to."""
    routes: bool = False
    """Whether this is a router: it returns where its node leads to."""
    told_by: int = 0
    """Who told of a root, to know a second run with the same id from the same event again."""
    caller: weakref.ref[Any] | None = None
    """What is alive as long as the call is."""
    answers: list[Fields] | None = None
    """What a graph that a node has called is told of what it asked, until it goes on with it."""
    task: weakref.ref[asyncio.Task[Any]] | None = field(default_factory=lambda: current_task())
    """The task that started it, if any did."""
    thread: int = field(default_factory=threading.get_ident)
    """The thread that started it."""

    @property
    def goes_on(self) -> bool:
        """Whether it is still under way elsewhere, as whoever asks this is where its root ends."""
        if self.task is None:
            gone = self.caller is not None and self.caller() is None
            return not gone and self.thread != threading.get_ident()
        task, current = self.task(), current_task()
        if task is None or task.done() or task.cancelling():
            return False
        return current is None or task is not current()

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the task that this runs in."""
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.cancelling() > 0

    def used(self) -> Fields:
        """The columns that tell what the model calls in a tool took."""
        if not self.costs:
            return {}
        return {"tokens_used": self.tokens, "cost_usd": total(self.costs)}

    def above(self) -> Iterator[Span]:
        """The spans around this one, the nearest first."""
        span = self.parent
        while span is not None:
            yield span
            span = span.parent

    @property
    def graph(self) -> Span | None:
        """The nearest call of a graph from here up."""
        span: Span | None = self
        while span is not None and span.call is None:
            span = span.parent
        return span

    @property
    def task_id(self) -> str | None:
        """The task that a node's own span executes."""
        if self.kind != "node" or self.node is None:
            return None
        return cast("str | None", self.node.fields["task_id"])

    @property
    def thread_id(self) -> str | None:
        """The thread that a call of a graph saves on, if it has one."""
        given = self.call.configurable.get("thread_id") if self.call else None
        return None if given is None else clean_text(str(given))


_MEMORY = 10_000
_BACKGROUND = 1_000
_VERSION = 76
"""The bits of a UUID from which on it has its version."""
_GENERATED = 7
"""The version of the UUIDs that LangChain makes; no other run ever has the same."""


class Spans:
    """The callback runs under way, whichever of a journal's handlers is told of them.

    They are found by the number that their id is: UUIDs are hashed, and compared, in Python.
    """

    def __init__(self) -> None:
        self._open: dict[int, Span] = {}
        self._late: OrderedDict[int, None] = OrderedDict()
        """Runs that went on after their root had ended; what they start is of no run any more."""
        self._ended: OrderedDict[int, None] = OrderedDict()
        """Ids given by users that were a run's already."""
        self._executing: dict[str | None, Span] = {}
        """The nodes under way by task id."""
        self._outlived: dict[Root, None] = {}
        """The roots that have ended before what they had started."""
        self._inherited: dict[int, Span] = {}
        """What is under way in the process that this one was forked from."""

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, run_id: UUID, parent_run_id: UUID | None) -> UUID | None:
        """The id to record a starting run by; None for what was told before or is not recorded."""
        number = run_id.int
        if parent_run_id is not None and parent_run_id.int in self._late:
            self.ignore(run_id)
            return None
        if (known := self._open.get(number)) is not None:
            if not known.ends_root or known.told_by == teller():
                return None
        elif number not in self._ended:
            return run_id
        fresh = uuid7()
        ids.rename(run_id, fresh)
        return fresh

    def take(self, run_id: UUID) -> None:
        """A run is recorded that has this id: the next one to start with it gets another."""
        _remember(self._ended, run_id)

    def took(self, run_id: UUID) -> bool:
        """Whether a run has this id that is under way or has ended here."""
        return run_id.int in self._open or run_id.int in self._ended

    def is_root(self, run_id: Any, parent_run_id: Any) -> bool:
        """Whether a starting run is the root of others, and told for the first time."""
        own = self.get(ids.known_as(run_id))
        if parent_run_id is not None:
            parent = ids.known_as(parent_run_id).int
            if parent in self._open or parent in self._late or parent in self._inherited:
                return False
        return own is None or (own.ends_root and own.told_by != teller())

    def get(self, run_id: UUID | None) -> Span | None:
        """The span under way that has this id."""
        return self._open.get(run_id.int) if run_id is not None else None

    def around(self, parent_run_id: UUID | None, metadata: Mapping[str, Any] | None) -> Span | None:
        """The span that a starting run is below.

        One that is called in a node with callbacks of its own names no parent that is known here,
        but LangGraph's namespace names the node's task.
        """
        if (parent := self.get(parent_run_id)) is None and metadata:
            namespace = metadata.get("langgraph_checkpoint_ns")
            if isinstance(namespace, str):
                parent = self._executing.get(clean_text(namespace.rpartition(":")[2]))
        if parent is None and parent_run_id is not None and self._inherited:
            parent = self._inherited.get(parent_run_id.int)
        return parent

    def add(self, span: Span) -> bool:
        """A span has started; False if its root has just ended, so that nobody would close it."""
        root = span.root
        self._open[span.id.int] = root.spans[span.id.int] = span
        if span.kind == "node" and (task_id := span.task_id) is not None:
            self._executing[task_id] = span
        if root.ended and not root.outlived:
            self._forget(span)
            self.ignore(span.id)
            return False
        return True

    def pop(self, run_id: UUID, *kinds: Kind) -> Span | None:
        """A span of these kinds has ended; None if it was not known, or its end was told before."""
        number = run_id.int
        span = self._open.get(number)
        if span is None or (kinds and span.kind not in kinds):
            return None
        self._forget(span)
        span.caller = None
        span.clock.stop()
        spans = span.root.spans
        spans.pop(number, None)
        if not spans and span.root.outlived:
            self._outlived.pop(span.root, None)
        if span.ends_root or number >> _VERSION & 0xF != _GENERATED:
            self.take(run_id)
        return span

    def put_back(self, span: Span) -> None:
        """The end of a span was not recorded: that of its root will be its end."""
        if span.root.ended:
            return
        if span.kind == "node" and span.node is not None:
            span.node.ended = False
        self._open[span.id.int] = span.root.spans[span.id.int] = span

    def end(self, root: Root, well: bool) -> list[Span]:
        """A root has ended; what its end has cut off, of which no more is recorded.

        What goes on in the background of one that ended well stays open until it ends.
        """
        ids.forget(root.run.id)
        still_open = list(root.spans.values())
        cut_off = [span for span in still_open if not (well and span.goes_on)]
        if len(cut_off) < len(still_open):
            root.outlived = True
            self._outlived[root] = None
        root.ended = True
        for span in cut_off:
            root.spans.pop(span.id.int, None)
            self._forget(span)
            self.ignore(span.id)
        return cut_off

    def over(self) -> list[Span]:
        """What was left open by roots that have ended, and will not tell its end any more.

        A generator that nobody reads on may never do; of so many roots the oldest are given up.
        """
        roots = list(self._outlived)
        old = set(roots[:-_BACKGROUND])
        left = [span for root in roots for span in list(root.spans.values())]
        return [span for span in left if span.root in old or not span.goes_on]

    def left(self) -> list[Span]:
        """The roots under way, and what ended ones have left open."""
        return [s for s in list(self._open.values()) if s.ends_root or s.root.ended]

    def forked(self) -> None:
        """A process was forked."""
        for span in list(self._open.values()):
            span.root.forked = True

    def inherit(self) -> None:
        """In a forked process: what is under way ends in the other one, whose rows these are.

        What is started here is below it, and recorded as it ends.
        """
        self._inherited = self._inherited | self._open
        self._open, self._executing, self._outlived = {}, {}, {}
        for span in self._inherited.values():
            root = span.root
            if span.node is not None:
                span.node.ended = True
            if root.spans:
                root.ended = root.outlived = True
                root.lock, root.spans = threading.Lock(), {}
                root.run.inherit()

    def _forget(self, span: Span) -> None:
        self._open.pop(span.id.int, None)
        if span.kind == "node" and self._executing.get(span.task_id) is span:
            del self._executing[span.task_id]

    def ignore(self, run_id: UUID) -> None:
        """Record nothing of what this run starts."""
        _remember(self._late, run_id)


def _remember(memory: OrderedDict[int, None], run_id: UUID) -> None:
    memory[run_id.int] = None
    while len(memory) > _MEMORY:
        memory.popitem(last=False)


_tables: weakref.WeakKeyDictionary[Journal, Spans] = weakref.WeakKeyDictionary()
_tables_lock = threading.Lock()


def spans_of(journal: Journal) -> Spans:
    """The table that all handlers of a journal share, so that none records what another does."""
    with _tables_lock:
        return _tables.setdefault(journal, Spans())


def _before_fork() -> None:
    """What is under way must be there when the other process refers to it."""
    for journal, spans in list(_tables.items()):
        if len(spans) and not journal.in_writer:
            with suppress(Exception):
                journal.drain()


def _after_fork_in_parent() -> None:
    for spans in list(_tables.values()):
        spans.forked()


def _after_fork_in_child() -> None:
    global _tables_lock
    _tables_lock = threading.Lock()
    for spans in list(_tables.values()):
        spans.inherit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def current_task() -> weakref.ref[asyncio.Task[Any]] | None:
    """The asyncio task that runs this, if any."""
    if (loop := asyncio._get_running_loop()) is None:
        return None
    task = asyncio.current_task(loop)
    return weakref.ref(task) if task is not None else None
