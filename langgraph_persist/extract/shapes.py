"""How each kind of Python object reads as JSON: one small function a kind, found once a class.

``shape_of`` gives one level only; orjson asks again for what lies inside. It never raises.
Chat models, tools and other runnables are named, not opened: they hold clients and keys.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import functools
import os
import types
import uuid
from collections import UserList, UserString, deque
from collections.abc import Callable, Iterable, KeysView, Mapping, Set, ValuesView
from decimal import Decimal
from typing import Any

import orjson
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel, RootModel

from langgraph_persist.extract.text import (
    clean_text,
    qualified_name,
    safe_repr,
    safe_str,
    unreadable,
)

Shape = Callable[[Any], Any]

_MASK = "**********"
_NUMBER_DIGITS = 400
_EMPTIES = frozenset({types.NoneType, str, list, dict, tuple})
# Parts of a streamed message that its finished fields repeat.
_CHUNK_ONLY = frozenset({"tool_call_chunks", "chunk_position"})
_CHUNK_ROLES = {
    "AIMessageChunk": "ai",
    "ChatMessageChunk": "chat",
    "FunctionMessageChunk": "function",
    "HumanMessageChunk": "human",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}


def shape_of(value: Any) -> Any:
    """The value one level simpler, in types orjson knows or can ask about again."""
    kind: Any = type(value)
    try:
        return _shape_for(kind)(value)
    except Exception:
        return unreadable(value)


def message_dict(message: BaseMessage) -> dict[str, Any]:
    """A message's type, content and whatever else it holds, in an order fixed by its class.

    Empty fields are left out. A streamed chunk reads as the message it became. Values are the
    live ones, so serialise before anything can change them.
    """
    values = message.__dict__
    kind: Any = values.get("type")
    found = {"type": _CHUNK_ROLES.get(kind, kind), "content": values.get("content")}
    for name in _message_fields(type(message)):
        if type(value := values.get(name)) not in _EMPTIES or value:
            found[name] = value
    if extra := getattr(message, "__pydantic_extra__", None):
        found.update(_filled((name, extra[name]) for name in sorted(extra)))
    return found


@functools.lru_cache(maxsize=256)
def _message_fields(cls: type) -> tuple[str, ...]:
    hidden = {"type", "content"} | _CHUNK_ONLY
    return tuple(sorted(name for name in _model_fields(cls) if name not in hidden))


def _filled(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if type(value) not in _EMPTIES or value}


def number(value: int) -> int | orjson.Fragment | str:
    """An integer of any size as a JSON number, or in hexadecimal where no database takes it."""
    if -(2**63) <= value < 2**64:
        return int.__add__(value, 0)
    if value.bit_length() <= 4096:
        return orjson.Fragment(str(int.__add__(value, 0)))
    return hex(value)


def _decimal(value: Decimal) -> orjson.Fragment | str:
    text = str(value)
    fits = len(text) < _NUMBER_DIGITS and value.is_finite()
    return orjson.Fragment(text) if fits and abs(value.adjusted()) < _NUMBER_DIGITS else text


def _duration(value: dt.timedelta) -> str:
    return f"PT{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "S"


def _bytes(value: Any) -> dict[str, str]:
    return {"base64": base64.b64encode(bytes(value)).decode("ascii")}


def _sorted(value: Any) -> list[Any]:
    # The order of a set changes from process to process; the record's must not.
    try:
        return sorted(value)
    except Exception:
        return sorted(value, key=safe_repr)


def _exception(value: BaseException) -> dict[str, str]:
    return {"type": qualified_name(type(value)), "message": safe_str(value)}


def _function(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = safe_str(getattr(value, "__qualname__", None) or qualified_name(type(value)))
    return f"{safe_str(module)}.{name}" if module and module != "builtins" else name


def _partial(value: functools.partial[Any]) -> str:
    return f"partial({_function(value.func)})"


def _runnable(value: Any) -> dict[str, Any]:
    name = getattr(value, "name", None)
    shape = {"type": qualified_name(type(value))}
    return shape | {"name": name} if isinstance(name, str) else shape


def _typed(value: Any, *names: str) -> dict[str, Any]:
    found = _filled((name, getattr(value, name, None)) for name in names)
    return {"type": type(value).__name__} | found


def _document(value: Document) -> dict[str, Any]:
    found = {"id": value.id, "page_content": value.page_content, "metadata": value.metadata}
    return {name: item for name, item in found.items() if item is not None}


def _command(value: Any) -> dict[str, Any]:
    return _typed(value, "graph", "update", "resume", "goto")


def _send(value: Any) -> dict[str, Any]:
    return _typed(value, "node", "arg", "timeout")


def _interrupt(value: Any) -> dict[str, Any]:
    return _typed(value, "id", "value", "response_schema")


def _attributes(names: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _model(names: tuple[str, ...], value: Any) -> dict[str, Any]:
    fields = value.__dict__
    found = {name: fields[name] for name in names if name in fields}
    return found | (getattr(value, "__pydantic_extra__", None) or {})


def _dumped_model(names: tuple[str, ...], value: BaseModel) -> Any:
    try:
        return value.model_dump(warnings=False, serialize_as_any=True)
    except Exception:
        return _model(names, value)


def _model_fields(cls: type) -> tuple[str, ...]:
    declared = cls.model_fields if issubclass(cls, BaseModel) else {}
    return tuple(name for name, field in declared.items() if field.exclude is not True)


def _old_model_fields(declared: dict[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, f in declared.items() if f.field_info.exclude is not True)


def _has_serializers(cls: type[BaseModel]) -> bool:
    decorators = cls.__pydantic_decorators__
    if decorators.field_serializers or decorators.model_serializers:
        return True
    from pydantic import PlainSerializer, WrapSerializer

    custom = (PlainSerializer, WrapSerializer)
    return any(isinstance(part, custom) for f in cls.model_fields.values() for part in f.metadata)


_SHAPES: tuple[tuple[type | tuple[type, ...], Shape], ...] = (
    (BaseMessage, message_dict),
    (Runnable, _runnable),
    (Document, _document),
    (Command, _command),
    (Send, _send),
    (Interrupt, _interrupt),
    (RootModel, lambda value: value.root),
    (enum.Enum, lambda value: value.value),
    ((dt.datetime, dt.date, dt.time), lambda value: value.isoformat()),
    (dt.timedelta, _duration),
    (Decimal, _decimal),
    (uuid.UUID, str),
    (os.PathLike, lambda value: os.fsdecode(os.fspath(value))),
    ((bytes, bytearray, memoryview), _bytes),
    (float, lambda value: float.__add__(value, 0.0)),
    ((set, frozenset), _sorted),
    ((tuple, deque, UserList, KeysView, ValuesView), list),
    (UserString, str),
    (Mapping, dict),
    (Set, _sorted),
    (BaseException, _exception),
    (type, qualified_name),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), _function),
    (functools.partial, _partial),
)


@functools.lru_cache(maxsize=1024)
def _shape_for(cls: type) -> Shape:
    if hasattr(cls, "get_secret_value"):
        return lambda value: _MASK
    if (shape := _record_shape(cls)) is not None:
        return shape
    for kinds, shape in _SHAPES:
        if issubclass(cls, kinds):
            return shape
    if cls.__module__.partition(".")[0] == "numpy" and hasattr(cls, "tolist"):
        return lambda value: value.tolist()
    return safe_repr


def _record_shape(cls: type) -> Shape | None:
    """How a class with declared fields reads, unless ``_SHAPES`` knows it better."""
    if issubclass(cls, (BaseMessage, Runnable, Document, Command, Interrupt, RootModel)):
        return None
    if issubclass(cls, BaseModel):
        read = _dumped_model if _has_serializers(cls) else _model
        return functools.partial(read, _model_fields(cls))
    if issubclass(cls, tuple) and isinstance(names := getattr(cls, "_fields", None), tuple):
        return functools.partial(_attributes, names)
    if dataclasses.is_dataclass(cls):
        return functools.partial(_attributes, tuple(f.name for f in dataclasses.fields(cls)))
    if (declared := getattr(cls, "__attrs_attrs__", None)) is not None:
        return functools.partial(_attributes, tuple(field.name for field in declared))
    if isinstance(old := getattr(cls, "__fields__", None), dict) and hasattr(cls, "parse_obj"):
        return functools.partial(_model, _old_model_fields(old))
    return None


def key_text(key: Any) -> str | None:
    """A dict key of a simple type as orjson writes it, or None for any other."""
    if isinstance(key, str):
        return clean_text(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, float):
        return repr(float.__add__(key, 0.0))
    return None
