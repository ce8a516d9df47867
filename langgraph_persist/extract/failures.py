"""Exceptions as the three error columns."""

from __future__ import annotations

import traceback

from langgraph_persist.extract.text import clean_text, qualified_name, safe_str
from langgraph_persist.journal.capture import limited

MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 32_000


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
        if (found := left.pop()) is None or id(found) in seen:
            continue
        if _HIDDEN in found.__dict__:
            return True
        seen.add(id(found))
        left += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            left += found.exceptions
    return False


def _traceback(exc: BaseException) -> str:
    try:
        return clean_text("".join(traceback.format_exception(exc)))
    except Exception:
        return f"{qualified_name(type(exc))}: {safe_str(exc)}"
