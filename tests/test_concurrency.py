"""Many threads, many tasks, two processes: no starvation, no deadlock, no corruption."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist
from tests.graphs import chain_of

NODES = ["a", "b"]


def completed(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT count(*) FROM langgraph_persist.workflows w WHERE status = 'completed'"
            " AND node_count = 2 AND (SELECT count(*) FROM checkpoints c"
            " WHERE c.thread_id = w.thread_id AND c.workflow_id = w.id) = 4"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_64_threads_on_a_pool_of_10(migrated: str) -> None:
    with (
        ConnectionPool(migrated, min_size=1, max_size=10, open=True, timeout=20) as pool,
        Persist(pool) as persist,
    ):
        graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))

        def one(number: int) -> None:
            assert graph.invoke({"count": 0}, persist.config(f"t{number}"))["count"] == 2
            assert graph.get_state(persist.config(f"t{number}")).values["count"] == 2

        with ThreadPoolExecutor(64) as executor:
            list(executor.map(one, range(192)))
    assert completed(migrated) == 192


async def test_500_concurrent_ainvokes_on_a_pool_of_10(migrated: str) -> None:
    async with Persist(migrated) as persist:
        graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))

        async def one(number: int) -> Any:
            return await graph.ainvoke({"count": 0}, persist.config(f"t{number}"))

        results = await asyncio.gather(*[one(number) for number in range(500)])
        assert all(result["count"] == 2 for result in results)
    assert completed(migrated) == 500


def test_a_connection_of_the_users_own_under_threads(migrated: str) -> None:
    with psycopg.connect(migrated, autocommit=True) as conn, Persist(conn) as persist:
        graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))
        with ThreadPoolExecutor(16) as executor:
            list(
                executor.map(
                    lambda n: graph.invoke({"count": 0}, persist.config(f"t{n}")), range(48)
                )
            )
    assert completed(migrated) == 48


def test_two_processes_on_one_thread_do_not_corrupt_it(migrated_anew: str) -> None:
    database = migrated_anew
    script = textwrap.dedent(
        """
        import sys
        from langgraph_persist import Persist
        from tests.graphs import chain_of
        with Persist(sys.argv[1]) as persist:
            graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
            for number in range(25):
                graph.invoke({"count": 0}, persist.config("same", user="alice"))
        """
    )
    root = Path(__file__).parent.parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, database],
            env={**os.environ, "PYTHONPATH": str(root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert ends == [("", 0)] * 3
    with Persist(database) as persist:
        workflows = persist.history.workflows(thread="same", limit=100)
        assert sorted(w.turn for w in workflows) == list(range(1, 76))
        assert {w.status for w in workflows} == {"completed"}
        graph = chain_of(NODES).compile(checkpointer=persist.checkpointer)
        history = [*graph.get_state_history(persist.config("same"))]
        assert len(history) == 75 * 4
        assert all(state.values.get("count") in (None, 0, 1, 2) for state in history)
        assert graph.invoke({"count": 0}, persist.config("same"))["count"] == 2


def test_no_two_processes_wait_for_each_other(migrated: str) -> None:
    """Whoever runs, for an organization or none, on threads of its own or on those of all."""
    script = textwrap.dedent(
        """
        import sys
        from concurrent.futures import ThreadPoolExecutor
        import psycopg
        from langgraph_persist import Persist
        from langgraph_persist.journal import journal
        from tests.graphs import chain_of

        write_group = journal.write_group

        def watched(*args):
            try:
                return write_group(*args)
            except psycopg.errors.DeadlockDetected as error:
                sys.stderr.write(f"{error}\\n")
                raise

        journal.write_group = watched

        def one(worker):
            for number in range(20):
                whose = {} if worker % 2 else {"organization": f"acme-{number}"}
                thread = f"own-{sys.argv[2]}-{worker}" if number % 2 else f"all-{number}"
                config = persist.config(thread, user=f"user-{worker}-{number}", **whose)
                graph.invoke({"count": 0}, config)

        with Persist(sys.argv[1]) as persist, ThreadPoolExecutor(2) as pool:
            graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
            list(pool.map(one, range(2)))
        """
    )
    root = Path(__file__).parent.parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, migrated, str(number)],
            env={**os.environ, "PYTHONPATH": str(root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in processes]
    assert ends == [("", 0)] * 4
    with psycopg.connect(migrated) as conn:
        found = conn.execute("SELECT status FROM langgraph_persist.workflows").fetchall()
    assert found == [("completed",)] * 160


def test_reads_go_on_while_the_writer_waits(migrated: str) -> None:
    """Stock holds one lock around every statement; here a blocked write blocks no read."""
    with Persist(migrated) as persist:
        graph = chain_of(NODES).compile(checkpointer=persist.checkpointer)
        graph.invoke({"count": 0}, persist.config("read"))
        with psycopg.connect(migrated) as blocker, ThreadPoolExecutor(1) as executor:
            blocker.execute("LOCK TABLE checkpoint_blobs IN EXCLUSIVE MODE")
            write = executor.submit(graph.invoke, {"count": 0}, persist.config("write"))
            for _ in range(20):
                assert graph.get_state(persist.config("read")).values["count"] == 2
            assert not write.done()
            blocker.rollback()
            assert write.result(30)["count"] == 2
