"""Which past periods a group changes, whose sums for reports are not right any more then.

Sums are made of what is an hour old (see :mod:`langgraph_persist.reports.periods`), and runs of
that age are few: nothing is written for others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from langgraph_persist.journal.unit import Fields, Group

SETTLING = timedelta(minutes=50)
"""Less than after which sums are made, by as much as clocks may differ and a commit may take."""

UNHEARD = timedelta(hours=1)
"""What a run may still have begun after it was last heard of."""

_KINDS = {"generations": (("models", 3600), ("users", 86400)), "nodes": (("nodes", 86400),)}


def reopened(group: Group) -> list[Fields]:
    """The periods of rows that tell of long ago."""
    recent = datetime.now(UTC) - SETTLING
    found: set[tuple[str, float]] = set()
    for table, kinds in _KINDS.items():
        for row in group.rows.get(table, {}).values():
            if row.get("started_at") and (began := _time(row["started_at"])) < recent:
                found |= {(kind, began.timestamp() // step * step) for kind, step in kinds}
    for run in group.rows.get("lost_runs", {}).values():
        found |= _of_lost(run["started_at"], run["heartbeat_at"])
    return [
        {"kind": kind, "period_start": datetime.fromtimestamp(start, UTC)}
        for kind, start in sorted(found)
    ]


def _of_lost(started: datetime, heard: datetime | None) -> set[tuple[str, float]]:
    """The periods in which a run began that was lost, or anything in it."""
    last = max(started, heard or started) + UNHEARD
    return {
        (kind, start)
        for kinds in _KINDS.values()
        for kind, step in kinds
        for start in range(int(started.timestamp() // step * step), int(last.timestamp()), step)
    }


def _time(at: datetime | str) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)
