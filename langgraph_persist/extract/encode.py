"""Any Python object as JSON that PostgreSQL's jsonb takes.

The bytes are the snapshot: inputs are live objects that a node may change later. One pass of
orjson does it for all but odd values; those (surrogates, integers beyond 64 bits, cycles, keys
that are tuples) are rebuilt element by element, so one odd element costs only itself.
NUL and lone surrogates become U+FFFD, NaN and infinite floats null, bytes ``{"base64": …}``.
"""

from __future__ import annotations

from typing import Any

import orjson

from langgraph_persist.extract.shapes import key_text, number, shape_of
from langgraph_persist.extract.text import clean_text, unreadable
from langgraph_persist.journal.capture import BACKSLASH, without_nul

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_DEPTH = 100


def to_json(value: Any) -> orjson.Fragment:
    """The value as it is now, as JSON for a jsonb column; never raises."""
    return orjson.Fragment(to_json_bytes(value))


def to_json_bytes(value: Any) -> bytes:
    """The bytes of ``to_json``: UTF-8, never empty, valid for jsonb."""
    try:
        data = orjson.dumps(value, shape_of, _OPTIONS)
    except Exception:
        data = _careful(value)
    return without_nul(data) if BACKSLASH in data else data


def _careful(value: Any) -> bytes:
    try:
        # Apart from the first try because it halves the speed of every dict.
        return orjson.dumps(value, shape_of, _OPTIONS | orjson.OPT_NON_STR_KEYS)
    except Exception:
        return orjson.dumps(_Rebuild().value(value))


class _Rebuild:
    """Builds plain JSON types out of anything, marking cycles and what lies too deep."""

    def __init__(self) -> None:
        self.above: set[int] = set()

    def value(self, value: Any) -> Any:
        try:
            if value is None or type(value) in (bool, float, orjson.Fragment):
                return value
            if isinstance(value, str):
                return clean_text(value)
            if isinstance(value, int) and type(value) is not bool:
                return number(value)
            return self.nested(value)
        except Exception:
            return unreadable(value)

    def nested(self, value: Any) -> Any:
        if id(value) in self.above:
            return "<circular reference>"
        if len(self.above) >= _DEPTH:
            return "<nested too deep>"
        self.above.add(id(value))
        try:
            if isinstance(value, dict):
                return {self.key(key): self.value(item) for key, item in list(dict.items(value))}
            if isinstance(value, list) or type(value) is tuple:
                return [self.value(item) for item in list(value)]
            return self.value(shape_of(value))
        finally:
            self.above.discard(id(value))

    def key(self, key: Any) -> str:
        if (text := key_text(key)) is not None:
            return text
        plain = self.value(key)
        return plain if isinstance(plain, str) else orjson.dumps(plain).decode()
