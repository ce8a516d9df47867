"""The words that columns hold of which there are only so many, for models and for what reads them.

They are here because the models need SQLAlchemy, which nothing else does.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

SessionStatus: TypeAlias = Literal["active", "completed", "expired", "error"]
WorkflowStatus: TypeAlias = Literal[
    "running", "completed", "failed", "cancelled", "interrupted", "refused"
]
Role: TypeAlias = Literal["admin", "manager", "user", "viewer"]
EvaluationType: TypeAlias = Literal["TURN_EVAL", "HOLISTIC_FLOW"]
Metric: TypeAlias = Literal[
    "token_usage",
    "api_calls",
    "execution_time",
    "plan_count",
    "todo_count",
    "success_rate",
    "daily_requests",
    "monthly_tokens",
]
