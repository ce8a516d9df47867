"""The day's counts: read, and counted anew from the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from langgraph_persist.arguments import Moment, checked
from langgraph_persist.database.statements import Statements, Transaction
from langgraph_persist.kinds import Metric

# How far the clocks of the world are from UTC.
_EARLIEST, _LATEST = timedelta(hours=14), timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMetric:
    """What one user of one organization used on a day.

    ``daily_requests`` and ``monthly_tokens`` are of organizations as a whole.
    """

    metric: Metric
    organization: str | None
    user: str | None
    model: str | None
    """Only ``token_usage`` and ``api_calls`` are told apart by model."""
    period_start: datetime
    """Midnight in the organization's time zone; of the first of the month for some."""
    period_end: datetime
    value: Decimal
    """Tokens, calls, milliseconds, plans or todos; the success rate is between 0 and 1."""
    data: dict[str, Any]
    """What the value is made of, as prompt and completion tokens."""


@checked
class Usage:
    """Reads what was used, and counts it anew.

    Every call, run and workflow that ends adds to one row of its day, in the transaction that
    records it; nothing is scanned for it.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def metrics(
        self,
        metric: Metric | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        organization: str | None = None,
        user: str | None = None,
        model: str | None = None,
    ) -> list[UsageMetric]:
        """What was used on the days between two times, oldest first."""
        rows = self._statements.rows(
            "metrics",
            metric=metric,
            since=since,
            until=until,
            organization=organization,
            user=user,
            model=model,
        )
        return [UsageMetric(**row) for row in rows]

    def rebuild(self, since: date | None = None, until: date | None = None) -> int:
        """Count the days from ``since`` to ``until`` anew from the record; returns how many.

        Both are included, and the days are those of each organization's time zone. By default
        every day is counted since the oldest recorded workflow. What was deleted from the record,
        as by ``retain(record_older_than=…)``, is not counted again: begin after it. Runs go on
        meanwhile; recording waits while a single day is counted.
        """
        (known,) = self._statements.rows("first_day")
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        if known["earliest"] is None:
            return 0
        first = known["day"] if since is None else max(since, known["earliest"])
        last = tomorrow if until is None else min(until, tomorrow)
        if first is None or first > last:
            return 0
        days = list(_days(first, last))
        for day in days:
            self._statements.transaction(partial(_recount, day))

        self._statements.transaction(partial(_recount_months, first, last))
        return len(days)


def _recount(day: date, transaction: Transaction) -> None:
    midnight = datetime.combine(day, time(), UTC)
    span = {"from": midnight - _EARLIEST, "to": midnight + timedelta(days=1) + _LATEST}
    transaction.run("lock_usage")
    transaction.run("clear_metrics", day=day, **_zones(transaction))
    for name in ("recount_workflows", "recount_runs", "recount_calls", "recount_plans"):
        transaction.run(name, day=day, **span)


def _recount_months(first: date, last: date, transaction: Transaction) -> None:
    transaction.run("lock_usage")
    transaction.run("clear_months", since=first, until=last, **_zones(transaction))
    transaction.run("recount_months", since=first, until=last)


def _zones(transaction: Transaction) -> dict[str, list[Any]]:
    """The time zones of organizations, in a form that a table on one node can be joined with."""
    rows = transaction.rows("zones")
    return {"ids": [row["id"] for row in rows], "zones": [row["timezone"] for row in rows]}


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)
