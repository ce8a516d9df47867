"""Token counts of a model call, from any of the places where providers report them.

Prompt tokens include cached ones and completion tokens include reasoning; the parts never
exceed their whole, whatever was reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph_persist.extract.guard import first, mapping
from langgraph_persist.kinds import TOKENS

_BIGINT = 2**63 - 1
_EPHEMERAL = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_DETAILS = frozenset({"input_token_details", "output_token_details"})


def token_fields(
    usage: Any, response_metadata: Mapping[str, Any], llm_output: Mapping[str, Any]
) -> dict[str, int]:
    """The token columns of ``generations`` that are known, all zero for a cache hit.

    ``usage`` is the message's ``usage_metadata``; raw provider reports stand in for it.
    """
    usage = mapping(usage)
    if is_cache_hit(usage):
        return dict.fromkeys(TOKENS, 0)
    if counted := _standard(usage):
        return counted
    for source in (llm_output, response_metadata):
        raw = mapping(first(source, "token_usage", "usage"))
        if counted := _provider(raw):
            return counted
    return {}


def token_details(usage: Any) -> dict[str, int]:
    """Parts of the tokens that cost differently and have no column, by genai-prices' names."""
    usage = mapping(usage)
    if _DETAILS.isdisjoint(usage):
        return {}
    inputs = mapping(usage.get("input_token_details"))
    outputs = mapping(usage.get("output_token_details"))
    found = {
        "input_audio_tokens": _part(inputs, "audio"),
        "output_audio_tokens": _part(outputs, "audio"),
        "cache_write_5m_tokens": _count(inputs.get(_EPHEMERAL[0])),
        "cache_write_1h_tokens": _count(inputs.get(_EPHEMERAL[1])),
    }
    return {name: n for name, n in found.items() if n}


def is_cache_hit(usage: Any) -> bool:
    """Whether LangChain's own cache answered, so that no provider was called."""
    cost = usage.get("total_cost") if type(usage) is dict else mapping(usage).get("total_cost")
    return cost is not None and isinstance(cost, (int, float)) and cost == 0


def _standard(usage: Mapping[str, Any]) -> dict[str, int]:
    prompt, completion = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    total = _count(usage.get("total_tokens"))
    if _DETAILS.isdisjoint(usage):
        return _bounded(prompt, completion, total)
    inputs = mapping(usage.get("input_token_details"))
    outputs = mapping(usage.get("output_token_details"))
    creation = _part(inputs, "cache_creation")
    if inputs and not creation:
        creation = _sum(inputs.get(name) for name in _EPHEMERAL) or creation
    return _bounded(
        prompt,
        completion,
        total,
        read=_part(inputs, "cache_read"),
        creation=creation,
        reasoning=_part(outputs, "reasoning"),
    )


def _provider(usage: Mapping[str, Any]) -> dict[str, int]:
    inputs = mapping(first(usage, "prompt_tokens_details", "input_tokens_details"))
    outputs = mapping(first(usage, "completion_tokens_details", "output_tokens_details"))
    read = _count(usage.get("cache_read_input_tokens"))
    creation = _count(usage.get("cache_creation_input_tokens"))
    prompt = _count(first(usage, "prompt_tokens", "input_tokens"))
    if prompt is not None:
        # Providers with these two names report them beside the prompt, not in it.
        prompt = min(prompt + (read or 0) + (creation or 0), _BIGINT)
    return _bounded(
        prompt=prompt,
        completion=_count(first(usage, "completion_tokens", "output_tokens")),
        total=_count(usage.get("total_tokens")),
        read=read if read is not None else _count(inputs.get("cached_tokens")),
        creation=creation,
        reasoning=_count(outputs.get("reasoning_tokens")),
    )


def _bounded(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    read: int | None = None,
    creation: int | None = None,
    reasoning: int | None = None,
) -> dict[str, int]:
    if prompt is None and completion is None:
        return {}
    prompt, completion = prompt or 0, completion or 0
    total = min(total or prompt + completion, _BIGINT)
    whole = dict(zip(TOKENS[:3], (prompt, completion, total), strict=True))
    if read is creation is reasoning is None:
        return whole
    read = None if read is None else min(read, prompt)
    creation = None if creation is None else min(creation, prompt - (read or 0))
    reasoning = None if reasoning is None else min(reasoning, completion)
    parts = zip(TOKENS[3:], (read, creation, reasoning), strict=True)
    return whole | {name: n for name, n in parts if n is not None}


def _part(details: Mapping[str, Any], name: str) -> int | None:
    """A part of the tokens, also where it is reported per service tier (``flex_cache_read``)."""
    if not details:
        return None
    if (plain := _count(details.get(name))) is not None:
        return plain
    return _sum(
        n for key, n in details.items() if isinstance(key, str) and key.endswith(f"_{name}")
    )


def _sum(values: Any) -> int | None:
    counts = [n for n in map(_count, values) if n is not None]
    return min(sum(counts), _BIGINT) if counts else None


def _count(value: Any) -> int | None:
    if type(value) is not int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
    return value if 0 <= value <= _BIGINT else None
