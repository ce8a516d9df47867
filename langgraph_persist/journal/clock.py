"""When things happen."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """When something started, and how long ago that is by the monotonic clock."""

    __slots__ = ("_ended", "_started", "at")

    def __init__(self, at: datetime | None = None) -> None:
        self.at = at or datetime.now(UTC)
        self._started = time.perf_counter()
        self._ended: float | None = None

    def stop(self) -> None:
        """Let the time stand still, if it does not yet: what comes after is our own work."""
        if self._ended is None:
            self._ended = time.perf_counter()

    @property
    def now(self) -> datetime:
        """The time by this clock: never before the start, whatever the wall clock did."""
        return self.reading[0]

    @property
    def reading(self) -> tuple[datetime, float]:
        """The time by this clock, and the milliseconds since the start."""
        elapsed = self.elapsed_ms
        return self.at + timedelta(milliseconds=elapsed), elapsed

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the start, up to the end if that was."""
        ended = time.perf_counter() if self._ended is None else self._ended
        return (ended - self._started) * 1000
