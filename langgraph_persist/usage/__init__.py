"""What users and organizations used, day by day, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph_persist.usage.costs import Cost, Costs, total
from langgraph_persist.usage.prices import ModelCall, Price, Prices, TokenPrice

if TYPE_CHECKING:
    from langgraph_persist.kinds import Metric
from langgraph_persist.usage.metrics import Usage, UsageMetric

__all__ = [
    "Cost",
    "Costs",
    "Metric",
    "ModelCall",
    "Price",
    "Prices",
    "TokenPrice",
    "Usage",
    "UsageMetric",
    "total",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A running graph does not need it.
    from langgraph_persist.usage import metrics

    return getattr(metrics, name)
