"""What went in or came out, as it may be recorded in a database."""

from __future__ import annotations

from typing import Any

from langgraph_persist.extract.encode import to_json
from langgraph_persist.extract.state import document
from langgraph_persist.journal import Journal, Rows


def content(journal: Journal, thread_id: str, value: Any) -> tuple[Any, Rows]:
    """A value for a column, and the rows that it refers to; whole where content is hidden."""
    if value is None:
        return None, []
    if not journal.content or journal.seal is not None:
        return to_json(value), []
    return document(value, journal.runs.known(thread_id))
