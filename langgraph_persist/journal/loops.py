"""What is seen of LangGraph's loops: the tasks that they answer from a cache fire no event."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any

_TICKS = 4
"""So many of a loop's last ticks are looked at: the saver is told of writes a little later."""


class Loop:
    """The loop of one call of a graph, if nodes of it may be answered from a cache."""

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)
        self._ticks: deque[Mapping[str, Any]] = deque(maxlen=_TICKS)
        self._saved: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=_TICKS)

    def look(self) -> None:
        """Keep the tasks of the tick under way; LangGraph adds to them, and drops them after it."""
        loop = self._loop()
        tasks = getattr(loop, "tasks", None)
        if tasks is not None and not any(tasks is seen for seen in self._ticks):
            self._ticks.append(tasks)

    def task(self, task_id: str) -> Any:
        """The task, if it was seen."""
        self.look()
        return next((tasks[task_id] for tasks in self._ticks if task_id in tasks), None)

    def saved(self, checkpoint_id: str, values: Mapping[str, Any]) -> None:
        """The values of a checkpoint, from which the next step's tasks are made."""
        self._saved.append((checkpoint_id, values))

    def values(self, checkpoint_id: str) -> Mapping[str, Any]:
        """The values of a checkpoint, if it is one of the last ones."""
        return next((values for id_, values in self._saved if id_ == checkpoint_id), {})

    def given(self, name: str, checkpoint_id: str) -> Any:
        """What a node is given that a checkpoint leads to."""
        node = getattr(self._loop(), "nodes", {}).get(name)
        channels, values = getattr(node, "channels", ()), self.values(checkpoint_id)
        if isinstance(channels, str):
            return values.get(channels)
        return {channel: values[channel] for channel in channels if channel in values}


class Loops:
    """The loops of a run, by the graph that they run."""

    def __init__(self) -> None:
        self._loops: dict[Hashable, Loop] = {}

    def add(self, graph: Hashable, loop: Any) -> None:
        """A graph's loop has begun; one without a cache is of no interest."""
        if getattr(loop, "cache", None) is not None:
            self._loops[graph] = Loop(loop)

    def get(self, graph: Hashable) -> Loop | None:
        """A graph's loop, if it has a cache."""
        return self._loops.get(graph)

    def look(self, graph: Hashable) -> None:
        """A node of the graph starts: a good moment to look at what else is to be done."""
        if self._loops and (loop := self._loops.get(graph)) is not None:
            loop.look()
