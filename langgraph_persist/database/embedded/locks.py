"""Locks on files that the kernel gives back when their last holder has gone, however it went."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langgraph_persist.errors import EmbeddedServerError

if sys.platform == "win32":
    import msvcrt

    _WHOLE = 2**31 - 1

    def _try(fd: int, start: int, size: int) -> None:
        os.lseek(fd, start, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, size)

    def _unlock(fd: int, held: tuple[int, int] | None) -> None:
        if held:
            os.lseek(fd, held[0], os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, held[1])

    # Windows has no shared mode here: a sharer holds one byte of its own, an owner all bytes.
    def _share(fd: int, held: tuple[int, int] | None) -> tuple[int, int]:
        mine = random.randrange(_WHOLE)
        _try(fd, mine, 1)
        return mine, 1

    def _own(fd: int, held: tuple[int, int] | None) -> tuple[int, int]:
        _unlock(fd, held)
        _try(fd, 0, _WHOLE)
        return 0, _WHOLE

    _BUSY: type[OSError] = PermissionError
else:
    import fcntl

    def _unlock(fd: int, held: tuple[int, int] | None) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _share(fd: int, held: tuple[int, int] | None) -> tuple[int, int] | None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None

    def _own(fd: int, held: tuple[int, int] | None) -> tuple[int, int] | None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None

    _BUSY = BlockingIOError


class FileLock:
    """One opening of a lock file.

    A forked child shares the opening and with it the lock, so there are two ways to end it:
    ``release`` gives the lock back for both, ``abandon`` only leaves it to the other.
    """

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._held: tuple[int, int] | None = None

    def try_share(self) -> bool:
        """Whether the lock is now held together with other sharers."""
        try:
            self._held = _share(self.fd, self._held)
        except _BUSY:
            return False
        return True

    def try_own(self) -> bool:
        """Whether the lock is now held alone; if not, a share held before may be lost."""
        try:
            self._held = _own(self.fd, self._held)
        except _BUSY:
            self._held = None
            return False
        return True

    def release(self) -> None:
        """Gives the lock back, also for a forked child that inherited this opening."""
        if self.fd >= 0:
            _unlock(self.fd, self._held)
        self.abandon()

    def abandon(self) -> None:
        """Closes this process's side; a process that inherited the opening keeps the lock."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@contextmanager
def owned(path: Path, patience: float) -> Iterator[None]:
    """Holds the lock alone; waits up to ``patience`` seconds for it."""
    lock, deadline = FileLock(path), time.monotonic() + patience
    try:
        while not lock.try_own():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"Another process has been starting or stopping the embedded PostgreSQL for"
                    f" {patience:.0f} s: it holds {path}; wait for that process or end it."
                )
            time.sleep(0.005)
        yield
    finally:
        lock.release()
