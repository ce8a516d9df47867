"""From where a graph runs again what it ran before.

LangGraph starts a graph anew from any of its checkpoints, but a subgraph only from one that lies
below the checkpoint of its parent, in a namespace that follows from that one's id. So for a node
in a subgraph all checkpoints around it are copied, each below the copy of the one above: once
something starts from them, since a thread goes on from its newest checkpoint.
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


class Replay:
    """How a node in a subgraph is run again: ``path`` leads to it from the outermost node.

    ``config`` is that of the subgraph, as LangGraph's ``get_state(…, subgraphs=True)`` gives it.

    Raises:
        NotRecorded: it is not known what the ids follow from.
    """

    def __init__(self, path: Sequence[Node]) -> None:
        self.origins: dict[str, tuple[str, str]] = {}
        """Namespace and id of the checkpoint that each copy is of, by the copy's id."""
        self._copies: list[tuple[Node, dict[str, Any]]] = []
        self.config = root_config(path[0])
        places: dict[str, str] = {}
        namespace = ""
        for node, below in zip(path, (*path[1:], None), strict=True):
            origin = node.checkpoint_ns or "", node.input_checkpoint_id or ""
            new_id = str(uuid6(clock_seq=node.step or 0))
            self.origins[new_id] = origin
            copied = {"checkpoint_ns": origin[0], "checkpoint_id": origin[1]}
            placed = {"new_ns": namespace, "new_id": new_id, "parents": Jsonb({**places})}
            self._copies.append((node, self.config["configurable"] | copied | placed))
            places[namespace] = new_id
            if below is not None:
                namespace = _namespace(namespace, node, task_ids(node)(new_id, namespace))
        where = {"checkpoint_ns": namespace, "checkpoint_id": new_id, "checkpoint_map": places}
        self.config["configurable"] |= where

    def check(self, transaction: Transaction) -> None:
        """Nothing, if all that it needs is there.

        Raises:
            NotRecorded: one of the checkpoints is gone.
        """
        for node, params in self._copies:
            if not transaction.rows("checkpoint_is_there", **params):
                raise gone(node)

    def write(self, transaction: Transaction) -> None:
        """Copy the checkpoints.

        Raises:
            NotRecorded: one of them is gone.
        """
        for node, params in self._copies:
            if transaction.run("fork_checkpoint", **params) != 1:
                raise gone(node)
            transaction.run("fork_blobs", **params)


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
