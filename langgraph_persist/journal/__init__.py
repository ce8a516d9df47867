"""The ordered queue of a database, shared by every saver and handler of a process that uses it."""

from langgraph_persist.journal.derive import Change, Derived, Projector, State
from langgraph_persist.journal.journal import Journal
from langgraph_persist.journal.loops import Loop
from langgraph_persist.journal.privacy import Seal
from langgraph_persist.journal.runs import (
    Graph,
    Known,
    Listed,
    Loaded,
    OpenNode,
    Progress,
    Run,
    Runs,
    Saved,
    current_run,
)
from langgraph_persist.journal.share import release, share
from langgraph_persist.journal.unit import Fields, Late, Projected, Rows, Statement, Unit

__all__ = [
    "Change",
    "Derived",
    "Fields",
    "Graph",
    "Journal",
    "Known",
    "Late",
    "Listed",
    "Loaded",
    "Loop",
    "OpenNode",
    "Progress",
    "Projected",
    "Projector",
    "Rows",
    "Run",
    "Runs",
    "Saved",
    "Seal",
    "State",
    "Statement",
    "Unit",
    "current_run",
    "release",
    "share",
]
