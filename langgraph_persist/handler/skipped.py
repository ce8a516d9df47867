"""Nodes that a conditional edge or a ``Command`` could have led to, and did not.

No event tells of them. What a node could lead to is declared in its graph; what it did lead to is
what its routers returned and what ran in the next step. So a step's skipped nodes are known once
the step after the next begins, or the graph has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.utils.uuid import uuid7
from langgraph.constants import END
from langgraph.types import Command, Send

from langgraph_persist.extract import clean_text, to_json
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Span
from langgraph_persist.journal import Clock, Fields, Graph, OpenNode

_SEQUENCE = "seq:step:"


@dataclass(slots=True)
class Step:
    """What the nodes of one step of a graph decided."""

    checkpoint_ns: str
    clock: Clock = field(default_factory=Clock)
    offered: dict[str, set[str]] = field(default_factory=dict)
    """Nodes that may be skipped, and the nodes that could have led to them."""
    ended: set[str] = field(default_factory=set)
    chosen: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    """Nodes whose choice was not told: it shows in what starts next."""


@dataclass(slots=True)
class Course:
    """The course of one call of a graph, as far as it is not settled yet."""

    builder: Any
    steps: dict[int, Step] = field(default_factory=dict)
    started: dict[int, set[str]] = field(default_factory=dict)


def course_of(graph: Any) -> Course | None:
    """The course of a graph that has edges to choose from; None for every other."""
    builder = getattr(graph, "builder", None)
    branches, nodes = getattr(builder, "branches", None), getattr(builder, "nodes", {})
    if branches or any(node.ends for node in nodes.values()):
        return Course(builder)
    return None


def is_router(parent: Span, tags: Iterable[str] | None) -> bool:
    """Whether a chain in a node is one of its routers, which run after the node's own work."""
    if parent.choice is None:
        return False
    return any(tag.startswith(_SEQUENCE) and tag != f"{_SEQUENCE}1" for tag in tags or ())


class Skipped:
    """Records skipped nodes, for every call of a graph whose edges are known."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def starts(self, span: Span, name: str, step: int | None, checkpoint_ns: str) -> None:
        """A node starts."""
        graph = span.parent
        if graph is None or step is None or (course := graph.course) is None:
            return
        span.choice = Choice(name, step, checkpoint_ns)
        with graph.root.lock:
            course.started.setdefault(step, set()).add(name)
            due = _take(course, step - 1)
        self._record(graph, course, due, sure=True)

    def ended(self, span: Span, outputs: Any) -> None:
        """A node has ended well, after its routers."""
        graph, choice = span.parent, span.choice
        if graph is None or choice is None or (course := graph.course) is None:
            return
        with graph.root.lock:
            step = course.steps.setdefault(choice.step, Step(choice.checkpoint_ns))
            _decide(course.builder, step, choice, outputs)

    def finish(self, graph: Span, well: bool) -> None:
        """The graph has ended; ``well`` if it came to its end."""
        if (course := graph.course) is None:
            return
        with graph.root.lock:
            due = _take(course, 2**62)
        self._record(graph, course, due, sure=well)

    def _record(
        self, graph: Span, course: Course, due: list[tuple[int, Step, set[str]]], sure: bool
    ) -> None:
        for number, step, started in due:
            if step.offered:
                _add_edges(course.builder, step)
            for name, deciders in step.offered.items():
                if name in step.chosen or name in started:
                    continue
                if deciders & step.untold and not (sure and _runs_at_once(course.builder, name)):
                    continue
                self._skip(graph, number, step, name, sorted(deciders))

    def _skip(self, graph: Span, number: int, step: Step, name: str, by: list[str]) -> None:
        root, run = graph.root, graph.root.run
        above = graph.node
        fields: Fields = {
            **self._recording.identity(graph),
            "id": uuid7(),
            "parent_node_id": above.fields["id"] if above else None,
            "node_name": clean_text(name),
            "node_type": "node",
            "status": "skipped",
            "step": number + 1,
            "task_id": None,
            "checkpoint_ns": step.checkpoint_ns,
            "execution_order": root.run.next_order(executed=False),
            "started_at": step.clock.at,
            "completed_at": step.clock.at,
            "metadata": to_json({"skipped_by": by}),
        }
        thread_id = run.thread_id if graph.thread_id is None else graph.thread_id
        place = Graph(thread_id, step.checkpoint_ns, graph.id)
        node = OpenNode(fields, place, number + 1, above, ended=True)
        if not run.hold(node):
            self._recording.send(root, [*node.collect({})])


@dataclass(slots=True)
class Choice:
    """A node under way in a graph that has edges to choose from."""

    name: str
    step: int
    checkpoint_ns: str
    routed: list[Any] = field(default_factory=list)
    """What its routers returned, in their order."""


def _take(course: Course, before: int) -> list[tuple[int, Step, set[str]]]:
    """The steps before this one, each with the nodes that started after it."""
    due = [number for number in course.steps if number < before]
    taken = [(n, course.steps.pop(n), course.started.get(n + 1, set())) for n in sorted(due)]
    for number in [n for n in course.started if n <= before]:
        del course.started[number]
    return taken


def _decide(builder: Any, step: Step, choice: Choice, outputs: Any) -> None:
    """Add what a node could lead to, and what it did lead to as far as it told."""
    name = choice.name
    branches = list(builder.branches.get(name, {}).values())
    told = len(branches) == len(choice.routed)
    for index, branch in enumerate(branches):
        _offer(step, name, (branch.ends or {}).values())
        if told:
            step.chosen.update(_routed(choice.routed[index], branch.ends))
    if (node := builder.nodes.get(name)) is not None:
        _offer(step, name, node.ends or ())
    if not told:
        step.untold.add(name)
    step.ended.add(name)
    step.chosen.update(_commanded(outputs))


def _add_edges(builder: Any, step: Step) -> None:
    """Add what the plain edges of the step's nodes led to."""
    step.chosen.update(end for start, end in builder.edges if start in step.ended)
    step.chosen.update(end for starts, end in builder.waiting_edges if step.ended & {*starts})


def _offer(step: Step, name: str, targets: Iterable[str]) -> None:
    for target in targets:
        if target != END:
            step.offered.setdefault(target, set()).add(name)


def _routed(returned: Any, ends: Any) -> Iterator[str]:
    for target in returned if isinstance(returned, (list, tuple)) else [returned]:
        if isinstance(target, Send):
            yield target.node
        else:
            yield ends.get(target, target) if ends else target


def _commanded(outputs: Any) -> Iterator[str]:
    for command in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
        if not isinstance(command, Command) or command.graph == Command.PARENT:
            continue
        goto: Any = command.goto
        for target in goto if isinstance(goto, (list, tuple)) else [goto]:
            yield target.node if isinstance(target, Send) else target


def _runs_at_once(builder: Any, name: str) -> bool:
    """Whether a chosen node would have been seen to start in the next step."""
    node = builder.nodes.get(name)
    return node is not None and not node.defer and node.cache_policy is None
