"""Checkpoints and the complete record of LangGraph applications, in your own PostgreSQL."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from langgraph_persist import errors
from langgraph_persist.client import Persist
from langgraph_persist.handler import PersistCallbackHandler
from langgraph_persist.saver import PersistSaver

if _TYPE_CHECKING:
    from langgraph_persist.recorder import Recorder
    from langgraph_persist.redact import redact_personal, redact_secrets

    __version__: str

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


# Few need these, and importing them takes time.
_LATE = {"Recorder": "recorder", "redact_personal": "redact", "redact_secrets": "redact"}


def __getattr__(name: str) -> _Any:
    if name in _LATE:
        return getattr(_import_module(f"{__name__}.{_LATE[name]}"), name)
    if name == "__version__":
        return _import_module("importlib.metadata").version("langgraph-persist")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
