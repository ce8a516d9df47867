"""Follows the states of graphs from checkpoint to checkpoint, for what is derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from langgraph_persist.journal import Change, Derived, Graph, Projector, Run, Saved, State

# What LangGraph keeps in channels of its own, beside the state; a state without keys is __root__,
# and a functional API's results are __end__ and __previous__.
INTERNAL_CHANNELS = ("branch:", "join:", "__start__", "__pregel", "__interrupt__", "__error__")

NOTHING = Derived([], ())
Load = Callable[[RunnableConfig], CheckpointTuple | None]


def state_of(checkpoint: Checkpoint) -> State:
    """The values of a checkpoint's channels, without LangGraph's own."""
    return {
        channel: value.value if isinstance(value, _DeltaSnapshot) else value
        for channel, value in checkpoint["channel_values"].items()
        if not channel.startswith(INTERNAL_CHANNELS)
    }


class Watch:
    """Tells a projector of every state, and of the one before it."""

    def __init__(self, projector: Projector | None) -> None:
        self._projector = projector

    @property
    def takes_time(self) -> bool:
        """Whether a put may read, or call what is not ours."""
        return self._projector is not None and self._projector.compares

    def loaded(self, run: Run, graph: Graph, checkpoint: Checkpoint) -> None:
        """A run has loaded a checkpoint; it starts from the first one of a graph."""
        projector = self._projector
        if projector is not None and projector.follows(graph) and graph not in run.states:
            saved = self._keep(run, graph, checkpoint)
            projector.loaded(run, graph, saved.values)

    def derive(
        self,
        run: Run | None,
        graph: Graph,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        load: Load,
    ) -> Derived:
        """What goes with a checkpoint; ``load`` reads the one before where it is not known."""
        projector = self._projector
        if projector is None or not projector.follows(graph):
            return NOTHING
        old = self._before(run, graph, config, load) if projector.compares else None
        change = Change(
            run=run,
            graph=graph,
            checkpoint_id=checkpoint["id"],
            step=metadata.get("step", -1),
            source=metadata.get("source", "loop"),
            written_at=checkpoint["ts"],
            metadata=_metadata(config, metadata),
            old={} if old is None else old.values,
            new=state_of(checkpoint),
        )
        derived = projector.saved(change)
        if run is not None:
            self._keep(run, graph, checkpoint)
        return derived

    def _before(
        self, run: Run | None, graph: Graph, config: RunnableConfig, load: Load
    ) -> Saved | None:
        parent = config["configurable"].get("checkpoint_id")
        if parent is None:
            return None
        if run is not None and (saved := run.states.get(graph)) and saved.checkpoint_id == parent:
            return saved
        where = {
            "thread_id": graph.thread_id,
            "checkpoint_ns": graph.checkpoint_ns,
            "checkpoint_id": parent,
        }
        found = load({"configurable": where})
        return None if found is None else _saved(found.checkpoint)

    def _keep(self, run: Run, graph: Graph, checkpoint: Checkpoint) -> Saved:
        saved = run.states[graph] = _saved(checkpoint)
        return saved


def _saved(checkpoint: Checkpoint) -> Saved:
    return Saved(checkpoint["id"], state_of(checkpoint), checkpoint["channel_versions"])


def _metadata(config: RunnableConfig, metadata: CheckpointMetadata) -> Mapping[str, Any]:
    return {**(config.get("metadata") or {}), **metadata}
