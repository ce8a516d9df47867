"""Model and tool calls that are recorded by hand, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    MessageLikeRepresentation,
    convert_to_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompt_values import PromptValue

from langgraph_persist.extract import (
    Billing,
    GenerationStart,
    Keep,
    billing,
    error_fields,
    generation_end,
    generation_start,
    to_json,
)
from langgraph_persist.journal import Fields
from langgraph_persist.usage import Costs, ModelCall

Prompt: TypeAlias = str | PromptValue | Sequence[MessageLikeRepresentation] | None

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_PARTS = ("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")
_SAID = frozenset({"output", "output_message", "tool_calls", "parsed_output"})


def span_of(started_at: datetime | None, duration_ms: float | None) -> Fields:
    """When a call began and ended, as far as that was said: by default just now."""
    if started_at is None:
        now = datetime.now(UTC)
        return {"started_at": now - timedelta(milliseconds=duration_ms or 0), "completed_at": now}
    ended = None if duration_ms is None else started_at + timedelta(milliseconds=duration_ms)
    return {"started_at": started_at, "completed_at": ended or datetime.now(UTC)}


def messages_of(prompt: Prompt) -> list[BaseMessage]:
    """A prompt in any form that chat models take."""
    if prompt is None:
        return []
    if isinstance(prompt, str):
        return [HumanMessage(prompt)]
    if isinstance(prompt, PromptValue):
        return prompt.to_messages()
    return convert_to_messages(prompt)


def opened(
    model: str | None,
    prompt: Prompt,
    provider: str | None,
    params: Mapping[str, Any] | None,
    prompt_name: str | None,
    prompt_version: str | None,
) -> GenerationStart:
    """What is known of a model call before its answer."""
    told = {"ls_provider": provider, "prompt_name": prompt_name, "prompt_version": prompt_version}
    given = dict(params or {}) | ({} if model is None else {"model": model})
    return generation_start(
        None, messages=[messages_of(prompt)], invocation_params=given, metadata=told
    )


def answered(
    output: Any, model: str | None, usage: UsageMetadata | None, finish_reason: str | None
) -> LLMResult:
    """An answer as a chat model would give it."""
    if isinstance(output, BaseMessage):
        message = output
    else:
        text = output if isinstance(output, str) else ""
        message = AIMessage(text, response_metadata={} if model is None else {"model_name": model})
    told: dict[str, Any] = {} if usage is None else {"usage_metadata": usage}
    if finish_reason is not None:
        told["response_metadata"] = message.response_metadata | {"finish_reason": finish_reason}
    return LLMResult(generations=[[ChatGeneration(message=message.model_copy(update=told))]])


def usage_of(prompt_tokens: int | None, completion_tokens: int | None) -> UsageMetadata | None:
    """Two counts as LangChain has them."""
    if prompt_tokens is None and completion_tokens is None:
        return None
    read, written = prompt_tokens or 0, completion_tokens or 0
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def ended(output: Any, result: LLMResult, error: BaseException | None, keep: Keep) -> Fields:
    """What a call used, in any case; its answer as far as there is one; why it failed if it did."""
    if isinstance(output, (str, BaseMessage)):
        fields = generation_end(result, keep)
    else:
        used = generation_end(result)
        fields = {name: value for name, value in used.items() if name not in _SAID}
        if output is not None:
            fields["parsed_output"] = to_json(output)
    if error is None:
        return fields | {"status": "completed"}
    return fields | {"status": "failed", **error_fields(error)}


def priced(costs: Costs, started: GenerationStart, fields: Fields, result: LLMResult) -> Fields:
    """The cost columns of a call."""
    billed: Billing = billing(result)
    models = (fields.get("model_name"), started.fields.get("requested_model"))
    call = ModelCall(
        models=tuple(dict.fromkeys(model for model in models if model)),
        provider=started.fields.get("model_provider"),
        endpoint=None,
        tokens={name: n for name in (*_COUNTS, *_PARTS) if (n := fields.get(name)) is not None},
        details=billed.details,
        service_tier=billed.service_tier,
        at=fields["started_at"],
    )
    return costs.of(call, cache_hit=bool(fields.get("cache_hit"))).columns()
