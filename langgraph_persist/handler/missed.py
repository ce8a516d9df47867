"""What a failure of our own leaves of an event: the row is closed all the same, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langgraph.callbacks import GraphInterruptEvent

from langgraph_persist.extract import is_a
from langgraph_persist.handler import ids
from langgraph_persist.handler.outcome import outcome
from langgraph_persist.handler.recording import TABLES, Recording
from langgraph_persist.handler.spans import Kind, Root, Span, Spans
from langgraph_persist.journal import Fields, OpenNode, Run

_LATENCY = {"generation": "latency_ms", "tool": "execution_time_ms", "retriever": "latency_ms"}
_KINDS: dict[str, Kind] = {
    "on_chain_start": "chain",
    "on_chat_model_start": "generation",
    "on_llm_start": "generation",
    "on_tool_start": "tool",
    "on_retriever_start": "retriever",
}


class Missed:
    """Makes up for events that failed, with nothing of what they brought."""

    def __init__(self, recording: Recording, spans: Spans) -> None:
        self._recording, self.spans = recording, spans

    def concerned(self, args: tuple[Any, ...], event: Mapping[str, Any]) -> Span | None:
        """The span under way that an event is about."""
        first = args[0] if args else None
        if type(first) is Span:
            return first
        run_id = event.get("run_id")
        if type(first) is GraphInterruptEvent:
            run_id = first.run_id
        return None if run_id is None else self.spans.get(ids.known_as(run_id))

    def began(self, name: str, event: Mapping[str, Any]) -> Span:
        """The span to tell of a start that failed before it had one: that of what is around it.

        What may have something below gets a span without a row; a root gets one with a bare row.
        """
        run_id = ids.known_as(event["run_id"])
        around = self._around(event)
        if around is not None and name not in ("on_chain_start", "on_tool_start"):
            return around
        if around is not None:
            span = Span(run_id, "chain", around.root, around, around.node)
            self.spans.add(span)
            return span
        kind = _KINDS[name]
        root = _bare_root(run_id, event)
        span = Span(run_id, kind, root, None, None, clock=root.clock, ends_root=True)
        self.spans.add(span)
        self._recording.start(root, saves=kind == "chain")
        if kind != "chain":
            span.fields = self._recording.identity(span)
        if kind == "tool":
            span.fields["tool_name"] = root.name
        return span

    def _around(self, event: Mapping[str, Any]) -> Span | None:
        parent_id = event.get("parent_run_id")
        try:
            return self.spans.around(parent_id, event.get("metadata"))
        except Exception:  # the metadata cannot be read
            return self.spans.get(parent_id)

    def lacks(self, span: Span | None, missing: Mapping[str, str]) -> None:
        """The workflow's row will say what was not read, if there is one that is not done."""
        if span is not None:
            span.root.run.missing |= missing

    def mark(self, span: Span, name: str, error: Exception) -> None:
        """The span's row, or that of what is around it, will say that this event is missing."""
        why = {name: f"failed: {type(error).__name__}"}
        if span.kind not in _LATENCY and span.node is None:
            span.root.run.missing |= why
            return
        own = span.fields if span.node is None or span.kind in _LATENCY else span.node.fields
        own["missing"] = (own.get("missing") or {}) | why

    def close(self, span: Span, how: Fields) -> None:
        """Record the end of a span whose end event failed."""
        if span.kind == "node" and span.node is not None:
            self._close_node(span, span.node, how)
        elif span.kind in _LATENCY:
            ended: Fields = {_LATENCY[span.kind]: span.clock.elapsed_ms} | how
            ended["completed_at"] = span.clock.now
            self._recording.send(span.root, [(TABLES[span.kind], span.fields | ended)], span.node)

    def _close_node(self, span: Span, node: OpenNode, how: Fields) -> None:
        if node.ended:
            self._recording.send(span.root, node.placed({}))
            return
        node.ended = True
        node.fields |= how
        node.fields |= {"completed_at": span.clock.now, "duration_ms": span.clock.elapsed_ms}
        if how["status"] != "completed":
            span.root.run.unplaced.append(node)
        if how["status"] != "completed" or not span.root.run.hold(node):
            self._recording.send(span.root, [*node.collect({})])


def how_ended(name: str, told: Any) -> Fields:
    """How something ended, from what its end event was told."""
    if name == "_close_cancelled":
        return {"status": "cancelled"}
    if not is_a(told, BaseException):
        return {"status": "completed"}
    try:
        return outcome(told)
    except Exception:
        return {"status": "failed"}


def _bare_root(run_id: UUID, event: Mapping[str, Any]) -> Root:
    """A run of which no more is known than its thread, if that."""
    given = event.get("metadata")
    found = given.get("thread_id") if type(given) is dict else None
    thread_id = found if type(found) is str and "\x00" not in found else str(run_id)
    name = event.get("name")
    return Root(
        run=Run(run_id, thread_id, None),
        kind="start",
        name=name if type(name) is str and "\x00" not in name else "run",
        workflow={"input_type": "other", "user_input": None},
        content=[],
        user=None,
        organization=None,
    )
