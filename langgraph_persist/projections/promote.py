"""Columns of a workflow and of its session that are filled from its state."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeAlias

from langgraph_persist.errors import ConfigurationError
from langgraph_persist.extract import safe_str, to_json
from langgraph_persist.journal import Fields, State

Promote: TypeAlias = Mapping[str, str | Sequence[str]]
"""A column's channel, or the channels that make an object of it."""

CONTEXT = "current_context"
"""The column that is of the session."""

COLUMNS = ("settings", "result", "user_input", CONTEXT)


class Promotion:
    """Says which channels fill which columns of ``workflows`` and ``sessions``; hidden ones none.

    Raises:
        ConfigurationError: there is no such column, or it cannot hold this.
    """

    def __init__(self, promote: Promote, hidden: Container[str] = ()) -> None:
        if not isinstance(promote, Mapping):
            raise ConfigurationError(f"promote says which channels fill a column, not {promote!r}")
        self._hidden = hidden
        self._read = {column: _reader(column, source) for column, source in promote.items()}

    def __call__(self, state: State) -> Fields:
        """The columns that this state has something for."""
        if self._hidden:
            state = {name: value for name, value in state.items() if name not in self._hidden}
        found = {column: read(state) for column, read in self._read.items()}
        return {column: value for column, value in found.items() if value is not None}


def _reader(column: str, source: str | Sequence[str]) -> Callable[[State], Any]:
    if column not in COLUMNS:
        raise ConfigurationError(f"promote fills {', '.join(COLUMNS)} from the state, not {column}")
    channels = [source] if isinstance(source, str) else source
    if not isinstance(channels, Sequence) or not all(isinstance(c, str) for c in channels):
        raise ConfigurationError(
            f"promote fills {column} from a channel, or a list of channels, not {source!r:.100}"
        )
    if isinstance(source, str):
        if column in ("settings", CONTEXT):
            return _object([source])
        return _text(source) if column == "user_input" else _value(source)
    if column == "user_input":
        raise ConfigurationError("promote fills user_input from one channel: name it as a string")
    return _object(source)


def _text(channel: str) -> Callable[[State], str | None]:
    def read(state: State) -> str | None:
        value = state.get(channel)
        return None if value is None else safe_str(value)

    return read


def _value(channel: str) -> Callable[[State], Any]:
    def read(state: State) -> Any:
        value = state.get(channel)
        return None if value is None else to_json(value)

    return read


def _object(channels: Sequence[str]) -> Callable[[State], Any]:
    def read(state: State) -> Any:
        found = {channel: state[channel] for channel in channels if channel in state}
        return to_json(found) if found else None

    return read
