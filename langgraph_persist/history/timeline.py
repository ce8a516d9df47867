"""A workflow's course as rows, and as a table for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

from langgraph_persist.history.humans import HitlEvent
from langgraph_persist.history.records import (
    Generation,
    Node,
    Retrieval,
    ToolExecution,
    Workflow,
    usd,
)

_CALLS = ("generations (tokens in+out)", "tools", "retrievals", "human")
_HEAD = ("#", "step", "node", "status", "ms", *_CALLS, "error")
_RIGHT = {"#", "step", "ms"}
_ERROR_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """One node and what it called; ``node`` is None for calls made outside of any node."""

    node: Node | None
    position: int | None
    depth: int
    generations: Sequence[Generation]
    tool_executions: Sequence[ToolExecution]
    retrievals: Sequence[Retrieval]
    hitl_events: Sequence[HitlEvent]

    def cells(self) -> tuple[str, ...]:
        """The row's texts, one per column of the table."""
        calls = (
            ", ".join(map(_generation, self.generations)),
            ", ".join(map(_tool, self.tool_executions)),
            ", ".join(map(_retrieval, self.retrievals)),
            ", ".join(map(str, self.hitl_events)),
        )
        if self.node is None:
            return ("", "", "(outside of nodes)", "", "", *calls, "")
        node = self.node
        again = f" (attempt {node.attempt})" if node.attempt > 1 else ""
        return (
            _number(self.position),
            _number(node.step),
            "  " * self.depth + node.node_name + again,
            node.status + (" (cached)" if node.cached else ""),
            "" if node.duration_ms is None else f"{node.duration_ms:.1f}",
            *calls,
            _error(node),
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Timeline:
    """What happened in a workflow, each node before those in it; ``str()`` of it is a table."""

    workflow: Workflow
    rows: Sequence[TimelineRow]

    @classmethod
    def of(cls, workflow: Workflow) -> Timeline:
        rows = [
            TimelineRow(
                node=node,
                position=position,
                depth=depth,
                generations=node.generations,
                tool_executions=node.tool_executions,
                retrievals=node.retrievals,
                hitl_events=node.hitl_events,
            )
            for position, depth, node in _nested(workflow.nodes)
        ]
        nodes = {node.id for node in workflow.nodes}
        loose = TimelineRow(
            node=None,
            position=None,
            depth=0,
            generations=[g for g in workflow.generations if g.node_id not in nodes],
            tool_executions=[t for t in workflow.tool_executions if t.node_id not in nodes],
            retrievals=[r for r in workflow.retrievals if r.node_id not in nodes],
            hitl_events=[h for h in workflow.hitl_events if h.node_id not in nodes],
        )
        calls = (loose.generations, loose.tool_executions, loose.retrievals, loose.hitl_events)
        if any(calls):
            rows.append(loose)
        return cls(workflow=workflow, rows=tuple(rows))

    def __str__(self) -> str:
        return "\n".join((*_title(self.workflow), "", *_table([row.cells() for row in self.rows])))

    __repr__ = __str__


def _title(workflow: Workflow) -> Iterable[str]:
    facts = [f"{workflow.name}: {workflow.status}"]
    if workflow.duration_ms is not None:
        facts.append(f"{workflow.duration_ms:.1f} ms")
    if workflow.total_tokens:
        facts.append(
            f"{workflow.total_tokens} tokens"
            f" ({workflow.prompt_tokens} in, {workflow.completion_tokens} out)"
        )
    if workflow.cost_usd is not None:
        facts.append(f"{usd(workflow.cost_usd)}{_unpriced(workflow)}")
    yield ", ".join(facts)
    runs = Counter(run.kind for run in workflow.runs)
    kinds = ", ".join(kind if count == 1 else f"{count} {kind}s" for kind, count in runs.items())
    by = f", user {workflow.user}" if workflow.user else ""
    yield f"thread {workflow.thread_id}, turn {workflow.turn}{by}, runs: {kinds or 'none'}"
    if workflow.error_type:
        yield shorten(f"{workflow.error_type}: {workflow.error_message or ''}")
    if lacks := _missing(workflow):
        yield f"not recorded: {', '.join(lacks)}"


def _missing(workflow: Workflow) -> list[str]:
    """The columns and events that rows of it lack."""
    calls = chain(workflow.generations, workflow.tool_executions, workflow.retrievals)
    parts = [row.missing for row in chain([workflow], workflow.runs, workflow.nodes, calls)]
    parts += [event.missing for event in workflow.hitl_events]
    return sorted({name for part in parts for name in part or ()})


def _unpriced(workflow: Workflow) -> str:
    """How many calls are not in the cost, because nothing is known of theirs."""
    count = sum(
        g.cost_usd is None and g.status == "completed" and not g.cache_hit
        for g in workflow.generations
    )
    return f" and {count} of unknown cost" if count else ""


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Fixed-width lines; a column that is empty in every row is left out."""
    used = [i for i in range(len(_HEAD)) if i < 5 or any(row[i] for row in rows)]
    lines = [[_HEAD[i] for i in used], *([row[i] for i in used] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        cells = (
            cell.rjust(width) if head in _RIGHT else cell.ljust(width)
            for cell, width, head in zip(line, widths, lines[0], strict=True)
        )
        yield "  ".join(cells).rstrip()


def _nested(nodes: Sequence[Node]) -> Iterator[tuple[int, int, Node]]:
    """Each node with its place in the order of execution and its depth, followed by those in it."""
    known = {node.id for node in nodes}
    inside: dict[UUID | None, list[tuple[int, Node]]] = defaultdict(list)
    for position, node in enumerate(nodes, 1):
        parent = node.parent_node_id if node.parent_node_id in known else None
        inside[parent].append((position, node))
    following = [(position, 0, node) for position, node in reversed(inside[None])]
    while following:
        position, depth, node = following.pop()
        yield position, depth, node
        following += [(place, depth + 1, child) for place, child in reversed(inside[node.id])]


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _generation(generation: Generation) -> str:
    model = generation.model_name or "unknown model"
    if generation.attempt > 1:
        model += f" attempt {generation.attempt}"
    if generation.error_type:
        return f"{model} {generation.error_type}"
    if generation.cache_hit:
        return f"{model} cached"
    if generation.total_tokens is None:
        return f"{model} {generation.status}"
    cost = "" if generation.cost_usd is None else f", {usd(generation.cost_usd)}"
    return f"{model} ({generation.prompt_tokens}+{generation.completion_tokens}{cost})"


def _tool(tool: ToolExecution) -> str:
    return tool.tool_name if tool.status == "completed" else f"{tool.tool_name} {tool.status}"


def _retrieval(retrieval: Retrieval) -> str:
    found = retrieval.error_type or retrieval.document_count
    return f"{shorten(retrieval.query or 'unknown query')} ({found})"


def _error(node: Node) -> str:
    return shorten(f"{node.error_type}: {node.error_message or ''}") if node.error_type else ""


def shorten(text: str) -> str:
    """A text on one line, of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _ERROR_WIDTH else line[: _ERROR_WIDTH - 3] + "..."
