"""Checks of single values, for what annotations cannot say to ``arguments.checked``.

Each gives the value back as it is to be used, or says what was expected instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from operator import index
from typing import Any, SupportsIndex, TypeVar

from langgraph_persist.errors import ConfigurationError

T = TypeVar("T")

LONGEST_NAME = 63
"""Bytes; PostgreSQL would cut a longer one."""

_NO_NAMES = (bytes, bytearray, list, tuple, dict, set, frozenset)


def instance(name: str, value: T, kinds: type | tuple[type, ...], expected: str) -> T:
    """A value of one of these types."""
    if not isinstance(value, kinds):
        raise ConfigurationError(f"{name} is {expected}, not {value!r:.100}")
    return value


def methods(name: str, value: T, *sets: tuple[str, ...]) -> T:
    """An object that has one of these sets of methods."""
    if not any(all(callable(getattr(value, m, None)) for m in wanted) for wanted in sets):
        wanted = " and ".join(sets[0])
        raise ConfigurationError(f"{name} is an object with {wanted}, not {value!r:.100}")
    return value


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
        instance(name, value, timedelta, "a timedelta")
        if value < timedelta(0):
            raise ConfigurationError(f"{name} must not be negative: {value}")


def count(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number that PostgreSQL can count to."""
    number = index(value) if isinstance(value, SupportsIndex) else least - 1
    if isinstance(value, bool) or not least <= number < 2**63:
        raise ConfigurationError(f"{name} is a whole number, at least {least}, not {value!r}")
    return number


def identifier(name: str, value: Any) -> str:
    """A name or id as it is stored, whose own type may be another."""
    if type(value) is str and value.isascii() and "\x00" not in value:
        return value
    if value is None or isinstance(value, _NO_NAMES):
        raise ConfigurationError(f"{name} is a text, not {value!r:.100}")
    text = value if type(value) is str else str(value)
    if "\x00" in text:
        raise ConfigurationError(f"a {name} cannot contain NUL: PostgreSQL's text has none")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError(f"a {name} cannot contain a lone surrogate: {text!r:.100}")
    return text


def schema_names(**given: Any) -> None:
    """Names of PostgreSQL schemas, or None."""
    for name, value in given.items():
        if value is None:
            continue
        instance(name, value, str, "the name of a PostgreSQL schema")
        if not 1 <= len(identifier(name, value).encode()) <= LONGEST_NAME:
            raise ConfigurationError(
                f"{name} is a name of 1 to {LONGEST_NAME} bytes, not {value!r:.100}"
            )


def thread_name(value: Any) -> str:
    """A thread's id as it is stored."""
    if value is None or value == "":
        missing = "None" if value is None else "empty"
        raise ConfigurationError(
            f"the thread_id is {missing}, which all who forgot theirs would share"
        )
    return identifier("thread_id", value)


def identifiers(name: str, value: Any) -> list[str]:
    """Several ids as they are stored; a single text is one that was meant to be in a list."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name} is a list of ids, not {value!r:.100}")
    return [identifier(name.removesuffix("s"), one) for one in value]
