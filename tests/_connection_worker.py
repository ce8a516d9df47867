"""Runs graphs in a parent and a forked child whose connections are terminated meanwhile."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from psycopg_pool import ConnectionPool

from langgraph_persist import Persist
from tests.graphs import chain_of
from tests.load import terminate


def main(url: str, kind: str) -> None:
    # psycopg warns of every connection that it finds lost.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    given: Any = url if kind == "url" else ConnectionPool(url, min_size=2, max_size=4, open=True)
    persist = Persist(given)
    graph = persist.attach(chain_of(["a", "b"], 0.01).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("before"))
    pid = os.fork()
    who = "parent" if pid else "child"
    for number in range(5):
        graph.invoke({"count": 0}, persist.config(f"{who}-{number}"))
        terminate(url)
    if pid == 0:
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    persist.close()
    if not isinstance(given, str):
        given.close()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
