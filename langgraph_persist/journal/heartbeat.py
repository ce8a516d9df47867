"""Runs under way say so again and again, so that those of a lost process can be told."""

from __future__ import annotations

import math
import threading
import time
from uuid import UUID

from langgraph_persist.journal.unit import Rows

INTERVAL = 10.0
"""Seconds between two heartbeats."""


class Heartbeat:
    """The runs of this process that are under way."""

    def __init__(self) -> None:
        self.interval = INTERVAL
        self.clear()

    def clear(self) -> None:
        """Forget all: in a forked child they are the parent's."""
        self._lock = threading.Lock()
        self._runs: dict[UUID, str] = {}
        self._next = math.inf

    def open(self, run_id: UUID, thread_id: str) -> None:
        """A run has started; its first row is a heartbeat by itself."""
        with self._lock:
            self._runs[run_id] = thread_id
        self.expect()

    def close(self, run_id: UUID) -> None:
        """A run has ended."""
        with self._lock:
            self._runs.pop(run_id, None)

    def expect(self) -> None:
        """There is something to look after, one interval from now at the latest."""
        self._next = min(self._next, time.monotonic() + self.interval)

    @property
    def patience(self) -> float:
        """Seconds until the next heartbeat; infinite when there is nothing to look after."""
        return self._next - time.monotonic()

    def rows(self) -> Rows:
        """The heartbeats of all runs."""
        with self._lock:
            runs = [*self._runs.items()]
        return [("heartbeats", {"thread_id": thread, "id": run}) for run, thread in runs]

    def beaten(self) -> None:
        """The heartbeats were written, or cannot be now."""
        self._next = time.monotonic() + self.interval if self._runs else math.inf
