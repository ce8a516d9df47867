"""The values of DeltaChannels, which checkpoints hold only now and then.

Between its snapshots LangGraph stores what was written to such a channel, and rebuilds the value
by the channel's reducer. The record tells the state after every step, so the values are followed
here in the same way, by what is on its way to the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import Checkpoint, DeltaChannelHistory, writes_sort_key


class DeltaWrite(NamedTuple):
    """What a task wrote to a channel."""

    channel: str
    value: Any
    task_id: str
    task_path: str
    idx: int


class Deltas:
    """The DeltaChannels of one call of a graph, as of the checkpoint last loaded or saved."""

    def __init__(self, specs: Mapping[str, DeltaChannel[Any]]) -> None:
        self._specs = specs
        self._at: str | None = None
        self._channels: Mapping[str, DeltaChannel[Any]] = {
            name: spec.from_checkpoint(spec.checkpoint()) for name, spec in specs.items()
        }
        self._writes: defaultdict[str, dict[tuple[str, int], DeltaWrite]] = defaultdict(dict)

    @classmethod
    def of(cls, loop: Any) -> Deltas | None:
        """Those of LangGraph's loop; None if its graph has none."""
        specs = getattr(loop, "specs", None) or {}
        found = {name: spec for name, spec in specs.items() if isinstance(spec, DeltaChannel)}
        return cls(found) if found else None

    @property
    def names(self) -> Collection[str]:
        return self._specs.keys()

    def absent(self, checkpoint: Checkpoint) -> list[str]:
        """The channels that were written to, but whose value is not in the checkpoint."""
        versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
        return [name for name in self._specs if name in versions and name not in values]

    def load(
        self, checkpoint: Checkpoint, histories: Mapping[str, DeltaChannelHistory]
    ) -> Mapping[str, Any]:
        """Start from a checkpoint; gives the values that it does not hold itself."""
        channels: dict[str, DeltaChannel[Any]] = {}
        for name, spec in self._specs.items():
            history = histories.get(name, {"writes": []})
            seed = history.get("seed", spec.checkpoint())
            channel = spec.from_checkpoint(checkpoint["channel_values"].get(name, seed)).copy()
            channel.replay_writes(history["writes"])
            channels[name] = channel
        return self._become(checkpoint, channels)

    def write(self, checkpoint_id: str, writes: Iterable[DeltaWrite]) -> None:
        """Tasks that ran from a checkpoint wrote this; what one has written before stays."""
        for write in writes:
            if write.channel in self._specs:
                self._writes[checkpoint_id].setdefault((write.task_id, write.idx), write)

    def save(self, parent_id: str | None, checkpoint: Checkpoint) -> Mapping[str, Any]:
        """Go on to the checkpoint that follows; gives the values that it does not hold itself."""
        known = self._channels if parent_id == self._at else {}
        writes = self._writes.pop(parent_id or "", {}).values()
        channels: dict[str, DeltaChannel[Any]] = {}
        for name, spec in self._specs.items():
            if name in checkpoint["channel_values"]:
                channels[name] = spec.from_checkpoint(checkpoint["channel_values"][name])
            elif name in known:
                channels[name] = _followed(known[name], [w for w in writes if w.channel == name])
        return self._become(checkpoint, channels)

    def _become(
        self, checkpoint: Checkpoint, channels: Mapping[str, DeltaChannel[Any]]
    ) -> Mapping[str, Any]:
        self._at, self._channels = checkpoint["id"], channels
        absent = self.absent(checkpoint)
        return {name: channels[name].get() for name in absent if name in channels}


def _followed(channel: DeltaChannel[Any], writes: list[DeltaWrite]) -> DeltaChannel[Any]:
    """A channel after one more step."""
    if not writes:
        return channel
    writes.sort(key=lambda w: writes_sort_key(w.task_path, w.task_id, w.idx))
    after = channel.copy()
    after.replay_writes([(w.task_id, w.channel, w.value) for w in writes])
    return after
