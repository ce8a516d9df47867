"""Which past periods a group changes, whose sums for reports are not right any more then.

Sums are made of what is an hour old (see :mod:`langgraph_persist.reports.periods`), and runs of
that age are few: nothing is written for others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from langgraph_persist.journal.unit import Fields, Group

SETTLING = timedelta(minutes=50)
"""Less than after which sums are made, by as much as clocks may differ and a commit may take."""

_KINDS = {"generations": (("models", 3600), ("users", 86400)), "nodes": (("nodes", 86400),)}


def reopened(group: Group) -> list[Fields]:
    """The periods of rows that tell of long ago."""
    recent = datetime.now(UTC) - SETTLING
    found = {
        (kind, began.timestamp() // seconds * seconds)
        for table, kinds in _KINDS.items()
        for row in group.rows.get(table, {}).values()
        if (began := _time(row["started_at"])) < recent
        for kind, seconds in kinds
    }
    return [
        {"kind": kind, "period_start": datetime.fromtimestamp(start, UTC)}
        for kind, start in sorted(found)
    ]


def _time(at: datetime | str) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)
