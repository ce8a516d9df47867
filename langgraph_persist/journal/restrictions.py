"""What all who record in one journal allow to be kept, together."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import reduce
from weakref import ref

from langgraph_persist.journal.capture import EVERYTHING, Capture
from langgraph_persist.journal.failures import Failures


class Restriction:
    """Holds for the whole journal as long as anybody has it: who records, or a run of theirs."""

    __slots__ = ("__weakref__", "capture")

    def __init__(self, capture: Capture) -> None:
        self.capture = capture


class Restrictions:
    """Those in force. A part that is shared keeps what each of its users would keep, no more."""

    def __init__(self, failures: Failures) -> None:
        # Reentrant: the garbage collector may come in anywhere.
        self._lock = threading.RLock()
        self._failures = failures
        self._held: tuple[ref[Restriction], ...] = ()
        self.capture = EVERYTHING
        self._join()

    def add(self, capture: Capture) -> Restriction:
        """Keep only what these settings allow, too, while what is returned is held."""
        restriction = Restriction(capture)
        with self._lock:
            self._held = (*self._held, ref(restriction, self._drop))
            self._join()
        return restriction

    def _drop(self, gone: ref[Restriction]) -> None:
        with self._lock:
            self._held = tuple(held for held in self._held if held is not gone)
            self._join()

    def _join(self) -> None:
        held = [found.capture for held in self._held if (found := held()) is not None]
        self.capture = replace(reduce(Capture.joined, held, EVERYTHING), failures=self._failures)
