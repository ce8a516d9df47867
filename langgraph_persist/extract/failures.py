"""Exceptions as the three error columns."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import FrameType, TracebackType
from typing import Any

from langgraph_persist.extract.text import clean_text, is_a, qualified_name, safe_str
from langgraph_persist.journal.capture import ERROR_LIMITS, limited

# Ten times what is stored of them: that is cut once nothing in it is secret.
MESSAGE_LIMIT = 10 * ERROR_LIMITS["error_message"]
TRACEBACK_LIMIT = 10 * ERROR_LIMITS["error_traceback"]

_FRAMES = 60
"""Of the calls that each exception came through, the first and the last ones that are shown."""
_CAUSES = 12
"""How many exceptions are shown that led to one."""
_LED = {
    "__cause__": "The above exception was the direct cause of the following exception:",
    "__context__": "During handling of the above exception, another exception occurred:",
}

_HIDDEN = "__langgraph_persist_hidden__"


def hide(exc: BaseException) -> None:
    """From now on the record has nothing of an exception but its type, wherever it goes on to."""
    exc.__dict__[_HIDDEN] = True


def error_fields(exc: BaseException) -> dict[str, str]:
    """Type, message and traceback with its causes; long ones lose their middle, marked.

    The type alone, if it is hidden or came of one that is.
    """
    error_type = qualified_name(type(exc))
    if _is_hidden(exc):
        return {"error_type": error_type}
    return {
        "error_type": error_type,
        "error_message": limited(safe_str(exc), MESSAGE_LIMIT),
        "error_traceback": limited(_traceback(exc), TRACEBACK_LIMIT),
    }


def _is_hidden(exc: BaseException) -> bool:
    seen: set[int] = set()
    left: list[BaseException | None] = [exc]
    while left:
        if (found := left.pop()) is None or id(found) in seen or not is_a(found, BaseException):
            continue
        if _HIDDEN in _asked(found, "__dict__"):
            return True
        seen.add(id(found))
        left += [_asked(found, "__cause__"), _asked(found, "__context__")]
        if is_a(found, BaseExceptionGroup):
            left += _asked(found, "exceptions")
    return False


def _asked(exc: BaseException, name: str) -> Any:
    """What is known of any exception, whatever its own class answers."""
    return object.__getattribute__(exc, name)


def _traceback(exc: BaseException) -> str:
    try:
        whole = traceback.format_exception if _is_short(exc) else _abridged
        return clean_text("".join(whole(exc)))
    except Exception:
        return f"{qualified_name(type(exc))}: {safe_str(exc)}"


def _is_short(exc: BaseException) -> bool:
    """Whether all of it can be shown: one that is raised again and again grows each time."""
    chain = [*islice(_chain(exc), _CAUSES + 1)]
    return len(chain) <= _CAUSES and all(
        sum(1 for _ in islice(traceback.walk_tb(found.__traceback__), 2 * _FRAMES + 1))
        <= 2 * _FRAMES
        for found, _ in chain
    )


def _chain(exc: BaseException) -> Iterator[tuple[BaseException, str]]:
    """An exception and those that led to it, each with how it came of the next one."""
    seen: set[int] = set()
    found: BaseException | None = exc
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        how = "__context__" if found.__cause__ is None else "__cause__"
        yield found, _LED[how]
        suppressed = how == "__context__" and found.__suppress_context__
        found = None if suppressed else getattr(found, how)


def _abridged(exc: BaseException) -> Iterator[str]:
    """The traceback of one that has too many calls or causes, with marks where they are."""
    chain = [*islice(_chain(exc), _CAUSES + 1)]
    if len(chain) > _CAUSES:
        yield "… earlier exceptions left out …\n\n"
    for place, (found, led) in reversed([*enumerate(chain[:_CAUSES])]):
        if place < len(chain) - 1:
            yield f"\n{led}\n\n"
        yield "Traceback (most recent call last):\n"
        yield from _calls(found.__traceback__)
        yield f"{qualified_name(type(found))}: {safe_str(found)}\n"
        yield from (f"{safe_str(note)}\n" for note in getattr(found, "__notes__", ()))


def _calls(tb: TracebackType | None) -> Iterator[str]:
    calls = traceback.walk_tb(tb)
    first = [*islice(calls, _FRAMES)]
    rest: deque[tuple[FrameType, int]] = deque(maxlen=_FRAMES)
    left_out = -_FRAMES
    for call in calls:
        rest.append(call)
        left_out += 1
    yield from traceback.StackSummary.extract(iter(first)).format()
    if left_out > 0:
        yield f"  … {left_out:,} calls left out …\n"
    yield from traceback.StackSummary.extract(iter(rest)).format()
