"""List prices, from the tables of genai-prices.

Its import takes from 0.1 to over a second, so nothing here is imported with this module.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langgraph_persist.usage.prices import ModelCall

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

# Who sells models that nobody else may run: their name alone tells what they cost.
_MAKERS = frozenset({"openai", "anthropic", "google", "x-ai"})
_UNKNOWN_SECONDS = 600
_UNKNOWN_ENTRIES = 1_000
_UNITS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}

_loading = threading.Thread(target=lambda: _load(), name="langgraph-persist-prices", daemon=True)
_start_once = threading.Lock()
# By what was looked for in vain: until when that holds; prices may be updated.
_unknown: OrderedDict[tuple[Any, ...], float] = OrderedDict()


def load() -> None:
    """Import the prices in the background; does nothing after the first time."""
    if _loading.ident is None and _start_once.acquire(blocking=False):
        _loading.start()


def _load() -> None:
    # Whoever needs the prices tries again, and reports.
    with contextlib.suppress(Exception):
        from genai_prices import data_snapshot

        data_snapshot.get_snapshot()


def _wait_before_fork() -> None:
    """A child would wait forever for an import that its parent's thread had begun."""
    if _loading.is_alive():
        _loading.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_before_fork)


def cost(call: ModelCall) -> tuple[Decimal, str] | None:
    """What a call costs by list prices, and by which; None for a model that is not listed."""
    key = (call.models, call.provider, call.endpoint)
    if _unknown.get(key, 0) > time.monotonic():
        return None
    for model, where in _places(call):
        if (found := _price(call, model, where)) is not None:
            return found.total_price, _source(found)
    _unknown[key] = time.monotonic() + _UNKNOWN_SECONDS
    while len(_unknown) > _UNKNOWN_ENTRIES:
        _unknown.popitem(last=False)
    return None


def _places(call: ModelCall) -> Iterator[tuple[str, dict[str, Any]]]:
    """Under which name, and where, to look for the model; the surest first."""
    models = [model.rpartition("models/")[2] for model in call.models]
    if call.endpoint:
        yield from ((model, {"provider_api_url": call.endpoint}) for model in models)
    if call.provider:
        yield from ((model, {"provider_id": call.provider}) for model in models)
    yield from ((model, {}) for model in models)


def _price(call: ModelCall, model: str, where: dict[str, Any]) -> PriceCalculation | None:
    tokens = {unit: n for column, unit in _UNITS.items() if (n := call.tokens.get(column))}
    try:
        found = _calculate(call, model, where, {**tokens, **call.details})
    except ValueError:
        # The parts do not add up in the way that this model's prices ask for.
        found = _calculate(call, model, where, tokens)
    if found is None or not _has_token_price(found):
        return None
    return found if where or found.provider.id in _MAKERS else None


def _has_token_price(found: PriceCalculation) -> bool:
    """Whether tokens cost something there: a model may be listed without a price, or by image."""
    prices = vars(found.model_price).items()
    return any(key.endswith("_mtok") and price is not None for key, price in prices)


def _calculate(
    call: ModelCall, model: str, where: dict[str, Any], usage: Mapping[str, int]
) -> PriceCalculation | None:
    from genai_prices import Usage, calc_price

    context = {"service_tier": call.service_tier} if call.service_tier else None
    try:
        return calc_price(
            Usage(**usage),
            model,
            genai_request_timestamp=call.at,
            price_context=context,
            **where,
        )
    except LookupError:
        return None


def _source(found: PriceCalculation) -> str:
    from genai_prices import __version__

    updated = found.auto_update_timestamp
    version = __version__ if updated is None else f"{__version__}, updated {updated:%Y-%m-%d}"
    return f"genai-prices {version}: {found.provider.id}/{found.model.id}"
