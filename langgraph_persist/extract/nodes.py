"""Which chain runs are LangGraph nodes, and which.

A namespace is a path of ``name:task_id`` parts joined by ``|``, one for each task around a run,
and a bare number where a task calls a graph again. A node's own is the last part. A ``@task``
and an error handler also hang below the task that called them or failed, though the graph
(and so the checkpointer) they belong to is that of the outermost of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langchain_core.runnables.config import var_child_runnable_config

from langgraph_persist.extract.guard import total
from langgraph_persist.extract.text import clean_text, optional_text

_HIDDEN = "langsmith:hidden"
_STEP = "graph:step:"
_HANDLER = "node_error_handler"


class NodeIdentity(NamedTuple):
    """What LangGraph says of a node's run; all but ``path`` are columns of ``nodes``."""

    node_name: str
    node_type: str
    step: int | None
    task_id: str
    checkpoint_ns: str
    triggers: list[str]
    path: tuple[Any, ...]

    def fields(self) -> dict[str, Any]:
        """The columns by name."""
        found = self._asdict()
        del found["path"]
        return found


def _not_a_node() -> NodeIdentity | None:
    return None


@total(_not_a_node)
def node_identity(
    name: str | None,
    tags: Iterable[str] | None,
    metadata: Mapping[str, Any] | None,
    *,
    enclosing_task_id: str | None = None,
) -> NodeIdentity | None:
    """The node whose run this chain run is, or None for every other run and for hidden ones.

    ``enclosing_task_id`` is that of the nearest node above, if known: what runs inside a
    ``@task`` under the same name looks just like the task, but shares its task id.
    """
    if not metadata or name is None or metadata.get("langgraph_node") != name:
        return None
    namespace = metadata.get("langgraph_checkpoint_ns")
    if not isinstance(namespace, str):
        return None
    path = _path(metadata.get("langgraph_path"))
    kind = _node_type(path, tags or ())
    namespace = clean_text(namespace)
    task_id = namespace.rpartition(":")[2]
    if kind is None or task_id == enclosing_task_id:
        return None
    step = metadata.get("langgraph_step")
    return NodeIdentity(
        node_name=clean_text(name),
        node_type=kind,
        step=step if isinstance(step, int) else None,
        task_id=task_id,
        checkpoint_ns=_graph_namespace(namespace, path),
        triggers=_triggers(metadata.get("langgraph_triggers")),
        path=path,
    )


@total(str)
def task_around() -> str:
    """The task of the node that this is called in, the innermost; empty where there is none."""
    return clean_text(_namespace_around()).rpartition(":")[2]


@total(frozenset[str])
def nodes_around() -> frozenset[str]:
    """The names of the nodes of graphs that this is called in."""
    parts = _namespace_around().split("|")
    return frozenset(clean_text(name) for part in parts if (name := part.partition(":")[0]))


def _namespace_around() -> str:
    metadata = (var_child_runnable_config.get() or {}).get("metadata") or {}
    return str(metadata.get("langgraph_checkpoint_ns") or "")


def _path(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def _node_type(path: tuple[Any, ...], tags: Iterable[str]) -> str | None:
    in_step = False
    for tag in tags:
        if tag == _HIDDEN:
            return None
        in_step = in_step or tag.startswith(_STEP)
    if _is_task(path):
        return "task"
    if not in_step:
        return None
    return "error_handler" if _is_handler(path) else "node"


def _is_task(path: tuple[Any, ...]) -> bool:
    return len(path) > 1 and path[-1] is True


def _is_handler(path: tuple[Any, ...]) -> bool:
    return len(path) > 1 and path[-2] == _HANDLER


def _graph_namespace(namespace: str, path: tuple[Any, ...]) -> str:
    if "|" not in namespace:
        return ""
    below = 1
    while _is_task(path):
        below += 1
        path = _path(path[1])
    below += _is_handler(path)
    return "|".join(namespace.split("|")[:-below])


def _triggers(value: Any) -> list[str]:
    items = value if isinstance(value, (tuple, list)) else ()
    return [text for item in items if (text := optional_text(item)) is not None]
