"""Rows of nodes that LangGraph answers from a cache, of which no callback tells.

The loop of a graph matches its tasks with its cache by one method, whatever the durability. A loop
that has a cache gets one of its own, which does the same and tells of what it found.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.utils.uuid import uuid7

from langgraph_persist.extract import keep_for, node_identity
from langgraph_persist.journal import Fields, Graph, Journal, OpenNode, Run, Unit

_MATCH, _AMATCH = "match_cached_writes", "amatch_cached_writes"
_RETURN = "__return__"
_NO_STATE = ("branch:", "join:", "__")

Tell = Callable[[Sequence[Any]], None]


def follow(journal: Journal, run: Run, graph: Graph, loop: Any) -> None:
    """Record what this loop takes from its cache, if it has one."""
    if getattr(loop, "cache", None) is None or _MATCH in vars(loop):
        return

    def tell(tasks: Sequence[Any]) -> None:
        for task in tasks:
            with journal.failures.kept("cached", run.missing):
                _record(journal, run, graph, task)

    this = weakref.ref(loop)
    setattr(loop, _MATCH, _matching(this, tell))
    setattr(loop, _AMATCH, _matching_async(this, tell))


def _matching(this: weakref.ref[Any], tell: Tell) -> Callable[[], Sequence[Any]]:
    def match() -> Sequence[Any]:
        loop = this()
        found: Sequence[Any] = getattr(type(loop), _MATCH)(loop)
        tell(found)
        return found

    return match


def _matching_async(this: weakref.ref[Any], tell: Tell) -> Callable[[], Awaitable[Sequence[Any]]]:
    async def match() -> Sequence[Any]:
        loop = this()
        found: Sequence[Any] = await getattr(type(loop), _AMATCH)(loop)
        tell(found)
        return found

    return match


def _record(journal: Journal, run: Run, graph: Graph, task: Any) -> None:
    """Hold the row of a task that is answered until its checkpoint comes."""
    metadata = task.config.get("metadata") or {}
    tags = [*(task.config.get("tags") or ()), f"graph:step:{metadata.get('langgraph_step')}"]
    identity = node_identity(task.name, tags, metadata)
    # One that runs has been begun; what another one like it wrote meanwhile is answered to both.
    if identity is None or run.task(identity.task_id) is not None:
        return
    parent = _parent(run, str(metadata["langgraph_checkpoint_ns"]))
    private = run.private or journal.is_private(identity.node_name, parent)
    keep = keep_for(journal, run.thread_id, private=private)
    owner = {"thread_id": run.thread_id, "workflow_id": run.workflow_id}
    now = datetime.now(UTC)
    fields: Fields = {
        **owner,
        "id": uuid7(),
        "run_id": run.id,
        **identity.fields(),
        "parent_node_id": parent.fields["id"] if parent else None,
        "execution_order": run.next_order(),
        "status": "completed",
        "cached": True,
        "input_data": keep.document(task.input),
        "output_data": keep.document(_output(task.writes)),
        "started_at": now,
        "completed_at": now,
    }
    rows = [(table, owner | row) for table, row in keep.rows]
    node = OpenNode(fields, graph, identity.step or 0, parent, rows, ended=True, private=private)
    run.wrote(identity.task_id)
    if not run.hold(node):
        journal.append(Unit(run.thread_id, [*node.collect({})]))


def _parent(run: Run, namespace: str) -> OpenNode | None:
    """The nearest node around a task that is under way."""
    above = namespace.split("|")[:-1]
    tasks = (part.rpartition(":")[2] for part in reversed(above) if ":" in part)
    return next((node for task in tasks if (node := run.task(task)) is not None), None)


def _output(writes: Sequence[tuple[str, Any]]) -> Any:
    """What a task wrote: a function's result, or the values of channels."""
    for channel, value in writes:
        if channel == _RETURN:
            return value
    return {k: value for k, value in writes if not k.startswith(_NO_STATE)}
