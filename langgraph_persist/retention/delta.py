"""Which checkpoints a DeltaChannel's value is rebuilt from.

A checkpoint may hold no value of such a channel: whoever reads it follows its parents to the
nearest one that does, and applies what their tasks wrote since. Ancestors that add nothing on the
way can go, if those that stay are linked past them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from langgraph_persist.database.statements import Row


class Link(NamedTuple):
    """A checkpoint whose parent goes, and the ancestor to put in its place."""

    id: str
    old: str
    new: str | None


@dataclass(slots=True)
class _Request:
    """What is asked of an ancestor, and which checkpoints that stay have got no further parent."""

    channels: set[str] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)


class Walk:
    """Follows parents from checkpoints that stay, saving from deletion what they need.

    Checkpoints must be visited newest first; an ancestor is older than its descendants.

    Args:
        gone: the checkpoints that may be deleted.
        needed: some of them that stay in any case.
    """

    def __init__(self, gone: Collection[str], needed: Iterable[str] = ()) -> None:
        self._gone = gone
        self.needed = set(needed)
        """Of those, the ones that stay."""
        self._wanted: dict[str, _Request] = {}
        self._parents: dict[str, tuple[str, str | None]] = {}

    @property
    def wanted(self) -> list[str]:
        """The checkpoints to visit, as far as is known."""
        return [*self._wanted]

    def start(self, id: str, parent: str, channels: set[str]) -> None:
        """A checkpoint that stays, its parent in question, lacks the values of these channels."""
        self._parents[id] = (parent, None)
        if channels or parent in self.needed:
            self._ask(parent, channels, [id])

    def visit(self, row: Row) -> None:
        """A row of statement ``ancestors``."""
        id, parent, stored = row["checkpoint_id"], row["parent_checkpoint_id"], set(row["stored"])
        request = self._wanted.pop(id, None)
        if request is None:
            return
        waiting = request.waiting
        if id not in self._gone:
            self._link(waiting, id)
            return
        if id in self.needed or request.channels & (stored | set(row["written"])):
            self._link(waiting, id)
            self.needed.add(id)
            waiting = [id]
            if parent is not None:
                self._parents[id] = (parent, None)
        rest = request.channels - stored
        if parent is not None and rest:
            self._ask(parent, rest, waiting)

    def links(self) -> Iterator[Link]:
        """The checkpoints that stay and need another parent."""
        for id, (old, new) in self._parents.items():
            if old in self._gone and old not in self.needed:
                yield Link(id, old, new)

    def _ask(self, parent: str, channels: set[str], waiting: list[str]) -> None:
        request = self._wanted.setdefault(parent, _Request())
        request.channels |= channels
        request.waiting += waiting

    def _link(self, waiting: list[str], parent: str) -> None:
        for id in waiting:
            self._parents[id] = (self._parents[id][0], parent)
