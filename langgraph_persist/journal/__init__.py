"""The ordered queue of a database, shared by every saver and handler of a process that uses it."""

from langgraph_persist.journal.journal import Journal
from langgraph_persist.journal.privacy import Seal
from langgraph_persist.journal.runs import Graph, Known, OpenNode, Run, Runs, current_run
from langgraph_persist.journal.share import release, share
from langgraph_persist.journal.unit import Fields, Late, Rows, Unit

__all__ = [
    "Fields",
    "Graph",
    "Journal",
    "Known",
    "Late",
    "OpenNode",
    "Rows",
    "Run",
    "Runs",
    "Seal",
    "Unit",
    "current_run",
    "release",
    "share",
]
