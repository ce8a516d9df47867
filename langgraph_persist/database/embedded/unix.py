"""The server process on Linux, macOS and BSD: reached by a Unix socket, watched by a lock.

The server inherits a lock on the file ``server``. The kernel keeps it until the last process of
the server has gone, so it says what no pid file can: whether there still is a server, be it
starting, stopping, or orphans of a killed postmaster.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from langgraph_persist.database.embedded.account import Account
from langgraph_persist.database.embedded.cluster import (
    START_PATIENCE,
    STOP_PATIENCE,
    SUPERUSER,
    Cluster,
    data_argument,
    environment,
)
from langgraph_persist.database.embedded.locks import FileLock
from langgraph_persist.errors import EmbeddedServerError

_PORT = 5432  # only a part of the socket's name
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 103  # macOS has one of the shortest sun_path
_LAUNCHES = 3  # one may be killed, by hand or for want of memory
_POLL = 0.005
_TEMPORARY = "langgraph_persist-"
_log = logging.getLogger(__name__)

launching: set[int] = set()
"""Open locks that are on their way to a server; a forked child must close them."""


class PidFile(NamedTuple):
    """What the running, or the last, postmaster wrote about itself."""

    pid: int
    sockets: Path
    ready: bool


class UnixServer:
    """Starts, finds and stops the server of a directory; call it with the guard lock held."""

    def __init__(self, home: Path) -> None:
        self.cluster = Cluster(home, unix=True)

    def start(self) -> str:
        """Returns the URL of a server that accepts connections, joined or started."""
        launches: list[int] = []  # where the log of each begins
        deadline = time.monotonic() + START_PATIENCE
        while True:
            lock = self._lock()
            if not lock.try_own():
                lock.abandon()
                if url := self._url():
                    return url
            elif len(launches) < _LAUNCHES:
                launches.append(self._launch(lock))
            else:
                lock.release()
                raise self._failure("The server ended while starting", launches)
            if time.monotonic() > deadline:
                what = f"The server is not ready after {START_PATIENCE:.0f} s"
                raise self._failure(what, launches)
            time.sleep(_POLL)

    def stop(self) -> None:
        """Returns when no process of the server is left and its data are safely closed."""
        described = self._pid_file()
        pid = self._postmaster(described) if described else None
        if not described or not pid:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # PostgreSQL's fast shutdown
        lock, deadline = self._lock(), time.monotonic() + STOP_PATIENCE
        try:
            while not lock.try_own():
                if time.monotonic() > deadline:
                    _log.warning("PostgreSQL (pid %d) is still shutting down", pid)
                    return
                time.sleep(_POLL)
            self._clear_sockets(described.sockets)
        finally:
            lock.release()

    def _lock(self) -> FileLock:
        return FileLock(self.cluster.home / "server")

    def _failure(self, what: str, launches: list[int]) -> EmbeddedServerError:
        last = launches[-1] if launches else 0
        return self.cluster.failure(what, self.cluster.log_since(last))

    def _launch(self, lock: FileLock) -> int:
        """Starts the server, which takes the lock over; returns where its log begins."""
        launching.add(lock.fd)
        try:
            log_start = self._prepared_launch(lock)
        except BaseException:
            launching.discard(lock.fd)
            lock.release()
            raise
        launching.discard(lock.fd)
        lock.abandon()
        return log_start

    def _prepared_launch(self, lock: FileLock) -> int:
        account, binaries = self.cluster.equip()
        env = environment()
        if last := self._pid_file():
            self._clear_sockets(last.sockets)
            # The last server has gone: that we own its lock proves it. PostgreSQL would only
            # see that its pid is alive, though the pid may be another process's by now.
            env["PG_GRANDPARENT_PID"] = str(last.pid)
        with data_argument(self.cluster.data, account) as (data, fds):
            command = [binaries.program("postgres"), "-D", data, *self._options(account)]
            return self._spawn(command, account, env, (lock.fd, *fds))

    def _options(self, account: Account) -> list[str]:
        sockets = self._choose_sockets(account)
        options = ["-k", sockets, "-h", "", "-p", str(_PORT)]
        return [*options, "-c", "cluster_name=langgraph_persist"]

    def _spawn(
        self, command: list[str], account: Account, env: dict[str, str], fds: tuple[int, ...]
    ) -> int:
        log_start = self.cluster.log_size()
        log = os.open(self.cluster.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # Its own session: Ctrl-C in our terminal is not for it. Started in the background
            # of a shell: it becomes init's child, which outlives us and reaps it.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *command],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=env,
                pass_fds=fds,
                umask=0o077,
                start_new_session=True,
                **account.switch,
            )
        finally:
            os.close(log)
        return log_start

    def _choose_sockets(self, account: Account) -> str:
        """The data directory itself, else a short temporary folder; both have mode 0700."""
        if _can_hold_socket(self.cluster.data):
            return "."  # the server's working directory is its data directory
        for place in dict.fromkeys((Path("/tmp"), Path(tempfile.gettempdir()))):
            if place.is_dir() and os.access(place, os.W_OK):
                folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=place))
                if _can_hold_socket(folder):
                    account.give(folder)
                    return str(folder)
                folder.rmdir()
        raise EmbeddedServerError(
            f"No folder can hold the server's Unix socket: {self.cluster.data} is too long or its"
            " file system cannot, nor can /tmp; choose another directory or pass a PostgreSQL URL."
        )

    def _pid_file(self) -> PidFile | None:
        try:
            lines = (self.cluster.data / "postmaster.pid").read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return None
        if not lines[0].isdigit():
            return None
        folder = lines[4] if len(lines) > 4 else ""
        ready = len(lines) > 7 and lines[7].startswith("ready")
        return PidFile(int(lines[0]), self.cluster.data / (folder or "."), ready)

    def _url(self) -> str | None:
        """The URL if the server is ready, which its file says and its socket proves."""
        described = self._pid_file()
        if not (described and described.ready) or self._postmaster(described) is None:
            return None
        host = quote(os.fsencode(described.sockets), safe="")
        return f"postgresql://{SUPERUSER}@/langgraph_persist?host={host}&port={_PORT}"

    def _postmaster(self, described: PidFile) -> int | None:
        """The pid that listens on the socket, 0 if in another container; None if none does."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(described.sockets / _SOCKET))
            except OSError:
                return None
            if sys.platform != "linux":
                return described.pid
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid: int = struct.unpack("3i", peer)[0]
        # gVisor names the process that asks instead.
        return described.pid if pid == os.getpid() else pid

    def _clear_sockets(self, folder: Path) -> None:
        """Removes what a server that has gone may have left in its folder of sockets."""
        if folder != self.cluster.data and not folder.name.startswith(_TEMPORARY):
            return
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (folder / name).unlink(missing_ok=True)
        if folder != self.cluster.data:
            with suppress(OSError):
                folder.rmdir()


def _can_hold_socket(folder: Path) -> bool:
    """Whether clients can name a socket there, and the file system can hold one."""
    try:
        # libpq takes a comma for the end of the first of several hosts.
        path = str(folder / _SOCKET).encode()
        if len(path) > _LONGEST_SOCKET_PATH or b"," in path:
            return False
        probe = folder / ".socket"
        probe.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(probe))
        probe.unlink()
    except (OSError, UnicodeError):
        return False
    return True
