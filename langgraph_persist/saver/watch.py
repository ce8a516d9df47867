"""Follows the states of graphs from checkpoint to checkpoint, for what is derived from them."""

from __future__ import annotations

import copy
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
            run.states[graph] = self._copied(checkpoint, None)
            projector.loaded(run, graph, state_of(checkpoint))

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
        saved = self._copied(checkpoint, None if run is None else run.states.get(graph))
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
            copied=saved.values,
        )
        derived = projector.saved(change)
        if run is not None:
            run.states[graph] = saved
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

    def _copied(self, checkpoint: Checkpoint, before: Saved | None) -> Saved:
        if self._projector is not None and self._projector.compares:
            return _saved(checkpoint, before)
        return Saved(checkpoint["id"], {}, {})


def _saved(checkpoint: Checkpoint, before: Saved | None = None) -> Saved:
    """What a checkpoint holds, in copies: nodes and projections may change theirs in place."""
    versions = dict(checkpoint["channel_versions"])
    values: dict[str, Any] = {}
    for channel, value in state_of(checkpoint).items():
        known = before is not None and before.versions.get(channel) == versions.get(channel)
        if before is not None and known and channel in before.values:
            values[channel] = before.values[channel]
        else:
            values[channel] = _copy(value)
    return Saved(checkpoint["id"], values, versions)


def _copy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:
        # It holds what cannot be copied, a lock or a client.
        return value


def _metadata(config: RunnableConfig, metadata: CheckpointMetadata) -> Mapping[str, Any]:
    return {**(config.get("metadata") or {}), **metadata}
