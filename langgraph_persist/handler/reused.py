"""Ids given by users that an earlier run has, recorded by another process or by this one long ago.

LangChain makes an id of the moment for each run, which no other run has; so the database is asked
only of ids that are not of this moment. Two processes that start the same id on the same thread
before either is recorded are not told apart: nothing could be, since a row of a run needs those of
its workflow and session, which the journal writes later.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from langgraph_persist.database.queries import queries
from langgraph_persist.errors import PersistError
from langgraph_persist.handler.spans import Spans
from langgraph_persist.journal import Journal

_TIMED = 7
"""The version of the UUIDs that begin with the time."""
_MOMENT_MS = 2_000


class Doubt(NamedTuple):
    """A run that starts with an id which may be another one's."""

    thread_id: str
    run_id: UUID


def is_of_this_moment(run_id: Any) -> bool:
    """Whether an id was made just now."""
    if not isinstance(run_id, UUID) or run_id.version != _TIMED:
        return False
    made_at: int = run_id.int >> 80
    return abs(time.time() * 1000 - made_at) < _MOMENT_MS


def settle(doubt: Doubt, journal: Journal, spans: Spans) -> None:
    """Let the run have an id of its own if it is another one's; kept where nobody can be asked."""
    sql = queries("runs", journal.schemas)["run_exists"].encode()
    params = {"thread_id": doubt.thread_id, "id": doubt.run_id}
    try:
        with journal.database.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            found = cursor.execute(sql, params).fetchone()
    except (psycopg.Error, PersistError) as error:
        journal.failures.add("run_id", error)
        return
    if found == (True,):
        spans.take(doubt.run_id)
