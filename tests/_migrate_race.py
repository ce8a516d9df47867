"""Run as a script: many processes upgrade the same database at the same moment."""

from __future__ import annotations

import os
import sys
import traceback

from langgraph_persist.database.queries import Schemas
from langgraph_persist.migrate import upgrade


def main(url: str, processes: int) -> int:
    """The number of processes that failed."""
    go, start = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os.close(start)
            os.read(go, 1)
            os._exit(_upgrade(url))
        children.append(child)
    # All readers wake at once when the writing end is closed.
    os.close(start)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def _upgrade(url: str) -> int:
    try:
        upgrade(url, Schemas())
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
