"""Who takes part: checkpointers, handlers, and how to count what they kept of a round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from langgraph_persist import Persist, PersistSaver
from tests.benchmarks.measure import stored
from tests.benchmarks.tracers import TRACERS, Tracer
from tests.benchmarks.workloads import Workload

POOL = 10
CONNECTING = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}

CHECKPOINTS = """
SELECT (SELECT count(*) FROM checkpoints WHERE starts_with(thread_id, %(prefix)s)),
    (SELECT count(*) FROM checkpoint_writes WHERE starts_with(thread_id, %(prefix)s))
"""
RECORD = """
SELECT count(*), coalesce(sum(node_count), 0)::bigint,
    (SELECT count(*) FROM langgraph_persist.nodes
     WHERE starts_with(thread_id, %(prefix)s) AND status = 'completed' AND state IS NOT NULL),
    (SELECT count(*) FROM langgraph_persist.generations
     WHERE starts_with(thread_id, %(prefix)s) AND status = 'completed')
FROM langgraph_persist.workflows
WHERE starts_with(thread_id, %(prefix)s) AND status = 'completed'
"""


@dataclass(frozen=True)
class Expected:
    """What a conversation must leave behind: as many checkpoints and writes as in memory."""

    checkpoints: int
    writes: int
    workload: Workload


@dataclass
class Surroundings:
    """What a contender is opened with; ``runner`` where its graphs run on an event loop."""

    url: str
    direct_url: str
    concurrency: int
    stack: ExitStack
    runner: asyncio.Runner | None


@dataclass
class Contender:
    """A checkpointer and callbacks; ``lost`` tells what is missing of a round, if anything."""

    saver: BaseCheckpointSaver[Any] | None
    callbacks: Sequence[BaseCallbackHandler] = ()
    attach: Callable[[Any], Any] = field(default=lambda graph: graph)
    finish: Callable[[], Any] = lambda: None
    lost: Callable[[str, int, Expected], str | None] = lambda prefix, jobs, expected: None
    stored: Callable[[str], float] = lambda prefix: 0

    def compile(self, workload: Workload) -> Runnable[Any, Any]:
        graph = workload.build().compile(checkpointer=self.saver)
        if self.callbacks:
            graph = graph.with_config(callbacks=list(self.callbacks))
        return self.attach(graph)  # type: ignore[no-any-return]


Opener: TypeAlias = Callable[[Surroundings], Contender]


def _none(at: Surroundings) -> Contender:
    return Contender(None)


def _memory(at: Surroundings) -> Contender:
    saver = InMemorySaver()

    def lost(prefix: str, jobs: int, expected: Expected) -> str | None:
        threads = [name for name in saver.storage if name.startswith(prefix)]
        found = sum(len(ns) for name in threads for ns in saver.storage[name].values())
        for name in () if expected.workload.read else threads:
            saver.delete_thread(name)
        return _differ("checkpoints", found, jobs * expected.checkpoints)

    return Contender(saver, lost=lost)


def _stock(at: Surroundings) -> Contender:
    saver = _stock_saver(at) if at.runner is None else _async_stock_saver(at, at.runner)
    return _on_database(at, Contender(saver))


def _stock_saver(at: Surroundings) -> PostgresSaver:
    pool = at.stack.enter_context(
        ConnectionPool(
            at.url,
            connection_class=psycopg.Connection[DictRow],
            min_size=min(at.concurrency, POOL),
            max_size=POOL,
            kwargs=CONNECTING,
        )
    )
    saver = PostgresSaver(pool)
    saver.setup()
    return saver


def _async_stock_saver(at: Surroundings, runner: asyncio.Runner) -> AsyncPostgresSaver:
    async def open_pool() -> AsyncPostgresSaver:
        pool = await stack.enter_async_context(
            AsyncConnectionPool(
                at.url,
                connection_class=psycopg.AsyncConnection[DictRow],
                min_size=min(at.concurrency, POOL),
                max_size=POOL,
                kwargs=CONNECTING,
                open=False,
            )
        )
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        return saver

    stack = AsyncExitStack()
    at.stack.callback(lambda: runner.run(stack.aclose()))
    return runner.run(open_pool())


def _saver(at: Surroundings) -> Contender:
    saver = PersistSaver(at.url)
    at.stack.callback(saver.close)
    saver.setup()
    return _on_database(at, Contender(saver))


def _record(at: Surroundings) -> Contender:
    persist = at.stack.enter_context(Persist(at.url))
    found = _on_database(at, Contender(persist.checkpointer, attach=persist.attach))
    checkpoints = found.lost

    def lost(prefix: str, jobs: int, expected: Expected) -> str | None:
        if lacking := checkpoints(prefix, jobs, expected):
            return lacking
        turns = jobs * expected.workload.turns
        nodes, generations = turns * expected.workload.nodes, turns * expected.workload.generations
        wanted = (turns, nodes, nodes, generations)
        with psycopg.connect(at.direct_url) as conn:
            row = conn.execute(RECORD, {"prefix": prefix}).fetchone()
        return _differ("workflows, their nodes, nodes, generations", row, wanted)

    found.lost = lost
    return found


def _traced(open_tracer: Callable[[ExitStack], Tracer]) -> Opener:
    def opener(at: Surroundings) -> Contender:
        tracer = open_tracer(at.stack)
        found = _stock(at)
        checkpoints = found.lost

        def lost(prefix: str, jobs: int, expected: Expected) -> str | None:
            wanted = jobs * expected.workload.turns * expected.workload.spans
            lacking = _differ("spans", tracer.spans(), wanted)
            return lacking or checkpoints(prefix, jobs, expected)

        found.callbacks, found.finish, found.lost = [tracer.handler], tracer.finish, lost
        return found

    return opener


def _on_database(at: Surroundings, contender: Contender) -> Contender:
    """Count the rows and bytes of a contender that keeps checkpoints in its database."""

    def lost(prefix: str, jobs: int, expected: Expected) -> str | None:
        wanted = jobs * expected.checkpoints, jobs * expected.writes
        with psycopg.connect(at.direct_url) as conn:
            row = conn.execute(CHECKPOINTS, {"prefix": prefix}).fetchone()
        return _differ("checkpoints, writes", row, wanted)

    def bytes_of(prefix: str) -> float:
        with psycopg.connect(at.direct_url) as conn:
            return stored(conn, prefix)

    contender.lost, contender.stored = lost, bytes_of
    return contender


def _differ(what: str, found: Any, wanted: Any) -> str | None:
    return None if found == wanted else f"{what}: {found} instead of {wanted}"


CONTENDERS: dict[str, tuple[str, Opener]] = {
    "none": ("no checkpointer", _none),
    "memory": ("InMemorySaver", _memory),
    "stock": ("stock PostgresSaver", _stock),
    "saver": ("PersistSaver", _saver),
    "record": ("PersistSaver and record", _record),
    "langfuse": ("stock and Langfuse", _traced(TRACERS["langfuse"])),
    "mlflow": ("stock and MLflow", _traced(TRACERS["mlflow"])),
    "openinference": ("stock and OpenInference", _traced(TRACERS["openinference"])),
}
