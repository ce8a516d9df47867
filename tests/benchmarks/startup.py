"""How long it takes to begin: the import, an existing database, the embedded server.

    python -m tests.benchmarks.startup --rounds 9

Each is timed in a process of its own, as CPU of the process and as time on the clock; the medians
are printed. The import is what it adds to that of LangGraph.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from langgraph_persist import Persist
from langgraph_persist.database.embedded import start_embedded

TIMED = """
import sys, time
import langgraph.graph, langgraph.checkpoint.postgres
{before}
cpu, started = time.process_time(), time.perf_counter()
{code}
print(time.process_time() - cpu, time.perf_counter() - started)
{after}
"""
IMPORT = "import langgraph_persist"
OPEN = "persist = langgraph_persist.Persist(sys.argv[1]).open()"
START = "server = start_embedded(sys.argv[1])"
STOP = "server.close()"
LOAD_SERVER = "from langgraph_persist.database.embedded import start_embedded"


def timed(before: str, code: str, argument: str = "", after: str = "") -> tuple[float, float]:
    """Milliseconds of CPU and of the clock that this code takes in a new process."""
    script = TIMED.format(before=before, code=code, after=after)
    # As usual, what was compiled once is there.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run(
        [sys.executable, "-c", script, argument],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=env | {"PYTHONPYCACHEPREFIX": tempfile.gettempdir() + "/langgraph_persist_bytecode"},
    )
    cpu, wall = map(float, told.stdout.split())
    return cpu * 1e3, wall * 1e3


def show(title: str, found: list[tuple[float, float]]) -> None:
    cpu, wall = (statistics.median(values) for values in zip(*found, strict=True))
    print(f"{title:32} {cpu:6.0f} ms CPU {wall:6.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = range(parser.parse_args().rounds)
    timed("", IMPORT)  # which compiles what was not yet
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    show("importing langgraph_persist", [timed("", IMPORT) for _ in rounds])
    with tempfile.TemporaryDirectory() as folder:
        home = str(Path(folder) / ".langgraph_persist")
        with start_embedded(Path(home)) as server:
            with Persist(server.url):
                pass
            show("opening an existing database", [timed(IMPORT, OPEN, server.url) for _ in rounds])
        show(
            "starting the embedded server", [timed(LOAD_SERVER, START, home, STOP) for _ in rounds]
        )


if __name__ == "__main__":
    main()
