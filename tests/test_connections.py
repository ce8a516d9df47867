"""Connections that end, servers that restart, vanish or are replaced: no run is lost by it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.database.connection import Backoff, Database, parse_url
from langgraph_persist.database.embedded.account import server_account
from langgraph_persist.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DurabilityError,
    TlsFailed,
)
from langgraph_persist.journal import Journal, Unit
from tests.checks import check_record_and_checkpoints_agree, query
from tests.conftest import drop_database, make_database, sibling
from tests.graphs import Steps, chain_of, step
from tests.load import PATIENCE, Load, terminate
from tests.servers import (
    Cluster,
    folder,
    free_port,
    running_cluster,
    running_interrupter,
    running_pgbouncer,
    running_standby,
    wait_for,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster that tests of this module may restart."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def url(server: Cluster) -> Iterator[str]:
    """The URL of a fresh migrated database of that cluster."""
    if not server.running:
        server.start()
    made = make_database(server.url)
    Persist(made).open().close()
    yield made
    if not server.running:
        server.start()
    drop_database(server.url, made)


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def put(saver: PersistSaver, thread_id: str) -> str:
    """Save a checkpoint; its id, once it is acknowledged."""
    checkpoint = empty_checkpoint()
    saver.put(thread(thread_id), checkpoint, {"source": "input", "step": -1}, {})
    return checkpoint["id"]


@contextmanager
def target(server: Cluster, url: str, kind: str) -> Iterator[Any]:
    """The database by TCP, by Unix socket, or by a pool of the user's own."""
    if kind == "pool":
        with ConnectionPool(url, min_size=2, max_size=8, open=True) as pool:
            yield pool
    else:
        yield url if kind == "tcp" else sibling(server.socket_url, url.rpartition("/")[2])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("kind", ["tcp", "socket", "pool"])
def test_connections_terminated_at_random_moments(
    server: Cluster, url: str, kind: str, mode: str
) -> None:
    with target(server, url, kind) as given, Persist(given) as persist:
        load = Load(persist)
        with load.running(mode):
            load.end_connections(url, 60)
            load.wait_for_turns(4)
        load.check(url)


@pytest.mark.parametrize("operation", ["put", "copy", "copy record", "delete record"])
def test_an_answer_cut_short_is_asked_for_again(server: Cluster, url: str, operation: str) -> None:
    """As a pooler does whose server ends just after its COMMIT."""
    with running_interrupter(server.port) as between:
        where = url.replace(f":{server.port}", f":{between.port}")
        with Persist(f"{where}?sslmode=disable&gssencmode=disable") as persist:
            saver, config = persist.checkpointer, persist.config("t")
            graph = persist.attach(chain_of(["a"]).compile(checkpointer=saver))
            graph.invoke({"count": 0}, config)
            # A put alone is a transaction of one statement, without a COMMIT.
            between.arm(*([b"INSERT", b"SELECT"] if operation == "put" else [b"COMMIT"]))
            if operation == "put":
                put(saver, "t")
            elif operation == "delete record":
                saver.delete_thread("t", record="delete")
            else:
                saver.copy_thread("t", "u", record=operation == "copy record")
            assert between.interrupted.is_set()
            found = {t: len([*saver.list(thread(t))]) for t in ("t", "u")}
            recorded = {row["thread_id"] for row in query(url, "SELECT thread_id FROM nodes")}
    assert (found, recorded) == {
        "put": ({"t": 4, "u": 0}, {"t"}),
        "copy": ({"t": 3, "u": 3}, {"t"}),
        "copy record": ({"t": 3, "u": 3}, {"t", "u"}),
        "delete record": ({"t": 0, "u": 0}, set()),
    }[operation]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_runs_go_on_when_the_server_restarts(
    server: Cluster, url: str, how: str, mode: str
) -> None:
    with Persist(url) as persist:
        load = Load(persist)
        with load.running(mode):
            for _ in range(2):
                load.wait_for_turns(4)
                server.restart(how)
            load.wait_for_turns(8)
        load.check(url)


def test_reads_go_on_after_an_outage(server: Cluster, url: str) -> None:
    saver = PersistSaver(url)
    put(saver, "t")
    server.stop()
    with ThreadPoolExecutor(20) as pool:
        reads = [pool.submit(saver.get_tuple, thread("t")) for _ in range(20)]
        time.sleep(2)
        assert not any(read.done() for read in reads)
        server.start()
        assert all(read.result(PATIENCE) is not None for read in reads)
    saver.close()


def test_idle_connections_that_ended_are_never_given_out(url: str) -> None:
    database = Database(url, retry_for=0)
    with ExitStack() as stack:
        held = [stack.enter_context(database.connection()) for _ in range(5)]
        pids = {conn.info.backend_pid for conn in held}
    assert terminate(url) == 5
    with ExitStack() as stack:
        held = [stack.enter_context(database.connection()) for _ in range(5)]
        assert all(conn.execute("SELECT 1").fetchone() == (1,) for conn in held)
        assert pids.isdisjoint(conn.info.backend_pid for conn in held)
    database.close()


def test_a_connection_left_in_a_transaction_is_not_given_out_again(url: str) -> None:
    database = Database(url)
    with database.connection() as conn:
        conn.execute("BEGIN")
    with database.connection() as other:
        assert other is not conn
    with pytest.raises(RuntimeError), database.connection() as conn:
        raise RuntimeError
    with database.connection() as other:
        assert other is conn
    database.close()
    assert conn.closed


def test_more_threads_than_connections_take_turns(url: str) -> None:
    database = Database(url, max_connections=2, retry_for=0.5)

    def work(_: int) -> Any:
        with database.connection() as conn:
            return conn.execute("SELECT pg_sleep(0.002), pg_backend_pid()").fetchone()

    with ThreadPoolExecutor(16) as pool:
        pids = {row[1] for row in pool.map(work, range(100))}
    assert len(pids) <= 2
    with (
        database.connection(),
        database.connection(),
        pytest.raises(DatabaseUnavailable, match="all 2 connections"),
        database.connection(),
    ):
        pass
    database.close()


# --- outages that are too long ---


@pytest.fixture
def impatient(url: str) -> Iterator[Persist]:
    """A Persist that gives an outage one second."""
    persist = Persist(url).open()
    persist.checkpointer.journal.database.retry_for = 1.0
    yield persist
    persist.close()


def losing(server: Cluster, persist: Persist) -> Any:
    """A graph whose third node loses the server, if that is there."""

    def lose(state: Steps) -> Steps:
        persist.flush()
        if server.running and not (server.home / "lost").exists():
            server.stop("immediate")
            (server.home / "lost").touch()
        return {"log": ["lose"]}

    builder = chain_of(["a", "b"])
    builder.add_node("lose", lose)
    builder.add_node("c", step("c"))
    builder.add_edge("b", "lose")
    builder.add_edge("lose", "c")
    (server.home / "lost").unlink(missing_ok=True)
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_past_the_stated_time_the_run_fails_and_resumes_later(
    server: Cluster, url: str, impatient: Persist, mode: str, durability: Any
) -> None:
    graph, config = losing(server, impatient), impatient.config("t")
    started = time.monotonic()
    with pytest.raises((DurabilityError, DatabaseUnavailable)) as caught:
        if mode == "sync":
            graph.invoke({"count": 0}, config, durability=durability)
        else:
            asyncio.run(graph.ainvoke({"count": 0}, config, durability=durability))
    assert time.monotonic() - started > 0.9
    assert "cannot connect to PostgreSQL" in str(caught.value)
    server.start()
    check_record_and_checkpoints_agree(url)
    statuses = query(url, "SELECT status FROM workflows")
    assert {row["status"] for row in statuses} <= {"running"}

    value = None if durability != "exit" else {"count": 0}
    assert graph.invoke(value, config)["log"] == ["a", "b", "lose", "c"]
    check_record_and_checkpoints_agree(url)
    assert len([*graph.get_state_history(config)]) == 6


def test_past_the_stated_time_a_put_fails_and_works_later(server: Cluster, url: str) -> None:
    saver = PersistSaver(url)
    put(saver, "t")
    saver.journal.database.retry_for = 1.0
    server.stop()
    with pytest.raises(DurabilityError, match="'t' wrote could not be committed: cannot connect"):
        put(saver, "t")
    with pytest.raises(DatabaseUnavailable, match="cannot connect to PostgreSQL") as caught:
        saver.get_tuple(thread("t"))
    assert "in get_tuple of thread 't'" in caught.value.__notes__
    server.start()
    found = [put(saver, "t") for _ in range(2)]
    assert [t.checkpoint["id"] for t in saver.list(thread("t"))][:2] == found[::-1]
    saver.close()


class Clock:
    """Stands still until it is let go; then sleeping takes no time, and the clock goes on by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked, self.gone_on = threading.Event(), threading.Event()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.asked.set()
        self.gone_on.wait(PATIENCE)
        self.now += seconds


def test_an_outage_counts_once_however_much_waits(
    server: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(Database(url, retry_for=20.0), linger=0)
    journal.commit(Unit("first", [("sessions", {"thread_id": "first"})])).result(PATIENCE)
    server.stop()
    clock = Clock()
    with monkeypatch.context() as patched:
        patched.setattr("langgraph_persist.database.connection.time", clock)
        patched.setattr("langgraph_persist.journal.journal.time", clock)
        futures = []
        for number in range(4):
            unit = Unit(f"t{number}", [("sessions", {"thread_id": f"t{number}"})])
            futures.append(journal.commit(unit))
            assert clock.asked.wait(PATIENCE)  # the first one is being tried, so it is alone
        clock.gone_on.set()
        for future in futures:
            with pytest.raises(DurabilityError):
                future.result(PATIENCE)
    assert 1020 <= clock.now < 1022
    server.start()
    journal.commit(Unit("t0", [("sessions", {"thread_id": "t0"})])).result(PATIENCE)
    journal.close()
    assert {row["thread_id"] for row in query(url, "SELECT thread_id FROM sessions")} == {
        "first",
        "t0",
    }


def test_closing_during_an_outage_says_what_was_lost(server: Cluster, url: str) -> None:
    persist = Persist(url).open()
    journal = persist.checkpointer.journal
    journal.database.retry_for = 1.0
    persist.flush()
    server.stop()
    journal.append(Unit("t", [("sessions", {"thread_id": "t"})]))
    with pytest.raises(DurabilityError, match="'t'"):
        persist.close()


def test_one_who_stops_waiting_does_not_stop_the_writer(url: str) -> None:
    saver = PersistSaver(url)
    put(saver, "t")

    async def give_up() -> None:
        put = saver.aput(thread("t"), empty_checkpoint(), {"source": "input", "step": -1}, {})
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(put, 0.3)

    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE checkpoints")
        asyncio.run(give_up())
    put(saver, "t")
    assert len([*saver.list(thread("t"))]) == 3
    saver.close()


def test_content_that_failed_is_stored_when_it_comes_again(server: Cluster, url: str) -> None:
    with Persist(url) as persist:
        journal = persist.checkpointer.journal
        graph = losing(server, persist)
        persist.flush()
        journal.database.retry_for = 0.5
        note = {"count": 0, "note": "x" * 2000}
        with pytest.raises((DurabilityError, DatabaseUnavailable)):
            graph.invoke(note, persist.config("t"))
        server.start()
        graph.invoke(note, persist.config("t"))
        states = query(url, "SELECT state_data ->> 'note' AS note FROM node_states")
        assert {row["note"] for row in states} <= {None, "x" * 2000}
        assert [row["note"] for row in states].count("x" * 2000) >= 4


# --- pools and connections of the user's own ---


def test_a_users_pool_stays_open_and_as_it_was(url: str) -> None:
    with ConnectionPool(url, min_size=1, max_size=3, open=True) as pool:
        saver = PersistSaver(pool)
        put(saver, "t")
        with ExitStack() as stack:
            for conn in [stack.enter_context(pool.connection()) for _ in range(3)]:
                conn.execute("SELECT 1")
        terminate(url)
        assert saver.get_tuple(thread("t")) is not None
        terminate(url)
        put(saver, "t")
        saver.close()
        with pool.connection() as conn:
            assert conn.execute("SELECT count(*) FROM checkpoints").fetchone() == (2,)
            assert (conn.prepare_threshold, conn.autocommit) == (5, False)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[Backoff]:
    """What waited for another try; none waits long."""
    found: list[Backoff] = []

    def wait(self: Backoff) -> bool:
        found.append(self)
        return len(found) < 3

    monkeypatch.setattr(Backoff, "wait", wait)
    return found


def test_a_users_pool_that_is_closed_is_not_waited_for(url: str, waits: list[Backoff]) -> None:
    with ConnectionPool(url, min_size=1, max_size=3, open=True) as pool:
        saver = PersistSaver(pool)
        put(saver, "t")
    with pytest.raises(ConfigurationError, match=r"pool that was given must be open.*closed"):
        saver.get_tuple(thread("t"))
    with pytest.raises(DurabilityError, match="closed"):
        put(saver, "t")
    assert waits == []
    saver.close()


def test_a_users_connection_that_ended_is_an_error_at_once(url: str, waits: list[Backoff]) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        saver = PersistSaver(conn)
        put(saver, "t")
        terminate(url)
        ended = r"the connection that was given has ended: .*Give a URL or a pool"
        with pytest.raises(DurabilityError, match=rf"{ended}.*; .*invoke\(None, config\) resumes"):
            put(saver, "t")
        with pytest.raises(DatabaseUnavailable, match=ended):
            saver.get_tuple(thread("t"))
        assert waits == []
        saver.close()


def test_a_connection_that_is_closed_is_refused(url: str) -> None:
    with psycopg.connect(url) as conn:
        pass
    for part in (PersistSaver, lambda conn: Persist(conn).open()):
        with pytest.raises(ConfigurationError, match="is closed; give an open one, or a URL"):
            part(conn)


def test_a_pool_may_be_opened_later(url: str) -> None:
    pool = ConnectionPool(url, min_size=1, max_size=2, open=False)
    saver = PersistSaver(pool)
    with pytest.raises(ConfigurationError, match=r"must be open.* not open yet.* open\(\) first"):
        saver.get_tuple(thread("t"))
    with pool:
        put(saver, "t")
        assert saver.get_tuple(thread("t")) is not None
        saver.close()


def test_a_run_on_a_connection_that_ended_resumes_on_another(url: str) -> None:
    def lose(state: Steps) -> Steps:
        if not lost:
            lost.append(terminate(url))
        return {"log": ["lose"]}

    lost: list[Any] = []
    builder = chain_of(["a"])
    builder.add_node("lose", lose)
    builder.add_edge("a", "lose")
    with psycopg.connect(url, autocommit=True) as conn, Persist(conn) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises(DurabilityError, match="Give a URL or a pool"):
            graph.invoke({"count": 0}, persist.config("t"), durability="sync")
    with Persist(url) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        assert graph.invoke(None, persist.config("t"))["log"] == ["a", "lose"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("kind", ["url", "pool"])
def test_connections_end_in_parent_and_child(url: str, kind: str) -> None:
    """Both have opened connections before the fork and lose theirs after it."""
    process = subprocess.run(
        [sys.executable, "-m", "tests._connection_worker", url, kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    assert (process.returncode, process.stderr) == (0, "")
    done = query(url, "SELECT thread_id FROM workflows WHERE status = 'completed'")
    expected = {f"{who}-{n}" for who in ("parent", "child") for n in range(5)} | {"before"}
    assert {row["thread_id"] for row in done} == expected
    check_record_and_checkpoints_agree(url)


# --- encryption ---


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    """A self-signed certificate of localhost, its key beside it."""
    with folder() as home:
        made = home / "server.crt"
        key = made.with_suffix(".key")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(key), "-out", str(made)),
            ],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        server_account(home).give(key)
        yield made


@pytest.fixture
def encrypted(server: Cluster, url: str, certificate: Path) -> Iterator[str]:
    """A URL of the migrated database that takes encrypted connections only."""
    extra = {"client_tls_sslmode": "require", "client_tls_cert_file": str(certificate)}
    extra["client_tls_key_file"] = str(certificate.with_suffix(".key"))
    with running_pgbouncer(server.url, **extra) as pooler:
        yield pooler.url(url).replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_encrypted_connections(encrypted: str, url: str, certificate: Path, sslmode: str) -> None:
    options = f"?sslmode={sslmode}"
    if sslmode == "verify-full":
        options += f"&sslrootcert={certificate}"
    with Persist(encrypted + options) as persist:
        load = Load(persist, workers=2)
        with load.running("sync"):
            load.end_connections(url, 10)
            load.wait_for_turns(2)
        load.check(url)
        with persist.checkpointer.journal.database.connection() as conn:
            assert conn.pgconn.ssl_in_use


def test_a_wrong_certificate_is_refused_at_once(
    encrypted: str, url: str, certificate: Path, tmp_path: Path, waits: list[Backoff]
) -> None:
    other = encrypted.replace("localhost", "127.0.0.1")
    wrong = [
        f"{other}?sslmode=verify-full&sslrootcert={certificate}",
        f"{encrypted}?sslmode=verify-full&sslrootcert={tmp_path / 'none'}",
        f"{url}?sslmode=require",
    ]
    for each in wrong:
        saver = PersistSaver(each)
        with pytest.raises(TlsFailed, match="sslrootcert"):
            saver.get_tuple(thread("t"))
        assert waits == []
        saver.close()


# --- several hosts ---


def several(*clusters: Cluster) -> str:
    """One URL that names the servers in this order."""
    hosts = ",".join(f"127.0.0.1:{cluster.port}" for cluster in clusters)
    return f"postgresql://postgres@{hosts}/postgres"


def test_several_hosts_mean_the_primary() -> None:
    one, two = "postgresql://a/d", "postgresql://a,b:6432/d"
    assert "target_session_attrs" not in parse_url(one)
    assert parse_url(two)["target_session_attrs"] == "read-write"
    assert parse_url(f"{two}?target_session_attrs=any")["target_session_attrs"] == "any"


def test_a_host_that_is_down_is_passed_over(server: Cluster, url: str) -> None:
    nobody, database = free_port(), url.rpartition("/")[2]
    both = f"postgresql://postgres@127.0.0.1:{nobody},127.0.0.1:{server.port}/{database}"
    with PersistSaver.from_conn_string(both) as saver:
        put(saver, "t")
        assert saver.get_tuple(thread("t")) is not None


class Puts:
    """Threads that put checkpoints until they are stopped; remembers what was acknowledged."""

    def __init__(self, saver: PersistSaver) -> None:
        self.saver = saver
        self.acknowledged: list[tuple[str, str]] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self, workers: int) -> Iterator[None]:
        with ThreadPoolExecutor(workers) as pool:
            puts = [pool.submit(self._put, f"put-{n}") for n in range(workers)]
            try:
                yield
            finally:
                self._stop.set()
                for each in puts:
                    each.result(PATIENCE)

    def _put(self, thread_id: str) -> None:
        while not self._stop.is_set():
            self.acknowledged.append((thread_id, put(self.saver, thread_id)))


def test_no_acknowledged_checkpoint_is_lost_with_the_primary() -> None:
    with (
        running_cluster() as primary,
        running_standby(primary) as standby,
        Persist(several(standby, primary)) as persist,
    ):
        load, puts = Load(persist), Puts(persist.checkpointer)
        with load.running("sync"), puts.running(4):
            load.wait_for_turns(20)
            primary.stop("immediate")
            before = len(puts.acknowledged)
            standby.promote()
            load.wait_for_turns(20)
        assert 0 < before < len(puts.acknowledged)
        found = query(standby.url, "SELECT thread_id, checkpoint_id FROM checkpoints")
        there = {(row["thread_id"], row["checkpoint_id"]) for row in found}
        assert [each for each in puts.acknowledged if each not in there] == []
        runs = "SELECT thread_id FROM checkpoints WHERE thread_id LIKE 'put-%'"
        assert len(query(standby.url, runs)) >= len(puts.acknowledged)
        assert query(standby.url, "SELECT pg_is_in_recovery() AS r") == [{"r": False}]
        load.check(standby.url)


def test_what_was_committed_here_only_is_not_acknowledged() -> None:
    """A repeated transaction that finds its rows there waits for the standby all the same."""

    def waiting() -> object:
        return primary.value("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")

    with running_cluster() as primary, running_standby(primary) as standby:
        saver = PersistSaver(primary.url)
        saver.setup()
        config = saver.put(thread("t"), empty_checkpoint(), {"source": "input", "step": -1}, {})
        standby.stop()
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(saver.put_writes, config, [("a", 1)], "task")
            wait_for("the wait for the standby", waiting)
            first = waiting()
            primary.value(f"SELECT pg_terminate_backend({first})")
            wait_for("its repetition", lambda: written.done() or waiting() not in (None, first))
            assert not written.done()
            standby.start()
            written.result(PATIENCE)
        saver.close()
