"""What keeps a strange payload from raising into somebody's graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from langgraph_persist.extract.text import is_a, qualified_name

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def total(fallback: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function answer ``fallback()``, with a warning, where its payload makes it raise."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                # Never the message: it may quote what the user said.
                kind = qualified_name(type(error))
                logger.warning("%s could not read its payload (%s)", function.__name__, kind)
                return fallback()

        return guarded

    return decorate


def mapping(value: Any) -> Mapping[Any, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if type(value) is dict or is_a(value, Mapping) else {}


def first(source: Mapping[Any, Any], *keys: str) -> Any:
    """The first of these keys whose value is not None."""
    for key in keys:
        if (value := source.get(key)) is not None:
            return value
    return None


def no_rows() -> list[dict[str, Any]]:
    """The rows of an event that could not be read."""
    return []


def no_fields() -> dict[str, Any]:
    """What an event says that could not be read."""
    return {}
