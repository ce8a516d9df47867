"""Retention: deleting what is no longer wanted, and nothing that anything kept still needs.

A checkpoint that stays keeps its values, its pending writes and, where a DeltaChannel's value is
rebuilt from older checkpoints, those too. All work is done thread by thread in small transactions
that lock no table, so graphs run on meanwhile.
"""

from langgraph_persist.retention.report import RetentionReport
from langgraph_persist.retention.retention import GRACE, Policy, Retention, Sessions

__all__ = ["GRACE", "Policy", "Retention", "RetentionReport", "Sessions"]
