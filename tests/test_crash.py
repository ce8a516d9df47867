"""Killed processes, forks and sudden exits: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from langgraph_persist import Persist
from tests._crash_worker import note_checkpoints
from tests.checks import check_record_and_checkpoints_agree, query, wait_for_queries_to_end
from tests.graphs import chain_of

# Newer Pythons warn of every fork in a process with threads.
QUIET = ["-W", "ignore::DeprecationWarning"]
ROOT = Path(__file__).parent.parent
NODES = ["a", "b", "c", "d", "e"]


def worker(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *QUIET, "-m", "tests._crash_worker", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_each_checkpoint_is_noted_once(url: str) -> None:
    noted, checkpoints = (
        sorted(
            (row["thread_id"], row["checkpoint_id"])
            for row in query(url, f"SELECT thread_id, checkpoint_id FROM {table}")
        )
        for table in ("noted", "checkpoints")
    )
    assert noted == checkpoints


def killed_amid_runs(url: str, how: str) -> set[str]:
    """The threads whose runs returned before their process was killed."""
    process = worker("many", url, "200", "8", how)
    assert process.stdout is not None
    returned = {process.stdout.readline().strip() for _ in range(random.randint(5, 60))}
    process.send_signal(signal.SIGKILL)
    returned |= {line.strip() for line in process.stdout if line.endswith("\n")}
    process.communicate()
    wait_for_queries_to_end(url)
    return returned


@pytest.mark.parametrize("round_", range(3))
def test_sigkill_amid_200_runs(migrated_anew: str, round_: int) -> None:
    with psycopg.connect(migrated_anew) as conn:
        conn.execute("CREATE TABLE noted (thread_id text, checkpoint_id text)")
    returned = killed_amid_runs(migrated_anew, "recorded")

    check_record_and_checkpoints_agree(migrated_anew)
    done = query(migrated_anew, "SELECT thread_id FROM workflows WHERE status = 'completed'")
    assert returned <= {row["thread_id"] for row in done}
    threads = {
        row["thread_id"] for row in query(migrated_anew, "SELECT thread_id FROM checkpoints")
    }
    assert len(returned) <= len(threads) < 200
    check_each_checkpoint_is_noted_once(migrated_anew)
    with Persist(migrated_anew) as persist:
        note_checkpoints(persist)
        graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))
        for thread_id in sorted(threads):
            state = graph.get_state(persist.config(thread_id))
            assert state.values["log"] == NODES[: len(state.values["log"])]
            if state.next:
                assert graph.invoke(None, persist.config(thread_id))["log"] == NODES
    check_record_and_checkpoints_agree(migrated_anew)
    check_each_checkpoint_is_noted_once(migrated_anew)


@pytest.mark.parametrize("round_", range(3))
def test_sigkill_amid_runs_that_nobody_records(migrated_anew: str, round_: int) -> None:
    with psycopg.connect(migrated_anew) as conn:
        conn.execute("CREATE TABLE noted (thread_id text, checkpoint_id text)")
    returned = killed_amid_runs(migrated_anew, "bare")

    check_each_checkpoint_is_noted_once(migrated_anew)
    with Persist(migrated_anew) as persist:
        note_checkpoints(persist)
        graph = chain_of(NODES).compile(checkpointer=persist.checkpointer)
        found = {t.config["configurable"]["thread_id"] for t in persist.checkpointer.list(None)}
        assert returned <= found
        for thread_id in sorted(found):
            state = graph.get_state(persist.config(thread_id))
            assert state.values["log"] == NODES[: len(state.values["log"])]
            assert thread_id not in returned or state.next == ()
            if state.next:
                assert graph.invoke(None, persist.config(thread_id))["log"] == NODES
    check_each_checkpoint_is_noted_once(migrated_anew)


@pytest.mark.parametrize(
    ("how", "code"), [("return", 0), ("os._exit", 0), ("queued", 0), ("raise", 3)]
)
def test_exit_without_close_loses_nothing(migrated_anew: str, how: str, code: int) -> None:
    process = worker("finish", migrated_anew, how)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, "")
    done = query(migrated_anew, "SELECT status, node_count FROM workflows WHERE thread_id = 'done'")
    assert done == [{"status": "completed", "node_count": 5}]
    check_record_and_checkpoints_agree(migrated_anew)
    if how == "queued":
        assert query(migrated_anew, "SELECT 1 FROM checkpoints WHERE thread_id = 'open'")


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_fork_after_first_use(migrated_anew: str, when: str) -> None:
    process = worker("fork", migrated_anew, when)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    returned = set(output.split())
    assert {f"{who}-{n}" for who in ("parent", "child") for n in range(5)} <= returned
    done = query(migrated_anew, "SELECT thread_id FROM workflows WHERE status = 'completed'")
    assert returned <= {row["thread_id"] for row in done}
    check_record_and_checkpoints_agree(migrated_anew)
