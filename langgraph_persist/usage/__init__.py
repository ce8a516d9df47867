"""What users and organizations used, day by day, and what it cost."""

from __future__ import annotations

from langgraph_persist.usage.costs import Cost, Costs, total
from langgraph_persist.usage.metrics import Metric, Usage, UsageMetric
from langgraph_persist.usage.prices import ModelCall, Price, Prices, TokenPrice

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
