"""What a node changed, and how two workflows differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph_persist.errors import NotRecorded
from langgraph_persist.history.records import Node, Workflow
from langgraph_persist.history.timeline import shorten

_COMPARED = ("name", "status", "user", "user_input", "input", "settings", "result", "error_type")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diff:
    """How two states differ, by channel; ``str()`` of it is a list for people."""

    added: Mapping[str, Any]
    removed: Mapping[str, Any]
    changed: Mapping[str, tuple[Any, Any]]
    """Each with the value before and after."""

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Diff:
        """What leads from one state to another."""
        return cls(
            added={k: v for k, v in after.items() if k not in before},
            removed={k: v for k, v in before.items() if k not in after},
            changed={k: (before[k], v) for k, v in after.items() if k in before and before[k] != v},
        )

    @property
    def channels(self) -> Sequence[str]:
        """Those that differ."""
        return (*self.added, *self.changed, *self.removed)

    def __bool__(self) -> bool:
        return bool(self.channels)

    def __str__(self) -> str:
        lines = [f"+ {name}: {_short(value)}" for name, value in self.added.items()]
        lines += [
            f"~ {k}: {_short(old)} -> {_short(new)}" for k, (old, new) in self.changed.items()
        ]
        lines += [f"- {name}: {_short(value)}" for name, value in self.removed.items()]
        return "\n".join(lines) or "nothing changed"

    __repr__ = __str__


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePair:
    """The executions of a node in two workflows; one of them may have none."""

    a: Node | None
    b: Node | None
    diff: Diff | None
    """How the states after them differ, where both have one."""

    @property
    def name(self) -> str:
        """The node's."""
        node = self.a or self.b
        return node.node_name if node is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison:
    """Two workflows side by side; ``str()`` of it is a table."""

    a: Workflow
    b: Workflow
    fields: Mapping[str, tuple[Any, Any]]
    """What differs of the workflows themselves."""
    nodes: Sequence[NodePair] = field(default=())

    @classmethod
    def of(cls, a: Workflow, b: Workflow) -> Comparison:
        """The nodes they executed are paired in order, by name."""
        values = ((name, getattr(a, name), getattr(b, name)) for name in _COMPARED)
        pairs = _pairs(*([n for n in one.nodes if n.status != "skipped"] for one in (a, b)))
        return cls(
            a=a,
            b=b,
            fields={name: (one, other) for name, one, other in values if one != other},
            nodes=tuple(NodePair(a=one, b=other, diff=_states(one, other)) for one, other in pairs),
        )

    @property
    def diverges_at(self) -> NodePair | None:
        """The first node that only one of them has, or after which their states differ."""
        differing = (p for p in self.nodes if p.a is None or p.b is None or p.diff)
        return next(differing, None)

    def __str__(self) -> str:
        lines = [f"a: {self.a!r}", f"b: {self.b!r}"]
        lines += [
            f"{k}: {_short(one)} | {_short(other)}" for k, (one, other) in self.fields.items()
        ]
        for name in ("duration_ms", "total_tokens", "cost_usd"):
            lines.append(f"{name}: {getattr(self.a, name)} | {getattr(self.b, name)}")
        return "\n".join([*lines, "", *map(_line, self.nodes)])

    __repr__ = __str__


def _pairs(a: list[Node], b: list[Node]) -> Iterable[tuple[Node | None, Node | None]]:
    one, other = ([node.node_name for node in nodes] for nodes in (a, b))
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    for tag, i, j, k, n in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(a[i:j], b[k:n], strict=True)
        else:
            yield from ((node, None) for node in a[i:j])
            yield from ((None, node) for node in b[k:n])


def _states(a: Node | None, b: Node | None) -> Diff | None:
    if a is None or b is None:
        return None
    try:
        return Diff.of(a.state, b.state)
    except NotRecorded:
        return None


def _line(pair: NodePair) -> str:
    told = [_told(pair.a), _told(pair.b)]
    if pair.diff:
        told.append("differs in " + ", ".join(pair.diff.channels))
    return f"{pair.name}: " + " | ".join(told)


def _told(node: Node | None) -> str:
    if node is None:
        return "-"
    return node.status if node.duration_ms is None else f"{node.status} {node.duration_ms:.1f} ms"


def _short(value: Any) -> str:
    return shorten(repr(value))
