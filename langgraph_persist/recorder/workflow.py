"""A workflow that is recorded by hand, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Literal
from uuid import UUID

from langchain_core.utils.uuid import uuid7

from langgraph_persist.errors import ConfigurationError, DurabilityError, QuotaExceeded
from langgraph_persist.extract import clean_text, error_fields, keep_for, root_input, to_json
from langgraph_persist.journal import (
    Clock,
    Fields,
    Journal,
    Recorded,
    Rows,
    Run,
    Unit,
    Within,
    current_place,
    instance_id,
)
from langgraph_persist.quotas import Answer
from langgraph_persist.recorder.node import CANCELLED
from langgraph_persist.recorder.sending import wait

Status = Literal["completed", "failed", "cancelled", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a workflow is started with."""

    name: str
    user: str | None
    organization: str | None
    user_input: str | None
    input: Any
    settings: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    tags: Sequence[str]

    def fields(self) -> Fields:
        """The columns of ``workflows`` that only its start has."""
        found = root_input(self.input)
        if self.user_input is not None:
            found["user_input"] = clean_text(self.user_input)
        return found | {
            "settings": None if self.settings is None else to_json(self.settings),
            "metadata": None if self.metadata is None else to_json(self.metadata),
            "tags": [clean_text(tag) for tag in self.tags],
        }


class RecordedWorkflow:
    """A workflow under way, in the context where it was started and in its block, if it has one.

    The end of a ``with`` or ``async with`` block completes it, or fails it with the exception that
    leaves the block, and waits until all of it is committed.
    """

    def __init__(
        self,
        journal: Journal,
        thread_id: str | None,
        request: Request,
        ttl: timedelta | None,
        answer: Answer | None = None,
        *,
        private: bool = False,
    ) -> None:
        id: UUID = uuid7()
        self._journal, self._ttl, self._request = journal, ttl, request
        self._answer = answer
        self._user = None if answer and answer.is_stranger else request.user
        self._clock = Clock(answer.at if answer else None)
        self._committed: Future[None] | None = None
        run = Run(id, clean_text(thread_id) if thread_id else str(id), id)
        run.private = private
        self.recorded = Recorded(run, journal, self)
        self._outer = current_place.get()
        journal.heartbeat.open(id, self.thread_id)
        self._send(self._opening_rows())
        current_place.set(Within(self.recorded, None, private))

    @property
    def id(self) -> UUID:
        """As in ``history.workflow(id)``."""
        return self.recorded.run.id

    @property
    def thread_id(self) -> str:
        """The session it is a turn of; graphs run on the same thread with ``persist.config``."""
        return self.recorded.run.thread_id

    def end(
        self, status: Status, *, result: Any = None, error: BaseException | None = None
    ) -> None:
        """Record its end, and of the nodes still open; waits for the commit but in event loops."""
        if self.recorded.ended:
            raise ConfigurationError(f"workflow {self.id} has ended already")
        self.recorded.ended = True
        place = current_place.get()
        if place is not None and place.workflow is self.recorded:
            current_place.set(self._outer)
        self._clock.stop()
        rows = [row for node in self.recorded.nodes.values() for row in node.cancel()]
        self.recorded.nodes.clear()
        rows += self._closing_rows(status, result, error)
        self._journal.heartbeat.close(self.id)
        rows = self.recorded.run.shown(rows)
        otherwise = partial(self._lost, status, error)
        self._committed = self._journal.commit(Unit(self.thread_id, rows, otherwise=otherwise))
        wait(self._committed)

    def refuse(self, refusal: QuotaExceeded) -> None:
        """It is not admitted: record that, and nothing else of it."""
        self.end("refused", error=refusal)

    def __enter__(self) -> RecordedWorkflow:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close(exc)
        except DurabilityError:
            if exc is None:
                raise

    async def __aenter__(self) -> RecordedWorkflow:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close(exc)
            if self._committed is not None:
                await asyncio.wrap_future(self._committed)
        except DurabilityError:
            if exc is None:
                raise

    def _close(self, exc: BaseException | None) -> None:
        if self.recorded.ended:
            return
        if exc is None:
            self.end("completed")
        else:
            self.end("cancelled" if isinstance(exc, CANCELLED) else "failed", error=exc)

    def _send(self, rows: Rows) -> None:
        self._journal.append(Unit(self.thread_id, self.recorded.run.shown(rows)))

    # --- rows ---

    def _opening_rows(self) -> Rows:
        request = self._request
        rows: Rows = []
        if slug := request.organization:
            rows.append(("organizations", {"id": uuid7(), "name": slug, "slug": slug}))
        if self._user:
            user = {"id": uuid7(), "username": self._user, "organization": slug}
            rows.append(("users", user))
        opened = self._workflow_fields() | request.fields() | {"status": "running"}
        opened |= {"is_new": True, "admitted": self._answer is not None and self._answer.settled}
        opened["input"], contents = self._content(request.input)
        session = {
            "thread_id": self.thread_id,
            "user": self._user,
            "organization": request.organization,
            "initial_input": opened["user_input"],
        }
        run = self._run_fields() | {"status": "running"}
        return [
            *rows,
            ("sessions", session | self._journal.reaper.lifetime(self._ttl)),
            ("workflows", opened),
            ("workflow_runs", run),
            *contents,
        ]

    def _closing_rows(self, status: Status, result: Any, error: BaseException | None) -> Rows:
        ended: Fields = {
            "status": status,
            "completed_at": self._clock.now,
            "duration_ms": self._clock.elapsed_ms,
        }
        if error is not None and status in ("failed", "refused"):
            ended |= error_fields(error)
        workflow = self._workflow_fields() | ended
        workflow["result"], contents = self._content(result)
        key = {"thread_id": self.thread_id, "id": self.id}
        rows: Rows = [
            *contents,
            ("workflows", workflow),
            ("workflow_runs", self._run_fields() | ended),
            ("workflow_totals", key),
        ]
        if self.recorded.has_forked:
            rows.append(("node_numbers", dict(key)))
        if lifetime := self._journal.reaper.lifetime(self._ttl):
            rows.append(("session_updates", {"thread_id": self.thread_id, **lifetime}))
        return rows

    def _lost(self, status: Status, error: BaseException | None, failure: DurabilityError) -> Rows:
        """The rows that end a workflow of which something could not be committed."""
        if status not in ("failed", "refused"):
            status, error = "failed", failure
        return self.recorded.run.shown(self._closing_rows(status, None, error))

    def _content(self, value: Any) -> tuple[Any, Rows]:
        """A value for a column, and the rows that it refers to."""
        keep = keep_for(self._journal, self.thread_id, private=self.recorded.run.private)
        stored, rows = keep.document(value), keep.rows
        owner = {"thread_id": self.thread_id, "workflow_id": self.id}
        return stored, [(table, owner | fields) for table, fields in rows]

    def _workflow_fields(self) -> Fields:
        return {
            "thread_id": self.thread_id,
            "id": self.id,
            "name": clean_text(self._request.name),
            "user": self._user,
            "organization": self._request.organization,
            "started_at": self._clock.at,
        }

    def _run_fields(self) -> Fields:
        return {
            "thread_id": self.thread_id,
            "id": self.id,
            "workflow_id": self.id,
            "kind": "start",
            "user": self._user,
            "started_at": self._clock.at,
            "instance_id": instance_id(),
        }
