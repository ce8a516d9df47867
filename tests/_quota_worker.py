"""Asks for so many requests at once with others; prints how many were admitted.

python -m tests._quota_worker URL REQUESTS PREFIX
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from langgraph_persist import Persist
from langgraph_persist.errors import QuotaExceeded
from tests.graphs import chain_of


def main(url: str, requests: int, prefix: str) -> None:
    with Persist(url) as persist:
        graph = persist.attach(chain_of(["a"]).compile())
        print("ready", flush=True)
        sys.stdin.readline()

        def ask(number: int) -> bool:
            name = f"{prefix}-{number}"
            config = persist.config(name, user=name, organization="acme")
            try:
                graph.invoke({"count": 0}, config)
            except QuotaExceeded:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            print(sum(pool.map(ask, range(requests))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
