"""End events that wait for a commit: blocking in sync runs, awaited in async ones.

In async runs each also waits for room in a full journal.

LangChain's sync managers call a handler's method; its async managers first look whether it is a
coroutine function, and await it if so. Both look the method up when the event happens, so one
handler can serve both: whoever asks from a coroutine gets a coroutine function.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import MethodType
from typing import Any, TypeVar, cast

from langgraph_persist.handler.guard import guard

F = TypeVar("F", bound=Callable[..., Any])


def awaits_commit(record: F) -> F:
    """An event, guarded, that returns once the future that ``record`` returned is done, if any.

    Raises:
        DurabilityError: what the future stood for could not be committed.
    """
    return cast(F, _Ending(record))


class _Ending:
    def __init__(self, record: Callable[..., Future[None] | None]) -> None:
        self.__doc__ = record.__doc__
        safe = guard(record)

        def blocking(handler: Any, *args: Any, **kwargs: Any) -> None:
            committed = safe(handler, args, kwargs)
            # The garbage collector may end an abandoned run in the writer's thread.
            if committed is not None and not handler.journal.in_writer:
                committed.result()

        async def awaiting(handler: Any, *args: Any, **kwargs: Any) -> None:
            if (committed := safe(handler, args, kwargs)) is not None:
                await asyncio.wrap_future(committed)
            else:
                await handler.journal.has_room()

        self._blocking, self._awaiting = blocking, awaiting

    def __get__(self, handler: object, owner: type | None = None) -> Any:
        if handler is None:
            return self
        asked_by_coroutine = sys._getframe(1).f_code.co_flags & inspect.CO_COROUTINE
        return MethodType(self._awaiting if asked_by_coroutine else self._blocking, handler)
