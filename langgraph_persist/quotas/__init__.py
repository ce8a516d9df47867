"""Organizations with their limits, and the users that belong to them."""

from typing import TYPE_CHECKING, Any

from langgraph_persist.quotas.admission import Answer, Request, ask
from langgraph_persist.quotas.quotas import Quota, Quotas

if TYPE_CHECKING:
    from langgraph_persist.quotas.accounts import Organization, Organizations, User, Users

__all__ = [
    "Answer",
    "Organization",
    "Organizations",
    "Quota",
    "Quotas",
    "Request",
    "User",
    "Users",
    "ask",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A running graph does not need it.
    from langgraph_persist.quotas import accounts

    return getattr(accounts, name)
