"""A match as a Markdown table of medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measure import Cost
from tests.benchmarks.workloads import Workload

Rounds = list[Cost]


def table(workload: Workload, found: dict[str, Rounds]) -> str:
    """Medians of the rounds for each contender; ratios are of the same round's runs per second."""
    bare = found.get("none")

    def median(rounds: Rounds, value: Callable[[Cost], float]) -> float:
        return statistics.median(value(cost) for cost in rounds)

    def ratio(rounds: Rounds, other: str) -> str:
        if other not in found:
            return "-"
        pairs = zip(rounds, found[other], strict=True)
        return f"{statistics.median(theirs.per_run / cost.per_run for cost, theirs in pairs):.2f}"

    def added(rounds: Rounds) -> str:
        """CPU per node beyond LangGraph's own."""
        if bare is None:
            return "-"
        own = median(rounds, lambda c: c.cpu / c.runs) - median(bare, lambda c: c.cpu / c.runs)
        return f"{own / workload.nodes * 1e6:.0f}"

    lines = [COLUMNS, "| --- |" + " ---: |" * (COLUMNS.count("|") - 2)]
    for key, rounds in found.items():
        cells = [
            CONTENDERS[key][0],
            f"{median(rounds, lambda c: 1 / c.per_run):.0f}",
            ratio(rounds, "stock"),
            ratio(rounds, "memory"),
            f"{median(rounds, lambda c: c.cpu / c.runs * 1e3):.2f}",
            added(rounds),
            f"{median(rounds, lambda c: c.commits / c.runs):.2f}",
            f"{median(rounds, lambda c: c.round_trips / c.runs):.1f}",
            f"{median(rounds, lambda c: c.stored / c.runs / 1e3):.1f}",
            f"{median(rounds, lambda c: c.wal / c.runs / 1e3):.1f}",
            f"{median(rounds, lambda c: c.memory / 1e6):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


COLUMNS = (
    "| | runs/s | x stock | x memory | CPU ms/run | own µs/node | commits/run | round trips/run"
    " | stored kB/run | WAL kB/run | memory MB |"
)
