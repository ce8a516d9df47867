"""The words that columns hold of which there are only so many, for models and for what reads them.

Besides, the columns that count tokens. They are here because the models need SQLAlchemy, which
nothing else does.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

TOKENS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
)
"""How many tokens a model call took, and which of them were cached or reasoning."""

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
