"""Completes checkpoints by the values of DeltaChannels, for the record of a graph's states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_persist.journal import Deltas, DeltaWrite, Failures, Graph, Run

Histories: TypeAlias = Mapping[str, DeltaChannelHistory]
Read: TypeAlias = Callable[[Sequence[str]], Histories]


class Opening(NamedTuple):
    """What LangGraph's loop starts from."""

    loop: Any
    found: CheckpointTuple | None
    pending: Sequence[Sequence[bytes]] | None
    """The rows of what tasks that ran from the checkpoint wrote."""
    serde: SerializerProtocol

    def stored(self, channels: Collection[str]) -> list[DeltaWrite]:
        """What of it was written to these channels."""
        found = []
        for task_id, channel, type_, blob, task_path, idx in self.pending or ():
            if (name := channel.decode()) in channels:
                value = self.serde.loads_typed((type_.decode(), blob))
                where = (task_id.decode(), task_path.decode(), int(idx))
                found.append(DeltaWrite(name, value, *where))
        return found


class DeltaStates:
    """Follows the DeltaChannels of graphs; a reducer that fails here fails no graph."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._read: WeakKeyDictionary[Any, tuple[str, Histories]] = WeakKeyDictionary()

    def loaded(self, run: Run, graph: Graph, opening: Opening, read: Read) -> Checkpoint | None:
        """The checkpoint that a loop starts from, whole; ``read`` gives histories of channels."""
        checkpoint = opening.found.checkpoint if opening.found else None
        if (deltas := Deltas.of(opening.loop)) is None:
            return checkpoint
        run.deltas[graph] = deltas
        if checkpoint is None:
            return None
        absent = deltas.absent(checkpoint)
        histories = read(absent) if absent else {}
        self._read[opening.loop] = checkpoint["id"], histories
        values: Mapping[str, Any] = {}
        with self._guarded(run, graph):
            values = deltas.load(checkpoint, histories)
            deltas.write(checkpoint["id"], opening.stored(deltas.names))
        return _with(checkpoint, values)

    def history(self, loop: Any, checkpoint_id: str | None, names: Sequence[str]) -> Histories:
        """What was read when this loop's checkpoint was loaded; it is asked for only once."""
        at, histories = self._read.pop(loop, (None, {})) if loop is not None else (None, {})
        if at is None or at != checkpoint_id or not all(name in histories for name in names):
            return {}
        return {name: histories[name] for name in names}

    def wrote(
        self, run: Run, graph: Graph, checkpoint_id: str, writes: Iterable[DeltaWrite]
    ) -> None:
        """What a task that ran from a checkpoint wrote."""
        if (deltas := run.deltas.get(graph)) is not None:
            deltas.write(checkpoint_id, writes)

    def saved(
        self, run: Run | None, graph: Graph, parent_id: str | None, checkpoint: Checkpoint
    ) -> Checkpoint:
        """A checkpoint of a run, whole."""
        if run is None or (deltas := run.deltas.get(graph)) is None:
            return checkpoint
        values: Mapping[str, Any] = {}
        with self._guarded(run, graph):
            values = deltas.save(parent_id, checkpoint)
        return _with(checkpoint, values)

    @contextmanager
    def _guarded(self, run: Run, graph: Graph) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            run.deltas.pop(graph, None)
            self._failures.add("the state of a DeltaChannel", error)


def edited(checkpoint: Checkpoint, channels: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint made by ``update_state`` from these channels, whole."""
    held, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    values = {
        name: channel.get()
        for name, channel in channels.items()
        if isinstance(channel, DeltaChannel) and name in versions and name not in held
    }
    return _with(checkpoint, values)


def _with(checkpoint: Checkpoint, values: Mapping[str, Any]) -> Checkpoint:
    if not values:
        return checkpoint
    return {**checkpoint, "channel_values": {**checkpoint["channel_values"], **values}}
