"""Start events that ask the database: about limits, ids, and workflows that go on.

Only these do while a graph waits, and only where a run names an organization or a user, is given
an id, starts from an earlier checkpoint, or goes on with a thread whose checkpoints are not ours.
In an async run they are awaited, in the way of :mod:`langgraph_persist.handler.ending`.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import MethodType
from typing import Any, TypeVar, cast

from langgraph.types import Command

from langgraph_persist.extract import is_a, is_resume
from langgraph_persist.handler.guard import guard
from langgraph_persist.handler.reused import is_of_this_moment
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
    """A start event, guarded, whose workflow must be within the limits of its organization.

    A run with the id of an earlier one of its thread is recorded by another id, whichever process
    recorded that. One that goes on with what an earlier process recorded is part of that, whoever
    saved its checkpoints. Where the database cannot be asked, it is admitted, and its id kept. In
    async runs it waits for room in a full journal first.

    Raises:
        QuotaExceeded: it is not; it is recorded as refused.
    """
    return cast(F, _Starting(start))


class _Starting:
    def __init__(self, start: Callable[..., None]) -> None:
        self.__doc__ = start.__doc__
        safe = guard(start)

        def answered(handler: Any, answer: Answer, *args: Any, **kwargs: Any) -> Any:
            """Start it; the commit of its record, if it is refused."""
            _answer.set(answer)
            safe(handler, args, kwargs)
            return answer.refusal and handler.refuse(kwargs["run_id"], answer.refusal)

        def blocking(handler: Any, *args: Any, **kwargs: Any) -> None:
            for question in _questions(handler, args[1], kwargs):
                question()
            if (request := _request(handler, args[1], kwargs)) is None:
                safe(handler, args, kwargs)
                return
            answer = _ask(handler, request)
            if (recorded := answered(handler, answer, *args, **kwargs)) is not None:
                recorded.result()
            _refuse(answer)

        async def awaiting(handler: Any, *args: Any, **kwargs: Any) -> None:
            await handler.journal.has_room()
            for question in _questions(handler, args[1], kwargs):
                await asyncio.wrap_future(handler.journal.executor.submit(question))
            if (request := _request(handler, args[1], kwargs)) is None:
                safe(handler, args, kwargs)
                return
            asked = handler.journal.executor.submit(_ask, handler, request)
            answer = await asyncio.wrap_future(asked)
            if (recorded := answered(handler, answer, *args, **kwargs)) is not None:
                await asyncio.wrap_future(recorded)
            _refuse(answer)

        self._blocking, self._awaiting = blocking, awaiting

    def __get__(self, handler: Any, owner: type | None = None) -> Any:
        if handler is None:
            return self
        if sys._getframe(1).f_code.co_flags & inspect.CO_COROUTINE:
            return MethodType(self._awaiting, handler)
        return MethodType(self._blocking, handler)


def _refuse(answer: Answer) -> None:
    if answer.refusal is not None:
        raise answer.refusal


def _request(handler: Any, inputs: Any, event: Mapping[str, Any]) -> Request | None:
    if handler.quotas is None or handler.is_inside(event):
        return None
    request: Request | None = handler.request(inputs, event)
    return request


def _questions(
    handler: Any, inputs: Any, event: MutableMapping[str, Any]
) -> Sequence[Callable[[], None]]:
    """What the database is to be asked before a root run starts."""
    if event.get("parent_run_id") is not None:
        return ()
    questions: list[Callable[[], None]] = []
    doubt = None if is_of_this_moment(event.get("run_id")) else handler.doubt(event)
    if doubt is not None:
        questions.append(partial(handler.settle, doubt))
    if is_resume(inputs) or is_a(inputs, Command):
        thread_id = handler.strange_thread(event)
        if thread_id is not None:
            questions.append(partial(handler.recall, thread_id))
    if (origin := handler.origin(event)) is not None:
        questions.append(partial(handler.inherit, origin, event))
    return questions


def _ask(handler: Any, request: Request) -> Answer:
    return ask(handler.quotas, request, handler.failures)
