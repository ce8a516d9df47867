"""Rows that tell of a beginning: written by themselves only if no end comes soon after.

Most nodes and many calls end within a moment, and are then written once. What goes on longer is
seen as running within a second. What is lost with its process before that was not begun, as far as
the record says; the run that it belongs to is written at once.
"""

from __future__ import annotations

import time
from threading import RLock

from langgraph_persist.journal.unit import Rows

DELAY = 0.5
"""Seconds after which a beginning is written without its end."""


class Start:
    """The rows of something that has just begun."""

    __slots__ = ("_starts", "due", "rows", "thread_id")

    def __init__(self, starts: Starts, thread_id: str, rows: Rows) -> None:
        self._starts = starts
        self.thread_id, self.rows = thread_id, rows
        self.due = time.monotonic() + DELAY

    def take(self) -> Rows:
        """The rows, to be written along with the end; none if they were queued already."""
        return self.rows if self._starts.remove(self) else []


class Starts:
    """The beginnings that are not queued yet, the oldest first."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._waiting: dict[Start, None] = {}

    def add(self, thread_id: str, rows: Rows) -> Start:
        """Something begins."""
        start = Start(self, thread_id, rows)
        with self._lock:
            self._waiting[start] = None
        return start

    def remove(self, start: Start) -> bool:
        """Whether it was still waiting."""
        with self._lock:
            if start not in self._waiting:
                return False
            del self._waiting[start]
            return True

    @property
    def patience(self) -> float:
        """Seconds until the oldest is due; as long as a new one may take where there is none."""
        oldest = next(iter(self._waiting), None)
        return DELAY if oldest is None else oldest.due - time.monotonic()

    def due(self, at_once: bool = False) -> list[Start]:
        """Those that have waited long enough, or all; they do not wait any longer."""
        now = time.monotonic()
        with self._lock:
            found = [start for start in self._waiting if at_once or start.due <= now]
            for start in found:
                del self._waiting[start]
        return found
