"""Nodes that a conditional edge or a ``Command`` could have led to, and that never ran.

No event tells of them. What a node could lead to is declared in its graph; what it did lead to is
what its routers returned, and what ran after it. So they are known when a call of a graph ends;
where a workflow goes on after that, those are dropped that ran in another of its runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.utils.uuid import uuid7
from langgraph.constants import END
from langgraph.types import Command, Send

from langgraph_persist.extract import clean_text, is_a, to_json
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Span
from langgraph_persist.journal import Clock, Fields, Graph, OpenNode

_SEQUENCE = "seq:step:"


@dataclass(slots=True)
class Offer:
    """A node that could have run, as it was offered last."""

    step: int
    checkpoint_ns: str
    clock: Clock
    by: set[str] = field(default_factory=set)
    told: bool = True
    """Whether all who offered it told what they chose; else it shows in what ran."""


@dataclass(slots=True)
class Course:
    """The course of one call of a graph."""

    builder: Any
    offers: dict[str, Offer] = field(default_factory=dict)
    chosen: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Choice:
    """A node under way in a graph that has edges to choose from."""

    name: str
    step: int
    checkpoint_ns: str
    routed: list[Any] = field(default_factory=list)
    """What its routers returned, in their order."""


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
            course.started.add(name)

    def ended(self, span: Span, outputs: Any) -> None:
        """A node has ended well, after its routers."""
        graph, choice = span.parent, span.choice
        if graph is None or choice is None or (course := graph.course) is None:
            return
        with graph.root.lock:
            _decide(course, choice, outputs)

    def finish(self, graph: Span, well: bool) -> None:
        """The graph has ended; ``well`` if it came to its end, so that all it chose has run."""
        if (course := graph.course) is None:
            return
        with graph.root.lock:
            _add_edges(course)
            left_out = [
                (name, offer)
                for name, offer in course.offers.items()
                if name not in course.started | course.chosen
                and (offer.told or (well and not _may_be_cached(course.builder, name)))
            ]
        for name, offer in left_out:
            self._skip(graph, name, offer)

    def _skip(self, graph: Span, name: str, offer: Offer) -> None:
        root, run, above = graph.root, graph.root.run, graph.node
        fields: Fields = {
            **self._recording.identity(graph),
            "id": uuid7(),
            "parent_node_id": above.fields["id"] if above else None,
            "node_name": clean_text(name),
            "node_type": "node",
            "status": "skipped",
            "step": offer.step + 1,
            "task_id": None,
            "checkpoint_ns": offer.checkpoint_ns,
            "execution_order": run.next_order(executed=False),
            "started_at": offer.clock.at,
            "completed_at": offer.clock.at,
            "metadata": to_json({"skipped_by": sorted(offer.by)}),
        }
        place = Graph(graph.thread_id or run.thread_id, offer.checkpoint_ns, graph.id)
        node = OpenNode(fields, place, offer.step + 1, above, ended=True)
        if not run.hold(node):
            self._recording.send(root, [*node.collect({})])


def _decide(course: Course, choice: Choice, outputs: Any) -> None:
    """Add what a node could lead to, and what it did lead to as far as it told."""
    branches = list(course.builder.branches.get(choice.name, {}).values())
    told = len(branches) == len(choice.routed)
    for index, branch in enumerate(branches):
        _offer(course, choice, (branch.ends or {}).values(), told)
        if told:
            course.chosen.update(_routed(choice.routed[index], branch.ends))
    if (node := course.builder.nodes.get(choice.name)) is not None:
        _offer(course, choice, node.ends or (), told=True)
    course.ended.add(choice.name)
    course.chosen.update(_commanded(outputs))


def _offer(course: Course, choice: Choice, targets: Iterable[str], told: bool) -> None:
    for target in targets:
        if target == END:
            continue
        last = course.offers.get(target)
        offer = Offer(choice.step, choice.checkpoint_ns, Clock(), {choice.name}, told)
        if last is not None:
            offer.by |= last.by
            offer.told = told and last.told
        course.offers[target] = offer


def _routed(returned: Any, ends: Any) -> Iterator[str]:
    for target in returned if is_a(returned, (list, tuple)) else [returned]:
        if is_a(target, Send):
            yield target.node
        else:
            yield ends.get(target, target) if ends else target


def _commanded(outputs: Any) -> Iterator[str]:
    for command in outputs if is_a(outputs, (list, tuple)) else [outputs]:
        if not is_a(command, Command) or command.graph == Command.PARENT:
            continue
        goto: Any = command.goto
        for target in goto if is_a(goto, (list, tuple)) else [goto]:
            yield target.node if is_a(target, Send) else target


def _add_edges(course: Course) -> None:
    """Add what the plain edges of the nodes that ended lead to."""
    course.chosen.update(end for start, end in course.builder.edges if start in course.ended)
    waiting = course.builder.waiting_edges
    course.chosen.update(end for starts, end in waiting if course.ended & {*starts})


def _may_be_cached(builder: Any, name: str) -> bool:
    """Whether a chosen node might have run without being seen to start."""
    node = builder.nodes.get(name)
    return node is None or node.cache_policy is not None
