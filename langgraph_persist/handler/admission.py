"""Start events that ask the database: whether a limit is reached, and whether an id is free.

Only these do while a graph waits, and only where a run names an organization or a user, or is given
an id. In an async run they are awaited, in the way of :mod:`langgraph_persist.handler.ending`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MethodType
from typing import Any, TypeVar, cast

from langgraph_persist.handler.reused import Doubt, is_of_this_moment
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

    A run with the id of an earlier one of its thread is recorded by another id, whichever process
    recorded that. Where the database cannot be asked, it is admitted, and its id kept. In async
    runs it waits for room in a full journal first.

    Raises:
        QuotaExceeded: it is not; it is recorded as refused.
    """
    return cast(F, _Starting(start))


class _Starting:
    def __init__(self, start: Callable[..., None]) -> None:
        self.__doc__ = start.__doc__

        def blocking(handler: Any, *args: Any, **kwargs: Any) -> None:
            _settle_id(handler, kwargs)
            if handler.quotas is None or (request := handler.request(args[1], kwargs)) is None:
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
            if (doubt := _doubt(handler, kwargs)) is not None:
                await asyncio.wrap_future(handler.journal.executor.submit(handler.settle, doubt))
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

        self._blocking, self._awaiting = blocking, awaiting

    def __get__(self, handler: Any, owner: type | None = None) -> Any:
        if handler is None:
            return self
        if sys._getframe(1).f_code.co_flags & inspect.CO_COROUTINE:
            return MethodType(self._awaiting, handler)
        return MethodType(self._blocking, handler)


def _doubt(handler: Any, event: Mapping[str, Any]) -> Doubt | None:
    """The id of a root run that may be another one's."""
    if event.get("parent_run_id") is not None or is_of_this_moment(event.get("run_id")):
        return None
    doubt: Doubt | None = handler.doubt(event)
    return doubt


def _settle_id(handler: Any, event: Mapping[str, Any]) -> None:
    if (doubt := _doubt(handler, event)) is not None:
        handler.settle(doubt)


def _ask(handler: Any, request: Request) -> Answer:
    return ask(handler.quotas, request, handler.failures)
