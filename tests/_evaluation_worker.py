"""Evaluates in a process of its own.

python -m tests._evaluation_worker URL record COUNT SCORE   records the first turn COUNT times
python -m tests._evaluation_worker URL evaluate TURN        is killed when it comes to that turn
"""

from __future__ import annotations

import os
import signal
import sys

from langgraph_persist import Persist
from langgraph_persist.evaluations import Turn


def main(url: str, command: str, *arguments: str) -> None:
    with Persist(url) as persist:
        if command == "record":
            record(persist, int(arguments[0]), float(arguments[1]))
        else:
            evaluate(persist, int(arguments[0]))


def record(persist: Persist, count: int, score: float) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(count):
        persist.evaluations.record("t", turn=1, score=score, analysis="as told")
        persist.evaluations.record("t", score=score, analysis="as told")


def evaluate(persist: Persist, last: int) -> None:
    def judge(turn: Turn) -> tuple[float, str]:
        if turn.number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return 10, "before the end"

    persist.evaluations.evaluate_turns("t", judge)


if __name__ == "__main__":
    main(*sys.argv[1:])
