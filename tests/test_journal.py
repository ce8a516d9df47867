"""The journal: order, groups, bounds, failures and lost connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from langgraph_persist.database.connection import Database
from langgraph_persist.errors import DurabilityError, JournalClosed
from langgraph_persist.journal import Journal, Rows, Unit, release, share
from langgraph_persist.journal.unit import KEYS, Blob, Group, Write
from langgraph_persist.journal.write import write_group
from tests.servers import wait_for


@pytest.fixture
def journal(migrated: str) -> Iterator[Journal]:
    opened = Journal(Database(migrated, retry_for=5.0))
    yield opened
    opened.close()


def session(thread_id: str) -> Rows:
    return [("sessions", {"thread_id": thread_id})]


def bad(thread_id: str) -> Unit:
    """A unit that PostgreSQL refuses: a write's number is no integer of its."""
    write = Write(thread_id, "", "c", "task", "", 2**40, "channel", "bytes", b"x")
    return Unit(thread_id, session(thread_id), writes=[write])


def sessions(url: str) -> set[str]:
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT thread_id FROM langgraph_persist.sessions").fetchall()
    return {thread_id for (thread_id,) in found}


def test_a_commit_is_there_when_its_future_is_done(journal: Journal, migrated: str) -> None:
    journal.commit(Unit("t", session("t"))).result(10)
    assert sessions(migrated) == {"t"}


def test_what_nobody_waits_for_is_written_soon(journal: Journal, migrated: str) -> None:
    journal.append(Unit("t", session("t")))
    deadline = time.monotonic() + 5
    while sessions(migrated) != {"t"}:
        assert time.monotonic() < deadline


def test_a_bad_write_fails_its_own_thread_only(journal: Journal, migrated: str) -> None:
    with block(migrated):
        futures = {
            name: journal.commit(bad(name) if name == "b" else Unit(name, session(name)))
            for name in ("a", "b", "c")
        }
    futures["a"].result(10)
    futures["c"].result(10)
    with pytest.raises(DurabilityError, match="'b'") as caught:
        futures["b"].result(10)
    assert isinstance(caught.value.__cause__, psycopg.errors.NumericValueOutOfRange)
    assert sessions(migrated) == {"a", "c"}


def test_nothing_is_committed_past_a_gap(journal: Journal, migrated: str) -> None:
    with block(migrated):
        journal.append(bad("t"))
        journal.append(Unit("t", session("t")))
    deadline = time.monotonic() + 10
    while journal.failed_units < 2:
        assert time.monotonic() < deadline
    with pytest.raises(DurabilityError):
        journal.append(Unit("t", session("t")))
    with pytest.raises(DurabilityError):
        journal.commit(Unit("t", session("t"))).result(10)
    assert sessions(migrated) == set()
    journal.commit(Unit("t", session("t"))).result(10)
    assert sessions(migrated) == {"t"}


def test_a_failure_nobody_was_told_of_is_raised_by_flush(journal: Journal) -> None:
    journal.append(bad("t"))
    with pytest.raises(DurabilityError):
        journal.flush(10)
    assert journal.flush(10) == journal.committed_units


def test_flush_waits_for_every_thread_and_tells_of_all_that_failed(
    journal: Journal, migrated: str
) -> None:
    with block(migrated):
        for unit in (bad("a"), Unit("b", session("b")), bad("c"), Unit("d", session("d"))):
            journal.append(unit)
    with pytest.raises(DurabilityError, match="'a'") as caught:
        journal.flush(10)
    assert ["'c'" in note for note in caught.value.__notes__] == [True]
    assert sessions(migrated) == {"b", "d"}
    assert journal.flush(10) == journal.committed_units == 2


def test_the_time_of_a_flush_is_for_all_threads_together(journal: Journal, migrated: str) -> None:
    with block(migrated):
        for number in range(50):
            journal.append(Unit(f"t{number}", session(f"t{number}")))
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            journal.flush(0.2)
        # One after the other they would be 10 s.
        assert time.monotonic() - started < 5
        assert journal.committed_units == 0
    assert journal.flush(10) == 50
    assert len(sessions(migrated)) == 50


def test_a_full_journal_can_be_flushed(migrated: str) -> None:
    journal = Journal(Database(migrated), max_rows=5)
    with block(migrated):
        for number in range(5):
            journal.append(Unit(f"t{number}", session(f"t{number}")))
        assert journal.full
        with pytest.raises(TimeoutError):
            journal.flush(0.1)
    assert journal.flush(10) == 5


# --- beginnings ---


def value(number: int) -> Rows:
    return [("state_values", {"thread_id": "t", "id": UUID(int=number), "value": number})]


def stored(url: str) -> set[int]:
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT id FROM langgraph_persist.state_values").fetchall()
    return {id_.int for (id_,) in found}


def test_a_beginning_waits_for_its_end(journal: Journal, migrated: str) -> None:
    start = journal.begin("t", [], value(1))
    journal.commit(Unit("t", session("t"))).result(10)
    assert stored(migrated) == set()
    assert start.take() == value(1)
    assert start.take() == []
    journal.flush(10)
    assert stored(migrated) == set()


def test_what_goes_on_is_written_without_its_end(journal: Journal, migrated: str) -> None:
    journal.heartbeat.open(UUID(int=1), "t")
    journal.commit(Unit("t", session("t"))).result(10)
    start = journal.begin("t", [], value(1))
    wait_for("the beginning", lambda: stored(migrated) == {1})
    assert start.take() == []


def test_flush_writes_all_beginnings(journal: Journal, migrated: str) -> None:
    journal.append(Unit("t", session("t")))
    start = journal.begin("t", value(1), value(2))
    journal.flush(10)
    assert stored(migrated) == {1, 2}
    assert start.take() == []


def test_what_a_beginning_refers_to_is_written_before_all_that_may(
    journal: Journal, migrated: str
) -> None:
    journal.commit(Unit("t", session("t"))).result(10)
    journal.begin("t", value(1), value(2))
    assert UUID(int=1) in journal.runs.known("t").ids
    journal.commit(Unit("u", session("u"))).result(10)
    assert stored(migrated) == set()
    with block(migrated):
        waiting = journal.commit(Unit("t", [*value(3), *session("t")]))
        assert [unit.rows for unit in journal._queue] == [value(1), [*value(3), *session("t")]]
    waiting.result(10)
    assert stored(migrated) == {1, 3}


def test_what_beginnings_refer_to_has_its_place_in_the_bounds(migrated: str) -> None:
    journal = Journal(Database(migrated), max_rows=10)
    with block(migrated):
        journal.append(Unit("t", session("t")))
        journal.begin("t", [row for number in range(8) for row in value(number)], [])
        assert not journal.full
        waiting = threading.Thread(target=journal.begin, args=("t", value(8), []))
        waiting.start()
        wait_for("the bound", lambda: journal.full)
        assert journal.committed_units == 0
    waiting.join(10)
    assert not waiting.is_alive()
    journal.flush(10)
    assert stored(migrated) == {*range(9)}
    journal.close()


class block:
    """Holds the writer up by a lock on the sessions, and lets it go on at the end."""

    def __init__(self, url: str) -> None:
        self.conn = psycopg.connect(url)

    def __enter__(self) -> None:
        self.conn.execute("LOCK TABLE langgraph_persist.sessions")

    def __exit__(self, *_: object) -> None:
        self.conn.close()


def test_a_full_journal_makes_the_producer_wait(migrated: str) -> None:
    journal = Journal(Database(migrated), max_rows=10)
    done = threading.Event()

    def produce() -> None:
        for number in range(30):
            journal.append(Unit(f"t{number}", session(f"t{number}")))
        done.set()

    with block(migrated):
        thread = threading.Thread(target=produce)
        thread.start()
        assert not done.wait(0.5)
        assert journal.committed_units == 0
    thread.join(10)
    assert journal.flush(10) == 30
    assert len(sessions(migrated)) == 30
    journal.close()


def test_one_group_holds_what_waited(journal: Journal, migrated: str) -> None:
    journal.commit(Unit("first", session("first"))).result(10)
    before = journal.committed_groups
    with block(migrated):
        journal.append(Unit("t", session("t")))
        time.sleep(0.2)
        for number in range(100):
            journal.append(Unit(f"t{number}", session(f"t{number}")))
    journal.flush(10)
    assert journal.committed_groups - before <= 3
    assert len(sessions(migrated)) == 102


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_thread_that_waits_writes_by_itself(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[str] = []

    def noting(*args: Any) -> Any:
        writers.append(threading.current_thread().name)
        return write_group(*args)

    monkeypatch.setattr("langgraph_persist.journal.journal.write_group", noting)
    in_thread(lambda: journal.commit(Unit("a", session("a"))).result())
    # A signal handler may need the journal while the main thread waits, so that one never writes.
    journal.commit(Unit("b", session("b"))).result()
    assert writers == ["worker", "langgraph-persist-writer"]
    assert sessions(migrated) == {"a", "b"}


def test_what_a_thread_could_not_finish_writing_another_writes(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []

    def dying(*args: Any) -> Any:
        if not killed:
            killed.append(threading.current_thread().name)
            raise SystemExit
        return write_group(*args)

    def ends() -> None:
        with pytest.raises(SystemExit):
            journal.commit(Unit("a", session("a"))).result()

    monkeypatch.setattr("langgraph_persist.journal.journal.write_group", dying)
    in_thread(ends)
    assert killed == ["worker"]
    assert journal.flush(10) == 1
    assert sessions(migrated) == {"a"}


def test_values_too_large_for_one_statement_take_several(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.journal.write.LARGEST_DATA", 10)
    sizes = [4, 4, 4, 25, 0, 3]
    blobs = [Blob("t", "", f"c{n}", "1", "bytes", b"x" * size) for n, size in enumerate(sizes)]
    empty = Blob("t", "", "none", "1", "empty", None)
    journal.commit(Unit("t", session("t"), blobs=[*blobs, empty])).result(10)
    with psycopg.connect(migrated) as conn:
        found = conn.execute(
            "SELECT channel, blob, xmin::text FROM checkpoint_blobs ORDER BY channel"
        ).fetchall()
    assert [(channel, value) for channel, value, _ in found] == [
        *((blob.channel, blob.blob) for blob in blobs),
        ("none", None),
    ]
    assert len({transaction for *_, transaction in found}) == 1


def test_terminated_connections_are_replaced(journal: Journal, migrated: str) -> None:
    for number in range(20):
        journal.append(Unit(f"t{number}", session(f"t{number}")))
        if number % 5 == 0:
            journal.flush(10)
            terminate_others(migrated)
    journal.flush(10)
    assert len(sessions(migrated)) == 20


def test_a_connection_lost_during_a_commit_is_no_loss(journal: Journal, migrated: str) -> None:
    with block(migrated):
        future = journal.commit(Unit("t", session("t")))
        time.sleep(0.3)
        terminate_others(migrated, "INSERT")
    future.result(10)
    assert sessions(migrated) == {"t"}


def terminate_others(url: str, query: str = "") -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name = 'langgraph_persist' AND query LIKE %s",
            [f"%{query}%"],
        )


def test_closed_means_closed(migrated: str) -> None:
    journal = Journal(Database(migrated))
    journal.append(Unit("t", session("t")))
    journal.close()
    assert sessions(migrated) == {"t"}
    with pytest.raises(JournalClosed):
        journal.append(Unit("u", session("u")))


def test_one_journal_serves_all_users_of_a_database(migrated: str) -> None:
    first, second = (share(migrated, "langgraph_persist", None) for _ in range(2))
    assert first is second
    other = share(migrated, "other", None)
    assert other is not first
    release(other)
    release(first)
    second.commit(Unit("t", session("t"))).result(10)
    release(second)
    assert second.closed
    third = share(migrated, "langgraph_persist", None)
    with third.database.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    release(third)


def row(**fields: Any) -> Rows:
    return [("nodes", {"thread_id": "t", "id": UUID(int=7)} | fields)]


def test_folding_keeps_what_the_start_knew() -> None:
    group = Group(
        [
            Unit("t", row(status="running", input_data=1, state=None)),
            Unit("t", row(status="completed", input_data=None, state=2)),
        ]
    )
    ((fields),) = group.rows["nodes"].values()
    assert (fields["status"], fields["input_data"], fields["state"]) == ("completed", 1, 2)


def test_folding_writes_like_the_statements_would() -> None:
    def write(blob: bytes) -> Write:
        return Write("t", "", "c", "task", "", -1, "__error__", "bytes", blob)

    inserts = [Unit("t", writes=[write(b)]) for b in (b"1", b"2")]
    upserts = [Unit("t", writes=[write(b)], replace_writes=True) for b in (b"3", b"4")]
    group = Group(inserts + upserts)
    assert [w.blob for w in group.inserts.values()] == [b"1"]
    assert [w.blob for w in group.upserts.values()] == [b"4"]


def test_parents_are_written_before_children(migrated: str) -> None:
    """Foreign keys and the order of tables agree."""
    order = list(KEYS)
    with psycopg.connect(migrated) as conn:
        keys = conn.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
            " WHERE contype = 'f' AND connamespace = 'langgraph_persist'::regnamespace"
        ).fetchall()
    pairs = [tuple(name.partition(".")[2] for name in pair) for pair in keys]
    checked = [(child, parent) for child, parent in pairs if child in order and parent in order]
    assert checked
    assert all(order.index(parent) < order.index(child) for child, parent in checked)
