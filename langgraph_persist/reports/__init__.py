"""What users, nodes and models did in a time, and what it cost."""

from __future__ import annotations

from langgraph_persist.reports.reports import Reports
from langgraph_persist.reports.rows import (
    Cost,
    ModelUsage,
    NodePerformance,
    PromptVersion,
    TimelineEvent,
    UserSuccess,
)
from langgraph_persist.reports.table import Report

__all__ = [
    "Cost",
    "ModelUsage",
    "NodePerformance",
    "PromptVersion",
    "Report",
    "Reports",
    "TimelineEvent",
    "UserSuccess",
]
