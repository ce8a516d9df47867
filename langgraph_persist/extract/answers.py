"""Which answer of a model something was made of."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langgraph.types import Command

from langgraph_persist.extract.guard import total
from langgraph_persist.extract.messages import is_message
from langgraph_persist.extract.text import class_test, content_text, is_a

_is_result = class_test(LLMResult)
_RESPONSE = "structured_response"
_ITEMS = 1_000


def _no_keys() -> tuple[Hashable, ...]:
    return ()


def _nothing() -> Any:
    return None


@total(_no_keys)
def answer_keys(value: Any) -> tuple[Hashable, ...]:
    """What an answer is known by, the surest first: a message's id, and a text's hash."""
    if _is_result(type(value)):
        generation = value.generations[0][0]
        value = getattr(generation, "message", None) or generation.text
    own: tuple[Hashable, ...] = ()
    if is_message(type(value)):
        own = (("id", value.id),) if value.id else ()
        value = content_text(value.content)
    return (*own, ("text", len(value), hash(value))) if is_a(value, str) and value else own


@total(bool)
def is_same_text(answer: Any, parsed: Any) -> bool:
    """Whether what was parsed is no more than the text of the answer."""
    text = content_text(answer.content) if is_a(answer, BaseMessage) else answer
    return is_a(parsed, str) and parsed == text


def _no_text() -> tuple[str, bool]:
    return "", False


@total(_no_text)
def streamed_text(event: Any, chunk: Any = None) -> tuple[str, bool]:
    """The text that a token or an event brings, and whether it brings anything at all.

    Providers begin with an empty token; tool calls and reasoning have no text, but are content.
    """
    if is_a(event, Mapping):
        delta = event.get("delta")
        if event.get("event") != "content-block-delta" or not is_a(delta, Mapping):
            return "", False
        return content_text(delta.get("text") or ""), True
    message = getattr(chunk, "message", None)
    calls = getattr(message, "tool_call_chunks", None)
    reasoning = (getattr(message, "additional_kwargs", None) or {}).get("reasoning_content")
    return content_text(event), bool(event or calls or reasoning)


@total(_nothing)
def structured_response(outputs: Any) -> Any:
    """The structured response that an agent's node puts into the state, or None."""
    if type(outputs) is dict:
        return outputs.get(_RESPONSE)
    if is_a(outputs, Command):
        return structured_response(outputs.update)
    if is_a(outputs, Mapping):
        return outputs.get(_RESPONSE)
    if is_a(outputs, (list, tuple)):
        found = map(structured_response, outputs[:_ITEMS])
        return next((response for response in found if response is not None), None)
    return None
