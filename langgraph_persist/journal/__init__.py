"""The ordered queue of a database, shared by every saver and handler of a process that uses it."""

from langgraph_persist.journal.barriers import Barrier
from langgraph_persist.journal.capture import Capture, Mode, Redactor
from langgraph_persist.journal.clock import Clock
from langgraph_persist.journal.deltas import Deltas, DeltaWrite
from langgraph_persist.journal.derive import Change, Derived, Projector, State
from langgraph_persist.journal.failures import Failures
from langgraph_persist.journal.forks import Fork, Forks
from langgraph_persist.journal.instance import instance_id
from langgraph_persist.journal.journal import ERROR_HANDLER, Journal
from langgraph_persist.journal.privacy import Seal
from langgraph_persist.journal.reaper import LOST_AFTER, ExpiredRequest, LostRun, Reaped
from langgraph_persist.journal.restrictions import Restriction
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
    superseded,
)
from langgraph_persist.journal.share import release, share
from langgraph_persist.journal.starts import Start
from langgraph_persist.journal.unit import Fields, Late, Projected, Rows, Statement, Unit

__all__ = [
    "ERROR_HANDLER",
    "LOST_AFTER",
    "Barrier",
    "Capture",
    "Change",
    "Clock",
    "DeltaWrite",
    "Deltas",
    "Derived",
    "ExpiredRequest",
    "Failures",
    "Fields",
    "Fork",
    "Forks",
    "Graph",
    "Journal",
    "Known",
    "Late",
    "Listed",
    "Loaded",
    "LostRun",
    "Mode",
    "OpenNode",
    "Progress",
    "Projected",
    "Projector",
    "Reaped",
    "Recorded",
    "Redactor",
    "Restriction",
    "Rows",
    "Run",
    "Runs",
    "Saved",
    "Seal",
    "Start",
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
    "superseded",
]
