"""What a run asks humans, and what it was told, as rows of ``hitl_events``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from langgraph import errors
from langgraph.callbacks import GraphInterruptEvent
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from langgraph_persist.extract import (
    clean_text,
    hitl_answers,
    hitl_request,
    is_a,
    is_resume,
    to_json,
)
from langgraph_persist.handler.calls import next_nodes
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Root, Span
from langgraph_persist.journal import Clock, Fields, Loaded, OpenNode, Rows

_PAUSE = "pause"
_ASKED = ("interrupt_id", "event_type")
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

    def called(self, span: Span, inputs: Any) -> None:
        """A node has called a graph, which may go on with this on a thread of its own."""
        if _thread_apart(span) is not None and is_resume(inputs):
            span.answers = hitl_answers(inputs)

    def failed(self, span: Span, error: BaseException) -> None:
        """A node has ended so: it may ask for a human, or not take what it was told."""
        assert span.node is not None
        if is_a(error, GraphInterrupt):
            raised = error.args[0] if error.args else ()
            self._ask(span.root, span.node, raised, span.node.graph.thread_id)
            if not raised:
                span.root.paused_in = span.root.paused_in or span.node
        elif is_invalid_resume(error):
            self._ask_again(span)

    def interrupted(self, span: Span, event: GraphInterruptEvent) -> None:
        """A graph has stopped, for what its nodes asked or because it was compiled to."""
        root = span.root
        if span.node is None:
            root.interrupted = True
            node, thread_id = root.paused_in, root.run.home
        elif (apart := _thread_apart(span)) is not None:
            node, thread_id = span.node, apart
        else:
            return  # a graph that a node calls; the node goes on
        if event.interrupts:
            self._ask(root, None, event.interrupts, thread_id)
        else:
            self._pause(root, node, event, thread_id)

    def proceed(self, root: Root) -> None:
        """The run goes on: what it was told has been taken as an answer."""
        with root.lock:
            answers, root.answers = root.answers, None
        if answers:
            asked = Asked(root.run.home, root.asked_in, root.loaded, root.clock.at)
            self._recording.send(root, self._answered(root, answers, asked))

    def proceed_in(self, span: Span | None) -> None:
        """A graph that a node has called goes on: it has taken as an answer what it was told."""
        if span is None or not span.answers:
            return
        root, answers, thread_id = span.root, span.answers, span.thread_id
        span.answers = None
        assert thread_id is not None
        loaded, at = root.run.loads.get(thread_id), span.clock.at
        rows: Rows = []
        if loaded is not None:
            asked = Asked(thread_id, loaded.workflow_id, loaded, at)
            rows = self._answered(root, answers, asked)
        for answer in answers:
            told = answer | {"status": "completed", "user": root.human, "responded_at": at}
            rows += self._taken_back(root, thread_id, told)
        self._recording.send(root, rows)

    def _answered(self, root: Root, answers: Sequence[Fields], asked: Asked) -> Rows:
        run, loaded = root.run, asked.loaded
        whose: Fields = {
            "workflow_id": asked.workflow_id,
            "run_id": run.id,
            "user": root.human,
            "responded_at": asked.at,
        }
        if loaded is not None and loaded.source == "update":
            # A human has changed the state instead of answering.
            edit = {"event_type": None, "user_decision": "edit"}
            answers = [answer | (edit if not answer["interrupt_id"] else {}) for answer in answers]
        own, place = asked.place(run.thread_id), asked.recorded(run.thread_id)
        rows: Rows = [("hitl_answers", whose | place | answer) for answer in answers]
        if place != own:
            # What is not answered this run asks again, and records where it is recorded itself.
            rows.append(("superseded", place | {"id": run.workflow_id}))
            whose["workflow_id"] = run.workflow_id
            rows += [("hitl_answers", whose | own | answer) for answer in answers]
        return rows

    def _taken_back(self, root: Root, thread_id: str, answer: Fields) -> Rows:
        """The rows of what the run itself has asked on a thread, and now answers."""
        run, asked = root.run, answer["interrupt_id"]
        with root.lock:
            keys = [k for k in run.questions if k[0] == thread_id and asked in (None, k[1])]
            found = [run.questions.pop(key) for key in keys]
        kind = answer["event_type"]
        told = {name: value for name, value in answer.items() if name not in _ASKED}
        found = [f for f in found if kind in (None, f["event_type"])]
        return [("hitl_events", f | {k: v for k, v in told.items() if _shows(f, k)}) for f in found]

    def _ask(
        self,
        root: Root,
        node: OpenNode | None,
        interrupts: Sequence[Interrupt],
        thread_id: str,
    ) -> None:
        """Where an interrupt passes several nodes, the innermost tells it first."""
        for interrupt in interrupts:
            if not self._is_news(root, interrupt.id, thread_id):
                continue
            at = Clock().at
            fields = self._request(root, interrupt.id, at, thread_id)
            fields |= {"interrupt_id": clean_text(interrupt.id)}
            fields |= hitl_request(interrupt, at, self._timeout)
            fields["node_id"] = node.fields["id"] if node else None
            if node is not None and node.private:
                fields = _hidden(node, fields)
            self._wait(root, interrupt.id, fields, thread_id)

    def _is_news(self, root: Root, interrupt_id: str, thread_id: str) -> bool:
        if thread_id != root.run.home:
            return (thread_id, interrupt_id) not in root.run.questions
        known = interrupt_id in root.requests
        root.requests.add(interrupt_id)
        return not known

    def _wait(self, root: Root, name: str, fields: Fields, thread_id: str) -> None:
        if thread_id != root.run.home:
            root.run.questions[thread_id, name] = fields
        root.run.requests[name] = ("hitl_events", fields)

    def _pause(
        self, root: Root, node: OpenNode | None, event: GraphInterruptEvent, thread_id: str
    ) -> None:
        at = Clock().at
        name = _PAUSE if thread_id == root.run.home else f"{_PAUSE} {thread_id}"
        told: Fields = {"when": _MOMENTS.get(event.status), "nodes": next_nodes()}
        fields = self._request(root, name, at, thread_id) | {
            "node_id": node.fields["id"] if node else None,
            "event_type": _PAUSE,
            "event_data": to_json({k: v for k, v in told.items() if v}),
            "timeout_at": None if self._timeout is None else at + self._timeout,
        }
        self._wait(root, name, fields, thread_id)

    def _request(self, root: Root, name: str, at: datetime, thread_id: str) -> Fields:
        # A node may answer what a graph asks, and be asked again; so may who records by hand.
        again = thread_id != root.run.home or root.within is not None
        return {
            "thread_id": root.run.thread_id,
            "id": uuid5(root.run.id, f"{thread_id} {name} {at}" if again else name),
            "checkpoint_thread_id": thread_id if thread_id != root.run.thread_id else None,
            "workflow_id": root.run.workflow_id,
            "run_id": root.run.id,
            "requested_at": at,
        }

    def _ask_again(self, span: Span) -> None:
        root = span.root
        assert span.node is not None
        asked = Asked(root.run.home, root.asked_in, root.loaded, root.clock.at)
        rows: Rows = [
            (
                "hitl_refusals",
                {
                    "thread_id": asked.recorded(root.run.thread_id)["thread_id"],
                    "workflow_id": root.asked_in,
                    "task_id": span.node.fields["task_id"],
                    "responded_at": root.clock.at,
                },
            )
        ]
        self._recording.send(root, rows)


class Asked(NamedTuple):
    """Where what is answered was asked, and when it is answered."""

    thread_id: str
    """The thread that waits."""
    workflow_id: UUID | None
    loaded: Loaded | None
    """The checkpoint that waits, if it is ours."""
    at: datetime

    def recorded(self, default: str) -> Fields:
        """The columns that say where it is recorded, and which other thread waits."""
        if self.loaded is None:
            return self.place(default)
        return self.place(self.loaded.recorded_on or self.thread_id)

    def place(self, thread_id: str) -> Fields:
        """The columns of what is recorded on this thread."""
        waits = self.thread_id if self.thread_id != thread_id else None
        return {"thread_id": thread_id, "checkpoint_thread_id": waits}


def _thread_apart(span: Span) -> str | None:
    """The thread that a graph which a node calls saves on, where it is not the run's own."""
    return span.thread_id if span.thread_id != span.root.run.home else None


def _hidden(node: OpenNode, request: Fields) -> Fields:
    """A request without what was asked, which tells its answer to be left out too."""
    ((_, fields),) = node.shown([("hitl_events", request)])
    return fields | {"missing": {"event_data": "excluded", "user_input": "excluded"}}


def _shows(request: Fields, column: str) -> bool:
    return column not in (request.get("missing") or ())


def is_invalid_resume(error: BaseException) -> bool:
    """Whether a node would not take its answer, so that the interrupt still waits for one."""
    known = getattr(errors, "is_invalid_resume", None)  # later than the oldest LangGraph we take
    with suppress(Exception):  # an error that lets itself not be asked
        return known is not None and bool(known(error))
    return False
