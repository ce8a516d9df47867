"""A model call's start and end as columns of ``generations``.

Functions of a start give every column they can speak of; those of an end leave out what they
do not know, so that folding the two keeps what the start knew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langgraph_persist.extract.encode import to_json, to_json_bytes
from langgraph_persist.extract.guard import columns, first, gather, mapping, no_fields, total
from langgraph_persist.extract.keep import Keep
from langgraph_persist.extract.messages import is_message
from langgraph_persist.extract.settings import MODEL, Settings, Told, settings
from langgraph_persist.extract.shapes import message_dict
from langgraph_persist.extract.text import (
    class_test,
    clean_text,
    content_text,
    is_a,
    optional_name,
    optional_text,
)
from langgraph_persist.extract.usage import is_cache_hit, token_details, token_fields

_PLAIN = Keep()
_UNKNOWN = Settings({}, None, None)
_FINISH = ("finish_reason", "stop_reason", "done_reason", "stopReason", "finishReason")
_is_human = class_test(HumanMessage)
_is_system = class_test(SystemMessage)


class GenerationStart(NamedTuple):
    """What is known of a model call when it starts."""

    fields: dict[str, Any]
    messages: list[BaseMessage]
    """The prompt, to be stored by reference (``state_entry``)."""
    endpoint: str | None
    """The URL that the model was told to call, if any."""
    settings: bytes | None = None
    """The same for all that is not the prompt; None where that cannot be told."""


class Billing(NamedTuple):
    """What no column holds of an answer, but its cost depends on."""

    details: dict[str, int]
    service_tier: str | None


@total(lambda: GenerationStart({"missing": {"generation_start": "failed"}}, [], None))
def generation_start(
    serialized: Mapping[str, Any] | None,
    messages: Sequence[Sequence[BaseMessage]] | None = None,
    prompts: Sequence[str] | None = None,
    invocation_params: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    name: str | None = None,
    **payload: object,
) -> GenerationStart:
    """What ``on_chat_model_start`` or ``on_llm_start`` says, secrets left out.

    A text model's prompt becomes one human message. The rest of the event's payload (tags,
    batch_size) is accepted, so that a handler can pass its keywords on, and not needed.
    """
    params, info = mapping(invocation_params), mapping(metadata)
    told = Told(mapping(serialized), params, mapping(options), info, name)
    read = gather(
        prompt=lambda: {"messages": _prompt(messages, prompts)},
        settings=lambda: {"called": settings(told)},
    )
    prompt: list[BaseMessage] = read.pop("messages", [])
    called: Settings = read.pop("called", _UNKNOWN)
    spoken = gather(
        system_prompt=lambda: {"system_prompt": _system_text(prompt)},
        user_prompt=lambda: {"user_prompt": last_human_text(prompt)},
    )
    if missing := read.get("missing", {}) | spoken.get("missing", {}):
        spoken["missing"] = missing
    return GenerationStart(called.fields | spoken, prompt, called.endpoint, called.key)


@columns(no_fields)
def generation_end(response: Any, keep: Keep = _PLAIN) -> dict[str, Any]:
    """What an ``LLMResult`` says; unknown columns are left out. Works on a partial result too.

    Of several answers the first is the output; the others are ``candidates`` of the message.
    """
    generation = _first_generation(response)
    message = getattr(generation, "message", None)
    llm_output = mapping(getattr(response, "llm_output", None))
    meta = mapping(getattr(message, "response_metadata", None))
    info = mapping(getattr(generation, "generation_info", None))
    usage = getattr(message, "usage_metadata", None)
    others = _other_generations(response)

    def output() -> dict[str, Any]:
        said = _output(generation, message)
        whole = message is None or bool(others)
        return {"output": keep.text(said) if whole else keep.excerpt(said)}

    def model_name() -> dict[str, Any]:
        model = first(meta, *MODEL) or first(llm_output, *MODEL) or first(info, *MODEL)
        return {"model_name": optional_name(model)}

    def finish_reason() -> dict[str, Any]:
        return {"finish_reason": optional_text(first(meta, *_FINISH) or first(info, *_FINISH))}

    fields = gather(
        output=output,
        model_name=model_name,
        finish_reason=finish_reason,
        cache_hit=lambda: {"cache_hit": True if is_cache_hit(usage) else None},
        output_message=lambda: _message_parts(message, others, keep),
        tool_calls=lambda: _calls(message, keep),
        parsed_output=lambda: _parsed(message),
        tokens=lambda: token_fields(usage, meta, llm_output),
    )
    return {column: value for column, value in fields.items() if value is not None}


@total(lambda: Billing({}, None))
def billing(response: Any) -> Billing:
    """What an ``LLMResult`` says of the kinds of tokens and the tier they were served in."""
    message = getattr(_first_generation(response), "message", None)
    meta = mapping(getattr(message, "response_metadata", None))
    llm_output = mapping(getattr(response, "llm_output", None))
    tier = first(meta, "service_tier") or first(llm_output, "service_tier")
    usage = getattr(message, "usage_metadata", None)
    return Billing(token_details(usage), optional_text(tier))


@total(no_fields)
def asked_calls(response: Any) -> dict[str, tuple[str | None, Any]]:
    """What tools an answer wants to be called, and with what, by tool_call_id."""
    message = getattr(_first_generation(response), "message", None)
    calls = getattr(message, "tool_calls", None) or ()
    # A message is the graph's to change.
    return {
        call["id"]: (optional_name(call["name"]), orjson.loads(to_json_bytes(call["args"])))
        for call in calls
        if call.get("id")
    }


def last_human_text(messages: Sequence[Any]) -> str | None:
    """The text of the last human message, or None without one."""
    for message in reversed(messages):
        if _is_human(type(message)):
            return content_text(message.content)
    return None


def _prompt(messages: Any, prompts: Any) -> list[BaseMessage]:
    if (type(messages) is list or is_a(messages, Sequence)) and messages:
        return [m for m in messages[0] if is_message(type(m))]
    if is_a(prompts, Sequence) and prompts and is_a(prompts[0], str):
        return [HumanMessage(content=prompts[0])]
    return []


def _system_text(messages: list[BaseMessage]) -> str | None:
    said = [content_text(m.content) for m in messages if _is_system(type(m))]
    return "\n\n".join(said) or None


def _first_generation(response: Any) -> Any:
    batches = getattr(response, "generations", None) or [[]]
    return batches[0][0] if batches[0] else None


def _other_generations(response: Any) -> list[Any]:
    """What the model answered besides, where it was asked for several answers."""
    batches = getattr(response, "generations", None) or [[]]
    return [getattr(other, "message", other) for other in batches[0][1:]]


def _output(generation: Any, message: Any) -> str | None:
    if message is not None:
        return content_text(getattr(message, "content", None))
    text = getattr(generation, "text", None)
    return clean_text(text) if text is not None and is_a(text, str) else None


def _message_parts(message: Any, others: list[Any], keep: Keep) -> dict[str, Any]:
    if message is None:
        return {"output_message": keep.document({"candidates": others})} if others else {}
    if others and is_a(message, BaseMessage):
        return {"output_message": keep.document(message_dict(message) | {"candidates": others})}
    return {"output_message": keep.message(message)}


def _calls(message: Any, keep: Keep) -> dict[str, Any]:
    calls = getattr(message, "tool_calls", None)
    return {"tool_calls": keep.calls(message) if calls else None}


def _parsed(message: Any) -> dict[str, Any]:
    parsed = mapping(getattr(message, "additional_kwargs", None)).get("parsed")
    return {"parsed_output": to_json(parsed) if parsed is not None else None}
