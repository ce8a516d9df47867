"""What a call costs, worked out when the row is written.

The prices of genai-prices take a while to import, once in a process. That begins in the background
when a model is first called, so they are mostly there when it has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import orjson

from langgraph_persist.journal import Fields, Late
from langgraph_persist.usage import market
from langgraph_persist.usage.prices import ModelCall, Prices

CACHE = "cache"
"""The source of the price of what LangChain's own cache answered: nothing."""


class Cost:
    """What one call cost, and by which price; both None where no price is known."""

    __slots__ = ("_usd", "_work", "free", "source")

    def __init__(self, usd: Decimal | None, source: str | None, free: bool = False) -> None:
        self._usd, self.source, self.free = usd, source, free
        self._work: Callable[[], tuple[Decimal, str] | None] | None = None

    @classmethod
    def later(cls, work: Callable[[], tuple[Decimal, str] | None]) -> Cost:
        """A cost that is worked out when it is first asked for."""
        cost = cls(None, None)
        cost._work = work
        return cost

    @property
    def usd(self) -> Decimal | None:
        """US dollars."""
        if (work := self._work) is not None:
            self._usd, self.source = work() or (None, None)
            self._work = None
        return self._usd

    def columns(self) -> Fields:
        """The cost as the columns of a generation."""
        return {
            "cost_usd": Late(lambda: _number(self.usd)),
            "price_source": Late(lambda: self.source if self.usd is not None else None),
        }


class Costs:
    """Tells what calls cost: by the user's prices, else by those of genai-prices."""

    def __init__(self, prices: Prices, failed: Callable[[str, BaseException], None]) -> None:
        self._prices, self._failed = prices, failed

    def expect(self, call: ModelCall) -> None:
        """A model is called: have the prices at hand when it answers."""
        if self._prices.cost(call) is None:
            market.load()

    def of(self, call: ModelCall, cache_hit: bool) -> Cost:
        """What a call cost that has ended; a call without token counts has no known cost."""
        if cache_hit:
            return Cost(Decimal(0), CACHE, free=True)
        if not call.tokens or not call.models:
            return Cost(None, None)
        if (own := self._prices.cost(call)) is not None:
            return Cost(*own)
        market.load()
        return Cost.later(lambda: self._market_cost(call))

    def _market_cost(self, call: ModelCall) -> tuple[Decimal, str] | None:
        try:
            return market.cost(call)
        except Exception as error:
            self._failed("cost", error)
            return None


def total(costs: Iterable[Cost]) -> Late:
    """The sum of what is known, as a column.

    Where nothing is known it is NULL; it is 0 only if a price says so, or if every call was
    answered by the cache.
    """
    return Late(lambda: _number(_sum(list(costs))))


def _sum(costs: list[Cost]) -> Decimal | None:
    known = [usd for cost in costs if not cost.free and (usd := cost.usd) is not None]
    if known:
        return sum(known, Decimal(0))
    return Decimal(0) if costs and all(cost.free for cost in costs) else None


def _number(usd: Decimal | None) -> orjson.Fragment | None:
    return None if usd is None else orjson.Fragment(f"{usd:f}")
