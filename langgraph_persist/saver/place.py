"""Where a config points, as the tables have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from langgraph_persist.checks import identifier, thread_name
from langgraph_persist.errors import ConfigurationError


class Place(NamedTuple):
    """A namespace of a thread, and a checkpoint in it if one is named."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None


def place_of(config: RunnableConfig | None) -> Place:
    """Where a config points.

    Raises:
        ConfigurationError: it names no thread, or one that cannot be.
    """
    given = configurable_of(config)
    if "thread_id" not in given:
        raise ConfigurationError(
            'the config names no thread; expected {"configurable": {"thread_id": "…"}}'
        )
    return Place(
        thread_name(given["thread_id"]),
        identifier("checkpoint_ns", given.get("checkpoint_ns") or ""),
        _checkpoint(given),
    )


def checkpoint_in(config: RunnableConfig | None) -> str | None:
    """The checkpoint that a config names, if it names one."""
    return _checkpoint(configurable_of(config))


def _checkpoint(given: Mapping[str, Any]) -> str | None:
    id = given.get("checkpoint_id")
    return None if id is None else identifier("checkpoint_id", id)


def configurable_of(config: RunnableConfig | None) -> Mapping[str, Any]:
    """What a config says to LangGraph.

    Raises:
        ConfigurationError: it is none.
    """
    given = config.get("configurable") if isinstance(config, dict) else None
    if not isinstance(given, dict):
        raise ConfigurationError(
            'a config is {"configurable": {"thread_id": "…"}}, as Persist.config() gives it'
        )
    return given
