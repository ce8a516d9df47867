"""What keeps a strange payload from raising into somebody's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from langgraph_persist.extract.text import is_a
from langgraph_persist.journal.failures import Failures

P = ParamSpec("P")
T = TypeVar("T")


class Unread:
    """What could not be read of one event's payload, as far as no row of its own says so."""

    __slots__ = ("failures", "missing")

    def __init__(self, failures: Failures) -> None:
        self.failures = failures
        self.missing: dict[str, str] = {}


reports: ContextVar[Unread | None] = ContextVar("langgraph_persist_unread", default=None)
"""Where payloads that cannot be read are told of."""

_elsewhere = Failures()


def report(function: str, error: Exception) -> dict[str, str]:
    """Count a payload that a function could not read; how a row says so."""
    unread = reports.get()
    (unread.failures if unread is not None else _elsewhere).add(function, error)
    return {function: f"failed: {type(error).__name__}"}


def total(fallback: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function answer ``fallback()`` where its payload makes it raise, which is counted."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                why = report(function.__name__, error)
                if (unread := reports.get()) is not None:
                    unread.missing |= why
                return fallback()

        return guarded

    return decorate


def columns(
    fallback: Callable[[], dict[str, Any]],
) -> Callable[[Callable[P, dict[str, Any]]], Callable[P, dict[str, Any]]]:
    """The same for a function that gives columns of a row, which will say that they are missing."""

    def decorate(function: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                return fallback() | {"missing": report(function.__name__, error)}

        return guarded

    return decorate


def gather(**parts: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """The columns that these parts of a row give, with a mark for each that cannot be read."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, read in parts.items():
        try:
            found |= read() or {}
        except Exception as error:
            missing |= report(name, error)
    return found | {"missing": missing} if missing else found


def mapping(value: Any) -> Mapping[Any, Any]:
    """The value where it is a mapping, else an empty one."""
    if value is None:
        return {}
    return value if type(value) is dict or is_a(value, Mapping) else {}


def first(source: Mapping[Any, Any], *keys: str) -> Any:
    """The first of these keys whose value is not None."""
    for key in keys if source else ():
        if (value := source.get(key)) is not None:
            return value
    return None


def no_rows() -> list[dict[str, Any]]:
    """The rows of an event that could not be read."""
    return []


def no_fields() -> dict[str, Any]:
    """What an event says that could not be read."""
    return {}
