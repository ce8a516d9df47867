"""Runs a graph many times at once with others: on one thread, and on threads of its own.

python -m tests._session_worker URL RUNS PREFIX
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from langgraph_persist import Persist
from tests.graphs import chain_of


def main(url: str, runs: int, prefix: str) -> None:
    with Persist(url) as persist:
        graph = persist.attach(chain_of(["a"]).compile())
        print("ready", flush=True)
        sys.stdin.readline()

        def run(number: int) -> None:
            for thread in ("shared", f"{prefix}-{number}"):
                config = persist.config(thread, user="ann", organization="acme")
                graph.invoke({"count": 0}, config)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(runs)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
