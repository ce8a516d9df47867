"""The runs under way, and the rows that wait for a checkpoint.

A completed node is recorded in the transaction that holds its result: its rows are held here until
the saver puts that checkpoint, and given to it then. The handler opens runs and holds rows; the
saver finds the run that a checkpoint belongs to. Both reach this object through the journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from langgraph_persist.journal.deltas import Deltas
from langgraph_persist.journal.privacy import without_content
from langgraph_persist.journal.restrictions import Restriction
from langgraph_persist.journal.starts import Start
from langgraph_persist.journal.unit import Fields, Rows

MEMORY_THREADS = 1_000
MEMORY_IDS = 20_000
MEMORY_STEPS = 8
MEMORY_ENTRIES = 1_000
MEMORY_SECONDS = 600
"""After so long what is stored of a thread is not believed any more: another process may have
deleted it. What is still needed is then sent again."""

_LATELY = 1.0
"""Seconds within which one use is as good as another."""


class Known:
    """Ids of a thread's stored values, messages and their entries: the newest ones."""

    def __init__(self) -> None:
        self.since = self.used_at = time.monotonic()
        self.ids: OrderedDict[str, None] = OrderedDict()
        self.entries: dict[tuple[str, str], tuple[str, Any]] = {}
        """By checkpoint_ns and channel: the version last put, and its entry in ``nodes.state``."""
        self._blobs: dict[tuple[str, str], str] = {}

    def is_old(self, now: float) -> bool:
        """Whether it was learned so long ago that it may not be so any more."""
        return now - self.since > MEMORY_SECONDS

    def keep(self, checkpoint_ns: str, channel: str, version: str, entry: Any) -> None:
        """Remember a channel's entry until its next version, within bounds."""
        if len(self.entries) >= MEMORY_ENTRIES:
            self.entries.clear()
        self.entries[checkpoint_ns, channel] = (version, entry)

    def stores(self, checkpoint_ns: str, channel: str, version: str) -> bool:
        """Remember that this version of a channel is a blob; False if that was known."""
        if self._blobs.get((checkpoint_ns, channel)) == version:
            return False
        if len(self._blobs) >= MEMORY_ENTRIES:
            self._blobs.clear()
        self._blobs[checkpoint_ns, channel] = version
        return True

    def learn(self, rows: Rows) -> None:
        """Remember the ids of rows that were queued, forgetting the oldest beyond the bound."""
        for _, fields in rows:
            self.ids[fields["id"]] = None
            if (entry := fields.get("entry_id")) is not None:
                self.ids[entry] = None
        while len(self.ids) > MEMORY_IDS:
            self.ids.popitem(last=False)


class Graph(NamedTuple):
    """A graph within a run: where its checkpoints go."""

    thread_id: str
    checkpoint_ns: str
    call_id: UUID | None = None
    """The run that is this call of the graph, where that is known."""


class Progress(NamedTuple):
    """How far a workflow has come."""

    workflow_id: UUID
    status: str
    execution_order: int
    attempts: Mapping[str, int]
    """How often each task that may go on was begun."""


class Loaded(NamedTuple):
    """The checkpoint that a run starts from."""

    checkpoint_id: str
    workflow_id: UUID | None
    source: str | None
    """Who saved it: input, loop, update or fork."""
    progress: Callable[[], Progress | None]
    """Looks up how far its workflow has come."""
    recorded_on: str | None = None
    """The thread that the workflow is recorded on, where it is another than the checkpoint's."""


class Saved(NamedTuple):
    """What a checkpoint holds."""

    checkpoint_id: str
    values: Mapping[str, Any]
    versions: Mapping[str, Any]


class Listed(NamedTuple):
    """The list of todos that a checkpoint holds."""

    version: str | None
    todos: Sequence[Fields]
    source: str
    """What made the checkpoint: ``input``, ``loop``, ``update`` or ``fork``."""


@dataclass(slots=True, eq=False)
class OpenNode:
    """A node under way: what it did so far waits here until the node ends."""

    fields: Fields
    graph: Graph
    """The graph it belongs to."""
    step: int
    parent: OpenNode | None
    rows: Rows = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    """Its own beginning, and those of the calls in it that have ended."""
    ended: bool = False
    children: list[OpenNode] = field(default_factory=list)
    """Completed nodes below this one whose graph saves no checkpoints of its own."""
    private: bool = False
    """Whether only structure is kept of it and of all that happens in it."""
    channels: tuple[str, ...] = ()
    """What it wrote to, as far as its output says so."""
    refusal: Fields | None = None
    """The columns of its failure, where what it wrote cannot be stored."""

    @property
    def skipped(self) -> bool:
        """Whether it has not run, and so has no result."""
        return bool(self.fields["status"] == "skipped")

    def collect(self, result: Fields) -> Iterator[tuple[str, Fields]]:
        """The rows of this node, with the checkpoint of its result, and of what has none below."""
        if (earlier := self.fields.get("missing")) and (more := result.get("missing")):
            result = result | {"missing": earlier | more}
        self.fields.update(result)
        begun = [row for start in self.starts for row in start.take()]
        yield from self.shown([*begun, ("nodes", self.fields), *self.rows])
        for child in self.children:
            yield from child.collect({})

    def placed(self, place: Fields) -> Rows:
        """The node once more, now that it is known where it ran."""
        return self.shown([("nodes", self.fields | place)])

    def shown(self, rows: Rows) -> Rows:
        """Rows of this node as they may be kept."""
        return without_content(rows, labels=True) if self.private else rows


class Run:
    """A root run under way."""

    def __init__(self, run_id: UUID, thread_id: str, workflow_id: UUID | None) -> None:
        self.id = run_id
        self.thread_id = thread_id
        self.home = thread_id
        """The thread that its own graph saves on; in a workflow recorded by hand any other one."""
        self.workflow_id = workflow_id
        """None while it is not known which workflow this run continues."""
        self.on_loaded: Callable[[Loaded | None], None] | None = None
        """Called once with the checkpoint that the run starts from."""
        self.on_state: Callable[[Mapping[str, Any]], None] | None = None
        """Called once with the values of all channels that its own graph starts from."""
        self.continues = False
        """Whether there was a checkpoint that it starts from."""
        self.requests: dict[str, tuple[str, Fields]] = {}
        """Rows of what it asks humans, by interrupt, until their interrupts are saved."""
        self.questions: dict[tuple[str, str], Fields] = {}
        """What the graphs that its nodes call wait for, by their own threads and interrupts."""
        self.loads: dict[str, Loaded] = {}
        """The checkpoints, by thread, that its graphs go on from."""
        self.threads = {thread_id}
        self.calls: list[object] = []
        """What marks the configs of the graphs that are being called in this run."""
        self.tells_calls = False
        """Whether all its calls are known by such marks."""
        self.checkpoint_id: str | None = None
        """The newest checkpoint of its own thread."""
        self.missing: dict[str, str] = {}
        """What its workflow's row lacks, and why."""
        self.ended = False
        """Whether nobody waits any more for what it saves."""
        self.failure: BaseException | None = None
        """Why something of this run's threads could not be committed."""
        self.unplaced: list[OpenNode] = []
        """Nodes that ended without a result."""
        self.promoted: Fields = {}
        """Columns of the workflow that its state fills."""
        self.states: dict[Graph, Saved] = {}
        """The checkpoint last loaded or saved of the graphs whose states are compared."""
        self.todos: dict[Graph, Listed] = {}
        """The list of todos last loaded or saved of the graphs that have one."""
        self.deltas: dict[Graph, Deltas] = {}
        """The DeltaChannels of the graphs that have some."""
        self.restriction: Restriction | None = None
        """What those who record it allow to be kept, though they close while it is under way."""
        self.whole: Run | None = None
        """The run that it is a part of."""
        self.private = False
        """Whether only structure is kept of it and of all that happens in it."""
        self.by_hand: Recorded | None = None
        """As a place to record in by hand, once somebody did in one of its nodes."""
        self.nodes = 0
        """How many nodes it has executed."""
        self.order = 0
        self._lock = threading.Lock()
        self._tasks: dict[str, OpenNode] = {}
        self._saved: dict[Graph, dict[int, str]] = {}
        self._held: list[OpenNode] = []
        self._going_on: set[Graph] = set()
        self._written: set[str] = set()
        """The tasks whose writes were put, but not yet the checkpoint that takes them up."""

    def part(self, home: str | None) -> Run:
        """The same run, for a graph that is called in it and saves checkpoints of its own."""
        part = Run(self.id, self.thread_id, self.workflow_id)
        part.home = home or self.thread_id
        part.whole = self
        return part

    def inherit(self) -> None:
        """In a forked process: what is held and asked so far is the other one's to write."""
        self.ended = True
        self._lock = threading.Lock()
        if self.whole is not None:
            self.whole._lock = threading.Lock()
        self._held, self._saved, self._written = [], {}, set()
        self.unplaced, self.requests, self.questions, self.calls = [], {}, {}, []

    def wrote(self, task_id: str) -> None:
        """What this task wrote is put: a resume will find it, if no checkpoint comes."""
        with self._lock:
            self._written.add(task_id)

    def refuse(self, graph: Graph, channel: str, task_id: str | None, failure: Fields) -> None:
        """What a node wrote to a channel cannot be stored, so it has failed.

        The task is known where its own writes are refused; a checkpoint is refused for what the
        last node wrote that wrote to the channel.
        """
        with self._lock:
            if task_id is not None:
                found = [node] if (node := self._tasks.get(task_id)) is not None else []
            else:
                ran = [n for n in self._held if n.graph == graph and not n.skipped]
                found = [n for n in ran if channel in n.channels] or ran
                last = max((n.step for n in found), default=0)
                found = [n for n in found if n.step == last]
                found = found if len(found) == 1 and not any(n.refusal for n in ran) else []
            for node in found:
                node.refusal = failure

    def saves(self, graph: Graph, step: int | None = None, checkpoint_id: str = "") -> None:
        """The saver serves this graph, and loaded or saved this step's checkpoint of it."""
        with self._lock:
            saved = self._saved.setdefault(graph, {})
            if step is not None:
                if graph.thread_id == self.thread_id and not graph.checkpoint_ns:
                    self.checkpoint_id = checkpoint_id
                saved[step] = checkpoint_id
                if len(saved) > MEMORY_STEPS:
                    del saved[min(saved)]

    def next_order(self, executed: bool = True) -> int:
        """The next node's place in the order of execution, from 1."""
        if self.whole is not None:
            return self.whole.next_order(executed)
        with self._lock:
            self.order += 1
            self.nodes += executed
            return self.order

    def begin(self, task_id: str, node: OpenNode) -> None:
        """A node's task is executed."""
        with self._lock:
            self._tasks[task_id] = node

    def task(self, task_id: str) -> OpenNode | None:
        """The node that executes, or executed, this task, until its result is recorded."""
        return self._tasks.get(task_id)

    def loaded(self, thread_id: str, checkpoint: Loaded | None) -> None:
        """The checkpoint was read that a graph goes on from, or there is none."""
        if checkpoint is not None:
            self.loads[thread_id] = checkpoint
        if thread_id != self.home:
            return
        self.continues = self.continues or checkpoint is not None
        callback, self.on_loaded = self.on_loaded, None
        if callback is not None:
            callback(checkpoint)

    def starts_from(self, graph: Graph, values: Mapping[str, Any]) -> None:
        """A graph goes on from a checkpoint that holds these values."""
        if graph.thread_id == self.home and not graph.checkpoint_ns:
            callback, self.on_state = self.on_state, None
            if callback is not None:
                callback(values)

    def supersede(self, thread_id: str) -> Rows:
        """The rows that end what a thread was doing before a new input of its graph, once."""
        loaded = self.loads.pop(thread_id, None)
        if loaded is None or self.workflow_id is None:
            return []
        with self._lock:
            for key in [key for key in self.questions if key[0] == thread_id]:
                del self.questions[key]
        return superseded(thread_id, self.workflow_id, loaded)

    def shown(self, rows: Rows) -> Rows:
        """Rows of this run as they may be kept."""
        return without_content(rows, labels=True) if self.private else rows

    def take_requests(self, interrupt_ids: Iterable[str]) -> Rows:
        """The rows of what these interrupts ask."""
        with self._lock:
            return [r for i in interrupt_ids if (r := self.requests.pop(i, None)) is not None]

    @property
    def is_saved(self) -> bool:
        """Whether checkpoints of it are ours."""
        return bool(self._saved)

    def newest(self, graph: Graph, step: int = 2**62) -> str | None:
        """The newest checkpoint of a graph that this run loaded or saved, up to a step."""
        with self._lock:
            found = [(s, id_) for s, id_ in self._saved.get(graph, {}).items() if s <= step]
        return max(found)[1] if found else None

    def goes_on(self, graph: Graph) -> bool:
        """Whether this is its first result of a graph that an earlier run may have left halfway."""
        if self.workflow_id in (None, self.id):
            return False
        with self._lock:
            first = graph not in self._going_on
            self._going_on.add(graph)
            return first

    def hold(self, node: OpenNode) -> bool:
        """Keep a completed node until its checkpoint comes; False when none will."""
        with self._lock:
            if node.graph in self._saved:
                self._held.append(node)
                return True
            parent = node.parent
            while parent is not None:
                if parent.graph in self._saved:
                    parent.children.append(node)
                    return True
                parent = parent.parent
            return False

    def awaits(self, graph: Graph, step: int) -> bool:
        """Whether a node waits for this step's checkpoint."""
        return any(n.graph == graph and n.step <= step for n in self._held)

    def shows(self, graph: Graph, step: int) -> bool:
        """Whether the state of this step's checkpoint is kept of a node that waits for it."""
        return any(n.graph == graph and n.step <= step and not n.private for n in self._held)

    def hides(self, graph: Graph, step: int) -> bool:
        """Whether this step saves what a node wrote of which only structure is kept."""
        return any(n.private and n.graph == graph and n.step == step for n in self._held)

    def release(self, graph: Graph, step: int, result: Fields) -> Rows:
        """The rows whose result this step's checkpoint holds.

        ``result`` has the node columns that the checkpoint gives: checkpoint_id, state and so on.
        """
        with self._lock:
            ready = [n for n in self._held if n.graph == graph and n.step <= step]
            self._held = [n for n in self._held if n not in ready]
            tasks = {n.fields["task_id"] for n in ready}
            self._written -= tasks
            for task_id in tasks:
                self._tasks.pop(task_id, None)
            below = self._take_below(ready)
        # With durability "exit" there is one checkpoint of all steps: the state after the last.
        later = {column: value for column, value in result.items() if column != "state"}
        rows = [
            row
            for node in ready
            for row in node.collect(self._result(node, later if 0 < node.step < step else result))
        ]
        # Nor does it save what subgraphs did.
        return rows + [row for n in below for row in n.collect(self._result(n, {}))]

    def release_all(self, going_on: Container[UUID] = ()) -> Rows:
        """The rows still held when the run ends: no checkpoint of theirs will come.

        ``going_on`` are the calls of graphs of which more will.
        """
        with self._lock:
            held = [node for node in self._held if node.graph.call_id not in going_on]
            self._held = [node for node in self._held if node not in held] if going_on else []
        rows: Rows = []
        refused = {node.graph: node.step for node in held if node.refusal}
        for node in held:
            built_on_it = node.step > refused.get(node.graph, node.step)
            if not node.skipped and (built_on_it or node.fields["task_id"] not in self._written):
                # It ended too late: LangGraph had given up on it, and a resume runs it again.
                node.fields |= node.refusal or {"status": "cancelled"}
                self.unplaced.append(node)
                rows += node.collect({})
                continue
            # What it wrote is pending on the checkpoint that it ran from, until a resume.
            origin = self.origin(node)
            pending = {"checkpoint_id": origin["input_checkpoint_id"]}
            rows += node.collect(self._result(node, origin | pending))
        return rows

    def place_rest(self) -> Rows:
        """The rows that say where nodes without a result ran, and what was asked and not saved."""
        unplaced, self.unplaced = self.unplaced, []
        rows = [row for node in unplaced for row in node.placed(self.origin(node))]
        return rows + self.take_requests([*self.requests])

    def _result(self, node: OpenNode, result: Fields) -> Fields:
        """What a node held for a result gets: for a skipped one, where it would have started."""
        return self.origin(node) if node.skipped else result

    def origin(self, node: OpenNode) -> Fields:
        """The checkpoint that a node ran from, once the run has ended and it is known."""
        return {
            "input_checkpoint_id": self.newest(node.graph, node.step - 1),
            "checkpoint_thread_id": self.foreign(node.graph),
        }

    def recorded_on(self, graph: Graph) -> str | None:
        """The thread that the run is recorded on, where the graph saves on another one."""
        return self.thread_id if graph.thread_id != self.thread_id else None

    def foreign(self, graph: Graph) -> str | None:
        """The thread that the graph's checkpoints are on, where it is not that of the record."""
        return graph.thread_id if graph.thread_id != self.thread_id else None

    def _take_below(self, released: list[OpenNode]) -> list[OpenNode]:
        """Held nodes of subgraphs that run inside the released ones."""
        parents = set(map(id, released))
        below = [n for n in self._held if any(id(p) in parents for p in _ancestors(n))]
        self._held = [n for n in self._held if n not in below]
        return below


def superseded(thread_id: str, workflow_id: UUID, loaded: Loaded | None) -> Rows:
    """The rows that end what was going on in a thread, wherever that is recorded."""
    own = {"thread_id": thread_id, "id": workflow_id, "checkpoint_thread_id": None}
    rows: Rows = [("superseded", own)]
    if loaded is not None and loaded.recorded_on is not None:
        elsewhere = {"thread_id": loaded.recorded_on, "checkpoint_thread_id": thread_id}
        rows.append(("superseded", own | elsewhere))
    return rows


def _ancestors(node: OpenNode) -> Iterator[OpenNode]:
    while (parent := node.parent) is not None:
        yield parent
        node = parent


current_run: ContextVar[Run | None] = ContextVar("langgraph_persist_run", default=None)


@dataclass(slots=True, eq=False)
class Recorded:
    """A workflow that is recorded by hand: what runs in its context is part of it."""

    run: Run
    journal: object
    """Where it is recorded; a run that is recorded elsewhere is no part of it."""
    owner: object = None
    """Who records it."""
    ended: bool = False
    nodes: dict[UUID, Any] = field(default_factory=dict)
    """Its nodes under way, by id."""
    pid: int = field(default_factory=os.getpid)
    """The process that it was started in."""
    forks: int = field(default_factory=lambda: _forks)
    """How many processes had been forked before."""

    @property
    def has_forked(self) -> bool:
        """Whether other processes may have recorded what they did in it."""
        return _forks != self.forks


class Within(NamedTuple):
    """Where in a workflow that is recorded by hand something runs."""

    workflow: Recorded
    node: Fields | None
    """The row of the node around it."""
    private: bool = False
    """Whether only structure is kept of what happens there."""
    around: OpenNode | None = None
    """The node of a graph that it is in, if that is the nearest: what happens there is its own."""
    pid: int | None = None
    """The process in which the node was entered."""

    @property
    def is_inherited(self) -> bool:
        """Whether another process entered it, which this one was forked from."""
        return (self.pid or self.workflow.pid) != os.getpid()

    def shown(self, rows: Rows) -> Rows:
        """Rows of what happens there as they may be kept."""
        return without_content(rows, labels=True) if self.private else rows


_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_forked)


current_place: ContextVar[Within | None] = ContextVar("langgraph_persist_place", default=None)


def place_in(journal: object) -> Within | None:
    """Where this runs, if that is in a workflow which is recorded by hand in this journal."""
    place = current_place.get()
    if place is None or place.workflow.ended or place.workflow.journal is not journal:
        return None
    return place


class Runs:
    """The runs under way by thread, and what is known to be stored of each thread."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._by_thread: dict[str, list[Run]] = {}
        self._by_call: dict[int, tuple[object, Run, UUID]] = {}
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._unfinished: OrderedDict[str, Progress] = OrderedDict()

    def open(self, run: Run, thread_id: str | None = None) -> None:
        """A run has started, or goes on to another thread (a child graph with one of its own)."""
        with self._lock:
            run.threads.add(thread_id or run.thread_id)
            runs = self._by_thread.setdefault(thread_id or run.thread_id, [])
            if run not in runs:
                runs.append(run)

    def close(self, run: Run, going_on: Sequence[object] = ()) -> None:
        """A run has ended, but for the calls of graphs that are marked so and go on."""
        with self._lock:
            run.ended = True
            for thread_id in run.threads:
                runs = self._by_thread.get(thread_id, [])
                if run in runs:
                    runs.remove(run)
                if not runs:
                    self._by_thread.pop(thread_id, None)
            for token in run.calls:
                if not any(token is other for other in going_on):
                    self._by_call.pop(id(token), None)

    def is_open(self, run: Run) -> bool:
        """Whether a run is under way here."""
        with self._lock:
            return any(run in self._by_thread.get(thread_id, ()) for thread_id in run.threads)

    def bind(self, run: Run, call_id: UUID, token: object) -> None:
        """Configs whose metadata is this object belong to this call of a graph in the run."""
        with self._lock:
            run.calls.append(token)
            run.tells_calls = True
            self._by_call[id(token)] = (token, run, call_id)

    def unbind(self, run: Run, token: object) -> None:
        """A call has ended, and all that it saves was given to the saver."""
        with self._lock:
            self._by_call.pop(id(token), None)
            run.calls = [other for other in run.calls if other is not token]

    def find(
        self, config: RunnableConfig, thread_id: str, checkpoint_ns: str = ""
    ) -> tuple[Run | None, Graph]:
        """The run that loads or saves with this config, and the graph in it.

        Where it is not known which calls a run makes, it is the one under way on the thread; if
        there are several, the caller's own.
        """
        token = config.get("metadata")
        if (bound := self._by_call.get(id(token))) is not None and bound[0] is token:
            return bound[1], Graph(thread_id, checkpoint_ns, bound[2])
        runs = [run for run in self._by_thread.get(thread_id, ()) if not run.tells_calls]
        current = current_run.get()
        run = current if current in runs else runs[-1] if runs else None
        return run, Graph(thread_id, checkpoint_ns)

    def fail(self, thread_id: str, cause: BaseException) -> None:
        """What a thread wrote is lost: no run under way on it may end well."""
        with self._lock:
            for run in self._by_thread.get(thread_id, ()):
                run.failure = run.failure or cause

    def failing(self, thread_id: str) -> bool:
        """Whether a run under way on the thread is still to be told of a failure."""
        with self._lock:
            return any(run.failure for run in self._by_thread.get(thread_id, ()))

    def known(self, thread_id: str) -> Known:
        """What this process knows to be stored of a thread."""
        now = time.monotonic()
        known = self._known.get(thread_id)
        if known is not None and now - known.used_at < _LATELY and not known.is_old(now):
            return known
        with self._lock:
            known = self._known.get(thread_id)
            if known is None or known.is_old(now):
                known = self._known[thread_id] = Known()
            known.used_at = now
            self._known.move_to_end(thread_id)
            if len(self._known) > MEMORY_THREADS:
                self._known.popitem(last=False)
            return known

    def forget(self, thread_id: str) -> None:
        """What was known of a thread is not stored, or not any more."""
        with self._lock:
            self._known.pop(thread_id, None)

    def remember(self, thread_id: str, progress: Progress) -> None:
        """A workflow of the thread may be continued, whose checkpoints are not ours to ask."""
        with self._lock:
            self._unfinished[thread_id] = progress
            self._unfinished.move_to_end(thread_id)
            if len(self._unfinished) > MEMORY_THREADS:
                self._unfinished.popitem(last=False)

    def remembers(self, thread_id: str) -> bool:
        """Whether a workflow is remembered for the thread."""
        with self._lock:
            return thread_id in self._unfinished

    def unfinished(self, thread_id: str) -> Progress | None:
        """The workflow that was remembered last for the thread; it is forgotten."""
        with self._lock:
            return self._unfinished.pop(thread_id, None)
