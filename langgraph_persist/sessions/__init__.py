"""Sessions, as ``persist.sessions``: what LangGraph calls threads, with a beginning and an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_core.utils.uuid import uuid7

from langgraph_persist.arguments import Name, checked
from langgraph_persist.database.statements import Statements
from langgraph_persist.errors import ConfigurationError, NotRecorded

__all__ = ["Session", "Sessions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as it was when it was read."""

    thread_id: str
    user: str | None
    organization: str | None
    status: str
    """active, completed, expired or error."""
    language: str | None
    initial_input: str | None
    current_context: Any
    metadata: Any
    turns: int
    retry_of: str | None
    """The thread in whose place this one was opened."""
    ended_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


@checked
class Sessions:
    """Reads, ends and retries sessions. A run on one that has ended makes it active again."""

    def __init__(self, statements: Statements, expire: Callable[[], list[str]]) -> None:
        self._statements, self._expire = statements, expire

    def get(self, thread_id: Name) -> Session:
        """The session of a thread.

        Raises:
            NotRecorded: no run of it is recorded.
        """
        for row in self._statements.rows("session", thread_id=thread_id):
            return Session(**row)
        raise NotRecorded(f"no session of thread {thread_id!r} is recorded")

    def complete(self, thread_id: Name) -> Session:
        """The conversation is over; ``ended_at`` says since when.

        Raises:
            NotRecorded: no run of it is recorded.
        """
        return self._end(thread_id, "completed")

    def fail(self, thread_id: Name) -> Session:
        """The conversation cannot go on: its status is ``error``.

        Raises:
            NotRecorded: no run of it is recorded.
        """
        return self._end(thread_id, "error")

    def expire(self) -> list[str]:
        """End what has seen no run for the ``session_ttl`` it was opened with; returns the threads.

        Every process that records does so by itself about a second after the time is over; call
        this to be sure of it now. A run on one of them makes it active again, as long as its
        checkpoints are there.
        """
        return self._expire()

    def retry(self, thread_id: Name, *, new_thread_id: Name | None = None) -> Session:
        """A new session in place of this one, with nothing of its turns and checkpoints.

        User, organization, language, metadata and the first input are the same; invoke the graph
        on the new session's ``thread_id``.

        Raises:
            NotRecorded: no run of it is recorded.
            ConfigurationError: the new thread has a session or checkpoints already.
        """
        self.get(thread_id)
        new = new_thread_id or str(uuid7())
        if self._statements.rows("checkpoint_of", thread_id=new):
            raise ConfigurationError(f"thread {new!r} has checkpoints already")
        self._statements.rows("retry_session", thread_id=thread_id, new=new)
        made = self.get(new)
        if made.retry_of != thread_id or made.turns:
            raise ConfigurationError(f"thread {new!r} has a session already")
        return made

    def _end(self, thread_id: str, status: str) -> Session:
        self.get(thread_id)
        self._statements.rows("end_session", thread_id=thread_id, status=status)
        return self.get(thread_id)
