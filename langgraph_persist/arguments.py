"""What public methods take: anything else is refused where it is given, with what it should be.

A class whose methods are :func:`checked` says in their annotations what they take. Some types are
narrower than Python's::

    @checked
    class Things:
        def list(self, owner: Name, *, since: Moment | None = None, limit: Count = 50) -> Page:
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    IO,
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from langgraph_persist.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """What values of a type must be besides."""

    holds: Callable[[Any], bool]
    told: str


Name: TypeAlias = Annotated[str, Rule(lambda text: bool(text.strip()), "a text that is not empty")]
Count: TypeAlias = Annotated[int, Rule(lambda n: 1 <= n < 2**63, "a whole number from 1")]
Limit: TypeAlias = Annotated[int, Rule(lambda n: 0 <= n < 2**63, "a whole number from 0")]
TurnNumber: TypeAlias = Annotated[int, Rule(lambda n: 1 <= n < 2**31, "a whole number from 1")]
Rating: TypeAlias = Annotated[int, Rule(lambda n: 1 <= n <= 5, "a whole number from 1 to 5")]
Score: TypeAlias = Annotated[float, Rule(lambda x: 0 <= x <= 100, "a number from 0 to 100")]
Moment: TypeAlias = Annotated[
    datetime,
    Rule(lambda at: at.tzinfo is not None, "a datetime with a time zone, as datetime.now(UTC)"),
]
Happened: TypeAlias = Annotated[
    datetime,
    Rule(
        lambda at: at.tzinfo is not None and _FIRST <= at <= datetime.now(UTC) + timedelta(days=1),
        "a datetime with a time zone, since 1970 and not in the future",
    ),
]
"""A day that can be counted in any time zone; clocks may differ."""
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

Duration: TypeAlias = Annotated[
    float, Rule(lambda ms: 0 <= ms <= 1e12, "a number of milliseconds from 0")
]
Money: TypeAlias = Annotated[
    Decimal | float, Rule(lambda x: x == x and 0 <= x < 1e15, "a number from 0")
]

_TOLD: dict[Any, str] = {
    str: "a text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    UUID: "a UUID",
    Mapping: "a mapping",
}
_SHOWN = (str, int, float, Decimal, UUID, NoneType)
_ABSTRACT: dict[Any, Any] = {int: Integral, float: Real}
"""NumPy's numbers are numbers, too."""


def checked(cls: type[T]) -> type[T]:
    """Every public method of the class refuses arguments that are not what it is annotated with.

    Raises:
        ConfigurationError: from the methods.
    """
    for name, method in vars(cls).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(cls, name, _checking(method))
    return cls


def uuid_of(name: str, value: UUID | str) -> UUID:
    """A UUID that may be given as a text.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except ValueError:
        raise ConfigurationError(f"{name} is a UUID, not {reprlib.repr(value)}") from None


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)
    hints = cache(lambda: get_type_hints(method, include_extras=True))

    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return  # the call itself says so
        for name, value in given.items():
            hint = hints().get(name, Any)
            if value is not signature.parameters[name].default and not _fits(hint, value):
                raise ConfigurationError(f"{name} is {_told(hint)}, not {_shown(value)}")

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return method(*args, **kwargs)

    @wraps(method)
    async def acall(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return await method(*args, **kwargs)

    return acall if inspect.iscoroutinefunction(method) else call


def _fits(hint: Any, value: Any) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *rules = get_args(hint)
        return _fits(base, value) and all(r.holds(value) for r in rules if isinstance(r, Rule))
    if origin in (Union, UnionType):
        return any(_fits(option, value) for option in get_args(hint))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint is None:
        return value is None
    return _is_a(origin or hint, get_args(hint), value)


def _is_a(kind: Any, parts: tuple[Any, ...], value: Any) -> bool:
    if kind is Any or not isinstance(kind, type) or issubclass(kind, IO):
        return True
    if hasattr(kind, "__total__"):  # a TypedDict, of typing or typing_extensions
        return isinstance(value, dict)
    if kind is not bool and isinstance(value, bool):
        return kind is object
    if kind is date and isinstance(value, datetime):
        return False
    if not isinstance(value, _ABSTRACT.get(kind, kind)):
        return False
    if issubclass(kind, Collection) and len(parts) == 1:
        return not isinstance(value, (str, bytes)) and all(_fits(parts[0], one) for one in value)
    return True


def _told(hint: Any) -> str:
    *options, last = dict.fromkeys(_options(hint)) or ["None"]
    return f"{', '.join(options)} or {last}" if options else last


def _options(hint: Any) -> list[str]:
    """What to call the types of which a value must have one."""
    origin = get_origin(hint)
    if origin is Annotated:
        return [rule.told for rule in get_args(hint) if isinstance(rule, Rule)]
    if origin in (Union, UnionType):
        return [told for option in get_args(hint) for told in _options(option)]
    if origin is Literal:
        return [repr(option) for option in get_args(hint)]
    if hint in (None, NoneType):
        return []
    kind = origin or hint
    return [_TOLD.get(kind) or _article(getattr(kind, "__name__", str(kind)))]


def _shown(value: Any) -> str:
    """A value that cannot say much, or what it is."""
    if isinstance(value, date):
        return str(value)
    return reprlib.repr(value) if isinstance(value, _SHOWN) else _article(type(value).__name__)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
