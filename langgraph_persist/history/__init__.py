"""The read side: recorded workflows as typed, frozen objects.

    workflow = persist.history.last()
    print(workflow.timeline())
    workflow.state_after("draft")["text"]

An object shows its row as it was when it was read; what belongs to a workflow (nodes, generations,
tool executions, retrievals) is read on first use and kept, so read the workflow again to see it
move on.
"""

from langgraph_persist.history.compare import Comparison, Diff, NodePair
from langgraph_persist.history.humans import HitlEvent
from langgraph_persist.history.reader import History
from langgraph_persist.history.records import (
    Generation,
    Node,
    Retrieval,
    ToolExecution,
    Workflow,
    WorkflowRun,
)
from langgraph_persist.history.threads import Thread, TranscriptLine
from langgraph_persist.history.timeline import Timeline, TimelineRow

__all__ = [
    "Comparison",
    "Diff",
    "Generation",
    "History",
    "HitlEvent",
    "Node",
    "NodePair",
    "Retrieval",
    "Thread",
    "Timeline",
    "TimelineRow",
    "ToolExecution",
    "TranscriptLine",
    "Workflow",
    "WorkflowRun",
]
