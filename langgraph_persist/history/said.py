"""What a recorded result says, as text; the SQL function ``answer_text`` says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from langgraph_persist.extract import content_text

_ANSWER_KEYS = ("output", "answer", "result", "response", "text")


def messages_of(result: Any) -> Any:
    """The messages of a result that is a state, if it has any."""
    return result.get("messages") if isinstance(result, dict) else None


def text_of(value: Any) -> str | None:
    """What a result says, or all of it as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(messages := messages_of(value), list):
        return answer_in(messages)
    text = answer_in(value) if isinstance(value, list) else None
    if isinstance(value, dict):
        text = _said_in(value)
    return orjson.dumps(value).decode() if text is None else text


def _said_in(value: Mapping[str, Any]) -> str | None:
    if _is_message(value):
        return content_text(value["content"])
    if value.get("type") == "LLMResult":
        return _generated(value.get("generations"))
    texts = (value.get(key) for key in _ANSWER_KEYS)
    return next((text for text in texts if isinstance(text, str)), None)


def _generated(generations: Any) -> str | None:
    try:
        text = generations[0][0]["text"]
    except (LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


def answer_in(messages: Iterable[Any]) -> str | None:
    """What the last message says that is no human's."""
    said = [m for m in messages if _is_message(m) and m.get("type") not in ("human", "user")]
    return content_text(said[-1]["content"]) if said else None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str) and "content" in value
