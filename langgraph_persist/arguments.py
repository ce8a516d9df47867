"""Checks of what users give: each gives it back, or says what was expected instead."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

from langgraph_persist.errors import ConfigurationError

T = TypeVar("T")


def seconds(name: str, value: Any) -> float:
    """A number of seconds that something can be waited for."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 <= value <= threading.TIMEOUT_MAX):
        raise ConfigurationError(f"{name} is a number of seconds, at least 0, not {value!r}")
    return float(value)


def durations(**given: Any) -> None:
    """Timedeltas that are not negative, or None."""
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, timedelta):
            raise ConfigurationError(f"{name} is a timedelta, not {value!r}")
        if value < timedelta(0):
            raise ConfigurationError(f"{name} must not be negative: {value}")


def count(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number."""
    if type(value) is not int or value < least:
        raise ConfigurationError(f"{name} is a whole number, at least {least}, not {value!r}")
    return value


def instance(name: str, value: T, kinds: type | tuple[type, ...], expected: str) -> T:
    """A value of one of these types."""
    if not isinstance(value, kinds):
        raise ConfigurationError(f"{name} is {expected}, not {value!r}")
    return value


def names(name: str, value: Any) -> list[str]:
    """Several ids, as texts; a single text is one that was meant to be in a list."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name} is a list of ids, not {value!r}")
    return [*map(str, value)]
