"""Runs a graph that gets stuck, says so on standard output, and waits to be killed."""

from __future__ import annotations

import os
import sys
import time

import psycopg
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START

from langgraph_persist import Persist
from tests.graphs import Steps, step
from tests.scenarios import Stage, Way, graph_of


def main(url: str, way: Way) -> None:
    def stuck(state: Steps) -> Steps:
        """Says so once it is seen in the database."""
        running = "SELECT 1 FROM langgraph_persist.nodes WHERE status = 'running'"
        with psycopg.connect(url, autocommit=True) as conn:
            while not conn.execute(running.encode()).fetchone():
                time.sleep(0.01)
        os.write(1, b"stuck\n")
        time.sleep(600)
        return {}

    persist = Persist(url)
    stage = Stage(persist.checkpointer, way, persist.attach)
    builder = graph_of((START, "a"), ("a", "stuck"), a=step("a"), stuck=RunnableLambda(stuck))
    stage.run(stage.compile(builder), {"count": 0})


if __name__ == "__main__":
    main(sys.argv[1], Way(*sys.argv[2:]))
