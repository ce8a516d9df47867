"""Lost processes: what they left open is found and closed, by whoever looks, once.

The processes are real, and killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.types import Command

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.journal import Unit, instance_id
from langgraph_persist.journal.instance import is_gone
from tests._reaper_worker import nested
from tests.checks import check_record_and_checkpoints_agree
from tests.graphs import Steps, approval_graph, chain_of

ROOT = Path(__file__).parent.parent
OPEN = ("workflows", "workflow_runs", "nodes", "generations", "tool_executions")


def connections(url: str) -> set[int]:
    """The backends that serve us."""
    with psycopg.connect(url) as conn:
        found = conn.execute(
            b"SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            b" AND application_name = 'langgraph_persist'"
        ).fetchall()
    return {pid for (pid,) in found}


@pytest.fixture
def kill(migrated: str) -> Iterator[Callable[[str], int]]:
    """Starts a process that runs a graph on this thread, and kills it in the midst; its pid."""

    def one(thread_id: str) -> int:
        before = connections(migrated)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests._reaper_worker", migrated, thread_id],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        deadline = time.monotonic() + 30
        while connections(migrated) - before:  # its last transaction may still be committing
            assert time.monotonic() < deadline
        return process.pid

    yield one


@pytest.fixture
def change(migrated: str) -> Callable[[str], None]:
    """Changes what is in the database, as another process would."""

    def execute(sql: str) -> None:
        with psycopg.connect(migrated) as conn:
            conn.execute("SET search_path = langgraph_persist, public")
            conn.execute(sql.encode())

    return execute


@pytest.fixture
def elsewhere(change: Callable[[str], None]) -> Callable[[], None]:
    """Makes all runs those of another machine, whose processes nobody here can look for."""
    return lambda: change("UPDATE workflow_runs SET instance_id = 'elsewhere:1@boot.1.1'")


@pytest.fixture
def age(change: Callable[[str], None]) -> Callable[[], None]:
    """Lets more than a minute pass since the last heartbeat."""
    past = "heartbeat_at = now() - interval '61 seconds'"
    return lambda: change(f"UPDATE workflow_runs SET {past} WHERE status = 'running'")


@pytest.fixture
def statuses(rows: Any) -> Callable[[], dict[str, set[str]]]:
    return lambda: {t: {r["status"] for r in rows(f"SELECT status FROM {t}")} for t in OPEN}


LOST = {
    "workflows": {"failed"},
    "workflow_runs": {"failed"},
    "nodes": {"completed", "failed"},
    "generations": {"failed"},
    "tool_executions": {"failed"},
}
RUNNING = {table: {"running"} for table in OPEN} | {"nodes": {"completed", "running"}}


# --- found and closed ---


def test_opening_closes_what_a_killed_process_left(
    kill: Any, migrated: str, rows: Any, statuses: Any
) -> None:
    pid = kill("t")
    assert statuses() == RUNNING
    with Persist(migrated):
        pass
    assert statuses() == LOST
    for table in OPEN:
        closed = rows(f"SELECT * FROM {table} WHERE status = 'failed'")
        assert {row["error_type"] for row in closed} == {"ProcessLost"}
        assert all(row["error_message"].startswith("process lost: ") for row in closed)
        assert all(f":{pid}@" in row["error_message"] for row in closed)
        assert all(row["completed_at"] >= row["started_at"] for row in closed)
    nodes = {n["node_name"]: n["status"] for n in rows("SELECT * FROM nodes")}
    assert nodes == {"a": "completed", "sub": "failed", "i": "completed", "stuck": "failed"}
    (workflow,) = rows("SELECT * FROM workflows")
    assert (workflow["node_count"], workflow["generation_count"]) == (4, 1)
    check_record_and_checkpoints_agree(migrated)


def test_another_machines_run_is_lost_by_its_heartbeat(
    kill: Any, elsewhere: Any, age: Any, persist: Persist, statuses: Any
) -> None:
    kill("t")
    elsewhere()
    assert persist.reap().runs == []
    assert statuses() == RUNNING
    age()
    (lost,) = persist.reap().runs
    assert (lost.thread_id, lost.instance_id) == ("t", "elsewhere:1@boot.1.1")
    assert statuses() == LOST
    assert persist.reap() == ([], [], [])


def test_the_thread_is_resumed_where_it_was(
    kill: Any, migrated: str, rows: Any, elsewhere: Any, age: Any
) -> None:
    with Persist(migrated) as persist:
        kill("t")
        elsewhere()
        age()
        graph = persist.attach(nested().compile(checkpointer=persist.checkpointer))
        result = asyncio.run(graph.ainvoke(None, persist.config("t", user="carol")))
        assert result["log"].count("stuck") == 1
        workflow = persist.history.last()
        assert [(r.kind, r.status, r.error_type) for r in workflow.runs] == [
            ("start", "failed", "ProcessLost"),
            ("resume", "completed", None),
        ]
    (row,) = rows("SELECT * FROM workflows")
    assert (row["status"], row["error_type"]) == ("completed", None)
    assert row["active_ms"] < row["duration_ms"]
    assert not rows("SELECT 1 FROM nodes WHERE status = 'running'")
    orders = rows("SELECT execution_order FROM nodes ORDER BY 1")
    assert [o["execution_order"] for o in orders] == [*range(1, len(orders) + 1)]
    check_record_and_checkpoints_agree(migrated)


def test_a_new_turn_closes_what_the_thread_left(
    kill: Any, migrated: str, rows: Any, statuses: Any
) -> None:
    with Persist(migrated) as persist:
        kill("t")
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        persist.flush()
        found = rows("SELECT status, error_type FROM workflows ORDER BY turn")
        assert [tuple(f.values()) for f in found] == [
            ("failed", "ProcessLost"),
            ("completed", None),
        ]
        assert not rows("SELECT 1 FROM generations WHERE status = 'running'")


def test_many_reapers_close_it_once(kill: Any, migrated: str, rows: Any, statuses: Any) -> None:
    opened = [Persist(migrated, schema="langgraph_persist").open()]
    for thread_id in ("t", "u", "v"):
        kill(thread_id)
    code = "import sys; from langgraph_persist import Persist; Persist(sys.argv[1]).open().close()"
    others = [subprocess.Popen([sys.executable, "-c", code, migrated], cwd=ROOT) for _ in range(3)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: opened[0].reap(), range(8)))
    assert [other.wait(60) for other in others] == [0, 0, 0]
    opened[0].close()
    assert statuses() == LOST
    counts = rows("SELECT count(*) AS n FROM workflow_runs WHERE error_type = 'ProcessLost'")
    assert counts == [{"n": 3}]


def test_what_waits_for_a_human_still_does(
    persist: Persist, rows: Any, age: Any, elsewhere: Any, change: Any
) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    # As if the process had been lost between the interrupt and the end of its run.
    change("UPDATE workflow_runs SET status = 'running'")
    change("UPDATE workflows SET status = 'running'")
    elsewhere()
    age()
    assert len(persist.reap().runs) == 1
    assert rows("SELECT status FROM hitl_events") == [{"status": "pending"}]
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert rows("SELECT status FROM hitl_events") == [{"status": "completed"}]
    assert rows("SELECT status, error_type FROM workflows") == [
        {"status": "completed", "error_type": None}
    ]


def test_a_reaper_needs_patience(persist: Persist) -> None:
    with pytest.raises(ConfigurationError, match="at least twice"):
        persist.reap(timedelta(seconds=5))


# --- slow, but alive ---


class Gate:
    """A node that waits to be let on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, state: Steps) -> Steps:
        self.reached.set()
        assert self.open.wait(60)
        return {"log": ["gate"]}


@pytest.fixture
def gated(persist: Persist) -> Iterator[tuple[Gate, threading.Thread]]:
    """A run that waits in its second node, and is heard of only when a test wants it."""
    persist.checkpointer.journal.heartbeat.interval = 3600
    gate = Gate()
    builder = chain_of(["a"])
    builder.add_node("gate", gate)
    builder.add_edge("a", "gate")
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_edge("gate", "b")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    running = threading.Thread(target=graph.invoke, args=({"count": 0}, persist.config("t")))
    running.start()
    assert gate.reached.wait(60)
    persist.flush()
    yield gate, running
    gate.open.set()
    running.join()


def test_the_end_of_a_process_that_was_only_slow_wins(
    persist: Persist, gated: Any, rows: Any, age: Any
) -> None:
    gate, running = gated
    age()
    assert len(persist.reap().runs) == 1
    assert rows("SELECT status, error_type FROM workflows") == [
        {"status": "failed", "error_type": "ProcessLost"}
    ]
    gate.open.set()
    running.join()
    for table in ("workflows", "workflow_runs", "nodes"):
        found = rows(f"SELECT status, error_type, error_message FROM {table}")
        assert {tuple(f.values()) for f in found} == {("completed", None, None)}
    assert len(rows("SELECT 1 FROM nodes")) == 3


def test_a_late_heartbeat_takes_the_run_up_again(
    persist: Persist, gated: Any, rows: Any, age: Any
) -> None:
    age()
    assert len(persist.reap().runs) == 1
    journal = persist.checkpointer.journal
    journal.heartbeat._next = 0  # as of a process that was stopped for a while
    journal.commit(Unit("other", [("sessions", {"thread_id": "other"})])).result(30)
    for table in ("workflows", "workflow_runs"):
        assert rows(f"SELECT status, error_type, completed_at FROM {table}") == [
            {"status": "running", "error_type": None, "completed_at": None}
        ]
    assert persist.reap().runs == []
    age()
    assert len(persist.reap().runs) == 1


def test_a_run_that_is_heard_of_meanwhile_is_left_alone(
    persist: Persist, gated: Any, rows: Any, age: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and closing, the process may beat."""
    age()
    journal = persist.checkpointer.journal
    find = journal.reaper._find

    def beat_after(*args: Any) -> Any:
        found = find(*args)
        journal.heartbeat._next = 0
        journal.commit(Unit("other", [("sessions", {"thread_id": "other"})])).result(30)
        return found

    monkeypatch.setattr(journal.reaper, "_find", beat_after)
    persist.reap()
    assert rows("SELECT status FROM workflow_runs") == [{"status": "running"}]


def test_what_is_being_written_is_not_taken_for_lost(
    persist: Persist, gated: Any, rows: Any, age: Any, migrated: str
) -> None:
    """A transaction of the process that is still open has a key on the workflow's row."""
    age()
    with psycopg.connect(migrated) as conn:
        conn.execute(
            b"SELECT 1 FROM langgraph_persist.workflows WHERE thread_id = 't' FOR KEY SHARE"
        )
        persist.reap()
        assert rows("SELECT status FROM workflow_runs") == [{"status": "running"}]
    persist.reap()
    assert rows("SELECT status FROM workflow_runs") == [{"status": "failed"}]


# --- heartbeats ---


def test_an_idle_writer_beats(persist: Persist, gated: Any, rows: Any) -> None:
    journal = persist.checkpointer.journal
    with journal._lock:
        journal.heartbeat.interval, journal.heartbeat._next = 0.02, 0.0
        journal._wake.notify()
    seen: set[Any] = set()
    deadline = time.monotonic() + 30
    while len(seen) < 3 and time.monotonic() < deadline:
        seen |= {r["heartbeat_at"] for r in rows("SELECT heartbeat_at FROM workflow_runs")}
    assert len(seen) >= 3


def test_a_heartbeat_goes_along_with_what_is_written(
    persist: Persist, gated: Any, rows: Any
) -> None:
    journal = persist.checkpointer.journal
    (before,) = rows("SELECT heartbeat_at FROM workflow_runs")
    with journal._lock:
        journal.heartbeat._next = 0
        unit = Unit("other", [("sessions", {"thread_id": "other"})])
        receipt = journal.commit(unit)
    receipt.result(30)
    (after,) = rows("SELECT heartbeat_at FROM workflow_runs")
    assert after["heartbeat_at"] > before["heartbeat_at"]
    # Times are those of the transaction.
    assert rows("SELECT created_at FROM sessions WHERE thread_id = 'other'") == [
        {"created_at": after["heartbeat_at"]}
    ]


def test_nothing_is_written_where_nothing_runs(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    journal = persist.checkpointer.journal
    assert journal.heartbeat.rows() == []
    before = rows("SELECT xmin::text FROM workflow_runs")
    with journal._lock:
        journal.heartbeat._next = 0
        journal._wake.notify()
    deadline = time.monotonic() + 30
    while journal.heartbeat.patience <= 0:
        assert time.monotonic() < deadline
    assert journal.heartbeat.patience > 1_000_000
    assert rows("SELECT xmin::text FROM workflow_runs") == before


def test_a_run_is_heard_of_by_the_servers_clock(persist: Persist, gated: Any, rows: Any) -> None:
    """So that hosts with wrong clocks lose nothing."""
    (run,) = rows("SELECT heartbeat_at = created_at AS same FROM workflow_runs")
    assert run["same"]


async def test_an_abandoned_call_is_closed_by_the_writer(persist: Persist, rows: Any) -> None:
    from tests.test_endings import slow_model

    journal = persist.checkpointer.journal
    journal.heartbeat.interval = 0.02
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow_model.ainvoke("hi", {"callbacks": [persist.handler]}), 0.05)
    deadline = time.monotonic() + 30
    status: list[Any] = []
    while status != [{"status": "cancelled"}] and time.monotonic() < deadline:
        status = await asyncio.to_thread(rows, "SELECT status FROM workflow_runs")
    assert status == [{"status": "cancelled"}]
    assert journal.heartbeat.rows() == []


def test_a_failing_heartbeat_fails_no_run(
    persist: Persist, gated: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, running = gated
    journal = persist.checkpointer.journal
    tried = threading.Event()
    commit = journal._commit

    def failing(group: Any, attempt: Any) -> Any:
        if not group.rows:  # nothing but heartbeats
            tried.set()
            raise psycopg.OperationalError("gone")
        return commit(group, attempt)

    monkeypatch.setattr(journal, "_commit", failing)
    with journal._lock:
        journal.heartbeat._next = 0
        journal._wake.notify()
    assert tried.wait(30)
    gate.open.set()
    running.join()
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


# --- forks ---


def test_a_forked_child_leaves_its_parents_runs_alone(
    persist: Persist, gated: Any, rows: Any, statuses: Any, migrated: str
) -> None:
    code = f"""
import os, sys, warnings
from langgraph_persist import Persist
from tests.graphs import chain_of
from tests._reaper_worker import nested
import asyncio
persist = Persist({migrated!r})
graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
stream = graph.stream({{"count": 0}}, persist.config("parent"))
next(stream)
persist.flush()
pid = os.fork()
if pid == 0:
    journal = persist.checkpointer.journal
    assert journal.heartbeat.rows() == []
    assert persist.reap().runs == []
    hanging = persist.attach(nested({migrated!r}).compile(checkpointer=persist.checkpointer))
    asyncio.run(hanging.ainvoke({{"count": 0}}, persist.config("child")))
os.write(1, f"{{pid}}\\n".encode())
assert sys.stdin.readline() == "reap\\n"
os.waitpid(pid, 0)
print([run.thread_id for run in persist.reap().runs], flush=True)
list(stream)
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    said = {process.stdout.readline().strip() for _ in range(2)}
    (pid,) = said - {"stuck"}
    os.kill(int(pid), signal.SIGKILL)
    wait_for = time.monotonic() + 30
    while len(rows("SELECT 1 FROM workflow_runs WHERE thread_id = 'child'")) < 1:
        assert time.monotonic() < wait_for
    process.stdin.write("reap\n")
    process.stdin.flush()
    said_last, _ = process.communicate(timeout=60)
    assert (said_last, process.returncode) == ("['child']\n", 0)
    ends = {r["thread_id"]: r["status"] for r in rows("SELECT thread_id, status FROM workflows")}
    assert ends == {"parent": "completed", "child": "failed", "t": "running"}


# --- which process it was ---


def test_this_process_is_not_gone() -> None:
    assert not is_gone(instance_id())
    assert f":{os.getpid()}@" in instance_id()


def ended_instance(reaped: bool) -> str:
    code = "from langgraph_persist.journal import instance_id; print(instance_id(), flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "; input()"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    instance = process.stdout.readline().strip()
    assert not is_gone(instance)
    process.kill()
    if reaped:
        process.communicate()
    else:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(instance)
        process.communicate()
    return instance


@pytest.mark.parametrize("reaped", [True, False])
def test_an_ended_process_is_gone(reaped: bool) -> None:
    """A zombie is, too: nobody may have waited for it."""
    assert is_gone(ended_instance(reaped))


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (lambda i: i, False),
        (lambda i: i[:-1] + str((int(i[-1]) + 1) % 10), True),  # the same id, given again
        (lambda i: i.replace("@", "@other"), False),  # another machine or container
        (lambda i: i.partition("@")[0], False),
        (lambda i: "host:99999999999999999999@" + i.partition("@")[2], False),
        (lambda i: None, False),
        (lambda i: "", False),
    ],
)
def test_what_is_known_of_an_instance(change: Any, gone: bool) -> None:
    assert is_gone(change(instance_id())) is gone


# --- requests ---


def test_requests_expire(persist: Persist, rows: Any, change: Any) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    graph.invoke({"count": 0}, persist.config("u"))
    change("UPDATE hitl_events SET timeout_at = now() - interval '1 s' WHERE thread_id = 't'")
    change("UPDATE hitl_events SET timeout_at = now() + interval '1 h' WHERE thread_id = 'u'")
    (expired,) = persist.reap().requests
    assert expired.thread_id == "t"
    assert persist.reap().requests == []
    found = rows("SELECT thread_id, status FROM hitl_events ORDER BY 1")
    assert [tuple(f.values()) for f in found] == [("t", "timeout"), ("u", "pending")]
    # LangGraph knows no timeout: who answers late still answers.
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert rows("SELECT status FROM hitl_events WHERE thread_id = 't'") == [{"status": "completed"}]


def test_requests_expire_after_the_time_given(migrated: str, rows: Any) -> None:
    with Persist(migrated, hitl_timeout=timedelta(hours=2)) as persist:
        graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
    (event,) = rows("SELECT timeout_at - requested_at AS time FROM hitl_events")
    assert event["time"] == timedelta(hours=2)


def test_opening_ends_what_has_expired(migrated: str, rows: Any, change: Any) -> None:
    with Persist(migrated, hitl_timeout=timedelta(hours=2)) as persist:
        graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
    change("UPDATE hitl_events SET timeout_at = now()")
    with Persist(migrated):
        pass
    assert rows("SELECT status FROM hitl_events") == [{"status": "timeout"}]


def test_opening_does_not_need_to_find_anything(migrated: str, change: Any) -> None:
    """A table that is locked or missing is no reason not to open."""
    change("ALTER TABLE hitl_events RENAME COLUMN timeout_at TO hidden")
    try:
        with Persist(migrated) as persist:
            assert persist.history.workflows() == []
    finally:
        change("ALTER TABLE hitl_events RENAME COLUMN hidden TO timeout_at")
