"""The read side: recorded workflows as typed, frozen objects.

    workflow = persist.history.last()
    print(workflow.timeline())
    workflow.state_after("draft")["text"]

An object shows its row as it was when it was read; what belongs to a workflow (nodes, generations,
tool executions, retrievals) is read on first use and kept, so read the workflow again to see it
move on.
"""

from langgraph_persist.history.reader import History
from langgraph_persist.history.records import (
    Generation,
    Node,
    Retrieval,
    ToolExecution,
    Workflow,
    WorkflowRun,
)
from langgraph_persist.history.threads import Thread
from langgraph_persist.history.timeline import Timeline, TimelineRow

__all__ = [
    "Generation",
    "History",
    "Node",
    "Retrieval",
    "Thread",
    "Timeline",
    "TimelineRow",
    "ToolExecution",
    "Workflow",
    "WorkflowRun",
]
