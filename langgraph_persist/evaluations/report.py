"""What came of evaluating the turns of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from langgraph_persist.kinds import EvaluationType


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a turn, or a session as a whole, is worth."""

    thread_id: str
    id: UUID
    evaluation_type: EvaluationType
    turn: int | None
    """None for a session as a whole."""
    score: float
    """From 0 to 100."""
    analysis: Any
    details: Mapping[str, Any]
    """What the evaluator said besides."""
    evaluator: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True, kw_only=True)
class EvaluationReport:
    """What was evaluated, what was so already, and what could not be."""

    thread_id: str
    evaluator: str
    evaluations: list[Evaluation] = field(default_factory=list)
    """What this call recorded, in the order of the turns."""
    kept: Sequence[int] = ()
    """Turns that this evaluator had evaluated before."""
    failed: dict[int, Exception] = field(default_factory=dict)
    """Turns that it could not evaluate, with the reason; the next call tries them again."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Turns that are not to be evaluated, with their status."""

    @property
    def average(self) -> float | None:
        """The average score of what this call recorded."""
        scores = [evaluation.score for evaluation in self.evaluations]
        return sum(scores) / len(scores) if scores else None

    def __str__(self) -> str:
        average = "" if self.average is None else f", {self.average:.1f} on average"
        count = len(self.evaluations)
        turns = "1 turn" if count == 1 else f"{count:,} turns"
        facts = [f"{turns} evaluated by {self.evaluator}{average}"]
        if self.kept:
            facts.append(f"{len(self.kept)} evaluated before")
        if self.failed:
            facts.append(f"{len(self.failed)} failed")
        if self.left_out:
            facts.append(f"{len(self.left_out)} left out ({_counted(self.left_out)})")
        lines = [f"{self.thread_id}: {'; '.join(facts)}"]
        for turn, error in sorted(self.failed.items()):
            lines.append(f"    turn {turn}: {type(error).__name__}: {error}")
        return "\n".join(lines)


def _counted(statuses: Mapping[int, str]) -> str:
    found = list(statuses.values())
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found))
