"""Where many runs end at once, those that wait for their commit wait a moment more, and share it.

The moment is a part of what their run took, and nobody waits where no others are to be expected: so
one run at a time is never held up, nor is one on an event loop, whose ends are queued before the
writer gets to them.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

ENOUGH = 8
"""How many make a group that is not worth waiting for more."""

PART = 0.1
"""How much of what its run took one may wait."""

LONGEST = 0.05
"""Seconds that one waits at most."""

AT_LEAST = 2
"""How many others are to be expected in that time, or it is not waited."""

_WEIGHT = 0.2


class Company:
    """Those who wait for others to share a commit with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._last = -1.0
        self._spacing = 1.0

    def gather(self, awaited: Future[None], ran: float) -> None:
        """Wait for others, whose runs end too, unless one of them commits before.

        Args:
            awaited: what this one waits for; it may be done on return, or not.
            ran: seconds that its run took.
        """
        patience = min(PART * ran, LONGEST)
        with self._lock:
            self._note_arrival()
            if self._spacing * AT_LEAST > patience or self._waiting + 1 >= ENOUGH:
                return
            self._waiting += 1
        try:
            awaited.exception(patience)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting -= 1

    def _note_arrival(self) -> None:
        now = time.monotonic()
        spacing = min(now - self._last, 1.0)
        self._spacing += _WEIGHT * (spacing - self._spacing)
        self._last = now
