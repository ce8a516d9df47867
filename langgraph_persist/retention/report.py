"""What a retention deleted, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from langgraph_persist.database.statements import Row


@dataclass(frozen=True, slots=True, repr=False)
class RetentionReport:
    """What was deleted, or with ``dry_run`` would have been."""

    dry_run: bool
    threads: int
    """How many threads something was deleted of."""
    rows: Mapping[str, int]
    """Rows by table; a table that lost none is not named."""
    bytes: int
    """What the rows' values took on disk, compressed as they were; without indexes."""
    spared: Mapping[str, int]
    """What stays only because it is younger than ``grace``: checkpoints that end a branch, and
    sessions, or their content. A table that was spared none is not named."""
    grace: timedelta

    def __repr__(self) -> str:
        verb = "would delete" if self.dry_run else "deleted"
        rows = ", ".join(f"{count:,} {table}" for table, count in self.rows.items())
        spared = " and ".join(f"{count:,} {table}" for table, count in self.spared.items())
        stays = f"; {spared} younger than grace={self.grace} stay" if spared else ""
        return (
            f"<{type(self).__name__}: {verb} {rows or 'nothing'} "
            f"of {self.threads:,} threads, {_size(self.bytes)}{stays}>"
        )


class Tally:
    """Counts what a retention deletes while it does."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._bytes = 0
        self._threads: set[str] = set()
        self._spared: Counter[str] = Counter()

    def add(self, thread_id: str, measured: Iterable[Row]) -> None:
        """Count rows of a thread, by table as the ``measure_…`` statements give them."""
        for row in measured:
            if row["count"]:
                self._rows[row["name"]] += row["count"]
                self._bytes += int(row["bytes"])
                self._threads.add(thread_id)

    def spare(self, table: str, count: int) -> None:
        """Count what stays because it is recent."""
        self._spared[table] += count

    def report(self, *, dry_run: bool, grace: timedelta) -> RetentionReport:
        spared = {table: count for table, count in self._spared.items() if count}
        counts = len(self._threads), dict(self._rows), self._bytes
        return RetentionReport(dry_run, *counts, spared, grace)


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"
