"""The turns of one session: which ones there are, and what was said in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import get_args

from langgraph_persist.database.statements import Row, Statements
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.evaluations.exchange import read_exchanges
from langgraph_persist.evaluations.subjects import Conversation, Turn
from langgraph_persist.history import History
from langgraph_persist.kinds import WorkflowStatus

PAGE = 100

STATUSES = get_args(WorkflowStatus)

References = Mapping[int, str]
"""What should have been answered, by turn."""


class SessionTurns:
    """Reads a session's turns.

    Raises:
        NotRecorded: the thread has no turns.
    """

    def __init__(self, statements: Statements, history: History, thread_id: str) -> None:
        self._statements, self._history, self.thread_id = statements, history, thread_id
        self._rows = {row["turn"]: row for row in statements.rows("turns", thread_id=thread_id)}
        if not self._rows:
            raise NotRecorded(f"no turn of thread {thread_id!r} is recorded")

    @property
    def last(self) -> int:
        """The last turn's number."""
        last: int = max(self._rows)
        return last

    def of_status(self, statuses: Collection[str]) -> list[int]:
        """The turns that stand so."""
        return [turn for turn, row in self._rows.items() if row["status"] in statuses]

    def wanted(
        self, turns: Collection[int] | None, statuses: Collection[str]
    ) -> tuple[list[int], dict[int, str]]:
        """The turns to evaluate, of these or of all; and those that are not, with their status.

        Raises:
            NotRecorded: there is no such turn.
            ConfigurationError: there is no such status.
        """
        statuses = (statuses,) if isinstance(statuses, str) else statuses
        if unknown := set(statuses) - set(STATUSES):
            known = ", ".join(STATUSES)
            raise ConfigurationError(f"no status {unknown.pop()!r} of a turn; there are {known}")
        chosen = sorted(self._rows if turns is None else set(turns))
        if missing := [turn for turn in chosen if turn not in self._rows]:
            raise NotRecorded(
                f"thread {self.thread_id!r} has no turn {missing[0]}; its last one is {self.last}"
            )
        found = [turn for turn in chosen if self._rows[turn]["status"] in statuses]
        rest = {turn: self._rows[turn]["status"] for turn in chosen if turn not in found}
        return found, rest

    def evaluated_by(self, evaluator: str) -> set[int]:
        """The turns whose evaluation is this evaluator's."""
        return {
            turn
            for turn, row in self._rows.items()
            if row["evaluated"] and row["evaluator"] == evaluator
        }

    def read(self, turns: Sequence[int], references: References) -> Iterator[Turn]:
        """These turns, a page at a time."""
        for start in range(0, len(turns), PAGE):
            yield from self._page(turns[start : start + PAGE], references)

    def conversation(self, reference: str | None) -> Conversation:
        """The session as a whole."""
        (session,) = self._statements.rows("session", thread_id=self.thread_id)
        completed = self.of_status(["completed"])
        return Conversation(
            thread_id=self.thread_id,
            user=session["user"],
            metadata=session["metadata"],
            reference=reference,
            _turns=lambda: list(self.read(completed, {})),
            _history=self._history,
        )

    def _page(self, turns: Sequence[int], references: References) -> list[Turn]:
        rows = self._statements.rows("turn_contents", thread_id=self.thread_id, turns=list(turns))
        exchanges = read_exchanges(self._history, self.thread_id, rows)
        return [
            self._turn(row, exchange.input, exchange.output, references.get(row["turn"]))
            for row, exchange in zip(rows, exchanges, strict=True)
        ]

    def _turn(self, row: Row, input: str | None, output: str | None, reference: str | None) -> Turn:
        same = ("workflow_id", "name", "status", "user", "metadata", "started_at", "completed_at")
        return Turn(
            thread_id=self.thread_id,
            number=row["turn"],
            input=input,
            output=output,
            reference=reference,
            _history=self._history,
            **{name: row[name] for name in same},
        )
