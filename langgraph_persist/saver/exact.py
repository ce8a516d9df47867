"""Serialises what stock's serializer refuses or changes: large integers and lone surrogates.

msgpack has 64-bit integers and UTF-8 only; stock raises on the one and writes ``?`` for the other.
Here what holds such a value is JSON instead, in the form that stock has always read, messages
included. What JSON cannot hold either is packed as a call of its constructor, in the form that
stock's own format has for other types: so stock reads it back equal too, unless it is told to
deserialize strictly.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import Any

import ormsgpack
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import SendProtocol, _DeltaSnapshot

from langgraph_persist.saver.values import is_unicode

CONSTRUCTORS = [("builtins", "int"), ("builtins", "str"), ("builtins", "dict")]
"""What a strict deserializer must be allowed to call to read these values."""

# Any other deserializer would warn of what it reads here, which nobody can do anything about.
jsonplus._warned_unregistered_types.update(CONSTRUCTORS)

_INTEGER_BITS = 14_000
"""Python reads no decimal number of more than 4,300 digits."""

_DEEPEST = 100
"""Lists and dicts within each other: Python's JSON reads only so many calls deep."""

_OPTIONS = (
    jsonplus._option & ~ormsgpack.OPT_REPLACE_SURROGATES
) | ormsgpack.OPT_PASSTHROUGH_BIG_INT


def dumps(serde: SerializerProtocol, value: Any) -> tuple[str, bytes]:
    """What ``serde.dumps_typed`` gives, with nothing of the value lost.

    A serializer of the user's own is left alone.

    Raises:
        TypeError: the value cannot be serialised.
    """
    if type(serde) is not JsonPlusSerializer:
        if not isinstance(serde, EncryptedSerializer):
            return serde.dumps_typed(value)
        type_, data = dumps(serde.serde, value)
        cipher, data = serde.cipher.encrypt(data)
        return f"{type_}+{cipher}", data
    if value is None or isinstance(value, (bytes, bytearray)):
        return serde.dumps_typed(value)
    packer = _Packer()
    with suppress(TypeError):  # for a lone surrogate, most likely
        data = packer.pack(value)
        if not packer.has_large_integers:
            return "msgpack", data
    with suppress(TypeError):
        return "json", json.dumps(_plain(value)).encode()
    with suppress(TypeError):
        return "msgpack", _EscapingPacker().pack(value)
    return serde.dumps_typed(value)


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON that stock reads back equal.

    Raises:
        TypeError: there is none.
    """
    if depth > _DEEPEST:
        raise TypeError("JSON that is nested so deep may not be readable everywhere")
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return value
    if kind is int and value.bit_length() < _INTEGER_BITS:
        return value
    # Two lone surrogates may make a pair.
    if kind is str and (is_unicode(value) or json.loads(json.dumps(value)) == value):
        return value
    if kind in (list, tuple):
        return [_plain(item, depth + 1) for item in value]
    if kind is dict and "lc" not in value and all(type(key) is str for key in value):
        return {_plain(key): _plain(item, depth + 1) for key, item in value.items()}
    place = (kind.__module__, kind.__name__)
    if place in SAFE_MSGPACK_TYPES and isinstance(value, BaseMessage):
        return {
            "lc": 2,
            "type": "constructor",
            "id": [*kind.__module__.split("."), kind.__name__],
            "kwargs": _plain(value.model_dump(), depth + 1),
        }
    raise TypeError(f"no JSON is a {kind.__name__}")


class _Packer:
    """Packs large integers too; raises TypeError on a lone surrogate anywhere."""

    has_large_integers = False

    def pack(self, value: Any) -> bytes:
        return ormsgpack.packb(value, default=self._unknown, option=_OPTIONS)

    def _unknown(self, value: Any) -> Any:
        """The extension for a value that msgpack has no type for."""
        if isinstance(value, _DeltaSnapshot):
            return ormsgpack.Ext(jsonplus.EXT_DELTA_SNAPSHOT, self.pack(value.value))
        if type(value) is int:
            self.has_large_integers = True
        call = _call(value)
        if call is None:
            return jsonplus._msgpack_default(value)
        code, *arguments = call
        kind = value.kind if isinstance(value, _Escaped) else type(value)
        return ormsgpack.Ext(code, self.pack((kind.__module__, kind.__name__, *arguments)))


class _Escaped:
    """Stands for a string or a dict that msgpack cannot hold, by a call that makes it."""

    __slots__ = ("call", "kind")

    def __init__(self, kind: type, *call: Any) -> None:
        self.kind, self.call = kind, call


class _EscapingPacker(_Packer):
    """Packs lone surrogates too; reads every string, so it is the slow way."""

    def pack(self, value: Any) -> bytes:
        return super().pack(_escape(value))


def _escape(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if is_unicode(value) else _escape_text(value)
    kind = type(value)
    if kind is dict:
        items = [(_escape(k), _escape(v)) for k, v in value.items()]
        if all(map(_may_be_key, value)):
            return dict(items)
        return _Escaped(dict, jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, items)
    return kind(map(_escape, value)) if kind in (list, tuple) else value


def _escape_text(text: str) -> _Escaped:
    encoded = (text.encode("utf-8", "surrogatepass"), "utf-8", "surrogatepass")
    return _Escaped(str, jsonplus.EXT_CONSTRUCTOR_POS_ARGS, encoded)


def _may_be_key(key: Any) -> bool:
    if isinstance(key, str):
        return is_unicode(key)
    return not isinstance(key, int) or -(2**63) <= key < 2**64


def _call(value: Any) -> tuple[Any, ...] | None:
    """The extension code and the constructor's arguments, for what may hold any value.

    The order and the forms are those of stock's ``_msgpack_default``.
    """
    if isinstance(value, _Escaped):
        return value.call
    if type(value) is int:
        return jsonplus.EXT_CONSTRUCTOR_POS_ARGS, (hex(value), 16)
    return _model_call(value) or _container_call(value)


def _model_call(value: Any) -> tuple[Any, ...] | None:
    if callable(getattr(value, "model_dump", None)):
        return jsonplus.EXT_PYDANTIC_V2, value.model_dump(), "model_validate_json"
    if callable(getattr(value, "get_secret_value", None)):
        return None
    if callable(getattr(value, "dict", None)):
        return jsonplus.EXT_PYDANTIC_V1, value.dict()
    if callable(getattr(value, "_asdict", None)):
        return jsonplus.EXT_CONSTRUCTOR_KW_ARGS, value._asdict()
    return None


def _container_call(value: Any) -> tuple[Any, ...] | None:
    if isinstance(value, (set, frozenset, deque)):
        return jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, tuple(value)
    if isinstance(value, Enum):
        return jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, value.value
    if isinstance(value, SendProtocol):
        timeout = getattr(value, "timeout", None)
        arguments = (value.node, value.arg) if timeout is None else (value.node, value.arg, timeout)
        return jsonplus.EXT_CONSTRUCTOR_POS_ARGS, arguments
    if dataclasses.is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return jsonplus.EXT_CONSTRUCTOR_KW_ARGS, named
    return None
