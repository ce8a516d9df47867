"""Closes what nobody else will: the runs of lost processes, and what waited too long.

A run is lost when its process is known to have ended, or has not been heard of for long. A process
that was only slow takes its runs up again with its next heartbeat, and their ends replace what was
said here.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import class_row, tuple_row

from langgraph_persist.database.queries import queries
from langgraph_persist.errors import PersistError
from langgraph_persist.journal.heartbeat import INTERVAL
from langgraph_persist.journal.instance import here, is_gone
from langgraph_persist.journal.unit import Fields, Rows, Unit

if TYPE_CHECKING:
    from langgraph_persist.journal.journal import Journal

logger = logging.getLogger(__name__)

LOST_AFTER = 6 * INTERVAL
"""Seconds without a heartbeat after which a run is lost."""

PAGE = 100
"""How many sessions end before whoever ends them does something else."""

GRACE = 1.0
"""Seconds after which a session is ended whose time is over."""


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
    sessions: list[str]
    """The threads of those that have expired."""


class Reaper:
    """Finds and closes it, through the journal, whichever of several processes comes first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._suspects: set[str] = set()
        self._next = math.inf

    @property
    def patience(self) -> float:
        """Seconds until a session may expire; infinite when none is known of."""
        return self._next - time.monotonic()

    def expect(self, seconds: float) -> None:
        """A session may expire so many seconds from now, or later."""
        self._next = min(self._next, time.monotonic() + seconds)

    def lifetime(self, ttl: timedelta | None) -> Fields:
        """The column that tells when a session expires, which will be seen to."""
        if ttl is None:
            return {}
        self.expect(ttl.total_seconds() + GRACE)
        return {"seconds_to_live": ttl.total_seconds()}

    def suspect(self, thread_id: str) -> None:
        """A thread is run again: its last run may have been lost."""
        with self._lock:
            self._suspects.add(thread_id)
        self._journal.heartbeat.expect()

    def check(self) -> None:
        """End sessions that are due; queue the ends of runs that were lost on suspected threads."""
        if self.patience <= 0:
            self._expire_due()
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
        return Reaped(*self.close_lost(lost_after), self.expire())

    def close_lost(
        self, lost_after: float = LOST_AFTER
    ) -> tuple[list[LostRun], list[ExpiredRequest]]:
        """Close lost runs, and requests that waited too long; returns once that is committed."""
        lost = self._find(lost_after, None)
        receipts = [self._journal.commit(Unit(run.thread_id, _rows(run))) for run in lost]
        sql = queries("runs", self._journal.schemas)["expire_requests"].encode()
        with self._journal.database.connection() as conn:
            cursor = conn.cursor(row_factory=class_row(ExpiredRequest))
            expired = cursor.execute(sql, {}).fetchall()
        for receipt in receipts:
            receipt.result()
        return lost, expired

    def expire(self) -> list[str]:
        """End the sessions that saw no run for as long as they were opened for; their threads."""
        ended: list[str] = []
        more = True
        while more:
            page, more = self._journal.database.run(self._end_sessions)
            ended += page
        return ended

    def _expire_due(self) -> None:
        """End some of them, and see to it that the others are ended when they are due."""
        self._next = math.inf
        try:
            with self._journal.database.connection() as conn:
                _, more = self._end_sessions(conn)
                self.expect(0 if more else self._until_next(conn))
        except (psycopg.Error, PersistError) as error:
            logger.debug("sessions expire later: %s", error)
            self.expect(INTERVAL)

    def _end_sessions(self, conn: Connection[Any]) -> tuple[list[str], bool]:
        """The threads of some that were due, and whether there may be more."""
        sql = queries("sessions", self._journal.schemas)
        find, end = sql["due_sessions"].encode(), sql["expire_session"].encode()
        cursor = conn.cursor(row_factory=tuple_row)
        due = cursor.execute(find, {"limit": PAGE}).fetchall()
        # One by one: no run that starts in one of them waits for all.
        ended = [t for (t,) in due if cursor.execute(end, {"thread_id": t}).fetchall()]
        return ended, len(due) == PAGE and bool(ended)

    def _until_next(self, conn: Connection[Any]) -> float:
        sql = queries("sessions", self._journal.schemas)["next_expiry"].encode()
        found = conn.cursor(row_factory=tuple_row).execute(sql, {}).fetchone()
        if found is None:
            return math.inf
        return max(float(found[0]), 0.0) + GRACE

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
