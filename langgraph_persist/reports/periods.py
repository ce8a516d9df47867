"""The sums of past hours and days: made once, by whoever first wants them, and kept while right.

A period is settled an hour after its end; then its sums are made from its rows alone, which a
BRIN index finds. Whoever writes to it later than that takes it off the list of what is right, so
that it is summed up again. A report adds what has no sums: what is not settled, and the ends of
its time that are no whole period.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypeAlias

from psycopg import errors

from langgraph_persist.database.statements import Statements, Transaction

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["models", "nodes", "users"]

STEPS: dict[Kind, timedelta] = {
    "models": timedelta(hours=1),
    "nodes": timedelta(days=1),
    "users": timedelta(days=1),
}
SETTLED_AFTER = timedelta(hours=1)
AT_ONCE = timedelta(days=1)
"""Of so much the sums are made in one transaction, in which writers to past periods wait."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNABLE = (
    errors.ReadOnlySqlTransaction,
    errors.InsufficientPrivilege,
    errors.LockNotAvailable,
)

Span: TypeAlias = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Cover:
    """How a time is covered: by the sums of whole periods, and by rows."""

    fresh: list[Span]
    start: datetime | None = None
    end: datetime | None = None
    but: list[datetime] = field(default_factory=list)
    """Periods between start and end that rows cover instead."""


class Periods:
    """Knows which sums are there, and makes those that are not."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def cover(
        self,
        kind: Kind,
        since: datetime | None,
        until: datetime | None,
        borders: Sequence[datetime] = (),
    ) -> Cover:
        """Cover a time; no sums are used in which one of these borders lies."""
        step = STEPS[kind]
        whole = self._whole(step, since, until)
        if whole is None or not self._fill(kind, *whole):
            return Cover([(since, until)])
        start, end = whole
        fresh: list[Span] = []
        if since is None or since < start:
            fresh.append((since, start))
        split = [b for b in borders if start < b < end and _floor(b, step) != b]
        but = sorted({_floor(b, step) for b in split})
        fresh += [(hole, hole + step) for hole in but]
        if until is None or end < until:
            fresh.append((end, until))
        return Cover(fresh, start, end, but)

    def refresh(self, since: datetime | None, until: datetime | None) -> int:
        """Make all sums of a time that are not there; returns how many periods that were."""
        count = 0
        for kind, step in STEPS.items():
            if (whole := self._whole(step, since, until)) is not None:
                count += self._make(kind, *whole)
        return count

    def forget(self, since: datetime | None, until: datetime | None) -> None:
        """The sums of a time are not right."""
        self._statements.rows("drop_periods", **{"from": since, "to": until})

    def _whole(
        self, step: timedelta, since: datetime | None, until: datetime | None
    ) -> tuple[datetime, datetime] | None:
        """From which to which time there are settled periods, if any."""
        (span,) = self._statements.rows("recorded_span")
        first = span["first"]
        if first is None or (since is not None and since > span["now"]):
            return None
        start = _floor(first, step)
        if since is not None and since > start:
            start = _ceiling(since, step)
        settled = span["now"] - SETTLED_AFTER
        end = _floor(settled if until is None else min(until, settled), step)
        return (start, end) if start < end else None

    def _fill(self, kind: Kind, start: datetime, end: datetime) -> bool:
        """Make what is missing; False where the database does not let us."""
        try:
            self._make(kind, start, end)
        except _UNABLE as error:
            logger.debug("the sums of %s cannot be kept: %s", kind, error)
            return False
        return True

    def _make(self, kind: Kind, start: datetime, end: datetime) -> int:
        missing = self._missing(kind, start, end)
        days = {_floor(period, AT_ONCE) for period in missing}
        for day in sorted(days):
            first, last = max(day, start), min(day + AT_ONCE, end)
            self._statements.transaction(partial(_sum, kind, first, last))
        return len(missing)

    def _missing(self, kind: Kind, start: datetime, end: datetime) -> list[datetime]:
        params = {"kind": kind, "from": start, "to": end, "step": STEPS[kind]}
        return [row["period_start"] for row in self._statements.rows("missing_periods", **params)]


def _sum(kind: Kind, start: datetime, end: datetime, transaction: Transaction) -> None:
    """Make the sums between two times that are missing once nobody else writes there."""
    transaction.rows("prepare_for_many")
    transaction.run("lock_periods")
    step = STEPS[kind]
    where = {"kind": kind, "from": start, "to": end, "step": step}
    missing = [row["period_start"] for row in transaction.rows("missing_periods", **where)]
    if not missing:
        return
    transaction.run(f"clear_{kind}", periods=missing)
    for first, last in _runs(missing, step):
        transaction.run(f"sum_{kind}", **{"from": first, "to": last})
    transaction.run("add_periods", kind=kind, periods=missing)


def _runs(periods: Sequence[datetime], step: timedelta) -> list[tuple[datetime, datetime]]:
    """Periods that follow each other, as one."""
    found: list[tuple[datetime, datetime]] = []
    for period in periods:
        if found and found[-1][1] == period:
            found[-1] = (found[-1][0], period + step)
        else:
            found.append((period, period + step))
    return found


def _floor(at: datetime, step: timedelta) -> datetime:
    """The start of the period that a time is in."""
    return _EPOCH + (at - _EPOCH) // step * step


def _ceiling(at: datetime, step: timedelta) -> datetime:
    """The start of the first period that does not begin before a time."""
    return _EPOCH - (_EPOCH - at) // step * step
