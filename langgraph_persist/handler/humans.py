"""What a run asks humans, and what it was told, as rows of ``hitl_events``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid5

from langgraph import errors
from langgraph.callbacks import GraphInterruptEvent
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from langgraph_persist.extract import clean_text, hitl_answers, hitl_request, is_a, to_json
from langgraph_persist.handler.calls import next_nodes
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Root, Span
from langgraph_persist.journal import Clock, Fields, OpenNode, Rows

_PAUSE = "pause"
_MOMENTS = {"interrupt_before": "before", "interrupt_after": "after"}


class Humans:
    """Records interrupts as requests that wait, and resumes as their answers.

    A request commits with the interrupt in its checkpoint, an answer as the run goes on with it.
    """

    def __init__(self, recording: Recording, timeout: timedelta | None) -> None:
        self._recording, self._timeout = recording, timeout

    def told(self, root: Root, inputs: Any) -> None:
        """A run starts that is to go on with this."""
        root.answers = hitl_answers(inputs)

    def failed(self, span: Span, error: BaseException) -> None:
        """A node has ended so: it may ask for a human, or not take what it was told."""
        assert span.node is not None
        if is_a(error, GraphInterrupt):
            raised = error.args[0] if error.args else ()
            self._ask(span.root, span.node, raised)
            if not raised:
                span.root.paused_in = span.root.paused_in or span.node
        elif is_invalid_resume(error):
            self._ask_again(span)

    def interrupted(self, span: Span, event: GraphInterruptEvent) -> None:
        """A graph has stopped, for what its nodes asked or because it was compiled to."""
        if span.node is not None:
            return  # a graph that a node calls; the node goes on
        span.root.interrupted = True
        if event.interrupts:
            self._ask(span.root, None, event.interrupts)
        else:
            self._pause(span.root, event)

    def proceed(self, root: Root) -> None:
        """The run goes on: what it was told has been taken as an answer."""
        with root.lock:
            answers, root.answers = root.answers, None
        if answers:
            self._recording.send(root, [("hitl_answers", self._answer(root, a)) for a in answers])

    def _answer(self, root: Root, answer: Fields) -> Fields:
        whose: Fields = {
            "thread_id": root.run.thread_id,
            "workflow_id": root.asked_in,
            "run_id": root.run.id,
            "user": root.user,
            "responded_at": root.clock.at,
        }
        if (
            root.loaded is not None
            and root.loaded.source == "update"
            and not answer["interrupt_id"]
        ):
            # A human has changed the state instead of answering.
            answer = answer | {"event_type": None, "user_decision": "edit"}
        return whose | answer

    def _ask(self, root: Root, node: OpenNode | None, interrupts: Sequence[Interrupt]) -> None:
        """Where an interrupt passes several nodes, the innermost tells it first."""
        for interrupt in interrupts:
            if interrupt.id in root.requests:
                continue
            root.requests.add(interrupt.id)
            at = Clock().at
            fields = self._request(root, interrupt.id, at)
            fields |= {"interrupt_id": clean_text(interrupt.id)}
            fields |= hitl_request(interrupt, at, self._timeout)
            fields["node_id"] = node.fields["id"] if node else None
            root.run.requests[interrupt.id] = ("hitl_events", fields)

    def _pause(self, root: Root, event: GraphInterruptEvent) -> None:
        at = Clock().at
        node = root.paused_in
        told: Fields = {"when": _MOMENTS.get(event.status), "nodes": next_nodes()}
        fields = self._request(root, _PAUSE, at) | {
            "node_id": node.fields["id"] if node else None,
            "event_type": _PAUSE,
            "event_data": to_json({k: v for k, v in told.items() if v}),
            "timeout_at": None if self._timeout is None else at + self._timeout,
        }
        root.run.requests[_PAUSE] = ("hitl_events", fields)

    def _request(self, root: Root, name: str, at: Any) -> Fields:
        return {
            "thread_id": root.run.thread_id,
            "id": uuid5(root.run.id, name),
            "workflow_id": root.run.workflow_id,
            "run_id": root.run.id,
            "requested_at": at,
        }

    def _ask_again(self, span: Span) -> None:
        root = span.root
        assert span.node is not None
        rows: Rows = [
            (
                "hitl_refusals",
                {
                    "thread_id": root.run.thread_id,
                    "workflow_id": root.asked_in,
                    "task_id": span.node.fields["task_id"],
                    "responded_at": root.clock.at,
                },
            )
        ]
        self._recording.send(root, rows)


def is_invalid_resume(error: BaseException) -> bool:
    """Whether a node would not take its answer, so that the interrupt still waits for one."""
    known = getattr(errors, "is_invalid_resume", None)  # later than the oldest LangGraph we take
    with suppress(Exception):  # an error that lets itself not be asked
        return known is not None and bool(known(error))
    return False
