"""PostgreSQL clusters and poolers of a test's own, which it may stop, kill and promote."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from langgraph_persist.database.embedded.account import Account, server_account
from langgraph_persist.database.embedded.binaries import Binaries, find_binaries
from langgraph_persist.database.embedded.cluster import environment

PATIENCE = 60
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "wal_level": "replica",
    "wal_receiver_timeout": "5s",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that the servers' account can reach, by a name short enough for a socket."""
    account = server_account(Path("/nonexistent"))
    home = Path(tempfile.mkdtemp(prefix="lgp-", dir="/tmp"))
    account.give(home)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def wait_for(what: str, condition: object, patience: float = PATIENCE) -> None:
    """Returns once ``condition()`` is true; fails naming ``what`` if that takes too long."""
    assert callable(condition)
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} took more than {patience} s"
        time.sleep(0.02)


class Cluster:
    """A PostgreSQL server on a TCP port and a Unix socket."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home, self.data, self.log = home, home / "data", home / "log"
        self.port = free_port()
        self.account: Account = server_account(self.home)
        self.binaries: Binaries = find_binaries(self.account, None, self.data)
        self.settings = SETTINGS | settings
        self.user, self.database = "postgres", "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    @property
    def socket_url(self) -> str:
        host = quote(str(self.home), safe="")
        return f"postgresql://{self.user}@/{self.database}?host={host}&port={self.port}"

    def create(self) -> None:
        """Make the data directory."""
        options = ["--no-sync", "-A", "trust", "-U", self.user, "-E", "UTF8", "--locale=C"]
        self._run("initdb", "-D", self.data, *options)

    def start(self) -> None:
        """Returns when the server accepts connections."""
        settings = {"port": str(self.port), "unix_socket_directories": str(self.home)}
        options = [f"-c {k}={v}" for k, v in (self.settings | settings).items()]
        self._ctl("start", "-l", self.log, "-o", " ".join(options))

    def stop(self, mode: str = "fast") -> None:
        """Returns when the server is gone; ``immediate`` is what a crash would be."""
        self._ctl("stop", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def promote(self) -> None:
        """Make a standby the primary."""
        self._ctl("promote")

    def pause(self) -> None:
        """Stop answering, without closing a connection."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.encode())

    def value(self, sql: str) -> object:
        with psycopg.connect(self.url, autocommit=True) as conn:
            row = conn.execute(sql.encode()).fetchone()
        return row and row[0]

    def standby(self, home: Path) -> Cluster:
        """A running streaming standby, which every commit waits for from now on."""
        standby = Cluster(home, **self.settings)
        source = make_conninfo(self.url, application_name="standby")
        self._run("pg_basebackup", "-D", standby.data, "-d", source, "-R", "-X", "stream", "-cfast")
        standby.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.execute("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        wait_for("the standby's connection", lambda: self.value(state) == "sync")
        return standby

    @property
    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def _signal(self, number: int) -> None:
        pid = (self.data / "postmaster.pid").read_text().split("\n")[0]
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", pid], capture_output=True, text=True)
        for each in [pid, *found.stdout.split()]:
            subprocess.run(["kill", f"-{number}", each], check=False)

    def _ctl(self, command: str, *arguments: str | Path) -> None:
        self._run("pg_ctl", command, "-D", self.data, "-w", "-t", str(PATIENCE), *arguments)

    def _run(self, program: str, *arguments: str | Path) -> None:
        # A server keeps what it inherits: a pipe would never end.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self.binaries.program(program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment(),
                timeout=PATIENCE * 2,
                start_new_session=True,
                **self.account.switch,
            )
            output.seek(0)
            log = self.log.read_text()[-2000:] if self.log.exists() else ""
            assert done.returncode == 0, f"{program}: {output.read()}\n{log}"


@contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """A fresh cluster, stopped and removed at the end."""
    with folder() as home:
        cluster = Cluster(home, **settings)
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            if cluster.running:
                cluster.stop("immediate")


@contextmanager
def running_standby(primary: Cluster) -> Iterator[Cluster]:
    """A synchronous standby of the primary, stopped and removed at the end."""
    with folder() as home:
        standby = primary.standby(home)
        try:
            yield standby
        finally:
            if standby.running:
                standby.stop("immediate")


_CONFIG = """
[databases]
* = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
server_login_retry = 1
log_connections = 0
log_disconnections = 0
logfile = {home}/log
pidfile = {home}/pid
{extra}
"""


class PgBouncer:
    """A pooler in transaction mode before a server, run as the account that the server has."""

    def __init__(self, home: Path, server_url: str, **extra: str) -> None:
        self.home, self.port, self.settings = home, free_port(), extra
        self.account = server_account(home)
        params = conninfo_to_dict(server_url)
        target = " ".join(f"{k}={params[k]}" for k in ("host", "port", "user") if params.get(k))
        lines = "\n".join(f"{key} = {value}" for key, value in extra.items())
        self.config = home / "pgbouncer.ini"
        self.config.write_text(
            _CONFIG.format(target=target, port=self.port, home=home, extra=lines)
        )
        self.config.chmod(0o644)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, server_url: str) -> str:
        """The same database's URL through this pooler."""
        database = conninfo_to_dict(server_url)["dbname"]
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [pgbouncer(), "-q", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self.account.switch,
        )
        wait_for("PgBouncer's start", self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def logged(self, text: str) -> int:
        """How often its log says this."""
        return self._log().count(text)

    def _log(self) -> str:
        log = self.home / "log"
        return log.read_text() if log.exists() else ""

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PgBouncer ended: {self._log()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def pgbouncer() -> str:
    """PgBouncer's program; without it the test is skipped."""
    found = shutil.which("pgbouncer", path=_PATH)
    if found is None:
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    return found


def pgbouncer_version() -> tuple[int, ...]:
    said = subprocess.run([pgbouncer(), "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", said.splitlines()[0])))


@cache
def poolers() -> dict[str, dict[str, str]]:
    """The kinds of pooler that can be had here, with PgBouncer's settings of each."""
    kinds: dict[str, dict[str, str]] = {"pgbouncer": {}}
    if shutil.which("pgbouncer", path=_PATH) and pgbouncer_version() >= (1, 21):
        kinds = {
            "pgbouncer": {"max_prepared_statements": "0"},
            "pgbouncer-prepared": {"max_prepared_statements": "100"},
        }
    return kinds


@contextmanager
def running_pgbouncer(server_url: str, **extra: str) -> Iterator[PgBouncer]:
    """A pooler before this server, stopped and removed at the end."""
    with folder() as home:
        pooler = PgBouncer(home, server_url, **extra)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()


@contextmanager
def _ended(connection: socket.socket) -> Iterator[None]:
    """Ends a connection after the block, though another thread may be waiting on it."""
    try:
        yield
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


class Interrupter:
    """Stands before a server; where armed, ends a client once its next transaction is committed."""

    def __init__(self, port: int) -> None:
        self.interrupted = threading.Event()
        self._armed = threading.Event()
        self._tags: tuple[bytes, ...] = ()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def arm(self, *tags: bytes) -> None:
        """The transaction meant is the next whose last command's tag begins like one of these."""
        self._tags = tags
        self._armed.set()

    def serve(self) -> None:
        """Serves until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=[client, server], daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), _ended(server):
            while data := client.recv(65536):
                server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        done = b""
        with suppress(OSError), _ended(client), server.makefile("rb") as answers:
            while head := answers.read(5):
                body = answers.read(int.from_bytes(head[1:], "big") - 4)
                if head[:1] == b"C":
                    done = body
                is_committed = head[:1] == b"Z" and body == b"I" and done.startswith(self._tags)
                if not (is_committed and self._armed.is_set()):
                    client.sendall(head + body)
                else:
                    self._armed.clear()
                    fields = b"SFATAL\0C08P01\0Mserver conn crashed?\0\0"
                    self.interrupted.set()
                    client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
                    return


@contextmanager
def running_interrupter(port: int) -> Iterator[Interrupter]:
    """Stands before the server at this port until the end of the block."""
    interrupter = Interrupter(port)
    thread = threading.Thread(target=interrupter.serve, daemon=True)
    thread.start()
    try:
        yield interrupter
    finally:
        interrupter.close()
        thread.join()
