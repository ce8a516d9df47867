"""Threads: what LangGraph calls a conversation, recorded as a session or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langgraph_persist.history.said import text_of

NOT_RECORDED: dict[str, Any] = {
    "user": None,
    "organization": None,
    "status": None,
    "turns": 0,
    "workflow_status": None,
    "expires_at": None,
    "missing": None,
}
"""What a thread is that has no session."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Thread:
    """A thread as it was when it was read."""

    thread_id: str
    user: str | None
    organization: str | None
    status: str | None
    """Its session's: active, completed, expired or error; None where no run was recorded."""
    turns: int
    workflow_status: str | None
    """How its last recorded turn stands."""
    checkpoints: int
    """How many checkpoints there are of it, those of subgraphs included."""
    created_at: datetime
    updated_at: datetime
    """Its last activity: a run that was recorded, or else the newest checkpoint."""
    expires_at: datetime | None
    missing: dict[str, str] | None
    """What could not be recorded of its session and why, by column."""

    def __repr__(self) -> str:
        facts = [self.status or "not recorded", f"{self.turns} turns" if self.status else None]
        facts += [self.user, self.workflow_status, f"{self.checkpoints:,} checkpoints"]
        shown = ", ".join(fact for fact in facts if fact)
        return f"<{type(self).__name__} {self.thread_id!r}, {shown}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptLine:
    """A message of a conversation."""

    turn: int
    role: str
    name: str | None
    text: str | None
    content: Any
    tool_calls: Any

    @classmethod
    def of(cls, **columns: Any) -> TranscriptLine:
        """A row of the view: what no SQL can tell of an encrypted answer is read from all of it."""
        if columns["role"] == "ai" and columns["text"] is None:
            columns["text"] = text_of(columns["content"])
        return cls(**columns)

    def __str__(self) -> str:
        return f"{self.role}: {self.text or ''}"
