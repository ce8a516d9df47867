"""Rows of a user's own tables, and columns of workflows, made of the states of graphs."""

from langgraph_persist.projections.projections import (
    OnError,
    ProjectionContext,
    ProjectionFunction,
    Projections,
)
from langgraph_persist.projections.promote import Promote, Promotion

__all__ = [
    "OnError",
    "ProjectionContext",
    "ProjectionFunction",
    "Projections",
    "Promote",
    "Promotion",
]
