"""Closes what nobody else will: the runs of lost processes, and requests that waited too long.

A run is lost when its process is known to have ended, or has not been heard of for long. A process
that was only slow takes its runs up again with its next heartbeat, and their ends replace what was
said here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row, tuple_row

from langgraph_persist.database.queries import queries
from langgraph_persist.errors import PersistError
from langgraph_persist.journal.heartbeat import INTERVAL
from langgraph_persist.journal.instance import here, is_gone
from langgraph_persist.journal.unit import Rows, Unit

if TYPE_CHECKING:
    from langgraph_persist.journal.journal import Journal

logger = logging.getLogger(__name__)

LOST_AFTER = 6 * INTERVAL
"""Seconds without a heartbeat after which a run is lost."""


class LostRun(NamedTuple):
    """A run whose process was lost; its thread can be resumed from its last checkpoint."""

    thread_id: str
    run_id: UUID
    workflow_id: UUID
    instance_id: str | None
    heartbeat_at: datetime | None
    started_at: datetime


class ExpiredRequest(NamedTuple):
    """A request to a human that was not answered in time."""

    thread_id: str
    id: UUID
    interrupt_id: str | None


class Reaped(NamedTuple):
    """What was closed."""

    runs: list[LostRun]
    requests: list[ExpiredRequest]


class Reaper:
    """Finds and closes it, through the journal, whichever of several processes comes first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._suspects: set[str] = set()

    def suspect(self, thread_id: str) -> None:
        """A thread is run again: its last run may have been lost."""
        with self._lock:
            self._suspects.add(thread_id)
        self._journal.heartbeat.expect()

    def check(self) -> None:
        """Queue the ends of the runs that were lost on suspected threads."""
        with self._lock:
            suspects, self._suspects = self._suspects, set()
        if not suspects:
            return
        try:
            for run in self._find(LOST_AFTER, sorted(suspects)):
                self._journal.append(Unit(run.thread_id, _rows(run)))
        except (psycopg.Error, PersistError) as error:
            logger.debug("lost runs are looked for later: %s", error)
            with self._lock:
                self._suspects |= suspects

    def reap(self, lost_after: float = LOST_AFTER) -> Reaped:
        """Close all that is lost or has expired; returns once that is committed."""
        lost = self._find(lost_after, None)
        receipts = [self._journal.commit(Unit(run.thread_id, _rows(run))) for run in lost]
        sql = queries("runs", self._journal.schemas)["expire_requests"].encode()
        with self._journal.database.connection() as conn:
            expired = conn.cursor(row_factory=class_row(ExpiredRequest)).execute(sql).fetchall()
        for receipt in receipts:
            receipt.result()
        return Reaped(lost, expired)

    def _find(self, lost_after: float, threads: Sequence[str] | None) -> list[LostRun]:
        sql = queries("runs", self._journal.schemas)["doubtful_runs"].encode()
        params = {"seconds": lost_after, "threads": threads, "here": here()}
        with self._journal.database.connection() as conn:
            found = conn.cursor(row_factory=tuple_row).execute(sql, params).fetchall()
        doubtful = [(LostRun(*row[:-1]), row[-1]) for row in found]
        return [run for run, stale in doubtful if stale or is_gone(run.instance_id)]


def _rows(run: LostRun) -> Rows:
    seen = {
        "thread_id": run.thread_id,
        "id": run.run_id,
        "started_at": run.started_at,
        "heartbeat_at": run.heartbeat_at,
        # Tells what this closes; the nodes of a cluster do not have the same now().
        "closed_at": datetime.now(UTC),
    }
    totals = {"thread_id": run.thread_id, "id": run.workflow_id}
    return [("lost_runs", seen), ("workflow_totals", totals)]
