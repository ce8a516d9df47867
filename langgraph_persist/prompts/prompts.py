"""Prompts, as ``persist.prompts``: what each version of them costs, takes and is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import combinations
from typing import Any, Literal, TypeAlias

from langgraph_persist.arguments import Moment, Name, checked
from langgraph_persist.database.statements import Row, Statements
from langgraph_persist.errors import NotRecorded
from langgraph_persist.prompts.significance import Sample, adjusted, difference, require_scipy

Metric: TypeAlias = Literal["score", "rating"]
Samples: TypeAlias = Mapping[str | None, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """One version of a prompt. What is not known is None, never 0."""

    prompt_name: str
    prompt_version: str | None
    calls: int
    """Model calls, those that failed and those that a cache answered included."""
    failed: int
    avg_prompt_tokens: float | None
    avg_completion_tokens: float | None
    cost_usd: Decimal | None
    """Of all calls whose price is known; a cache's answers cost nothing."""
    avg_cost_usd: Decimal | None
    p50_latency_ms: float | None
    """Of calls that no cache answered."""
    p95_latency_ms: float | None
    turns: int
    """In how many workflows it was used."""
    mixed_turns: int
    """In how many of them along with another version: what these are worth tells of neither, and
    is not in the next four. (The view ``prompt_versions`` counts it for each.)"""
    scores: int
    """How many of its turns were evaluated."""
    avg_score: float | None
    """From 0 to 100."""
    ratings: int
    """How many of its turns users rated."""
    avg_rating: float | None
    """From 1 to 5; several ratings of one turn count as their average."""
    first_used_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How two versions differ in what users or evaluators found."""

    metric: Metric
    a: str | None
    """The version that was used first."""
    b: str | None
    n_a: int
    """How many turns were judged."""
    n_b: int
    difference: float | None
    """The average of ``b`` less that of ``a``."""
    effect_size: float | None
    """Rank-biserial correlation: from -1 (``b`` is always worse) to 1 (always better)."""
    p_value: float | None
    """Of the two-sided Mann-Whitney U test; None with less than two judgements of either."""
    p_adjusted: float | None
    """The same, corrected for all pairs of versions being compared (Benjamini-Hochberg)."""

    def is_significant(self, level: float = 0.05) -> bool:
        """Whether chance would make such a difference less often than so."""
        return self.p_adjusted is not None and self.p_adjusted < level


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptComparison:
    """The versions of a prompt, the oldest first, and how each two differ."""

    prompt_name: str
    versions: Sequence[PromptVersion]
    differences: Sequence[Difference]

    def __str__(self) -> str:
        head = ("version", "calls", "failed", "cost USD", "p50 ms", "p95 ms", "score", "rating")
        rows = [head, *(_shown(version) for version in self.versions)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in cells)
            for cells in ([*enumerate(zip(row, widths, strict=True))] for row in rows)
        ]
        told = [
            _told(difference)
            for difference in self.differences
            if difference.n_a and difference.n_b
        ]
        return "\n".join([*lines, *told])


@checked
class Prompts:
    """Compares versions of a prompt.

    A model call is of a prompt by ``prompt_name`` and ``prompt_version`` in the metadata of its
    run, which LangSmith's and LangChain Hub's prompts have by themselves. What a turn is worth, by
    its evaluation and its feedback, is what the version used in it is worth.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def versions(
        self, name: Name, *, since: Moment | None = None, until: Moment | None = None
    ) -> list[PromptVersion]:
        """The versions of a prompt, the oldest first.

        Args:
            name: the prompt's.
            since: only calls that started then or later.
            until: only calls that started before.

        Raises:
            NotRecorded: no call with it is recorded.
        """
        return self._read(name, since, until)[0]

    def compare(
        self, name: Name, *, since: Moment | None = None, until: Moment | None = None
    ) -> PromptComparison:
        """The versions of a prompt, and whether they differ by more than chance; needs SciPy.

        The test takes turns as independent of each other, which those of one session are not
        quite: compare versions over many sessions.

        Args:
            name: the prompt's.
            since: only calls that started then or later.
            until: only calls that started before.

        Raises:
            NotRecorded: no call with it is recorded.
            ConfigurationError: SciPy is not installed.
        """
        require_scipy()
        versions, scores, ratings = self._read(name, since, until)
        order = [version.prompt_version for version in versions]
        found = [
            *_differences("score", order, scores),
            *_differences("rating", order, ratings),
        ]
        return PromptComparison(prompt_name=name, versions=versions, differences=found)

    def _read(
        self, name: str, since: datetime | None, until: datetime | None
    ) -> tuple[list[PromptVersion], Samples, Samples]:
        asked = {"name": name, "since": since, "until": until}
        rows = self._statements.rows("versions", **asked)
        if not rows:
            raise NotRecorded(f"no model call with a prompt {name!r} is recorded")
        judged = self._statements.rows("judgements", **asked)
        scores, ratings = _samples("score", judged), _samples("rating", judged)
        versions = [_version(row, judged, scores, ratings) for row in rows]
        return versions, scores, ratings


def _version(row: Row, judged: list[Row], scores: Samples, ratings: Samples) -> PromptVersion:
    version = row["prompt_version"]
    used = [(one["turns"], one["mixed"]) for one in judged if one["prompt_version"] == version]
    score, rating = scores.get(version, {}), ratings.get(version, {})
    return PromptVersion(
        **row,
        turns=sum(turns for turns, _ in used),
        mixed_turns=sum(turns for turns, mixed in used if mixed),
        scores=sum(score.values()),
        avg_score=_average(score),
        ratings=sum(rating.values()),
        avg_rating=_average(rating),
    )


def _samples(metric: Metric, judged: list[Row]) -> Samples:
    """How often each version got each value, in turns of its own."""
    found: dict[str | None, Counter[float]] = {}
    for row in judged:
        if row[metric] is not None and not row["mixed"]:
            found.setdefault(row["prompt_version"], Counter())[row[metric]] += row["turns"]
    return found


def _average(sample: Sample) -> float | None:
    count = sum(sample.values())
    return sum(value * times for value, times in sample.items()) / count if count else None


def _differences(
    metric: Metric, versions: Sequence[str | None], samples: Samples
) -> list[Difference]:
    pairs = list(combinations(versions, 2))
    tested = [difference(samples.get(a, {}), samples.get(b, {})) for a, b in pairs]
    corrected = adjusted([p for p, _ in tested])
    return [
        _difference(metric, pair, samples, found, p)
        for pair, found, p in zip(pairs, tested, corrected, strict=True)
    ]


def _difference(
    metric: Metric,
    pair: tuple[str | None, str | None],
    samples: Samples,
    tested: tuple[float | None, float | None],
    p_adjusted: float | None,
) -> Difference:
    a, b = (samples.get(version, {}) for version in pair)
    before, after = _average(a), _average(b)
    return Difference(
        metric=metric,
        a=pair[0],
        b=pair[1],
        n_a=sum(a.values()),
        n_b=sum(b.values()),
        difference=None if before is None or after is None else after - before,
        effect_size=tested[1],
        p_value=tested[0],
        p_adjusted=p_adjusted,
    )


def _shown(version: PromptVersion) -> tuple[str, ...]:
    return (
        version.prompt_version or "-",
        f"{version.calls:,}",
        f"{version.failed:,}",
        "-" if version.cost_usd is None else f"{version.cost_usd.normalize():f}",
        _number(version.p50_latency_ms),
        _number(version.p95_latency_ms),
        f"{_number(version.avg_score)} ({version.scores:,})",
        f"{_number(version.avg_rating)} ({version.ratings:,})",
    )


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _told(found: Difference) -> str:
    p = "unknown" if found.p_adjusted is None else f"{found.p_adjusted:.3g}"
    return (
        f"{found.metric} {found.a or '-'} -> {found.b or '-'}: {found.difference:+.1f}, "
        f"effect {found.effect_size:+.2f}, p {p}"
    )
