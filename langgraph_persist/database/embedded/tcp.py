"""The server process on Windows: reached at 127.0.0.1 with a password, run by pg_ctl."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path

from langgraph_persist.database.embedded.account import Account
from langgraph_persist.database.embedded.binaries import Binaries
from langgraph_persist.database.embedded.cluster import (
    START_PATIENCE,
    STOP_PATIENCE,
    SUPERUSER,
    Cluster,
    environment,
)

_HOST = "127.0.0.1"
_log = logging.getLogger(__name__)


class TcpServer:
    """Starts, finds and stops the server of a directory; call it with the guard lock held."""

    def __init__(self, home: Path) -> None:
        self.cluster = Cluster(home, unix=False)

    def start(self) -> str:
        """Returns the URL of a server that accepts connections, joined or started."""
        account, binaries = self.cluster.equip()
        if self._control(account, binaries, "status") != 0:
            since = self.cluster.log_size()
            options = f"-h {_HOST} -p {_free_port()}"
            command = ("start", "-w", "-t", f"{START_PATIENCE:.0f}", "-o", options)
            if self._control(account, binaries, *command, "-l", str(self.cluster.log)) != 0:
                said = self.cluster.log_since(since)
                raise self.cluster.failure("The server did not start", said)
        password, port = self.cluster.password.read_text(), self._port()
        return f"postgresql://{SUPERUSER}:{password}@{_HOST}:{port}/langgraph_persist"

    def stop(self) -> None:
        """Returns when the server has gone and its data are safely closed."""
        account, binaries = self.cluster.equip()
        patience = f"{STOP_PATIENCE:.0f}"
        if self._control(account, binaries, "stop", "-m", "fast", "-w", "-t", patience) != 0:
            _log.warning("PostgreSQL in %s is still shutting down", self.cluster.data)

    def _port(self) -> int:
        lines = (self.cluster.data / "postmaster.pid").read_text(errors="replace").split("\n")
        return int(lines[3])

    def _control(self, account: Account, binaries: Binaries, *arguments: str) -> int:
        """The exit code of pg_ctl. Its own console or session: our Ctrl-C is not for the server."""
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW
        return subprocess.run(
            [binaries.program("pg_ctl"), "-D", str(self.cluster.data), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server runs
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
            creationflags=flags,
            **account.switch,
        ).returncode


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
