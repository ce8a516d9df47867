"""Tools: those that models are told of, and their calls as rows of ``tool_executions``."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import uuid5

import orjson
from langchain_core.utils.uuid import uuid7
from xxhash import xxh3_128_digest

from langgraph_persist.extract import bound_tools, refused_calls, tool_end, tool_start
from langgraph_persist.extract.guard import mapping
from langgraph_persist.extract.text import optional_text
from langgraph_persist.extract.tools import UNNAMED
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Span
from langgraph_persist.journal import Fields, Rows

_MEMORY = 10_000
_MEMORY_SECONDS = 600


class Tools:
    """Records the calls of tools, and which tools there are."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._known: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        """What was recorded of each tool, and when: another process may say otherwise."""
        self._bound: dict[bytes, float] = {}
        """By the settings of calls whose tools are recorded: when the first of these was."""

    def bound(self, payload: Mapping[str, Any], settings: bytes | None = None) -> Rows:
        """The rows for the tools that a model is told of, where they are new or have changed.

        ``settings`` is the same for calls that tell of the same tools.
        """
        since = None if settings is None else self._bound.get(settings)
        if since is not None and time.monotonic() - since < _MEMORY_SECONDS:
            return []
        tools = bound_tools(**payload)
        rows = [row for tool in tools for row in self._register(tool)]
        if rows or len(self._bound) >= _MEMORY:
            self._bound.clear()
        if settings is not None and not rows:
            times = [known[1] for tool in tools if (known := self._known.get(tool["name"]))]
            self._bound[settings] = min(times, default=time.monotonic())
        return rows

    def open(self, span: Span, **event: Any) -> None:
        """A tool is called; ``event`` is what is said of it."""
        keep = self._recording.keep(span.root.run, span.node)
        fields = tool_start(**event, keep=keep)
        span.fields["tool_name"] = fields["tool_name"]
        if (call_id := fields["tool_call_id"]) is not None:
            for node in [s for s in span.above() if s.kind == "node"][:1]:
                node.tool_calls |= {call_id}
        rows: Rows = []
        if fields["tool_name"] not in self._known:
            with self._recording.journal.failures.kept("tools"):
                description = optional_text(mapping(event.get("serialized")).get("description"))
                rows = self._register({"name": fields["tool_name"], "description": description})
        self._recording.begin_call(span, keep.rows, span.fields | fields, rows)

    def end(self, span: Span, output: Any) -> None:
        """A tool has returned."""
        keep = self._recording.keep(span.root.run, span.node)
        fields = tool_end(output, keep)
        status = "failed" if fields.get("success") is False else "completed"
        self._close(span, fields | {"status": status}, keep.rows)

    def fail(self, span: Span, failure: Fields, sent: Any = None) -> None:
        """A tool has failed, was stopped, asks for a human or sent something up."""
        success = {"success": False if "error_type" in failure else None}
        keep = self._recording.keep(span.root.run, span.node)
        self._close(span, failure | success | {"output_data": keep.document(sent)}, keep.rows)

    def refused(self, node: Span, outputs: Any) -> None:
        """A node has answered calls: those without a tool that ran are failures of their own."""
        assert node.node is not None
        for answered in refused_calls(outputs):
            call_id = answered["tool_call_id"]
            if call_id is None or call_id in node.tool_calls:
                continue
            keep = self._recording.keep(node.root.run, node.node)
            name, args = node.root.asked.get(call_id, (None, None))
            answered["tool_name"] = answered["tool_name"] or name or UNNAMED
            fields = self._recording.identity(node) | {
                "id": uuid5(node.id, call_id),
                "node_id": node.id,
                "input_params": keep.document(args),
                "completed_at": node.clock.now,
            }
            node.node.rows += self._recording.owned(node.root, keep.rows)
            node.node.rows.append(("tool_executions", fields | answered))

    def _close(self, span: Span, fields: Fields, content: Rows) -> None:
        ended = {"completed_at": span.clock.now, "execution_time_ms": span.clock.elapsed_ms}
        self._recording.record(span, span.fields | fields | ended | span.used(), content)

    def _register(self, tool: Fields) -> Rows:
        digest = xxh3_128_digest(orjson.dumps(tool))
        known, at = self._known.get(tool["name"], (b"", 0.0))
        if known == digest and time.monotonic() - at < _MEMORY_SECONDS:
            return []
        self._known[tool["name"]] = (digest, time.monotonic())
        while len(self._known) > _MEMORY:
            self._known.popitem(last=False)
        return [("tools", tool | {"id": uuid7()})]
