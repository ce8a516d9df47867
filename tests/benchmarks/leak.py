"""How much a process grows by many runs through one ``Persist``.

    python -m tests.benchmarks.leak --runs 10000

Every run is on a thread of its own, so all that is remembered by thread comes to its bounds. The
resident memory is printed as the runs go on: it must level off.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import uuid
from pathlib import Path

from langgraph_persist import Persist
from langgraph_persist.database.embedded import start_embedded
from tests.benchmarks.measure import resident
from tests.benchmarks.workloads import WORKLOADS

PARTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.leak")
    parser.add_argument("workload", nargs="?", default="a", choices=["a", "b", "d"])
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    with tempfile.TemporaryDirectory() as folder, start_embedded(Path(folder) / "data") as server:
        persist = Persist(server.url)
        graph = persist.attach(workload.build().compile(checkpointer=persist.checkpointer))
        before, cpu = 0.0, time.process_time()
        for number in range(options.runs + 1):
            if number % max(options.runs // PARTS, 1) == 0:
                persist.flush()
                gc.collect()
                now = resident()
                before = before or now
                print(
                    f"{number:6} runs: {now / 1e6:6.1f} MB, +{(now - before) / 1e6:.1f}", flush=True
                )
            graph.invoke(workload.input(0), persist.config(str(uuid.uuid4())))
        print(f"{(time.process_time() - cpu) / options.runs * 1e3:.2f} ms CPU a run")
        persist.close()


if __name__ == "__main__":
    main()
