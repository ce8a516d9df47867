"""Makes a run that nobody records wait at its end, instead of at each of its checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from types import TracebackType
from typing import Any

from langgraph_persist.errors import PersistError
from langgraph_persist.journal import Barrier, Journal


def wait_at_end(journal: Journal, thread_id: str, checkpoint_ns: str, loop: Any) -> None:
    """Let this loop of LangGraph end only once all that it saved is committed.

    Called while the loop opens: what goes onto its stack now is called last, when it has given
    everything to the saver. A loop without such a stack waits for each of its checkpoints.

    Raises, at the end of a run that would end well:
        DurabilityError: what it saved could not be committed.
    """
    stack = getattr(loop, "stack", None)
    end = _End(journal, Barrier(thread_id, checkpoint_ns))
    if isinstance(stack, AsyncExitStack):
        stack.push_async_exit(end.wait_async)
    elif isinstance(stack, ExitStack):
        stack.push(end.wait)
    else:
        return
    journal.barriers.add(end.barrier)


class _End:
    """What a loop calls when it ends."""

    def __init__(self, journal: Journal, barrier: Barrier) -> None:
        self._journal = journal
        self.barrier = barrier

    def wait(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._told_unless(error):
            if (receipt := self._journal.leave(self.barrier)) is not None:
                receipt.result()

    async def wait_async(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._told_unless(error):
            if (receipt := self._journal.leave(self.barrier)) is not None:
                await asyncio.wrap_future(receipt)

    @contextmanager
    def _told_unless(self, error: BaseException | None) -> Iterator[None]:
        """As LangGraph does: what a run failed with is not replaced by what failed after it."""
        try:
            yield
            self._journal.check(self.barrier)
        except PersistError:
            if error is None:
                raise
