"""A model call from its start to its end, as a row of ``generations``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from langgraph_persist.extract import (
    Billing,
    asked_calls,
    billing,
    generation_end,
    generation_start,
    prompt_entry,
)
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Root, Span
from langgraph_persist.handler.tools import Tools
from langgraph_persist.journal import Fields
from langgraph_persist.usage import Costs, ModelCall

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_PARTS = ("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")
_BIGINT = 2**63 - 1
_MEMORY = 1_000


class Generations:
    """Records model calls, and adds up what they use and cost."""

    def __init__(self, recording: Recording, tools: Tools, costs: Costs) -> None:
        self._recording, self._tools, self._costs = recording, tools, costs

    def open(
        self, span: Span, serialized: Mapping[str, Any] | None, payload: dict[str, Any]
    ) -> None:
        """A model is called; ``payload`` is what the event says of it."""
        started = generation_start(serialized, **payload)
        journal, root = self._recording.journal, span.root
        known = journal.runs.known(root.run.thread_id)
        seal = journal.seal.close if journal.seal else None
        prompt, rows = prompt_entry(started.messages, known, seal)
        span.model = ModelCall(
            models=_names(started.fields.get("model_name")),
            provider=started.fields.get("model_provider"),
            endpoint=started.endpoint,
            tokens={},
            details={},
            service_tier=None,
            at=span.clock.at,
        )
        self._costs.expect(span.model)
        row = span.fields | started.fields | {"prompt": prompt, "status": "running"}
        rows = [*self._tools.bound(payload), *self._recording.owned(root, rows)]
        self._recording.send(root, [*rows, ("generations", row)])

    def end(self, span: Span, response: Any) -> None:
        """A model has answered."""
        fields = {"status": "completed"} | generation_end(response)
        _remember_calls(span.root, asked_calls(response))
        self._close(span, fields, billing(response))

    def fail(self, span: Span, failure: Fields, response: Any) -> None:
        """A call has failed or was stopped; what had come before is kept."""
        partial: Fields = {}
        if _is_streamed(response):
            partial = generation_end(response)
        elif span.partial:
            partial["output"] = "".join(span.partial)
        self._close(span, partial | failure, billing(response))

    def _close(self, span: Span, fields: Fields, billed: Billing) -> None:
        fields = fields | {
            "completed_at": span.clock.now,
            "latency_ms": span.clock.elapsed_ms,
            "time_to_first_token_ms": span.first_token_ms,
        }
        if span.streamed:
            fields["streamed"] = True
        fields |= self._bill(span, fields, billed)
        self._recording.record(span, span.fields | fields)

    def _bill(self, span: Span, fields: Fields, billed: Billing) -> Fields:
        """The cost columns; adds the call to what is around it."""
        assert span.model is not None
        tokens = {name: n for name in (*_COUNTS, *_PARTS) if (n := fields.get(name)) is not None}
        call = span.model._replace(
            models=_names(fields.get("model_name"), *span.model.models),
            tokens=tokens,
            details=billed.details,
            service_tier=billed.service_tier,
        )
        cost = self._costs.of(call, cache_hit=bool(fields.get("cache_hit")))
        root = span.root
        with root.lock:
            root.totals["generation_count"] += 1
            for name in _COUNTS:
                root.totals[name] = min(root.totals[name] + tokens.get(name, 0), _BIGINT)
            root.costs.append(cost)
            for tool in _tools_around(span):
                tool.costs.append(cost)
                if "total_tokens" in tokens:
                    tool.tokens = min((tool.tokens or 0) + tokens["total_tokens"], _BIGINT)
        return cost.columns()


def _remember_calls(root: Root, calls: Mapping[str, Any]) -> None:
    with root.lock:
        root.asked.update(calls)
        while len(root.asked) > _MEMORY:
            del root.asked[next(iter(root.asked))]


def _names(*models: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model for model in models if model))


def _is_streamed(response: Any) -> bool:
    """Whether an error's response holds the chunks before it, not just the error's own body."""
    batches = getattr(response, "generations", None) or [[]]
    return bool(batches[0]) and isinstance(batches[0][0], (ChatGenerationChunk, GenerationChunk))


def _tools_around(span: Span) -> Iterator[Span]:
    above = span.parent
    while above is not None:
        if above.kind == "tool":
            yield above
        above = above.parent
