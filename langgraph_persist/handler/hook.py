"""Handlers on every run of the process, by LangChain's configure hook.

LangChain asks each registered context variable for a handler whenever a run without one starts.
What is registered here only looks like such a variable: it answers the same in every context, so
threads and tasks that are older than it are served too. A hook cannot be taken back, so a place
that was given up is used again.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

_lock = threading.Lock()


class _Place:
    """The part of a context variable that LangChain uses."""

    def __init__(self, handler: BaseCallbackHandler) -> None:
        self.handler: BaseCallbackHandler | None = handler

    def get(self) -> BaseCallbackHandler | None:
        """The handler of every context."""
        return self.handler


_places: list[_Place] = []


def install(handler: BaseCallbackHandler) -> None:
    """From now on, every run that starts in this process is told to the handler, once."""
    with _lock:
        if any(place.handler is handler for place in _places):
            return
        free = next((place for place in _places if place.handler is None), None)
        if free is not None:
            free.handler = handler
            return
        _places.append(_Place(handler))
        register_configure_hook(cast("ContextVar[Any]", _places[-1]), inheritable=True)


def uninstall(handler: BaseCallbackHandler) -> None:
    """Runs that start from now on are not told to the handler by this."""
    with _lock:
        for place in _places:
            if place.handler is handler:
                place.handler = None
