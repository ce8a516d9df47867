"""Checkpoints and the complete record of LangGraph applications, in your own PostgreSQL."""

from importlib.metadata import version as _version

from langgraph_persist import errors
from langgraph_persist.client import Persist
from langgraph_persist.handler import PersistCallbackHandler
from langgraph_persist.recorder import Recorder
from langgraph_persist.redact import redact_personal, redact_secrets
from langgraph_persist.saver import PersistSaver

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
