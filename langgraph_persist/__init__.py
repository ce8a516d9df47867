"""Checkpoints and the complete record of LangGraph applications, in your own PostgreSQL."""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from langgraph_persist import errors
from langgraph_persist.client import Persist
from langgraph_persist.handler import PersistCallbackHandler
from langgraph_persist.redact import redact_personal, redact_secrets
from langgraph_persist.saver import PersistSaver

if _TYPE_CHECKING:
    from langgraph_persist.recorder import Recorder

__version__ = _version("langgraph-persist")

__all__ = [
    "Persist",
    "PersistCallbackHandler",
    "PersistSaver",
    "Recorder",
    "__version__",
    "errors",
    "redact_personal",
    "redact_secrets",
]


def __getattr__(name: str) -> _Any:
    # Few need it, and importing it takes time.
    if name == "Recorder":
        from langgraph_persist.recorder import Recorder

        return Recorder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
