"""Organizations with their limits, and the users that belong to them."""

from langgraph_persist.quotas.accounts import Organization, Organizations, User, Users
from langgraph_persist.quotas.admission import Answer, Request, ask
from langgraph_persist.quotas.quotas import Quota, Quotas

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
