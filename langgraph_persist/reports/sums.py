"""Sums of several times put together: counts and totals add up, latencies by their buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 50
"""Buckets of latencies are those of ``floor(50 * ln(ms))``, as the statements have it."""


class Sums:
    """What was counted of one group: one model, one node or whatever the rows are told apart by."""

    def __init__(self) -> None:
        self.totals: dict[str, Any] = {}
        self.buckets: dict[int, int] = {}

    def add(self, row: Mapping[str, Any], measures: Iterable[str]) -> None:
        """Add what was counted elsewhere or at another time; what is unknown adds nothing."""
        totals = self.totals
        for name in measures:
            value = row.get(name)
            if value is None:
                continue
            known = totals.get(name)
            if known is None:
                totals[name] = value
            else:
                totals[name] = max(known, value) if name.startswith("max_") else known + value
        for bucket, count in zip(row.get("buckets") or (), row.get("counts") or (), strict=True):
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def count(self, name: str) -> int:
        """A count, 0 if there was nothing to count."""
        return int(self.totals.get(name) or 0)

    def known(self, name: str) -> int | None:
        """A sum of counts, None if none of them is known."""
        value = self.totals.get(name)
        return None if value is None else int(value)

    def ratio(self, part: str, *whole: str) -> float | None:
        """A part of a whole; None of nothing."""
        all_of_it = sum(self.count(name) for name in whole)
        return self.count(part) / all_of_it if all_of_it else None

    def mean(self, total: str, count: str) -> float | None:
        """An average; None of nothing."""
        number = self.count(count)
        return float(self.totals[total]) / number if number else None

    def quantile(self, part: float) -> float | None:
        """What so many were faster than, as ``percentile_cont`` has it, to within 1 %."""
        if not self.buckets:
            return None
        rank = part * (sum(self.buckets.values()) - 1)
        below, above = self._nth(math.floor(rank)), self._nth(math.ceil(rank))
        return below + (rank % 1) * (above - below)

    def _nth(self, rank: int) -> float:
        """The middle of the bucket that this one is in, by its place from 0."""
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                break
        return math.exp((bucket + 0.5) / WIDTH)


def gather(
    rows: Iterable[Mapping[str, Any]], keys: Sequence[str], measures: Sequence[str]
) -> dict[tuple[Any, ...], Sums]:
    """The sums of rows by what these keys have."""
    found: dict[tuple[Any, ...], Sums] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), Sums()).add(row, measures)
    return found
