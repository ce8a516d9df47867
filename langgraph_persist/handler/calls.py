"""What LangGraph does not tell its callbacks: which graph a run is a call of, with which config.

The start event of a graph carries neither the graph nor its ``configurable``, and the metadata may
name another thread than the one that it saves on. So both are read where the event comes from:
the frame of ``Pregel.stream`` or ``astream``. Without such a frame nothing is known, and the
metadata has to do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langgraph.constants import END

_TELLERS = "langchain_core.callbacks."
_PREGEL = "langgraph.pregel.main"
_FALLBACKS = "langchain_core.runnables.fallbacks"
_RUNNABLES = "langchain"
_ENTRANCES = ("stream", "astream")
_STREAMS = ("_transform_stream_with_config", "_atransform_stream_with_config")
_LIFECYCLE = ("emit_graph_lifecycle_events", "aemit_graph_lifecycle_events")
_EDITS = ("perform_superstep", "aperform_superstep")
_DEPTH = 40
_NEAR = 6


@dataclass(frozen=True, slots=True, eq=False)
class GraphCall:
    """One call of a graph."""

    graph: Any
    config: Mapping[str, Any]
    """The config of this call alone: LangGraph makes one for each."""

    @property
    def configurable(self) -> Mapping[str, Any]:
        return self.config.get("configurable") or {}

    @property
    def token(self) -> object:
        """An object that every config has with which this call loads and saves checkpoints."""
        return self.config.get("metadata")

    @property
    def returns(self) -> bool:
        """Whether its output is no state, but what its function returned last: maybe long ago."""
        return bool(getattr(self.graph, "output_channels", None) == END)


def graph_call() -> GraphCall | None:
    """The call that is starting, for the handler whose event this is; None for other runnables."""
    frame = _teller()
    if frame is None or not _is(frame, _ENTRANCES):
        return None
    found = frame.f_locals
    graph, config = found.get("self"), found.get("config")
    return GraphCall(graph, config) if isinstance(config, Mapping) else None


def configurable() -> Mapping[str, Any]:
    """What was configured for the runnable that is starting, where that is no graph.

    Most have their config at hand as they tell it; a model's ``invoke`` has it some calls above.
    """
    frame = _teller()
    for _ in range(_NEAR):
        if frame is None or not frame.f_globals.get("__name__", "").startswith(_RUNNABLES):
            break
        if isinstance(config := frame.f_locals.get("config"), Mapping):
            return config.get("configurable") or {}
        frame = frame.f_back
    return {}


def streamed_input(inputs: Any) -> Any:
    """What a chain is given that is starting: of a stream LangChain tells it only at the end."""
    frame = _teller()
    if frame is None or frame.f_code.co_name not in _STREAMS:
        return inputs
    given = frame.f_locals.get("final_input")
    return inputs if given is None else given


def is_closed_early() -> bool:
    """Whether what ends is a stream that was not read to its end, which LangChain takes for one."""
    frame = _teller()
    if frame is None or frame.f_code.co_name not in _STREAMS:
        return False
    return getattr(frame.f_locals.get("iterator"), "gi_frame", None) is not None


def tries_alternatives() -> bool:
    """Whether what is starting is a ``with_fallbacks``, whatever it was named."""
    frame = _teller()
    return frame is not None and frame.f_globals.get("__name__") == _FALLBACKS


def hear(call: GraphCall, handler: BaseCallbackHandler) -> None:
    """Let a graph that has just begun to start tell the handler of its interrupts.

    LangGraph tells these to the handlers in its config only, not to those that a hook has added.
    The config is this call's own, and so is the list in it.
    """
    callbacks = call.config.get("callbacks")
    if callbacks is None and isinstance(call.config, dict):
        call.config["callbacks"] = [handler]
    elif isinstance(callbacks, list):
        if not any(other is handler for other in callbacks):
            callbacks.append(handler)
    elif isinstance(callbacks, BaseCallbackManager):
        callbacks.add_handler(handler)


def teller() -> int:
    """Tells events of different callers apart while these are under way."""
    return id(_teller())


def is_state_edit() -> bool:
    """Whether the event comes from ``update_state``, which calls what no run executes."""
    frame = _teller()
    for _ in range(_NEAR):
        if frame is None:
            return False
        if _is(frame, _EDITS):
            return True
        frame = frame.f_back
    return False


def next_nodes() -> list[str]:
    """The nodes that the graph whose interrupt is told would execute next, as far as is known."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame is None:
            return []
        if _is(frame, _LIFECYCLE):
            tasks = getattr(frame.f_locals.get("loop"), "tasks", {})
            return sorted({task.name for task in tasks.values()})
        frame = frame.f_back
    return []


def _teller() -> FrameType | None:
    """Who had LangChain's callback manager tell this event."""
    frame: FrameType | None = sys._getframe(2)
    told = False
    for _ in range(_DEPTH):
        if frame is None:
            return None
        manager = frame.f_globals.get("__name__", "").startswith(_TELLERS)
        if told and not manager:
            return frame
        told = manager
        frame = frame.f_back
    return None


def _is(frame: FrameType, names: tuple[str, ...]) -> bool:
    return frame.f_code.co_name in names and frame.f_globals.get("__name__") == _PREGEL
