"""Calls that never tell their end: LangChain says nothing of a cancelled model or tool call.

Nor does it of a root run whose start another handler has refused. The callback manager that
announced a call lives as long as the call does. When it is gone and the call was not ended, nobody
will end it.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from types import FrameType

from langchain_core.callbacks import manager

from langgraph_persist.handler.spans import Span

_CHAIN = "on_chain_start"
_EVENTS = ("on_chat_model_start", "on_llm_start", "on_tool_start", "on_retriever_start", _CHAIN)
_OWN = 5
"""So many frames at least are ours: the event's guard, and what it calls."""
_DEPTH = 8


class Abandoned:
    """The calls whose caller is gone. They are only noted here: the garbage collector may find
    out at any moment, also while a lock is held.
    """

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()

    def watch(self, span: Span) -> None:
        """Note the call when its caller is gone; asked for while the call is announced."""
        frame: FrameType | None = sys._getframe(_OWN)
        for _ in range(_DEPTH):
            if frame is None:
                return
            if frame.f_code.co_name in _EVENTS and frame.f_code.co_filename == manager.__file__:
                caller = frame.f_locals["self"]
                if frame.f_code.co_name == _CHAIN and not _is_kept(caller, frame.f_back):
                    return
                span.caller = weakref.ref(caller, lambda _: self._note(span))
                return
            frame = frame.f_back

    def _note(self, span: Span) -> None:
        span.clock.stop()
        self._spans.append(span)

    def take(self) -> list[Span]:
        """The calls noted since the last time."""
        taken = []
        while self._spans:
            taken.append(self._spans.popleft())
        return taken


def _is_kept(caller: object, frame: FrameType | None) -> bool:
    """Whether who starts a chain keeps the manager at hand until it ends, as LangChain does."""
    while frame is not None and frame.f_code.co_filename == manager.__file__:
        frame = frame.f_back
    return frame is not None and any(held is caller for held in frame.f_locals.values())
