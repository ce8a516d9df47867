"""The ordered queue of a database, shared by every saver and handler of a process that uses it."""

from langgraph_persist.journal.clock import Clock, instance_id
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
    Recorded,
    Run,
    Runs,
    Saved,
    Within,
    current_place,
    current_run,
    place_in,
)
from langgraph_persist.journal.share import release, share
from langgraph_persist.journal.unit import Fields, Late, Projected, Rows, Statement, Unit

__all__ = [
    "Change",
    "Clock",
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
    "Recorded",
    "Rows",
    "Run",
    "Runs",
    "Saved",
    "Seal",
    "State",
    "Statement",
    "Unit",
    "Within",
    "current_place",
    "current_run",
    "instance_id",
    "place_in",
    "release",
    "share",
]
