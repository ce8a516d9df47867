"""Rows of what no callback tells of, but the saver sees: cached nodes, and edits of the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langchain_core.utils.uuid import uuid7
from langgraph.constants import START
from langgraph.types import Send

from langgraph_persist.extract import NodeIdentity, clean_text, keep_for, node_identity, to_json
from langgraph_persist.journal import Fields, Graph, Journal, Loop, OpenNode, Rows, Run
from langgraph_persist.saver.callers import StateEdit

TASKS = "__pregel_tasks"
"""The channel of the ``Send``s that the next step executes."""

_PUSH, _PULL = "__pregel_push", "__pregel_pull"
_RETURN = "__return__"
_NO_STATE = ("branch:", "join:", "__")


class Edit(NamedTuple):
    """A call of ``update_state``, on a checkpoint that a recorded workflow has left."""

    edit: StateEdit
    workflow_id: UUID | None
    recorded: bool
    """Whether the workflow's record is still there."""


def cached_rows(
    journal: Journal,
    run: Run,
    graph: Graph,
    checkpoint_id: str,
    task_id: str,
    task_path: str,
    writes: Sequence[tuple[str, Any]],
) -> Rows:
    """The row of a task whose writes came from LangGraph's cache, once its checkpoint is there."""
    if (loop := run.loops.get(graph)) is None or run.task(task_id) is not None:
        return []
    found = _seen(loop, task_id) or _from_path(run, graph, checkpoint_id, task_id, task_path)
    if found is None:
        return []
    identity, namespace, given = found
    parent = _parent(run, namespace)
    private = journal.is_private(identity.node_name, parent)
    keep = keep_for(journal, run.thread_id, private=private)
    owner = {"thread_id": run.thread_id, "workflow_id": run.workflow_id}
    now = datetime.now(UTC)
    fields: Fields = {
        "thread_id": run.thread_id,
        "id": uuid7(),
        "workflow_id": run.workflow_id,
        "run_id": run.id,
        **identity.fields(),
        "parent_node_id": parent.fields["id"] if parent else None,
        "execution_order": run.next_order(),
        "status": "completed",
        "cached": True,
        "input_data": keep.document(given),
        "output_data": keep.document(_output(writes)),
        "started_at": now,
        "completed_at": now,
    }
    held = [(table, owner | row) for table, row in keep.rows]
    step = identity.step or 0
    return run.settle(OpenNode(fields, graph, step, parent, held, ended=True, private=private))


def _seen(loop: Loop, task_id: str) -> tuple[NodeIdentity, str, Any] | None:
    """Which node a task is of, its namespace and its input, if LangGraph's own task was seen."""
    task = loop.task(task_id)
    if task is None or task.cache_key is None:
        return None
    metadata = task.config.get("metadata") or {}
    tags = [*(task.config.get("tags") or ()), f"graph:step:{metadata.get('langgraph_step')}"]
    identity = node_identity(task.name, tags, metadata)
    if identity is None:
        return None
    return identity, str(metadata["langgraph_checkpoint_ns"]), task.input


def _from_path(
    run: Run, graph: Graph, checkpoint_id: str, task_id: str, task_path: str
) -> tuple[NodeIdentity, str, Any] | None:
    """The same from what the saver is passed, where no node of the step was executed."""
    loop, step = run.loops.get(graph), run.step_of(graph, checkpoint_id)
    kind, _, where = task_path.removeprefix("~").partition(", ")
    if loop is None or step is None or where in ("", START):
        return None
    if kind == _PULL:
        name, given = where, loop.given(where, checkpoint_id)
    elif kind == _PUSH and (packet := _packet(loop.values(checkpoint_id), where)) is not None:
        name, given = packet.node, packet.arg
    else:
        return None
    namespace = clean_text(graph.checkpoint_ns)
    identity = NodeIdentity(clean_text(name), "node", step + 1, task_id, namespace, [], ())
    return identity, f"{graph.checkpoint_ns}|{name}:{task_id}", given


def _packet(values: Mapping[str, Any], path: str) -> Send | None:
    """The ``Send`` of a checkpoint that a task path names by its place in the list."""
    place, sends = path.partition(", ")[0], values.get(TASKS) or ()
    if not (place.isdigit() and int(place) < len(sends)):
        return None
    packet = sends[int(place)]
    return packet if isinstance(packet, Send) else None


def _parent(run: Run, namespace: str) -> OpenNode | None:
    """The nearest node around a task that is under way."""
    above = namespace.split("|")[:-1]
    tasks = (part.rpartition(":")[2] for part in reversed(above) if ":" in part)
    return next((node for task in tasks if (node := run.task(task)) is not None), None)


def _output(writes: Sequence[tuple[str, Any]]) -> Any:
    """What a task wrote: a function's result, or the values of channels."""
    written = [(channel, value) for channel, value in writes]
    if any(channel == _RETURN for channel, _ in written):
        return next(value for channel, value in written if channel == _RETURN)
    return {k: value for k, value in written if not k.startswith(_NO_STATE)}


def update_rows(
    journal: Journal,
    edit: Edit,
    checkpoint: Fields,
    config: RunnableConfig,
    metadata: Mapping[str, Any],
    state: Any,
) -> Rows:
    """A row for each node in whose name the state was edited, and what these refer to."""
    user = (config.get("metadata") or {}).get("user")
    owner = {"thread_id": checkpoint["thread_id"], "workflow_id": edit.workflow_id}
    now = datetime.now(UTC)
    rows: Rows = []
    for update in edit.edit.updates:
        private = journal.is_private(update.as_node, None)
        keep = keep_for(journal, checkpoint["thread_id"], private=private)
        fields: Fields = {
            **owner,
            "id": uuid7(),
            "run_id": edit.workflow_id,
            "node_name": clean_text(update.as_node),
            "node_type": "update",
            "status": "completed",
            "step": metadata.get("step"),
            "checkpoint_ns": clean_text(checkpoint["checkpoint_ns"]),
            "input_checkpoint_id": checkpoint["parent_checkpoint_id"],
            "checkpoint_id": checkpoint["checkpoint_id"],
            "input_data": keep.document(update.values),
            "state": None if private else state,
            "started_at": now,
            "completed_at": now,
            "metadata": None if user is None else to_json({"user": user}),
        }
        rows += [(table, owner | row) for table, row in keep.rows]
        rows.append(("nodes", fields))
    return rows
