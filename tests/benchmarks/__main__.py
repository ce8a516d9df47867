"""Compares checkpointers and recorders on the same graphs, round by round.

    python -m tests.benchmarks                          every workload, one thread
    python -m tests.benchmarks a b --threads 32         two of them, 32 threads
    python -m tests.benchmarks a --tasks 64             64 ainvokes at once on an event loop
    python -m tests.benchmarks b --latency-ms 2         a server that is further away
    python -m tests.benchmarks a --contenders stock record --rounds 9
    python -m tests.benchmarks --threads 1 32 --tasks 1 64 --ratios
    python -m tests.benchmarks b --contenders none stock record langfuse mlflow openinference

The last three need the extra ``bench``.

The contenders take turns, each in a database of its own on one server, so that a busy machine slows
all of them alike; ratios are taken within a round, and the table gives the medians of the rounds.
After each round the rows are counted: a contender that lost something ends the benchmark.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from langgraph_persist.database.embedded import start_embedded
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.match import Match, Setting
from tests.benchmarks.proxy import Proxy, running_proxy
from tests.benchmarks.report import RATIOS, head, ratios, table
from tests.benchmarks.workloads import WORKLOADS

USUAL = ["none", "memory", "stock", "saver", "record"]


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(_server())
        proxy = _proxy(stack, url, options.latency_ms)
        settings = [Setting(n, False) for n in options.threads or ()]
        settings += [Setting(n, True) for n in options.tasks or ()]
        if options.ratios:
            print(head(RATIOS))
        for key in options.workloads or WORKLOADS:
            workload = WORKLOADS[key]
            if options.turns and workload.turns > 1:
                workload = replace(workload, turns=options.turns)
            for setting in settings or [Setting(1, False)]:
                match = Match(url, proxy, workload, setting, options.contenders)
                found = match.play(options.rounds, options.seconds)
                told = f"{setting}, +{options.latency_ms:g} ms" if proxy else str(setting)
                if options.ratios:
                    print(ratios(key, told, found), flush=True)
                else:
                    load = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
                    print(f"({key}) {workload.title}; {told}; {load}\n")
                    print(table(workload, found), end="\n\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    told = "; ".join(f"{key}: {workload.title}" for key, workload in WORKLOADS.items())
    parser.add_argument("workloads", nargs="*", choices=[[], *WORKLOADS], metavar="a-g", help=told)
    parser.add_argument("--threads", nargs="+", type=int, help="how many threads invoke")
    parser.add_argument("--tasks", nargs="+", type=int, help="how many ainvokes go on at once")
    parser.add_argument("--latency-ms", type=float, default=0, help="added to each round trip")
    parser.add_argument("--contenders", nargs="+", default=USUAL, choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each contender's round")
    parser.add_argument("--turns", type=int, help="of a conversation, instead of the workload's")
    parser.add_argument("--ratios", action="store_true", help="print a row for each comparison")
    parser.add_argument("--url", help="of a server to use instead of an embedded one")
    return parser.parse_args()


@contextmanager
def _server() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        start_embedded(Path(folder) / ".langgraph_persist") as server,
    ):
        yield server.url


def _proxy(stack: ExitStack, url: str, latency_ms: float) -> Proxy | None:
    return stack.enter_context(running_proxy(url, latency_ms)) if latency_ms else None


if __name__ == "__main__":
    main()
