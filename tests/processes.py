"""Several processes that do something at the same time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO


def together(commands: Sequence[Sequence[str]]) -> list[str]:
    """What workers printed who were told to go once all had said that they are ready.

    Args:
        commands: for each the module of the worker, and its arguments.
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    for worker in workers:
        assert _pipe(worker.stdout).readline() == "ready\n"
    for worker in workers:
        _pipe(worker.stdin).write("go\n")
        _pipe(worker.stdin).flush()
    printed = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return printed


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
