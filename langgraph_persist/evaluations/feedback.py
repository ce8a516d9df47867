"""Feedback, as ``persist.feedback``: what users thought of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import orjson
import psycopg
from langchain_core.utils.uuid import uuid7

from langgraph_persist.arguments import Count, Moment, Name, Rating, TurnNumber, checked, uuid_of
from langgraph_persist.database.statements import Row, Statements, Transaction
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.evaluations.content import Content, require_object
from langgraph_persist.evaluations.dataset import File, write_lines
from langgraph_persist.evaluations.exchange import Exchange, with_exchanges
from langgraph_persist.evaluations.pages import by_session, newest
from langgraph_persist.history import History, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackEntry:
    """What somebody thought of a turn, a plan or a session."""

    thread_id: str
    id: UUID
    turn: int | None
    workflow_id: UUID | None
    """None for feedback on the session as a whole."""
    plan_id: UUID | None
    user: str | None
    rating: int | None
    """From 1 to 5."""
    feedback_type: str | None
    comment: str | None
    context: Any
    created_at: datetime
    updated_at: datetime


Page: TypeAlias = "list[FeedbackEntry]"

_FILTERS = ("thread_id", "turn", "plan_id", "user", "feedback_type", "min_rating", "max_rating")
_UNFILTERED = dict.fromkeys((*_FILTERS, "since", "until", "id"))


@checked
class Feedback:
    """Records, reads and exports what users thought."""

    def __init__(
        self, statements: Statements, content: Content, history: Callable[[], History]
    ) -> None:
        self._statements, self._content, self._history = statements, content, history

    def record(
        self,
        thread: Name,
        *,
        rating: Rating | None = None,
        type: Name | None = None,
        comment: Name | None = None,
        context: Mapping[str, Any] | None = None,
        user: Name | None = None,
        turn: TurnNumber | None = None,
        workflow: Workflow | UUID | str | None = None,
        plan: UUID | str | None = None,
        id: UUID | str | None = None,
    ) -> FeedbackEntry:
        """Record what somebody thought of a turn, a plan, or without either the session.

        Args:
            thread: the session.
            rating: from 1 to 5.
            type: what kind of feedback it is, in words of yours.
            comment: what they said.
            context: where they said it, or anything else, as JSON.
            user: who; made if there is no such user.
            turn: which turn it is about.
            workflow: the same by its workflow, or the id of that.
            plan: the id of the plan that it is about; its workflow's, if none is named.
            id: of an earlier feedback, whose place it takes; by default it is one more.

        Raises:
            NotRecorded: there is no such session, turn, workflow or plan.
            ConfigurationError: a value cannot be recorded, or nothing is said at all.
        """
        found = require_object("context", context)
        if rating is None and type is None and comment is None and not found:
            raise ConfigurationError("feedback has a rating, a type, a comment or a context")
        row: dict[str, Any] = {
            "thread_id": thread,
            "id": _uuid("id", id) or uuid7(),
            "rating": rating,
            "feedback_type": type,
            "comment": self._content.text(comment),
            "context_data": _data(self._content.json(found or None)),
        }
        about = _About(thread, turn, _workflow_id(workflow), _uuid("plan", plan))

        def save(transaction: Transaction) -> None:
            about.find(transaction)
            whose = _user_id(transaction, user)
            ids = {"workflow_id": about.workflow_id, "plan_id": about.plan_id, "user_id": whose}
            transaction.run("save", **row, **ids)

        try:
            self._statements.transaction(save)
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotRecorded(f"what it is about was deleted from thread {thread!r}") from error
        (saved,) = self._page({"thread_id": thread, "id": row["id"]}, 1)
        return saved

    def list(
        self,
        thread: str | None = None,
        *,
        turn: TurnNumber | None = None,
        plan: UUID | str | None = None,
        user: str | None = None,
        type: str | None = None,
        min_rating: Rating | None = None,
        max_rating: Rating | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Count = 50,
        before: FeedbackEntry | None = None,
    ) -> Page:
        """A page of feedback, the newest first.

        Args:
            thread: only on this session.
            turn: only on turns of this number.
            plan: only on this plan.
            user: only by this username.
            type: only of this type.
            min_rating: only these and better ones.
            max_rating: only these and worse ones.
            since: only what was recorded then or later.
            until: only what was recorded before.
            limit: the page's size.
            before: the last one of a page gives the next page.
        """
        filters = _filters(thread, user, type, min_rating, max_rating, since, until)
        more = {"turn": turn, "plan_id": _uuid("plan", plan)}
        return self._page(filters | more, limit, before)

    def export(
        self,
        file: File,
        *,
        thread: str | None = None,
        user: str | None = None,
        type: str | None = None,
        min_rating: Rating | None = None,
        max_rating: Rating | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """Write feedback as JSON lines of ``input``, ``output``, ``score``; returns how many.

        The score is the rating, from 1 to 5. There are ``comment``, ``context``, ids and metadata
        besides. Of a session as a whole the input is what the user said first, the output what its
        last turn gave. What the record does not hold is null. Filters are those of :meth:`list`.

        Args:
            file: a path, whose file is replaced once all is written, or an open file.
        """
        filters = _filters(thread, user, type, min_rating, max_rating, since, until)
        pages = by_session(self._statements, "dataset", filters)
        found = with_exchanges(self._history(), pages)
        return write_lines(file, (_line(row, exchange) for row, exchange in found))

    def _page(
        self, filters: dict[str, Any], limit: int, before: FeedbackEntry | None = None
    ) -> Page:
        rows = newest(self._statements, "feedback", _UNFILTERED | filters, limit, before)
        return [FeedbackEntry(**row) for row in rows]


class _About:
    """What feedback is about, looked up."""

    def __init__(
        self, thread_id: str, turn: int | None, workflow_id: UUID | None, plan_id: UUID | None
    ) -> None:
        self._thread_id, self._turn = thread_id, turn
        self._asked, self.plan_id = workflow_id, plan_id
        self.workflow_id: UUID | None = None

    def find(self, transaction: Transaction) -> None:
        """Look it up.

        Raises:
            NotRecorded: the session has none of that.
            ConfigurationError: turn and workflow are not the same.
        """
        if not transaction.rows("session_exists", thread_id=self._thread_id)[0]["found"]:
            raise NotRecorded(f"no session of thread {self._thread_id!r} is recorded")
        self.workflow_id = self._workflow(transaction)
        if self.plan_id is not None:
            plan = self._one(transaction, "plan", plan_id=self.plan_id)
            self.workflow_id = self.workflow_id or plan["workflow_id"]
        elif self.workflow_id is not None:
            key = {"thread_id": self._thread_id, "workflow_id": self.workflow_id}
            for plan in transaction.rows("plan_of_workflow", **key):
                self.plan_id = plan["id"]

    def _workflow(self, transaction: Transaction) -> UUID | None:
        found: Row | None = None
        if self._turn is not None:
            found = self._one(transaction, "workflow_of_turn", turn=self._turn)
        if self._asked is not None:
            named = self._one(transaction, "workflow", workflow_id=self._asked)
            if found is not None and named["id"] != found["id"]:
                raise ConfigurationError(
                    f"workflow {self._asked} is turn {named['turn']}, not {self._turn}"
                )
            found = named
        return None if found is None else found["id"]

    def _one(self, transaction: Transaction, statement: str, **key: Any) -> Row:
        for row in transaction.rows(statement, thread_id=self._thread_id, **key):
            return row
        what, which = statement.removeprefix("workflow_of_"), next(iter(key.values()))
        raise NotRecorded(f"thread {self._thread_id!r} has no {what} {which}")


def _line(row: Row, exchange: Exchange) -> dict[str, Any]:
    parts = {"user_input", "input", "result", "rating", "updated_at"}
    rest = {key: value for key, value in row.items() if key not in parts}
    said = {"input": exchange.input, "output": exchange.output}
    return said | {"score": row["rating"]} | rest


def _filters(
    thread: str | None,
    user: str | None,
    type: str | None,
    min_rating: int | None,
    max_rating: int | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    return {
        "thread_id": thread,
        "user": user,
        "feedback_type": type,
        "min_rating": min_rating,
        "max_rating": max_rating,
        "since": since,
        "until": until,
    }


def _user_id(transaction: Transaction, name: str | None) -> UUID | None:
    if name is None:
        return None
    transaction.run("name_user", user=name)
    id: UUID = transaction.rows("user", user=name)[0]["id"]
    return id


def _workflow_id(workflow: Workflow | UUID | str | None) -> UUID | None:
    return _uuid("workflow", workflow.id if isinstance(workflow, Workflow) else workflow)


def _uuid(name: str, value: UUID | str | None) -> UUID | None:
    return None if value is None else uuid_of(name, value)


def _data(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
