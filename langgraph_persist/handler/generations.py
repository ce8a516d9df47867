"""A model call from its start to its end, as a row of ``generations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
from xxhash import xxh3_128_digest

from langgraph_persist.extract import (
    Billing,
    GenerationStart,
    asked_calls,
    billing,
    generation_end,
    generation_start,
    is_a,
    streamed_text,
    to_json_bytes,
)
from langgraph_persist.handler import attempts
from langgraph_persist.handler.parsed import Parsed
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Generating, Root, Span
from langgraph_persist.handler.tools import Tools
from langgraph_persist.journal import Fields, Rows
from langgraph_persist.usage import Cost, Costs, ModelCall

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_TOKENS = (*_COUNTS, "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")
_BIGINT = 2**63 - 1
_MEMORY = 1_000


class Generations:
    """Records model calls, and adds up what they use and cost."""

    def __init__(self, recording: Recording, tools: Tools, parsed: Parsed, costs: Costs) -> None:
        self._recording, self._tools = recording, tools
        self._parsed, self._costs = parsed, costs

    def open(
        self, span: Span, serialized: Mapping[str, Any] | None, payload: dict[str, Any]
    ) -> None:
        """A model is called; ``payload`` is what the event says of it."""
        started = generation_start(serialized, **payload)
        root = span.root
        keep = self._recording.keep(root.run, span.node)
        prompt = keep.prompt(started.messages)
        attempts.mark(span, payload.get("tags"))
        asked = _prompt_key(started, prompt if keep.by_reference else None)
        attempt = attempts.begin(span, asked)
        span.generating = Generating(_model_call(span, started), asked, attempt.number)
        self._costs.expect(span.generating.model)
        told = started.fields
        row = {
            **span.fields,
            **told,
            "prompt": prompt,
            "system_prompt": keep.excerpt(told.get("system_prompt")),
            "user_prompt": keep.excerpt(told.get("user_prompt")),
            "attempt": attempt.number,
            "retry_of": attempt.retry_of,
        }
        tools = self._tools.bound(payload, started.settings)
        self._recording.begin_call(span, keep.rows, row, tools)

    def streamed(self, span: Span, kind: str, event: Any, chunk: Any = None) -> None:
        """A bit of an answer has come, by an event of this kind."""
        generating = span.generating
        if generating is None or (generating.streams_by or kind) != kind:
            return
        generating.streams_by = kind
        text, has_content = streamed_text(event, chunk)
        if has_content and generating.first_token_ms is None:
            generating.first_token_ms = span.clock.elapsed_ms
        if text:
            generating.partial.append(text)

    def end(self, span: Span, response: Any) -> None:
        """A model has answered."""
        _remember_calls(span.root, asked_calls(response))
        self._parsed.answered(span, response)
        keep = self._recording.keep(span.root.run, span.node)
        fields = {"status": "completed"} | generation_end(response, keep)
        self._close(span, fields, billing(response), keep.rows)

    def fail(self, span: Span, failure: Fields, response: Any) -> None:
        """A call has failed or was stopped; what had come before is kept."""
        keep = self._recording.keep(span.root.run, span.node)
        partial = generation_end(response, keep) if _is_streamed(response) else {}
        if failure["status"] == "failed" and span.generating is not None:
            attempts.failed(span, span.generating.attempt, span.generating.prompt)
        self._close(span, partial | failure, billing(response), keep.rows)

    def _close(self, span: Span, fields: Fields, billed: Billing, content: Rows) -> None:
        now, elapsed = span.clock.reading
        ended: Fields = {"completed_at": now, "latency_ms": elapsed}
        if (generating := span.generating) is not None:
            ended = generating.unfinished() | ended
            fields = fields | self._bill(span, generating.model, fields, billed).columns()
        self._recording.record(span, {**span.fields, **ended, **fields}, content)

    def _bill(self, span: Span, asked: ModelCall, fields: Fields, billed: Billing) -> Cost:
        """The cost; adds the call to what is around it."""
        tokens = {name: fields[name] for name in _TOKENS if name in fields}
        models = _names(fields.get("model_name"), *asked.models)
        call = ModelCall(models, asked.provider, asked.endpoint, tokens, *billed, asked.at)
        cost = self._costs.of(call, cache_hit=bool(fields.get("cache_hit")))
        root, totals = span.root, span.root.totals
        with root.lock:
            totals["generation_count"] += 1
            for name in _COUNTS:
                totals[name] = min(totals[name] + tokens.get(name, 0), _BIGINT)
            root.costs.append(cost)
            for tool in span.above():
                if tool.kind != "tool":
                    continue
                tool.costs = (*tool.costs, cost)
                if "total_tokens" in tokens:
                    tool.tokens = min((tool.tokens or 0) + tokens["total_tokens"], _BIGINT)
        return cost


def _model_call(span: Span, started: GenerationStart) -> ModelCall:
    return ModelCall(
        models=_names(started.fields.get("requested_model")),
        provider=started.fields.get("model_provider"),
        endpoint=started.endpoint,
        tokens={},
        details={},
        service_tier=None,
        at=span.clock.at,
    )


def _prompt_key(started: GenerationStart, stored: Any) -> object:
    """The same for the same prompt, None for none; ``stored`` is how it is recorded, if clear."""
    if not started.messages:
        return None
    data = to_json_bytes(started.messages) if stored is None else orjson.dumps(stored)
    return xxh3_128_digest(data)


def _remember_calls(root: Root, calls: Mapping[str, Any]) -> None:
    if not calls:
        return
    with root.lock:
        root.asked.update(calls)
        while len(root.asked) > _MEMORY:
            del root.asked[next(iter(root.asked))]


def _names(*models: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, models)))


def _is_streamed(response: Any) -> bool:
    """Whether an error's response holds the chunks before it, not just the error's own body."""
    batches = getattr(response, "generations", None) or [[]]
    return bool(batches[0]) and is_a(batches[0][0], (ChatGenerationChunk, GenerationChunk))
