"""Runs graphs until it is killed; names each thread on standard output once its run returned."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langgraph_persist import Persist
from langgraph_persist.projections import ProjectionContext
from tests.graphs import chain_of

left_open: list[object] = []
NODES = ["a", "b", "c", "d", "e"]


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


def note_checkpoints(persist: Persist) -> None:
    """Appends a row for every checkpoint, so that whatever is written twice shows."""

    @persist.project("noted", keys=())
    def noted(old: Any, new: Any, context: ProjectionContext) -> dict[str, Any]:
        return {"thread_id": context.thread_id, "checkpoint_id": context.checkpoint_id}


def many(url: str, runs: int, workers: int, recorded: bool) -> None:
    persist = Persist(url)
    note_checkpoints(persist)
    graph = chain_of(NODES, seconds=0.003).compile(checkpointer=persist.checkpointer)
    if recorded:
        graph = persist.attach(graph)

    def one(number: int) -> None:
        thread_id = f"{os.getpid()}-{number}"
        graph.invoke({"count": 0, "note": "x" * 200}, persist.config(thread_id))
        say(thread_id)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(runs)))


def finish(url: str, how: str) -> None:
    """One run, then an end of the process without ``close()``."""
    persist = Persist(url)
    graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("done"))
    if how == "os._exit":
        os._exit(0)
    if how == "queued":
        # Nobody waits for what this run has queued: the end of the interpreter drains it.
        next(stream := graph.stream({"count": 0}, persist.config("open")))
        left_open.append(stream)
    if how == "raise":
        raise SystemExit(3)


def fork(url: str, when: str) -> None:
    """Runs in the parent and in a forked child, after the parent has used the database."""
    persist = Persist(url)
    graph = persist.attach(chain_of(NODES).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("before"))
    stop = threading.Event()

    def busy() -> None:
        number = 0
        while not stop.is_set():
            graph.invoke({"count": 0}, persist.config(f"busy-{number}"))
            say(f"busy-{number}")
            number += 1

    background = threading.Thread(target=busy)
    if when == "busy":
        background.start()
    pid = os.fork()
    who = "parent" if pid else "child"
    for number in range(5):
        graph.invoke({"count": 0}, persist.config(f"{who}-{number}"))
        say(f"{who}-{number}")
    if pid == 0:
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    stop.set()
    if when == "busy":
        background.join()
    persist.close()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    command, url, *arguments = sys.argv[1:]
    if command == "many":
        runs, workers, how = arguments
        many(url, int(runs), int(workers), recorded=how == "recorded")
    elif command == "finish":
        finish(url, *arguments)
    else:
        fork(url, *arguments)
