"""The user's own prices for models, and what a call costs by them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation, localcontext
from fnmatch import fnmatchcase
from typing import NamedTuple, Required, TypeAlias, TypedDict

from langgraph_persist.checks import instance
from langgraph_persist.errors import ConfigurationError

TokenPrice: TypeAlias = Decimal | int | float | str
"""US dollars for a million tokens."""

_PARTS = ("input", "output", "cache_read", "cache_creation", "reasoning")
_MILLION = -6
# More digits than any count of tokens times any price has: nothing is rounded.
_DIGITS = 60


class Price(TypedDict, total=False):
    """What a million tokens of a model cost in US dollars.

    Tokens read from or written to the provider's cache cost like other input, and reasoning like
    other output, where nothing else is said. ``version`` is kept with every cost.
    """

    input: Required[TokenPrice]
    output: Required[TokenPrice]
    cache_read: TokenPrice
    cache_creation: TokenPrice
    reasoning: TokenPrice
    version: str


class ModelCall(NamedTuple):
    """What the cost of a call depends on."""

    models: tuple[str, ...]
    """The names of the model, the one that answered first."""
    provider: str | None
    endpoint: str | None
    tokens: Mapping[str, int]
    """The token columns of ``generations``."""
    details: Mapping[str, int]
    """Parts of them that have no column, by their names in genai-prices."""
    service_tier: str | None
    at: datetime

    def names(self) -> Iterator[str]:
        """What the user may call the model: by its name, or as ``provider/name``."""
        for model in self.models:
            yield model.lower()
            if self.provider:
                yield f"{self.provider}/{model}".lower()


class _Rates(NamedTuple):
    """A model's prices, and where they come from."""

    source: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_creation: Decimal
    reasoning: Decimal

    def cost(self, tokens: Mapping[str, int]) -> Decimal:
        read = tokens.get("cache_read_tokens", 0)
        creation = tokens.get("cache_creation_tokens", 0)
        reasoning = tokens.get("reasoning_tokens", 0)
        with localcontext() as context:
            context.prec = _DIGITS
            cost = (
                (tokens.get("prompt_tokens", 0) - read - creation) * self.input
                + read * self.cache_read
                + creation * self.cache_creation
                + (tokens.get("completion_tokens", 0) - reasoning) * self.output
                + reasoning * self.reasoning
            )
            return cost.scaleb(_MILLION)


@dataclass(frozen=True)
class Prices:
    """The user's own prices by model: a name, or a pattern with ``*``, ``?`` or ``[…]``.

    A model is looked for by its name and as ``provider/name``, in any case: first as it is
    written, then by the patterns in their order.
    """

    rates: Mapping[str, _Rates] = field(default_factory=dict)

    @classmethod
    def of(cls, prices: Mapping[str, Price] | None) -> Prices:
        """The prices as given by the user.

        Raises:
            ConfigurationError: one of them is none.
        """
        instance("prices", prices, (Mapping, type(None)), "a mapping of models to prices")
        return cls({name.lower(): _rates(name, price) for name, price in (prices or {}).items()})

    def cost(self, call: ModelCall) -> tuple[Decimal, str] | None:
        """What a call costs and by which price; None where the user gave none."""
        rates = self._find(tuple(call.names())) if self.rates else None
        return None if rates is None else (rates.cost(call.tokens), rates.source)

    @functools.cached_property
    def _find(self) -> functools._lru_cache_wrapper[_Rates | None]:
        return functools.lru_cache(maxsize=1024)(self._search)

    def _search(self, names: tuple[str, ...]) -> _Rates | None:
        for name in names:
            if (exact := self.rates.get(name)) is not None:
                return exact
        for pattern, rates in self.rates.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return rates
        return None


def _rates(name: str, price: Price) -> _Rates:
    if not isinstance(price, Mapping) or not {"input", "output"} <= price.keys():
        raise ConfigurationError(
            f"the price of {name!r} needs 'input' and 'output', US dollars for a million tokens"
        )
    if unknown := price.keys() - {*_PARTS, "version"}:
        raise ConfigurationError(f"the price of {name!r} has an unknown part {min(unknown)!r}")
    version = price.get("version")
    fallback = {
        "cache_read": price["input"],
        "cache_creation": price["input"],
        "reasoning": price["output"],
    }
    parts = {part: _dollars(name, part, {**fallback, **price}[part]) for part in _PARTS}
    source = f"prices: {name}" + (f" ({version})" if version else "")
    return _Rates(source=source, **parts)


def _dollars(name: str, part: str, value: object) -> Decimal:
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if not dollars.is_finite() or dollars < 0:
        raise ConfigurationError(f"the price of {name!r} has no amount as {part!r}: {value!r}")
    return dollars
