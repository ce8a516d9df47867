"""Start events that may be refused: the organization of a new workflow may have reached a limit.

Only these ask the database while a graph waits, and only where a run names an organization or a
user. In an async run they are awaited, in the way of :mod:`langgraph_persist.handler.ending`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import MethodType
from typing import Any, TypeVar, cast

from langgraph_persist.quotas import Answer, Request, ask

F = TypeVar("F", bound=Callable[..., Any])


_answer: ContextVar[Answer | None] = ContextVar("langgraph_persist_answer", default=None)


def take_answer() -> Answer | None:
    """What was answered to the request of the run that is just starting, if it had one."""
    answer = _answer.get()
    if answer is not None:
        _answer.set(None)
    return answer


def needs_admission(start: F) -> F:
    """A handler's start event, whose workflow must be within the limits of its organization.

    Where the database cannot be asked, it is admitted. In async runs it waits for room in a full
    journal first.

    Raises:
        QuotaExceeded: it is not; it is recorded as refused.
    """
    return cast(F, _Starting(start))


class _Starting:
    def __init__(self, start: Callable[..., None]) -> None:
        self.__doc__ = start.__doc__

        def blocking(handler: Any, *args: Any, **kwargs: Any) -> None:
            if (request := handler.request(args[1], kwargs)) is None:
                return start(handler, *args, **kwargs)
            answer = _ask(handler, request)
            _answer.set(answer)
            start(handler, *args, **kwargs)
            if answer.refusal is not None:
                if (recorded := handler.refuse(kwargs["run_id"], answer.refusal)) is not None:
                    recorded.result()
                raise answer.refusal
            return None

        async def awaiting(handler: Any, *args: Any, **kwargs: Any) -> None:
            await handler.journal.has_room()
            if handler.quotas is None or (request := handler.request(args[1], kwargs)) is None:
                return start(handler, *args, **kwargs)
            asked = handler.journal.executor.submit(_ask, handler, request)
            answer = await asyncio.wrap_future(asked)
            _answer.set(answer)
            start(handler, *args, **kwargs)
            if answer.refusal is not None:
                if (recorded := handler.refuse(kwargs["run_id"], answer.refusal)) is not None:
                    await asyncio.wrap_future(recorded)
                raise answer.refusal
            return None

        self._start, self._blocking, self._awaiting = start, blocking, awaiting

    def __get__(self, handler: Any, owner: type | None = None) -> Any:
        if handler is None:
            return self
        if sys._getframe(1).f_code.co_flags & inspect.CO_COROUTINE:
            return MethodType(self._awaiting, handler)
        return MethodType(self._start if handler.quotas is None else self._blocking, handler)


def _ask(handler: Any, request: Request) -> Answer:
    return ask(handler.quotas, request, handler.failures)
