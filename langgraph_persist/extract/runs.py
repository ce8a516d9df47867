"""What a root run's input is, as columns of ``workflows``."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.constants import START
from langgraph.types import Command
from pydantic import BaseModel

from langgraph_persist.extract.generations import last_human_text
from langgraph_persist.extract.guard import columns, mapping, total
from langgraph_persist.extract.keep import without
from langgraph_persist.extract.shapes import shape_of
from langgraph_persist.extract.text import (
    NAME_LENGTH,
    clean_text,
    content_text,
    is_a,
    optional_text,
    safe_str,
)

_TEXT_KEYS = ("user_input", "input", "question", "query", "topic")
_HUMAN_ROLES = ("user", "human")
_ROOT = "__root__"  # LangGraph's channel of a state without names


@total(bool)
def is_resume(value: Any) -> bool:
    """Whether this input continues a run: ``Command(resume=…)``, or None."""
    return value is None or (is_a(value, Command) and value.resume is not None)


@columns(lambda: {"input_type": "other", "user_input": None})
def root_input(value: Any) -> dict[str, Any]:
    """What kind the input is, and what the user said in it.

    ``input_type`` is one of ``none`` (continue where the thread is), ``resume`` and ``command``
    (a Command with or without ``resume``), ``text``, ``human_message`` (messages whose last is
    the user's, bare or under ``messages``), ``messages`` (any others), ``dict`` (also a model
    or dataclass as state) and ``other``.
    """
    kind, said = _kind(value)
    return {
        "input_type": kind,
        "user_input": None if said is None else clean_text(said),
    }


def _nothing() -> str | None:
    return None


@total(_nothing)
def state_input(values: Mapping[str, Any], excluded: Container[str] = ()) -> str | None:
    """What the user said last, of all values of a graph's channels but the excluded ones.

    That is found in the input that no node has read yet, or else under ``messages`` and the names
    that are usual for it: any other text may be an answer.
    """
    if START in values:
        said = _kind(without(values[START], excluded))[1]
    else:
        kept = {name: value for name, value in values.items() if name not in excluded}
        root = kept.get(_ROOT)
        said = _fields_kind(kept)[1] if root is None else _under_messages(root)[1]
    return None if said is None else clean_text(said)


@total(lambda: "run")
def runnable_name(serialized: Mapping[str, Any] | None) -> str:
    """What a runnable is called."""
    found = mapping(serialized)
    path = found.get("id")
    name = found.get("name") or (path[-1] if is_a(path, list) and path else "run")
    return safe_str(name)[:NAME_LENGTH]


def _kind(value: Any) -> tuple[str, str | None]:
    if value is None:
        return "none", None
    if is_a(value, Command):
        return _command_kind(value)
    if is_a(value, str):
        return "text", value
    if is_a(value, BaseMessage):
        return _messages_kind([value])
    if is_a(value, (list, tuple)) and value and all(map(_is_message_like, value)):
        return _messages_kind(value)
    fields = _fields(value)
    kind, said = _fields_kind(fields)
    return kind, _only_text(fields) if said is None else said


def _command_kind(value: Command[Any]) -> tuple[str, str | None]:
    if value.resume is not None:
        return "resume", optional_text(value.resume) if is_a(value.resume, str) else None
    return "command", _fields_kind(mapping(value.update))[1]


def _fields(value: Any) -> Mapping[Any, Any]:
    if is_a(value, BaseModel) or dataclasses.is_dataclass(value):
        return mapping(shape_of(value))
    return mapping(value)


def _fields_kind(fields: Mapping[Any, Any]) -> tuple[str, str | None]:
    if not fields:
        return "other", None
    kind, said = _under_messages(fields.get("messages"))
    if said is None:
        texts = (fields.get(key) for key in _TEXT_KEYS)
        said = next((text for text in texts if is_a(text, str)), None)
    return kind, said


def _only_text(fields: Mapping[Any, Any]) -> str | None:
    """What is said under a name of the user's own: the only text but for ids, or only messages."""
    if "messages" in fields:
        return None
    values = [value for key, value in fields.items() if not _is_id(key)]
    texts = [value for value in values if is_a(value, str)]
    if texts:
        return texts[0] if len(texts) == 1 else None
    return _under_messages(values[0])[1] if len(values) == 1 else None


def _is_id(key: Any) -> bool:
    return is_a(key, str) and (key == "id" or key.endswith("_id"))


def _under_messages(messages: Any) -> tuple[str, str | None]:
    if is_a(messages, (list, tuple)):
        return _messages_kind(messages) if messages else ("dict", None)
    if is_a(messages, str):
        return "human_message", messages
    return _messages_kind([messages]) if _is_message_like(messages) else ("dict", None)


def _messages_kind(messages: Sequence[Any]) -> tuple[str, str | None]:
    said = [_human_text(message) for message in messages]
    kind = "messages" if said[-1] is None else "human_message"
    return kind, next((text for text in reversed(said) if text is not None), None)


def _is_message_like(value: Any) -> bool:
    return is_a(value, BaseMessage) or _role_and_content(value) is not None


def _human_text(message: Any) -> str | None:
    if is_a(message, HumanMessage):
        return last_human_text([message])
    if is_a(message, str):
        return clean_text(message)
    role, content = _role_and_content(message) or (None, None)
    return content_text(content) if role in _HUMAN_ROLES else None


def _role_and_content(message: Any) -> tuple[str, Any] | None:
    """The short forms LangGraph accepts for a message: ``(role, text)`` and a dict."""
    if is_a(message, tuple) and len(message) == 2 and is_a(message[0], str):
        return message[0], message[1]
    if is_a(message, dict) and "content" in message:
        role = message.get("role", message.get("type"))
        return (role, message["content"]) if is_a(role, str) else None
    return None
