"""What persistence costs: five sequential nodes with small state, with and without it.

    make bench
    python -m tests.benchmarks.sequential --threads 32

The contenders take turns round by round, on one server, so that a busy machine slows all of them
alike; the table gives the median of the rounds. After each round the rows are counted: a run that
lost a checkpoint or a node ends the benchmark.
"""

from __future__ import annotations

import argparse
import operator
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import psycopg
from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist
from langgraph_persist.database.embedded import start_embedded

NODES = 5
CHECKPOINTS = NODES + 2  # the input, START, and one after each node


class State(TypedDict):
    topic: str
    steps: Annotated[list[int], operator.add]


def build(checkpointer: BaseCheckpointSaver[Any] | None) -> Runnable[Any, Any]:
    builder = StateGraph(State)
    before = START
    for number in range(NODES):
        name = f"node{number}"
        builder.add_node(name, lambda state: {"steps": [len(state["steps"])]})
        builder.add_edge(before, name)
        before = name
    return builder.compile(checkpointer=checkpointer)


@dataclass
class Contender:
    name: str
    graph: Runnable[Any, Any]
    checkpoints: int = 0
    nodes: int = 0
    rounds: list[float] = field(default_factory=list)

    def play(self, threads: int, runs: int, count: Callable[[str], tuple[int, int]]) -> None:
        """One round; its time per run is kept."""
        prefix = uuid.uuid4().hex

        def one(number: int) -> None:
            config: Any = {"configurable": {"thread_id": f"{prefix}-{number}"}}
            result = self.graph.invoke({"topic": "cats", "steps": []}, config)
            assert result["steps"] == list(range(NODES))

        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            for _ in pool.map(one, range(runs)):
                pass
            self.rounds.append((time.perf_counter() - started) / runs)
        expected = self.checkpoints * runs, self.nodes * runs
        if count(prefix) != expected:
            raise SystemExit(f"{self.name}: {count(prefix)} rows instead of {expected}")


@contextmanager
def contenders(url: str, threads: int) -> Iterator[list[Contender]]:
    with ExitStack() as stack:
        pool = stack.enter_context(
            ConnectionPool(
                url,
                connection_class=psycopg.Connection[DictRow],
                min_size=min(threads, 10),
                max_size=10,
                kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
            )
        )
        stock = PostgresSaver(pool)
        stock.setup()
        persist = stack.enter_context(Persist(url))
        alone = build(persist.checkpointer)
        yield [
            Contender("no checkpointer", build(None)),
            Contender("InMemorySaver", build(InMemorySaver())),
            Contender("stock PostgresSaver", build(stock), CHECKPOINTS),
            Contender("PersistSaver", alone, CHECKPOINTS),
            Contender("PersistSaver and record", persist.attach(alone), CHECKPOINTS, NODES),
        ]


def counter(url: str, stack: ExitStack) -> Callable[[str], tuple[int, int]]:
    conn = stack.enter_context(psycopg.connect(url, autocommit=True))

    def count(prefix: str) -> tuple[int, int]:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM checkpoints WHERE starts_with(thread_id, %(prefix)s)),"
            " (SELECT count(*) FROM langgraph_persist.nodes"
            " WHERE starts_with(thread_id, %(prefix)s) AND status = 'completed')",
            {"prefix": prefix},
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    return count


def report(found: list[Contender], threads: int) -> None:
    stock = statistics.median(next(c for c in found if c.name.startswith("stock")).rounds)
    load = os.getloadavg()[0]
    print(f"{NODES} nodes, {threads} thread(s), {os.cpu_count()} CPUs, load {load:.1f}\n")
    print(f"{'':<24}  {'ms/run':>7}  {'runs/s':>7}  {'x stock':>7}")
    for contender in found:
        median = statistics.median(contender.rounds)
        row = f"{median * 1000:>7.2f}  {1 / median:>7.0f}  {stock / median:>7.2f}"
        print(f"{contender.name:<24}  {row}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=100, help="graph runs in each round")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(start_embedded(folder / ".langgraph_persist")).url
        found = stack.enter_context(contenders(url, options.threads))
        count = counter(url, stack)
        for contender in found:
            contender.play(options.threads, options.runs // 5, count)
            contender.rounds.clear()
        for _ in range(options.rounds):
            for contender in found:
                contender.play(options.threads, options.runs, count)
        report(found, options.threads)


if __name__ == "__main__":
    main()
