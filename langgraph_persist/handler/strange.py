"""Threads whose checkpoints are not ours: what an earlier process recorded of them.

A checkpoint of ours says which workflow saved it. Another saver's does not; what this process has
recorded it remembers, of what others have recorded the database is asked.
"""

from __future__ import annotations

import psycopg
from psycopg.rows import tuple_row

from langgraph_persist.database.queries import queries
from langgraph_persist.errors import PersistError
from langgraph_persist.handler.calls import GraphCall
from langgraph_persist.journal import Journal, Progress


def saves_elsewhere(call: GraphCall | None, journal: Journal) -> bool:
    """Whether the graph has a checkpointer which is none of ours."""
    saver = getattr(call.graph, "checkpointer", None) if call is not None else None
    return bool(saver) and getattr(saver, "journal", None) is not journal


def recall(thread_id: str, journal: Journal) -> None:
    """Remember the workflow that the thread goes on with, if there is one, and it can be asked."""
    sql = queries("interventions", journal.schemas)
    try:
        with journal.database.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            last = cursor.execute(sql["last_workflow"].encode(), {"thread_id": thread_id})
            if (found := last.fetchone()) is None:
                return
            params = {"thread_id": thread_id, "workflow_id": found[0]}
            progress = cursor.execute(sql["progress"].encode(), params).fetchone()
    except (psycopg.Error, PersistError) as error:
        journal.failures.add("resume", error)
        return
    if progress is not None and progress[0] != "completed":
        journal.runs.remember(thread_id, Progress(found[0], *progress))
