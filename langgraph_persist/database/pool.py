"""A small pool of connections, each opened by the thread that needs it.

psycopg_pool opens connections in the background and, while the server is away, tries at ever
longer intervals: after an outage of 17 seconds its clients still time out at 30. Here whoever needs
a connection opens it, gets the reason when that fails, and may try again at once.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from psycopg.pq import TransactionStatus

from langgraph_persist.errors import DatabaseUnavailable

MAX_IDLE = 300.0
"""Seconds after which an unused connection is closed: what lies between may have forgotten it."""


class Pool:
    """Gives out at most ``size`` connections at a time, never one that the server has closed."""

    def __init__(self, connect: Callable[[], Connection[Any]], size: int, patience: float) -> None:
        self._connect = connect
        self._size, self._patience = size, patience
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: deque[tuple[Connection[Any], float]] = deque()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection, given back at the end of the block.

        Raises:
            DatabaseUnavailable: none can be opened, or all were busy for too long.
        """
        if not self._slots.acquire(timeout=self._patience):
            raise DatabaseUnavailable(
                f"all {self._size} connections have been busy for {self._patience:.0f} s"
            )
        try:
            conn = self._take()
            try:
                yield conn
            finally:
                self._give_back(conn)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the idle connections, and each of the others when it is given back."""
        with self._lock:
            self._closed = True
        self._discard(0)

    def _take(self) -> Connection[Any]:
        self._discard(MAX_IDLE)
        while True:
            with self._lock:
                if not self._idle:
                    break
                conn, _ = self._idle.pop()
            if _is_quiet(conn):
                return conn
            conn.close()
        return self._connect()

    def _give_back(self, conn: Connection[Any]) -> None:
        if conn.closed:
            # Whatever ended it has most likely ended the others too.
            self._discard(0)
            return
        sound = conn.info.transaction_status == TransactionStatus.IDLE
        with self._lock:
            if sound and not self._closed:
                self._idle.append((conn, time.monotonic()))
                return
        conn.close()

    def _discard(self, age: float) -> None:
        """Close the connections that have been idle for so many seconds."""
        until = time.monotonic() - age
        with self._lock:
            while self._idle and self._idle[0][1] <= until:
                self._idle.popleft()[0].close()


def _is_quiet(conn: Connection[Any]) -> bool:
    """Whether the server has said nothing to an idle connection; it would say goodbye."""
    if conn.closed:
        return False
    if not hasattr(select, "poll"):
        return not select.select([conn.fileno()], [], [], 0)[0]
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return not poll.poll(0)
