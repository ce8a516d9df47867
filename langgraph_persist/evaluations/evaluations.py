"""Evaluations, as ``persist.evaluations``: what turns and sessions are worth, from 0 to 100."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import psycopg
from langchain_core.utils.uuid import uuid7

from langgraph_persist.arguments import Count, Moment, Name, Score, TurnNumber, checked
from langgraph_persist.database.statements import Row, Statements
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.evaluations.content import SEALED, Content, require_object
from langgraph_persist.evaluations.dataset import File, write_lines
from langgraph_persist.evaluations.evaluate import Evaluating, ajudge, judge
from langgraph_persist.evaluations.evaluators import (
    Evaluator,
    Judgement,
    require_name,
    require_score,
)
from langgraph_persist.evaluations.exchange import Exchange, with_exchanges
from langgraph_persist.evaluations.pages import by_session, newest
from langgraph_persist.evaluations.progress import progress
from langgraph_persist.evaluations.report import Evaluation, EvaluationReport
from langgraph_persist.evaluations.session import References, SessionTurns
from langgraph_persist.evaluations.subjects import Turn
from langgraph_persist.extract import clean_text, to_json_bytes
from langgraph_persist.history import History
from langgraph_persist.kinds import EvaluationType

Page: TypeAlias = "list[Evaluation]"
Judge: TypeAlias = Any
"""A callable, a runnable or an evaluator of LangChain; see ``langgraph_persist.evaluations``."""

NOT_KEPT = "<not recorded>"
"""The analysis where no content is recorded."""

CONCURRENCY = 8

_COMPLETED = ("completed",)
_FILTERS = ("thread_id", "evaluation_type", "evaluator", "user", "min_score", "max_score")


@checked
class Evaluations:
    """Records, makes, reads and exports evaluations.

    A turn has one evaluation, and a session as a whole one: a later one replaces it. Neither ends
    the session or changes its status, however the evaluation goes.
    """

    def __init__(
        self, statements: Statements, content: Content, history: Callable[[], History]
    ) -> None:
        self._statements, self._content, self._history = statements, content, history

    # --- one by one ---

    def record(
        self,
        thread: Name,
        *,
        turn: TurnNumber | None = None,
        score: float | Decimal,
        analysis: Name,
        details: Mapping[str, Any] | None = None,
        evaluator: str | None = None,
    ) -> Evaluation:
        """Record what a turn is worth, or without one (HOLISTIC_FLOW) the session as a whole.

        Args:
            thread: the session.
            turn: which turn of it, the first being 1 (TURN_EVAL).
            score: from 0 to 100.
            analysis: why.
            details: what else there is to say, as JSON.
            evaluator: who says so.

        Raises:
            NotRecorded: there is no such session or turn.
            ConfigurationError: a value cannot be recorded.
        """
        value = require_score(score)
        found = require_object("details", details)
        if taken := {"score", "analysis"} & found.keys():
            raise ConfigurationError(f"{taken.pop()} is an argument of its own, not one of details")
        if evaluator is not None:
            require_name(evaluator)
        return self._save(thread, turn, Judgement(value, analysis, found), evaluator)

    def get(self, thread: Name, turn: TurnNumber | None = None) -> Evaluation:
        """The evaluation of a turn, or without one of the session as a whole.

        Raises:
            NotRecorded: there is none.
        """
        for row in self._statements.rows("evaluation", thread_id=thread, turn=turn):
            return _evaluation(row)
        what = "as a whole" if turn is None else f"turn {turn}"
        raise NotRecorded(f"no evaluation of thread {thread!r}, {what}, is recorded")

    def list(
        self,
        thread: str | None = None,
        *,
        type: EvaluationType | None = None,
        evaluator: str | None = None,
        user: str | None = None,
        min_score: Score | None = None,
        max_score: Score | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Count = 50,
        before: Evaluation | None = None,
    ) -> Page:
        """A page of evaluations, the newest first.

        Args:
            thread: only of this session.
            type: only of turns (TURN_EVAL) or of sessions as a whole (HOLISTIC_FLOW).
            evaluator: only by this one.
            user: only of sessions of this username.
            min_score: only these and better ones.
            max_score: only these and worse ones.
            since: only those first recorded then or later.
            until: only those first recorded before.
            limit: the page's size.
            before: the last one of a page gives the next page.
        """
        filters = _filters(
            thread, type, evaluator, user, min_score, max_score, since=since, until=until
        )
        rows = newest(self._statements, "evaluations", filters, limit, before)
        return [_evaluation(row) for row in rows]

    # --- by an evaluator ---

    def evaluate_turns(
        self,
        thread: Name,
        evaluator: Judge,
        *,
        name: str | None = None,
        turns: Collection[int] | None = None,
        statuses: str | Collection[str] = _COMPLETED,
        references: References | None = None,
        scale: float | None = None,
        again: bool = False,
        progress: bool | None = None,
    ) -> EvaluationReport:
        """Let an evaluator judge the turns of a session, one after the other.

        Each evaluation is committed as soon as it is made: whatever ends this, call it again for
        the rest. What the evaluator raises on a turn is told in the report, and tried again by the
        next call. The evaluator's own calls of models are no part of the session: where they are
        recorded (by ``install()``, or a handler of their own), it is as sessions of their own.

        Args:
            thread: the session.
            evaluator: a callable that is given a ``Turn``, a LangChain evaluator (one with
                ``evaluate_strings``), or another runnable, invoked with ``Turn.variables()``. It
                gives a score, or a mapping or model with ``score``, ``analysis`` and more.
            name: what it is called in the record; by default what it calls itself.
            turns: only these.
            statuses: only turns that stand so.
            references: what should have been answered, by turn.
            scale: the evaluator's best score; 1 for LangChain's, else 100, if not given.
            again: also the turns that it has evaluated before.
            progress: whether to show a bar on stderr, which needs rich; by default on a terminal.

        Raises:
            NotRecorded: there is no such session or turn.
            ConfigurationError: an argument makes no sense.
        """
        asked = Evaluator(evaluator, name, scale)
        with self._evaluating(thread, asked, turns, statuses, references, again, progress) as (
            evaluating,
            report,
        ):
            evaluating.run()
        return _ordered(report)

    async def aevaluate_turns(
        self,
        thread: Name,
        evaluator: Judge,
        *,
        name: str | None = None,
        turns: Collection[int] | None = None,
        statuses: str | Collection[str] = _COMPLETED,
        references: References | None = None,
        scale: float | None = None,
        again: bool = False,
        concurrency: Count = CONCURRENCY,
        progress: bool | None = None,
    ) -> EvaluationReport:
        """The same on an event loop, ``concurrency`` turns at a time.

        The evaluator is awaited if it is async, and runs in threads if it is not.
        """
        asked = Evaluator(evaluator, name, scale)
        opening = self._evaluating(thread, asked, turns, statuses, references, again, progress)
        evaluating, report = await asyncio.to_thread(opening.__enter__)
        try:
            await evaluating.arun(concurrency)
        finally:
            await asyncio.to_thread(opening.__exit__, None, None, None)
        return _ordered(report)

    def evaluate_session(
        self,
        thread: Name,
        evaluator: Judge,
        *,
        name: str | None = None,
        reference: str | None = None,
        scale: float | None = None,
        again: bool = False,
    ) -> Evaluation:
        """Let an evaluator judge a session as a whole.

        It is given a ``Conversation``: all turns that completed. What it has evaluated before is
        returned as it is, unless there are turns more since then.

        Raises:
            NotRecorded: there is no such session, or no turn of it completed.
            ConfigurationError: an argument makes no sense.
        """
        asked = Evaluator(evaluator, name, scale)
        session, found = self._session(thread, asked, again)
        if found is not None:
            return found
        judgement = judge(asked, session.conversation(reference))
        return self._save_session(session, asked, judgement)

    async def aevaluate_session(
        self,
        thread: Name,
        evaluator: Judge,
        *,
        name: str | None = None,
        reference: str | None = None,
        scale: float | None = None,
        again: bool = False,
    ) -> Evaluation:
        """The same on an event loop."""
        asked = Evaluator(evaluator, name, scale)
        session, found = await asyncio.to_thread(self._session, thread, asked, again)
        if found is not None:
            return found
        conversation = await asyncio.to_thread(session.conversation, reference)
        judgement = await ajudge(asked, conversation)
        return await asyncio.to_thread(self._save_session, session, asked, judgement)

    # --- as a dataset ---

    def export(
        self,
        file: File,
        *,
        thread: str | None = None,
        type: EvaluationType | None = None,
        evaluator: str | None = None,
        user: str | None = None,
        min_score: Score | None = None,
        max_score: Score | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """Write evaluations as JSON lines of ``input``, ``output``, ``score``; returns how many.

        There are ``analysis``, ``details``, ids and metadata besides. Of a session as a whole the
        input is what the user said first, the output what its last turn gave. What the record does
        not hold is null. Filters are those of :meth:`list`.

        Args:
            file: a path, whose file is replaced once all is written, or an open file.
        """
        filters = _filters(
            thread, type, evaluator, user, min_score, max_score, since=since, until=until
        )
        pages = by_session(self._statements, "dataset", filters)
        found = with_exchanges(self._history(), pages)
        return write_lines(file, (_line(row, exchange) for row, exchange in found))

    # --- parts ---

    @contextmanager
    def _evaluating(
        self,
        thread: str,
        evaluator: Evaluator,
        turns: Collection[int] | None,
        statuses: Collection[str],
        references: References | None,
        again: bool,
        shown: bool | None,
    ) -> Iterator[tuple[Evaluating, EvaluationReport]]:
        session = SessionTurns(self._statements, self._history(), thread)
        wanted, left_out = session.wanted(turns, statuses)
        before = set() if again else session.evaluated_by(clean_text(evaluator.name))
        report = EvaluationReport(
            thread_id=session.thread_id,
            evaluator=evaluator.name,
            kept=[turn for turn in wanted if turn in before],
            left_out=left_out,
        )
        rest = [turn for turn in wanted if turn not in before]

        def save(turn: Turn, judgement: Judgement) -> Evaluation:
            return self._save(turn.thread_id, turn.number, judgement, evaluator.name)

        found = session.read(rest, references or {})
        with progress(len(rest), f"evaluating {session.thread_id}", shown) as step:
            yield Evaluating(evaluator, found, save, report, step), report

    def _session(
        self, thread: str, evaluator: Evaluator, again: bool
    ) -> tuple[SessionTurns, Evaluation | None]:
        """The session, and its evaluation if it is still good."""
        session = SessionTurns(self._statements, self._history(), thread)
        if not session.of_status(_COMPLETED):
            raise NotRecorded(f"no turn of thread {thread!r} has completed")
        try:
            found = self.get(thread)
        except NotRecorded:
            return session, None
        same = found.evaluator == clean_text(evaluator.name)
        is_good = same and found.details.get("turns") == session.last and not again
        return session, found if is_good else None

    def _save_session(
        self, session: SessionTurns, evaluator: Evaluator, found: Judgement
    ) -> Evaluation:
        details = {**found.details, "turns": session.last}
        judgement = Judgement(found.score, found.analysis, details)
        return self._save(session.thread_id, None, judgement, evaluator.name)

    def _save(
        self, thread: str, turn: int | None, judgement: Judgement, evaluator: str | None
    ) -> Evaluation:
        analysis = self._content.text(judgement.analysis)
        score = judgement.score
        details = {
            **self._content.details(judgement.details),
            "score": int(score) if score == int(score) else score,
            "analysis": NOT_KEPT if analysis is None else analysis,
        }
        row: dict[str, Any] = {
            "thread_id": thread,
            "id": uuid7(),
            "details": to_json_bytes(details).decode(),
            "evaluator": evaluator,
        }
        if turn is not None:
            row["turn"] = turn
        try:
            (saved,) = self._statements.rows("save_session" if turn is None else "save_turn", **row)
        except psycopg.errors.ForeignKeyViolation as error:
            raise self._missing(thread, turn) from error
        return _evaluation(saved)

    def _missing(self, thread: str, turn: int | None) -> NotRecorded:
        try:
            last = SessionTurns(self._statements, self._history(), thread).last
        except NotRecorded:
            return NotRecorded(f"no session of thread {thread!r} is recorded")
        return NotRecorded(f"thread {thread!r} has no turn {turn}; its last one is {last}")


def _filters(
    thread: str | None,
    type: EvaluationType | None,
    evaluator: str | None,
    user: str | None,
    min_score: float | None,
    max_score: float | None,
    **times: datetime | None,
) -> dict[str, Any]:
    values = (thread, type, evaluator, user, min_score, max_score)
    return dict(zip(_FILTERS, values, strict=True)) | times


def _evaluation(row: Row) -> Evaluation:
    fields = {key: row[key] for key in Evaluation.__dataclass_fields__ if key in row}
    return Evaluation(**fields | _parts(row["details"]))


def _parts(details: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in details.items() if key not in ("score", "analysis")}
    rest |= rest.pop(SEALED, None) or {}
    return {"score": details["score"], "analysis": details["analysis"], "details": rest}


def _line(row: Row, exchange: Exchange) -> dict[str, Any]:
    is_turn = row["turn"] is not None
    ids = ("thread_id", "id", "evaluation_type", "turn", "evaluator", "user", "organization")
    return {
        "input": exchange.input,
        "output": exchange.output,
        **_parts(row["details"]),
        **{key: row[key] for key in ids},
        "workflow_id": row["workflow_id"] if is_turn else None,
        "workflow": row["workflow"],
        "metadata": row["metadata"],
        "created_at": row["created_at"],
    }


def _ordered(report: EvaluationReport) -> EvaluationReport:
    report.evaluations.sort(key=lambda evaluation: evaluation.turn or 0)
    return report
