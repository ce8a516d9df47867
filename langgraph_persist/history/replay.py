"""From where a graph runs again what it ran before.

LangGraph starts a graph anew from any of its checkpoints, but a subgraph only from one that lies
below the checkpoint of its parent, in a namespace that follows from that one's id. So for a node
in a subgraph all checkpoints around it are copied, each below the copy of the one above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base.id import uuid6
from psycopg.types.json import Jsonb
from xxhash import xxh3_128_digest

from langgraph_persist.database.statements import Transaction
from langgraph_persist.errors import NotRecorded
from langgraph_persist.history.records import Node

_SENDS = 1_000
"""A task that was sent is known by its place among those sent along with it."""

TaskId = Callable[[str, str], str]
"""The id of a node's task, given the checkpoint it runs from and the namespace it is in."""


def root_config(node: Node) -> RunnableConfig:
    """The config that runs the graph again from just before a node of it."""
    where = {
        "thread_id": node.checkpoint_thread_id or node.thread_id,
        "checkpoint_ns": "",
        "checkpoint_id": node.input_checkpoint_id,
    }
    return {"configurable": where}


def gone(node: Node) -> NotRecorded:
    """The error for a node whose checkpoint is not there any more."""
    return NotRecorded(
        f"the checkpoint that {node!r} ran from is gone, by a retention or a deletion of its "
        "thread: its graph cannot run again from there"
    )


def prepare(transaction: Transaction, path: Sequence[Node]) -> RunnableConfig:
    """Copy the checkpoints that a node and those around it ran from; the config that starts there.

    ``path`` leads from the outermost node to that one.

    Raises:
        NotRecorded: one of the checkpoints is gone, or it is not known what the ids follow from.
    """
    config = root_config(path[0])
    places: dict[str, str] = {}
    namespace = ""
    for node, below in zip(path, (*path[1:], None), strict=True):
        new_id = str(uuid6(clock_seq=node.step or 0))
        params: dict[str, Any] = {
            "thread_id": config["configurable"]["thread_id"],
            "checkpoint_ns": node.checkpoint_ns or "",
            "checkpoint_id": node.input_checkpoint_id,
            "new_ns": namespace,
            "new_id": new_id,
            "parents": Jsonb(places),
        }
        if transaction.run("fork_checkpoint", **params) != 1:
            raise gone(node)
        transaction.run("fork_blobs", **params)
        places[namespace] = new_id
        if below is not None:
            namespace = _namespace(namespace, node, task_ids(node)(new_id, namespace))
    config["configurable"] |= {"checkpoint_id": places[""], "checkpoint_map": places}
    return config


def task_ids(node: Node) -> TaskId:
    """How the id of this node's task follows from where it runs.

    Raises:
        NotRecorded: its own id does not follow in this way.
    """
    step, origin = str(node.step), node.input_checkpoint_id or ""
    pulled = ("__pregel_pull", *(node.triggers or ()))
    sent = (("__pregel_push", str(index)) for index in range(_SENDS))
    for parts in (pulled, *sent):

        def task_id(checkpoint_id: str, namespace: str, parts: Sequence[str] = parts) -> str:
            own = f"{namespace}|{node.node_name}" if namespace else node.node_name
            text = "".join((own, step, node.node_name, *parts))
            seed = UUID(checkpoint_id).bytes + text.encode()
            return str(UUID(bytes=xxh3_128_digest(seed)))

        if task_id(origin, node.checkpoint_ns or "") == node.task_id:
            return task_id
    raise NotRecorded(f"{node!r} was not called as a node of a graph: replay one around it")


def _namespace(parent: str, node: Node, task_id: str) -> str:
    own = f"{node.node_name}:{task_id}"
    return f"{parent}|{own}" if parent else own
