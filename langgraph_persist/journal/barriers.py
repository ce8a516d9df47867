"""Runs that nobody records: the end of LangGraph's loop waits for all that it saved."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable


class Barrier:
    """The end of a loop, where it waits for the commit of its checkpoints."""

    __slots__ = ("__weakref__", "_begun", "checkpoint_ns", "failure", "thread_id")

    def __init__(self, thread_id: str, checkpoint_ns: str) -> None:
        self.thread_id, self.checkpoint_ns = thread_id, checkpoint_ns
        self.failure: BaseException | None = None
        """Why what it saved could not be committed."""
        self._begun = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the loop began."""
        return time.monotonic() - self._begun


class Barriers:
    """The barriers ahead, by thread.

    They are held weakly: a loop that was never entered is never left.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._ahead: dict[str, weakref.WeakSet[Barrier]] = {}

    def add(self, barrier: Barrier) -> None:
        """A loop has begun."""
        with self._lock:
            self._ahead.setdefault(barrier.thread_id, weakref.WeakSet()).add(barrier)

    def remove(self, barrier: Barrier) -> None:
        """A loop is at its end."""
        with self._lock:
            ahead = self._ahead.get(barrier.thread_id)
            if ahead is not None:
                ahead.discard(barrier)
                if not ahead:
                    del self._ahead[barrier.thread_id]

    def __contains__(self, graph: tuple[str, str]) -> bool:
        """Whether a loop of this thread and namespace will wait for what it saves."""
        thread_id, checkpoint_ns = graph
        return any(b.checkpoint_ns == checkpoint_ns for b in self._of(thread_id))

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._ahead.values()))

    def fail(self, thread_id: str, cause: BaseException) -> None:
        """What a thread wrote is lost: no loop of it may end well."""
        for barrier in self._of(thread_id):
            barrier.failure = barrier.failure or cause

    def failing(self, thread_id: str) -> bool:
        """Whether a loop of the thread is still to be told of a failure."""
        return any(barrier.failure for barrier in self._of(thread_id))

    def _of(self, thread_id: str) -> Iterable[Barrier]:
        with self._lock:
            return list(self._ahead.get(thread_id, ()))
