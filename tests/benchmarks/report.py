"""A match as Markdown: a table of it, or its row in a table of many. All figures are medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measure import Cost
from tests.benchmarks.workloads import Workload

Found: TypeAlias = Mapping[str, Sequence[Cost]]
"""The costs of the rounds, by contender."""

COLUMNS = [
    "",
    "runs/s",
    "spans/s",
    "x stock",
    "x memory",
    "CPU ms/run",
    "own µs/node",
    "commits/run",
    "round trips/run",
    "stored kB/run",
    "WAL kB/run",
    "memory MB",
]
UNRECORDED = ("none", "memory", "stock", "saver")
RATIOS = [
    "workload",
    "setting",
    "saver / stock",
    "record / stock",
    "saver / memory",
    "record / memory",
    "record / saver",
    "record: commits/run",
    "round trips/run",
    "own CPU ms/run",
]


def head(columns: Sequence[str]) -> str:
    """The first lines of a table."""
    return f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}"


def table(workload: Workload, found: Found) -> str:
    """A row for each contender; ratios are of the runs per second in the same round."""
    rows = [
        _row(
            CONTENDERS[key][0],
            f"{_median(rounds, lambda c: 1 / c.per_run):.0f}",
            _spans(key, workload, rounds),
            _ratio(found, key, "stock"),
            _ratio(found, key, "memory"),
            f"{_median(rounds, _cpu_ms):.2f}",
            _difference(found, key, "none", lambda c: _cpu_ms(c) * 1e3 / workload.nodes, 0),
            f"{_median(rounds, lambda c: c.commits / c.runs):.2f}",
            f"{_median(rounds, lambda c: c.round_trips / c.runs):.1f}",
            f"{_median(rounds, lambda c: c.stored / c.runs / 1e3):.1f}",
            f"{_median(rounds, lambda c: c.wal / c.runs / 1e3):.1f}",
            f"{_median(rounds, lambda c: c.memory / 1e6):.0f}",
        )
        for key, rounds in found.items()
    ]
    return "\n".join([head(COLUMNS), *rows])


def ratios(key: str, setting: str, found: Found) -> str:
    """One row: what ours does compared with others, and with itself without the record."""
    record = found["record"]
    return _row(
        f"({key})",
        setting,
        _ratio(found, "saver", "stock"),
        _ratio(found, "record", "stock"),
        _ratio(found, "saver", "memory"),
        _ratio(found, "record", "memory"),
        _ratio(found, "record", "saver"),
        f"{_median(record, lambda c: c.commits / c.runs):.2f}",
        f"{_median(record, lambda c: c.round_trips / c.runs):.1f}",
        _difference(found, "record", "none", _cpu_ms, 2),
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _spans(key: str, workload: Workload, rounds: Sequence[Cost]) -> str:
    """How many spans a recorder keeps in a second: runs, nodes and calls of models."""
    if key in UNRECORDED or workload.read:
        return "-"
    return f"{_median(rounds, lambda c: workload.spans / c.per_run):.0f}"


def _cpu_ms(cost: Cost) -> float:
    return cost.cpu / cost.runs * 1e3


def _median(rounds: Sequence[Cost], value: Callable[[Cost], float]) -> float:
    return statistics.median(map(value, rounds))


def _ratio(found: Found, one: str, other: str) -> str:
    if not {one, other} <= found.keys():
        return "-"
    pairs = zip(found[one], found[other], strict=True)
    return f"{statistics.median(theirs.per_run / cost.per_run for cost, theirs in pairs):.2f}"


def _difference(
    found: Found, one: str, other: str, value: Callable[[Cost], float], digits: int
) -> str:
    if not {one, other} <= found.keys():
        return "-"
    return f"{_median(found[one], value) - _median(found[other], value):.{digits}f}"
