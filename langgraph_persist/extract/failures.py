"""Exceptions as the three error columns."""

from __future__ import annotations

import traceback

from langgraph_persist.extract.text import clean_text, qualified_name, safe_str
from langgraph_persist.journal.capture import limited

MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 32_000


def error_fields(exc: BaseException) -> dict[str, str]:
    """Type, message and traceback with its causes; long ones lose their middle, marked."""
    return {
        "error_type": qualified_name(type(exc)),
        "error_message": limited(safe_str(exc), MESSAGE_LIMIT),
        "error_traceback": limited(_traceback(exc), TRACEBACK_LIMIT),
    }


def _traceback(exc: BaseException) -> str:
    try:
        return clean_text("".join(traceback.format_exception(exc)))
    except Exception:
        return f"{qualified_name(type(exc))}: {safe_str(exc)}"
