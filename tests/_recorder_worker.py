"""Records a workflow by hand in which forked processes record what they do."""

import asyncio
import multiprocessing
import os
import sys
from typing import Any

from langgraph_persist import Persist


def by_block(persist: Persist, name: str) -> None:
    with persist.recorder.node(name):
        with persist.recorder.node("within"):
            persist.recorder.record_tool("search", output=1)
        persist.recorder.record_tool("search", output=2)
    os._exit(0)


def by_async_block(persist: Persist, name: str) -> None:
    async def work() -> None:
        async with persist.recorder.node(name):
            persist.recorder.record_tool("search", output=1)
        os._exit(0)

    asyncio.run(work())


def bare(persist: Persist, name: str) -> None:
    persist.recorder.record_tool("search", output=1)
    os._exit(0)


WORK = {"block": by_block, "async": by_async_block, "bare": bare}


def main(url: str, how: str) -> None:
    fork = multiprocessing.get_context("fork")
    with Persist(url) as persist, persist.recorder.start_workflow("job", thread_id="t"):
        with persist.recorder.node("around"):
            processes: list[Any] = [
                fork.Process(target=WORK[how], args=(persist, name)) for name in "ab"
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
                assert process.exitcode == 0
        with persist.recorder.node("after"):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
