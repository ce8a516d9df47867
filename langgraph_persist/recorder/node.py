"""A step of a workflow that is recorded by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
from langchain_core.utils.uuid import uuid7

from langgraph_persist.errors import ConfigurationError, DurabilityError
from langgraph_persist.extract import Keep, clean_text, error_fields, hide, keep_for, to_json
from langgraph_persist.journal import Clock, Fields, Journal, Rows, Unit, Within, current_place
from langgraph_persist.recorder.sending import send, wait

CANCELLED = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)


class RecordedNode:
    """One execution of a step, recorded as running within its ``with`` or ``async with`` block.

    The block's end completes it. An exception fails it, with its traceback, and goes on.
    """

    def __init__(self, journal: Journal, place: Within, name: str, input: Any) -> None:
        self._journal, self._place = journal, place
        self._outer: Within | None = None
        self._clock = Clock()
        self._pid = os.getpid()
        self._rows: Rows = []
        run, above = place.workflow.run, place.node
        self.id: UUID = uuid7()
        self.name = clean_text(name)
        self._private = place.private or journal.is_private(self.name, None)
        self._fields: Fields = {
            "thread_id": run.thread_id,
            "id": self.id,
            "workflow_id": run.workflow_id,
            "run_id": run.id,
            "parent_node_id": above["id"] if above else None,
            "node_name": self.name,
            "node_type": "node",
        }
        self._fields["input_data"] = self._content(input)

    def complete(self, *, state: Mapping[str, Any] | None = None, output: Any = None) -> None:
        """Say what it gives: the whole state after it by channel, and its own output."""
        self._end("completed", output_data=self._content(output))
        if state is not None:
            self._fields["state"] = self._state(state)

    def skip(self, reason: str | None = None) -> None:
        """Say that there was nothing to do."""
        told = None if reason is None else self._text(reason)
        self._end("skipped", metadata=None if told is None else to_json({"reason": told}))

    def fail(self, error: BaseException) -> None:
        """Say that it failed, where no exception leaves the block."""
        if self._private:
            hide(error)
        cancelled = isinstance(error, CANCELLED)
        self._end("cancelled" if cancelled else "failed", **({} if cancelled else _told(error)))

    def cancel(self) -> Rows:
        """Its row, if the workflow ends before it."""
        self._end("cancelled")
        return self._taken()

    @property
    def place(self) -> Within:
        """Where that runs which runs in it."""
        around = self._place.around
        return Within(self._place.workflow, self._fields, self._private, around, self._pid)

    def __enter__(self) -> RecordedNode:
        if "started_at" in self._fields:
            raise ConfigurationError(f"node {self.name!r} was entered before; make another one")
        self._clock, self._pid = Clock(), os.getpid()
        self._fields |= {
            "execution_order": self._place.workflow.run.next_order(),
            "started_at": self._clock.at,
        }
        rows = self.place.shown([*self._rows, ("nodes", self._fields | {"status": "running"})])
        self._journal.append(Unit(self._place.workflow.run.thread_id, rows))
        self._rows = []
        self._place.workflow.nodes[self.id] = self
        self._outer = current_place.get()
        current_place.set(self.place)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            wait(self._leave(exc))
        except DurabilityError:
            if exc is None:
                raise

    async def __aenter__(self) -> RecordedNode:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if (committed := self._leave(exc)) is not None:
                await asyncio.wrap_future(committed)
        except DurabilityError:
            if exc is None:
                raise

    def _leave(self, exc: BaseException | None) -> Future[None] | None:
        """Record its end; the commit to wait for, if there is one."""
        current_place.set(self._outer)
        if self._place.workflow.nodes.pop(self.id, None) is None:
            return None
        if exc is not None:
            self.fail(exc)
        elif "status" not in self._fields:
            self.complete()
        return send(self._journal, self._place, self._taken())

    def _end(self, status: str, **fields: Any) -> None:
        self._clock.stop()
        self._fields |= {
            "status": status,
            "completed_at": self._clock.now,
            "duration_ms": self._clock.elapsed_ms,
            **fields,
        }

    def _content(self, value: Any) -> Any:
        keep = self._keep()
        stored = keep.document(value)
        self._own(keep.rows)
        return stored

    def _text(self, text: str) -> Any:
        """A text within a JSON column that is content in no other row."""
        kept, seal = self._keep().text(clean_text(text)), self._journal.seal
        return kept if kept is None or seal is None else seal.close(orjson.dumps(kept))

    def _keep(self) -> Keep:
        thread_id = self._place.workflow.run.thread_id
        return keep_for(self._journal, thread_id, private=self._private)

    def _state(self, state: Mapping[str, Any]) -> orjson.Fragment | None:
        if not self._journal.keeps_content or self._private:
            return None
        keep = self._keep()
        entries = {clean_text(name): keep.channel(name, value) for name, value in state.items()}
        self._own(keep.rows)
        return orjson.Fragment(orjson.dumps(entries))

    def _own(self, rows: Sequence[tuple[str, Fields]]) -> None:
        """Rows of stored content go with the node's."""
        run = self._place.workflow.run
        owner = {"thread_id": run.thread_id, "workflow_id": run.workflow_id}
        self._rows += [(table, owner | fields) for table, fields in rows]

    def _taken(self) -> Rows:
        return self.place.shown([*self._rows, ("nodes", self._fields)])


def _told(error: BaseException) -> Fields:
    return dict(error_fields(error))
