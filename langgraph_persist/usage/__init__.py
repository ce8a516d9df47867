"""What model calls cost: the user's own prices first, then those of genai-prices."""

from __future__ import annotations

from langgraph_persist.usage.costs import Cost, Costs, total
from langgraph_persist.usage.prices import ModelCall, Price, Prices, TokenPrice

__all__ = ["Cost", "Costs", "ModelCall", "Price", "Prices", "TokenPrice", "total"]
