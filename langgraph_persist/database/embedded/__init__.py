"""The embedded PostgreSQL: a real server in a directory, shared by the processes that use it.

The first process starts the server, others join it, and the last one to leave stops it. Who uses
it is counted by shared locks on the file ``users``, which the kernel gives back however a process
ends. After its users were killed the server runs on, until the next user joins it and leaves.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from langgraph_persist.database.embedded.cluster import START_PATIENCE, STOP_PATIENCE, explained
from langgraph_persist.database.embedded.locks import FileLock, owned
from langgraph_persist.errors import EmbeddedServerError

if sys.platform == "win32":
    from langgraph_persist.database.embedded.tcp import TcpServer as Server

    launching: set[int] = set()
else:
    from langgraph_persist.database.embedded.unix import UnixServer as Server
    from langgraph_persist.database.embedded.unix import launching

__all__ = ["EmbeddedServer", "Server", "start_embedded"]

_DATABASE = "langgraph_persist"
_log = logging.getLogger(__name__)


class EmbeddedServer:
    """A running server that stays as long as this process, or one forked from it, uses it."""

    def __init__(self, server: Server, users: FileLock, url: str) -> None:
        self.directory = server.cluster.home
        self.url = url
        self._server = server
        self._users = users
        self._owner = os.getpid()
        self._spares: dict[int, FileLock] = {}  # by the thread that is forking
        _open[id(self)] = self

    def close(self) -> None:
        """This process no longer uses the server; the last one to say so stops it."""
        if _open.pop(id(self), None) is None:
            return
        if self._owner != os.getpid():  # forked past our hooks: the lock is our parent's
            self._users.abandon()
            return
        try:
            with owned(self.directory / "lock", STOP_PATIENCE * 2):
                _leave(self._server, self._users)
        except (OSError, EmbeddedServerError) as error:  # e.g. the directory was deleted
            _log.warning("The embedded PostgreSQL could not be stopped: %s", error)
            self._users.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if id(self) in _open else "closed"
        return f"<EmbeddedServer {str(self.directory)!r} {state}>"

    def _before_fork(self) -> None:
        """Takes a second share, for the child: so there is no moment in which it has none."""
        with suppress(OSError):  # e.g. the directory was deleted, or no descriptor is left
            spare = FileLock(self.directory / "users")
            if spare.try_share():
                self._spares[threading.get_ident()] = spare
            else:  # another thread is just stopping the server
                spare.abandon()

    def _after_fork_in_parent(self) -> None:
        if spare := self._spares.pop(threading.get_ident(), None):
            spare.abandon()

    def _after_fork_in_child(self) -> None:
        spare = self._spares.pop(threading.get_ident(), None)
        for other in self._spares.values():
            other.abandon()
        self._spares.clear()
        if spare:
            self._users.abandon()
            self._users, self._owner = spare, os.getpid()


_open: dict[int, EmbeddedServer] = {}


def start_embedded(directory: Path | str = ".langgraph_persist") -> EmbeddedServer:
    """Returns a server that accepts connections, its data kept below the directory."""
    home = Path(directory).absolute()
    with explained(home):
        home = home.resolve()
        return _enter(Server(home))


def _enter(server: Server) -> EmbeddedServer:
    """Counts this process as a user first, so that nobody stops the server it is about to use."""
    server.cluster.prepare()
    with owned(server.cluster.home / "lock", START_PATIENCE * 2):
        users = FileLock(server.cluster.home / "users")
        try:
            users.try_share()  # never refused: only who holds the guard lock takes it alone
            url = _ready_url(server)
        except BaseException:
            _leave(server, users)
            raise
        return EmbeddedServer(server, users, url)


def _leave(server: Server, users: FileLock) -> None:
    """Stops the server if nobody else uses it; call it with the guard lock held."""
    try:
        if users.try_own():
            server.stop()
    finally:
        users.release()


def _ready_url(server: Server) -> str:
    """Returns the URL of our database on a server that has just answered."""
    deadline = time.monotonic() + START_PATIENCE
    while True:
        url = server.start()
        try:
            _ensure_database(url)
            return url
        except psycopg.OperationalError as error:  # e.g. it was killed since start() looked
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"The embedded PostgreSQL refuses: {error}") from error
        time.sleep(0.02)


def _ensure_database(url: str) -> None:
    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
        if (_DATABASE,) not in names:
            connection.execute(f"CREATE DATABASE {_DATABASE}")


def _close_all() -> None:
    for server in list(_open.values()):
        server.close()


def _before_fork() -> None:
    for server in list(_open.values()):
        server._before_fork()


def _after_fork_in_parent() -> None:
    for server in list(_open.values()):
        server._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for fd in launching:
        os.close(fd)
    launching.clear()
    for server in list(_open.values()):
        server._after_fork_in_child()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
