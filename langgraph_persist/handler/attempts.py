"""Which model call repeats which: after a retry, or instead of another model that failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config

from langgraph_persist.extract import is_a
from langgraph_persist.handler import ids
from langgraph_persist.handler.spans import Failed, Span, Spans

_RETRY = re.compile(r"retry:attempt:(\d+)")
_MEMORY = 64


class Attempt(NamedTuple):
    """How often this was tried, this time included, and the failed call that it replaces."""

    number: int
    retry_of: UUID | None


def parent(
    spans: Spans, parent_run_id: UUID | None, metadata: Mapping[str, Any] | None
) -> Span | None:
    """The span that a run is started by.

    LangChain tells the alternatives of ``with_fallbacks`` to be beside it, if it tells anything;
    only the config of their context is that of its children.
    """
    told = spans.around(parent_run_id, metadata)
    if told is not None and not told.root.falls_back:
        return told
    manager = (var_child_runnable_config.get() or {}).get("callbacks")
    around = getattr(manager, "parent_run_id", None)
    if around is None or around is parent_run_id or around == parent_run_id:
        return told
    found = spans.get(ids.known_as(around))
    return found if found is not None and found.falls_back and found.parent is told else told


def mark(span: Span, tags: Sequence[str] | None) -> None:
    """Keep which attempt of a retry this is, as its tags say."""
    for tag in tags or ():
        if is_a(tag, str) and (found := _RETRY.fullmatch(tag)):
            span.attempt = int(found[1])
            span.root.repeats = True


def begin(span: Span, prompt: object) -> Attempt:
    """A model is called with a prompt.

    It replaces a call that failed before it in the same node with the same prompt, or the last
    one that failed in the same ``with_fallbacks``, whose alternatives may ask differently.
    """
    if not span.root.repeats:
        return Attempt(1, None)
    with span.root.lock:
        replaced = _replaced(span, prompt)
        tried = next((s.attempt for s in (span, *span.above()) if s.attempt > 1), 1)
        number = max(tried, replaced.attempt + 1 if replaced else 1)
        return Attempt(number, replaced.id if replaced else None)


def failed(span: Span, attempt: int, prompt: object) -> None:
    """A call has failed: who is around it may try again."""
    span.root.repeats = True
    entry = Failed(span.id, attempt, prompt)
    with span.root.lock:
        for above in span.above():
            above.failed = (*above.failed, entry)[-_MEMORY:]


def _replaced(span: Span, prompt: object) -> Failed | None:
    for above in span.above():
        same = [f for f in above.failed if prompt is not None and f.prompt == prompt]
        if above.falls_back and above.failed:
            return _take(span, (same or above.failed)[-1])
        if same and (above.kind == "node" or above.parent is None):
            return _take(span, same[-1])
    return None


def _take(span: Span, entry: Failed) -> Failed:
    """A call is replaced once."""
    for above in span.above():
        above.failed = tuple(f for f in above.failed if f is not entry)
    return entry
