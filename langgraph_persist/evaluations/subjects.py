"""What an evaluator is shown: a turn, or a conversation as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from langgraph_persist.history import History, TranscriptLine, Workflow


class Subject(Protocol):
    """What evaluators of LangChain need of either."""

    @property
    def input(self) -> str | None: ...

    @property
    def output(self) -> str | None: ...

    @property
    def reference(self) -> str | None: ...

    @property
    def prediction(self) -> str | None: ...

    def variables(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a session."""

    thread_id: str
    number: int
    """Which turn it is; the first one is 1."""
    workflow_id: UUID
    name: str
    status: str
    user: str | None
    input: str | None
    """What the user said."""
    output: str | None
    """What was answered: the last message, or the result as text or JSON."""
    reference: str | None
    """What should have been answered, where that was given."""
    metadata: Any
    started_at: datetime
    completed_at: datetime | None
    _history: History = field(repr=False, compare=False)

    @property
    def prediction(self) -> str | None:
        """What evaluators of LangChain look at: the output."""
        return self.output

    @property
    def transcript(self) -> str:
        """Question and answer as lines of text."""
        return _lines([self])

    @cached_property
    def messages(self) -> Sequence[TranscriptLine]:
        """What was said in this turn, tools and system messages included."""
        return self._history.transcript(self.thread_id, self.number)

    @cached_property
    def workflow(self) -> Workflow:
        """All that is recorded of it: nodes, generations, tools, the state after each node."""
        return self._history.workflow(self.workflow_id)

    def variables(self) -> dict[str, Any]:
        """What a runnable is invoked with."""
        return {
            "thread_id": self.thread_id,
            "turn": self.number,
            "input": self.input,
            "output": self.output,
            "reference": self.reference,
            "transcript": self.transcript,
        }


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A session as a whole: the turns of it that ended well, in their order."""

    thread_id: str
    user: str | None
    metadata: Any
    reference: str | None
    """What it should have come to, where that was given."""
    _turns: Callable[[], list[Turn]] = field(repr=False, compare=False)
    _history: History = field(repr=False, compare=False)

    @cached_property
    def turns(self) -> Sequence[Turn]:
        return self._turns()

    @property
    def input(self) -> str | None:
        """What the user said first."""
        return self.turns[0].input if self.turns else None

    @property
    def output(self) -> str | None:
        """What was answered last."""
        return self.turns[-1].output if self.turns else None

    @property
    def prediction(self) -> str | None:
        """What evaluators of LangChain look at: the transcript."""
        return self.transcript

    @property
    def transcript(self) -> str:
        """All questions and answers as lines of text."""
        return _lines(self.turns)

    @cached_property
    def messages(self) -> Sequence[TranscriptLine]:
        """What was said in the session, tools and system messages included."""
        return self._history.transcript(self.thread_id)

    def variables(self) -> dict[str, Any]:
        """What a runnable is invoked with."""
        return {
            "thread_id": self.thread_id,
            "turns": len(self.turns),
            "input": self.input,
            "output": self.output,
            "reference": self.reference,
            "transcript": self.transcript,
        }


def _lines(turns: Sequence[Turn]) -> str:
    said = [(role, text) for t in turns for role, text in (("user", t.input), ("ai", t.output))]
    return "\n".join(f"{role}: {text}" for role, text in said if text is not None)
