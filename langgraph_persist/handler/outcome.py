"""How something ended, told from the exception it ended with."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langgraph.errors import GraphBubbleUp, NodeTimeoutError, ParentCommand

from langgraph_persist.extract import error_fields, qualified_name
from langgraph_persist.journal import ERROR_HANDLER, Fields, OpenNode, Run

Status = Literal["completed", "failed", "interrupted", "cancelled", "refused"]


def status_of(error: BaseException) -> Status:
    """The status of what ended with this exception."""
    if isinstance(error, ParentCommand):
        return "completed"
    if isinstance(error, GraphBubbleUp):
        return "interrupted"
    if isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)):
        return "cancelled"
    return "failed"


def outcome(error: BaseException) -> Fields:
    """The same, and the error columns if it is a failure, which take some time to make."""
    status = status_of(error)
    return {"status": status} if status != "failed" else {"status": status, **error_fields(error)}


def sent_up(error: BaseException) -> Any:
    """What it tells the graph above, which is its output."""
    return error.args[0] if isinstance(error, ParentCommand) else None


def node_outcome(error: BaseException, cancelled: bool) -> Fields:
    """The same for a node: if nobody cancelled it, it raised that error itself."""
    if isinstance(error, asyncio.CancelledError) and not cancelled:
        return {"status": "failed", **error_fields(error)}
    return outcome(error)


def blame_timeout(run: Run, parent: OpenNode | None, error: BaseException) -> None:
    """Let the nodes right below ``parent`` that this timeout cancelled say so.

    LangGraph cancels what takes too long, and raises the timeout one level above it.
    """
    below = [node for node in run.unplaced if node.parent is parent]
    step = max((node.step for node in below), default=0)
    below = [node for node in below if node.step == step]
    if isinstance(error, NodeTimeoutError):
        below = [node for node in below if node.fields["node_name"] == error.node]
    elif not isinstance(error, TimeoutError) or any(map(_has_failed, below)):
        return
    for node in below:
        if node.fields["status"] == "cancelled":
            node.fields |= {"status": "failed", **error_fields(error)}


def blame_retry(run: Run, started: OpenNode) -> None:
    """Let a cancelled attempt say that it timed out: nothing else is retried or handled.

    The timeout itself is raised where no callback sees it.
    """
    name = started.fields["node_name"].removeprefix(ERROR_HANDLER)
    for node in reversed(run.unplaced):
        same = node.fields["task_id"] == started.fields["task_id"]
        handled = (node.fields["node_name"], node.graph, node.step) == (
            name,
            started.graph,
            started.step,
        )
        if node.fields["status"] == "cancelled" and (same or handled):
            seconds = node.fields["duration_ms"] / 1000
            node.fields |= {
                "status": "failed",
                "error_type": qualified_name(NodeTimeoutError),
                "error_message": f"Node {name!r} timed out after {seconds:.3f}s",
            }
            return


def _has_failed(node: OpenNode) -> bool:
    return bool(node.fields["status"] == "failed")
