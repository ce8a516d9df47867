"""What is derived from the states that checkpoints hold, and committed along with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from langgraph_persist.journal.runs import Graph, Run
from langgraph_persist.journal.unit import Projected, Rows

State: TypeAlias = Mapping[str, Any]
"""The values of a graph's channels, by name; not to be changed."""


class Change(NamedTuple):
    """A checkpoint about to be saved, and the state before it."""

    run: Run | None
    graph: Graph
    checkpoint_id: str
    step: int
    source: str
    written_at: str
    metadata: Mapping[str, Any]
    old: State
    """Copies of the values before, where both are compared."""
    new: State
    """The graph's own values."""
    copied: State
    """Copies of these, where both are compared."""

    @property
    def checkpoint(self) -> tuple[str, str, str]:
        """The key of its row: thread_id, checkpoint_ns, checkpoint_id."""
        return self.graph.thread_id, self.graph.checkpoint_ns, self.checkpoint_id


class Derived(NamedTuple):
    """Rows for the transaction of a checkpoint."""

    rows: Rows
    projected: Sequence[Projected]


class Projector(Protocol):
    """Makes rows of states. One that compares is called where it may take its time."""

    @property
    def compares(self) -> bool:
        """Whether it wants to know the state before, too."""

    def follows(self, graph: Graph) -> bool:
        """Whether it wants to know of this graph's states at all."""

    def loaded(self, run: Run, graph: Graph, state: State) -> None:
        """A run starts from the checkpoint that holds this state."""

    def saved(self, change: Change) -> Derived:
        """What goes with a checkpoint; an exception keeps the checkpoint from being saved."""
