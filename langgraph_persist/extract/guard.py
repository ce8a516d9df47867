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

reports: ContextVar[Failures | None] = ContextVar("langgraph_persist_failures", default=None)
"""Where payloads that cannot be read are counted."""

_elsewhere = Failures()


def report(function: str, error: Exception) -> None:
    """Count a payload that a function could not read."""
    (reports.get() or _elsewhere).add(function, error)


def total(fallback: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function answer ``fallback()`` where its payload makes it raise, which is counted."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                report(function.__name__, error)
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
                report(function.__name__, error)
                why = {function.__name__: f"failed: {type(error).__name__}"}
                return fallback() | {"missing": why}

        return guarded

    return decorate


def mapping(value: Any) -> Mapping[Any, Any]:
    """The value where it is a mapping, else an empty one."""
    if type(value) is dict:
        return value
    return value if value is not None and is_a(value, Mapping) else {}


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
