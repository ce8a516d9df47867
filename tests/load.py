"""Runs under way while something happens to their connections."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal

import psycopg

from langgraph_persist import Persist
from tests.checks import check_record_and_checkpoints_agree, query
from tests.graphs import chain_of
from tests.servers import wait_for

NODES = ["a", "b", "c", "d", "e"]
PATIENCE = 60
DURABILITIES: list[Literal["async", "sync", "exit"]] = ["async", "sync", "exit"]


def terminate(url: str) -> int:
    """End all other connections of the database; how many there were."""
    sql = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'terminate'"
    )
    with psycopg.connect(url, autocommit=True, application_name="terminate") as conn:
        return len(conn.execute(sql.encode()).fetchall())


class Load:
    """Runs turn after turn on threads of its own until it is stopped; counts what returned."""

    def __init__(self, persist: Persist, workers: int = 4) -> None:
        builder = chain_of(NODES, seconds=0.001)
        self.persist = persist
        self.graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        self.returned: Counter[str] = Counter()
        self._threads = [f"thread-{n}" for n in range(workers)]
        self._runs: list[Future[None]] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self, mode: str) -> Iterator[None]:
        """Runs go on, in threads or on an event loop, while the block does; none may fail."""
        with ThreadPoolExecutor(len(self._threads)) as pool:
            if mode == "sync":
                self._runs = [pool.submit(self._turns, each) for each in self._threads]
            else:
                self._runs = [pool.submit(asyncio.run, self._gathered())]
            try:
                yield
            finally:
                self._stop.set()
                for run in self._runs:
                    run.result(PATIENCE)

    def wait_for_turns(self, count: int) -> None:
        """Returns when so many more turns have returned."""
        target = self.returned.total() + count
        wait_for(f"{count} more turns", lambda: self.ended or self.returned.total() >= target)

    def end_connections(self, url: str, count: int) -> None:
        """Ends the database's connections at random moments until it were so many."""
        ended = 0
        while ended < count and not self.ended:
            time.sleep(random.uniform(0, 0.05))
            ended += terminate(url)

    @property
    def ended(self) -> bool:
        """Whether a run has failed, which leaving :meth:`running` tells of."""
        return any(run.done() for run in self._runs)

    def check(self, url: str) -> None:
        """What returned is there, once each, with the record of every turn and node."""
        check_record_and_checkpoints_agree(url)
        turns = query(url, "SELECT thread_id, turn, status, node_count FROM workflows")
        by_thread = {
            t: sorted(r["turn"] for r in turns if r["thread_id"] == t) for t in self._threads
        }
        assert by_thread == {t: [*range(1, self.returned[t] + 1)] for t in self._threads}
        assert {(r["status"], r["node_count"]) for r in turns} == {("completed", len(NODES))}
        nodes = query(url, "SELECT count(*) AS n FROM nodes")
        assert nodes == [{"n": len(NODES) * len(turns)}]
        assert query(url, "SELECT * FROM workflow_runs WHERE attempt <> 1") == []
        for thread_id in self._threads:
            state = self.graph.get_state(self.persist.config(thread_id))
            assert state.values["log"] == NODES * self.returned[thread_id]

    def _turns(self, thread_id: str) -> None:
        while not self._stop.is_set():
            durability = random.choice(DURABILITIES)
            self.graph.invoke({"count": 0}, self.persist.config(thread_id), durability=durability)
            self.returned[thread_id] += 1

    async def _gathered(self) -> None:
        await asyncio.gather(*map(self._async_turns, self._threads))

    async def _async_turns(self, thread_id: str) -> None:
        while not self._stop.is_set():
            durability = random.choice(DURABILITIES)
            await self.graph.ainvoke(
                {"count": 0}, self.persist.config(thread_id), durability=durability
            )
            self.returned[thread_id] += 1
