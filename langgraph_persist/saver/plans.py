"""Lists of todos in checkpoints, as changes of plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple

from langgraph_persist.extract.todos import CHANNEL, Privacy, read_todos, todo_list
from langgraph_persist.journal import Fields, Graph, Journal, Listed, Rows, Run

AGENT = "agent"
"""Who changed a plan that no user did."""

Load = Callable[[RunnableConfig], CheckpointTuple | None]
_NONE = Listed(None, (), "loop")


class Plans:
    """Follows the ``todos`` channel of graphs from checkpoint to checkpoint."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def loaded(self, run: Run, graph: Graph, found: CheckpointTuple) -> None:
        """A run has loaded a checkpoint; it starts from the first one of a graph."""
        if CHANNEL in found.checkpoint["channel_values"] and graph not in run.todos:
            run.todos[graph] = _listed(found.checkpoint, found.metadata)

    def rows(
        self,
        run: Run | None,
        graph: Graph,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        load: Load,
    ) -> Rows:
        """What a new list makes of its plan; ``load`` reads the one before if it is not known."""
        if CHANNEL not in checkpoint["channel_versions"]:
            return []
        before = run.todos.get(graph, _NONE) if run else _before(config, load)
        after = _listed(checkpoint, metadata)
        if run is not None:
            run.todos[graph] = after
        # What a run does of which nothing is recorded is no user's edit.
        unrecorded = run is None and "__pregel_runtime" in config["configurable"]
        if after.version == before.version or unrecorded or not (before.todos or after.todos):
            return []
        by_user = "input" in (before.source, after.source) or after.source in ("update", "fork")
        hidden = run is not None and run.hides(graph, metadata.get("step", -1))
        key = (graph.thread_id, graph.checkpoint_ns, checkpoint["id"])
        privacy = self._privacy(hidden)
        row = todo_list(key, before.todos, after.todos, by_user=by_user, privacy=privacy)
        user = (config.get("metadata") or {}).get("user")
        row |= {
            "thread_id": run.thread_id if run else graph.thread_id,
            "checkpoint_thread_id": graph.thread_id,
            "workflow_id": run.workflow_id if run else None,
            "old_version": before.version,
            "channel_version": after.version,
            "written_at": checkpoint["ts"],
            "changed_by": str(user or "user") if by_user else AGENT,
        }
        return [("todo_lists", row)]

    def _privacy(self, hidden: bool) -> Privacy:
        journal = self._journal
        excluded = hidden or CHANNEL in journal.capture.channels
        content = journal.keeps_content and not excluded
        return Privacy(content, journal.capture, journal.seal.close if journal.seal else None)


def _before(config: RunnableConfig, load: Load) -> Listed:
    if "checkpoint_id" not in config["configurable"]:
        return _NONE
    found = load(config)
    return _NONE if found is None else _listed(found.checkpoint, found.metadata)


def _listed(checkpoint: Checkpoint, metadata: CheckpointMetadata) -> Listed:
    version = checkpoint["channel_versions"].get(CHANNEL)
    todos: list[Fields] = read_todos(checkpoint["channel_values"].get(CHANNEL)) or []
    source = cast(str, metadata.get("source", "loop"))
    return Listed(None if version is None else str(version), todos, source)
