"""Copies of checkpoints that are made only when something starts from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

MEMORY_FORKS = 1_000


class Fork:
    """Copies that belong together, with the ids they will have.

    ``origins`` gives the namespace and id of the checkpoint that each is a copy of, ``write`` makes
    them all.
    """

    def __init__(self, origins: Mapping[str, tuple[str, str]], write: Callable[[], None]) -> None:
        self.origins = origins
        self._write = write
        self._lock = threading.Lock()
        self._written = False

    def make(self) -> None:
        """Make the copies, unless that is done."""
        with self._lock:
            if not self._written:
                self._write()
                self._written = True


class Forks:
    """The forks that nothing has started from yet; the newest thousand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forks: OrderedDict[str, Fork] = OrderedDict()

    def add(self, fork: Fork) -> None:
        """Remember a fork by the ids that its copies will have."""
        with self._lock:
            self._forks.update(dict.fromkeys(fork.origins, fork))
            while len(self._forks) > MEMORY_FORKS:
                self._forks.popitem(last=False)

    def __len__(self) -> int:
        return len(self._forks)

    def find(self, checkpoint_id: str) -> Fork | None:
        """The fork that has a copy with this id ahead of it."""
        return self._forks.get(checkpoint_id)

    def remove(self, fork: Fork) -> None:
        """Its copies are made."""
        with self._lock:
            for checkpoint_id in fork.origins:
                self._forks.pop(checkpoint_id, None)
