"""Organizations with their limits, and the users that belong to them."""

from langgraph_persist.quotas.accounts import Organization, Organizations, User, Users
from langgraph_persist.quotas.quotas import Quota, Quotas

__all__ = ["Organization", "Organizations", "Quota", "Quotas", "User", "Users"]
