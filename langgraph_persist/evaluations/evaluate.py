"""Asks an evaluator for turn after turn: here, or several at a time on an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context

from langchain_core.runnables.config import var_child_runnable_config

from langgraph_persist.evaluations.evaluators import Evaluator, Judgement
from langgraph_persist.evaluations.report import Evaluation, EvaluationReport
from langgraph_persist.evaluations.subjects import Conversation, Turn
from langgraph_persist.journal import current_place

logger = logging.getLogger(__name__)

Save = Callable[[Turn, Judgement], Evaluation]


def detached() -> Context:
    """A context as it is here, but in no run: what an evaluator calls is no part of it."""
    context = copy_context()
    context.run(var_child_runnable_config.set, None)
    context.run(current_place.set, None)
    return context


def judge(evaluator: Evaluator, conversation: Conversation) -> Judgement:
    """What the evaluator says of a whole session."""
    return detached().run(evaluator.judge, conversation)


async def ajudge(evaluator: Evaluator, conversation: Conversation) -> Judgement:
    """The same on an event loop."""
    await asyncio.to_thread(lambda: conversation.turns)
    return await asyncio.create_task(evaluator.ajudge(conversation), context=detached())


class Evaluating:
    """The turns that are left, and what has come of the others.

    Each evaluation is recorded as soon as it is there. What the evaluator raises is kept in the
    report; what recording raises ends it all.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        turns: Iterator[Turn],
        save: Save,
        report: EvaluationReport,
        step: Callable[[], None],
    ) -> None:
        self._evaluator, self._turns, self._save = evaluator, turns, save
        self._report, self._step = report, step

    def run(self) -> None:
        """One turn after the other."""
        context = detached()
        for turn in self._turns:
            try:
                judgement = context.run(self._evaluator.judge, turn)
            except Exception as error:
                self._fail(turn, error)
            else:
                self._keep(self._save(turn, judgement))
            self._step()

    async def arun(self, concurrency: int) -> None:
        """So many turns at a time."""
        reading = asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(reading), context=detached())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self, reading: asyncio.Lock) -> None:
        while True:
            async with reading:
                turn = await asyncio.to_thread(next, self._turns, None)
            if turn is None:
                return
            try:
                judgement = await self._evaluator.ajudge(turn)
            except Exception as error:
                self._fail(turn, error)
            else:
                self._keep(await asyncio.to_thread(self._save, turn, judgement))
            self._step()

    def _keep(self, evaluation: Evaluation) -> None:
        self._report.evaluations.append(evaluation)

    def _fail(self, turn: Turn, error: Exception) -> None:
        self._report.failed[turn.number] = error
        # Never the message: it may quote what was said.
        logger.warning(
            "turn %d of thread %r could not be evaluated by %s (%s)",
            turn.number,
            turn.thread_id,
            self._evaluator.name,
            type(error).__name__,
        )
