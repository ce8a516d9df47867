"""Whether two versions differ by more than chance, by SciPy's Mann-Whitney U test.

It compares ranks. Scores and ratings are ordinal, bounded and often tied or lopsided (most turns
are fine, some are not), and samples small: what a t-test wants of its data (Welch's too) they do
not have. Where there are few judgements all their arrangements are counted, ties included.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph_persist.errors import ConfigurationError

EXACT = 20_000
"""Up to so many arrangements are counted one by one."""

_MOST_VALUES = 200

Sample = Mapping[float, int]
"""How often each value was given."""


def require_scipy() -> Any:
    """SciPy's statistics.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return importlib.import_module("scipy.stats")
    except ImportError:
        raise ConfigurationError(
            "comparing prompts needs scipy: pip install 'langgraph-persist[stats]'"
        ) from None


def difference(a: Sample, b: Sample) -> tuple[float | None, float | None]:
    """The p-value and the effect size: how much more often ``b`` is better than worse.

    The effect size is the rank-biserial correlation (Cliff's delta), from -1 to 1. Both are None
    where a sample is empty, the p-value also where one has a single value.
    """
    x, y = _values(a), _values(b)
    if not x or not y:
        return None, None
    stats = require_scipy()
    enough = min(len(x), len(y)) > 1
    count_all = enough and _are_few(len(x), len(y))
    method = stats.PermutationMethod(n_resamples=math.inf) if count_all else "asymptotic"
    found = stats.mannwhitneyu(y, x, alternative="two-sided", method=method)
    effect = 2 * float(found.statistic) / (len(x) * len(y)) - 1
    return (_probability(found.pvalue) if enough else None), effect


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values of one metric, corrected for being several, by Benjamini and Hochberg."""
    known = [p for p in p_values if p is not None]
    if not known:
        return list(p_values)
    corrected = iter(require_scipy().false_discovery_control(known).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def _are_few(n: int, m: int) -> bool:
    """Whether so many values of each sample have few enough arrangements."""
    # Of two samples with more values than this there are more arrangements, and counting them
    # would take long.
    return n + m <= _MOST_VALUES and math.comb(n + m, n) <= EXACT


def _values(sample: Sample) -> list[float]:
    return [value for value in sorted(sample) for _ in range(sample[value])]


def _probability(p: Any) -> float:
    """Where all values are the same, nothing differs."""
    value = float(p)
    return 1.0 if math.isnan(value) else value
