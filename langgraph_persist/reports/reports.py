"""The reports, as ``persist.reports``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from langgraph_persist.arguments import Count, Moment, checked, uuid_of
from langgraph_persist.database.statements import Row, Statements, Transaction
from langgraph_persist.database.zones import require_zone
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.history import TranscriptLine, Workflow
from langgraph_persist.kinds import TOKENS
from langgraph_persist.reports.periods import Cover, Kind, Periods
from langgraph_persist.reports.rows import (
    Cost,
    ModelUsage,
    NodePerformance,
    PromptVersion,
    TimelineEvent,
    UserSuccess,
)
from langgraph_persist.reports.sums import Sums, gather
from langgraph_persist.reports.table import Report

By: TypeAlias = Literal["day", "organization", "user", "model"]

_CALLS = (
    "calls",
    "failed",
    "cache_hits",
    *TOKENS,
    "cost_usd",
    "timed",
    "latency_ms",
    "streamed",
    "first_token_ms",
)
_SPENT = ("calls", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd")
_NODES = ("executions", "completed", "failed", "timed", "duration_ms", "max_ms")


@checked
class Reports:
    """What the record adds up to, for any time: aware datetimes, ``since`` included, ``until`` not.

    Of hours and days that are over, sums are kept: the first report that needs them makes them, and
    whatever is written to such a time later makes them anew. So a report says what the record
    holds; a copied session is not counted again. Where the database may not be written to, reports
    are the same and take longer.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._periods = Periods(statements)

    def user_success(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        user: str | None = None,
        organization: str | None = None,
        limit: Count | None = None,
    ) -> Report[UserSuccess]:
        """How the workflows of users have ended that began in a time; the busiest users first."""
        given = _checked(since, until, limit) | {"user": user, "organization": organization}
        return Report(
            UserSuccess, [UserSuccess(**row) for row in self._rows([("user_success", given)])]
        )

    def node_performance(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        user: str | None = None,
        organization: str | None = None,
        workflow: str | None = None,
        limit: Count | None = None,
    ) -> Report[NodePerformance]:
        """How the nodes did that began in a time, by the workflow's name; the busiest first.

        ``p50_ms`` and ``p95_ms`` are right to within 1 %.
        """
        _checked(since, until, limit)
        given = {"user": user, "organization": organization, "workflow": workflow}
        cover = self._cover("nodes", since, until, user)
        parts = [
            *self._stored(cover, given, "stored_nodes", "stored_durations"),
            *self._fresh(cover, given, "fresh_nodes"),
        ]
        found = gather(parts, ("workflow", "node", "node_type"), _NODES)
        rows = [_node(key, sums) for key, sums in found.items()]
        rows.sort(key=lambda row: (-row.executions, row.workflow, row.node, row.node_type))
        return Report(NodePerformance, rows[:limit])

    def model_usage(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        user: str | None = None,
        organization: str | None = None,
        model: str | None = None,
        limit: Count | None = None,
    ) -> Report[ModelUsage]:
        """What was asked of models in a time, the busiest first.

        ``p50_latency_ms`` and ``p95_latency_ms`` are right to within 1 %.
        """
        _checked(since, until, limit)
        given = {"user": user, "organization": organization, "model": model}
        given |= _grouping(("model",)) | {"timed": True, "timezone": "UTC"}
        cover = self._cover("models", since, until, user)
        parts = [
            *self._stored(cover, given, "stored_models", "stored_latencies"),
            *self._fresh(cover, given, "fresh_models"),
        ]
        found = gather(parts, ("provider", "model"), _CALLS)
        rows = [_model(key, sums) for key, sums in found.items()]
        rows.sort(key=lambda row: (-row.calls, row.provider or "", row.model or ""))
        return Report(ModelUsage, rows[:limit])

    def costs(
        self,
        by: By | Sequence[By] = "day",
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        timezone: str = "UTC",
        user: str | None = None,
        organization: str | None = None,
        model: str | None = None,
        limit: Count | None = None,
    ) -> Report[Cost]:
        """What model calls of a time cost, by day, organization, user or model, or several of them.

        Days are those of ``timezone``, an IANA name as ``Europe/Berlin``; they come in their
        order, and what cost most first.
        """
        _checked(since, until, limit)
        wanted = _wanted(by)
        require_zone(self._statements, timezone)
        given = {"user": user, "organization": organization, "model": model}
        given |= _grouping(wanted) | {"timed": False, "timezone": timezone}
        found = gather(
            self._spent(wanted, since, until, given),
            ("day", "organization", "user", "provider", "model"),
            _SPENT,
        )
        rows = [_cost(key, sums) for key, sums in found.items()]
        rows.sort(key=_by_day_and_cost)
        return Report(Cost, rows[:limit])

    def timeline(self, workflow: Workflow | UUID | str) -> Report[TimelineEvent]:
        """All that happened in a workflow, in its order; nothing where it is not recorded."""
        id = workflow.id if isinstance(workflow, Workflow) else uuid_of("workflow", workflow)
        given = {"workflow_id": id}
        return Report(TimelineEvent, self._read(TimelineEvent, "timeline", given))

    def transcript(self, thread: str) -> Report[TranscriptLine]:
        """What was said in a thread, turn by turn."""
        given = {"thread_id": thread}
        return Report(TranscriptLine, self._read(TranscriptLine.of, "transcript", given))

    def prompt_versions(
        self,
        name: str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        model: str | None = None,
        limit: Count | None = None,
    ) -> Report[PromptVersion]:
        """What the calls of a time took by version of their prompt, and how they were judged."""
        given = _checked(since, until, limit) | {"model": model}
        given["names"] = [*self._prompts()] if name is None else [name]
        return Report(
            PromptVersion,
            [PromptVersion(**row) for row in self._rows([("prompt_versions", given)])],
        )

    def refresh(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        anew: bool = False,
    ) -> int:
        """Make the sums that reports of a time need, ahead of them; returns of how many periods.

        Args:
            since: by default since the oldest recorded workflow.
            until: by default until now.
            anew: also those that are there: the record was changed by other means than this
                package.
        """
        _checked(since, until, None)
        if anew:
            self._periods.forget(since, until)
        return self._periods.refresh(since, until)

    # --- parts of reports ---

    def _spent(
        self,
        wanted: Sequence[By],
        since: datetime | None,
        until: datetime | None,
        given: dict[str, Any],
    ) -> Iterator[Row]:
        by_user = "user" in wanted
        borders = self._midnights(since, until, given["timezone"]) if "day" in wanted else []
        # Of users there are sums of UTC's days only.
        zoned = by_user and any((at.hour, at.minute, at.second) != (0, 0, 0) for at in borders)
        kind: Kind = "users" if by_user else "models"
        if zoned:
            cover = Cover([(since, until)])
        else:
            cover = self._cover(kind, since, until, given["user"], borders)
        yield from self._stored(cover, given, f"stored_{kind}")
        yield from self._fresh(cover, given, "fresh_models")

    def _cover(
        self,
        kind: Kind,
        since: datetime | None,
        until: datetime | None,
        user: str | None,
        borders: Sequence[datetime] = (),
    ) -> Cover:
        """Sums are of all users together; one user's rows are few."""
        if user is not None:
            return Cover([(since, until)])
        return self._periods.cover(kind, since, until, borders)

    def _stored(self, cover: Cover, given: dict[str, Any], *names: str) -> Iterator[Row]:
        if cover.start is None:
            return
        told_apart = "model" if names[0] == "stored_users" else "organization"
        total = given[told_apart] is None and not given.get(f"by_{told_apart}")
        where = {"from": cover.start, "to": cover.end, "but": cover.but, "total": total}
        yield from self._rows((name, given | where) for name in names)

    def _fresh(self, cover: Cover, given: dict[str, Any], name: str) -> Iterator[Row]:
        yield from self._rows((name, given | {"from": a, "to": b}) for a, b in cover.fresh)

    def _rows(self, asked: Iterable[tuple[str, dict[str, Any]]]) -> list[Row]:
        """What statements give that may read many rows."""
        statements = list(asked)

        def read(transaction: Transaction) -> list[Row]:
            transaction.rows("prepare_for_many")
            return [row for name, given in statements for row in transaction.rows(name, **given)]

        return self._statements.transaction(read)

    def _read(self, row: Any, name: str, given: Mapping[str, Any]) -> Iterator[Any]:
        return (row(**found) for found in self._statements.rows(name, **given))

    def _prompts(self) -> Iterator[str]:
        """The names of all prompts: each is found at once, not among all calls."""
        last = None
        while last := self._statements.rows("next_prompt", after=last)[0]["name"]:
            yield last

    def _midnights(
        self, since: datetime | None, until: datetime | None, timezone: str
    ) -> list[datetime]:
        """When days begin, between the first and the last that are recorded or asked for."""
        (span,) = self._statements.rows("recorded_span")
        if span["first"] is None:
            return []
        start = span["first"] if since is None else max(since, span["first"])
        end = span["now"] if until is None else min(until, span["now"])
        where = {"from": start, "to": end, "timezone": timezone}
        found: list[datetime] = [r["midnight"] for r in self._statements.rows("midnights", **where)]
        return [at.astimezone(UTC) for at in found]


def _checked(since: datetime | None, until: datetime | None, limit: int | None) -> dict[str, Any]:
    """The parameters of a time, if it is one."""
    if since is not None and until is not None and since > until:
        raise ConfigurationError(f"nothing is since {since} and until {until}")
    return {"from": since, "to": until, "limit": limit}


def _wanted(by: By | Sequence[By]) -> Sequence[By]:
    wanted: Sequence[Any] = [by] if isinstance(by, str) else list(by)
    if unknown := [name for name in wanted if name not in get_args(By)]:
        raise ConfigurationError(f"no costs by {unknown[0]!r}; there are {', '.join(get_args(By))}")
    return wanted


def _grouping(wanted: Iterable[By]) -> dict[str, Any]:
    return {f"by_{name}": name in wanted for name in get_args(By)}


# --- sums as rows ---


def _node(key: tuple[Any, ...], sums: Sums) -> NodePerformance:
    workflow, node, node_type = key
    return NodePerformance(
        workflow=workflow,
        node=node,
        node_type=node_type,
        executions=sums.count("executions"),
        completed=sums.count("completed"),
        failed=sums.count("failed"),
        failure_rate=sums.ratio("failed", "completed", "failed"),
        avg_ms=sums.mean("duration_ms", "timed"),
        p50_ms=sums.quantile(0.5),
        p95_ms=sums.quantile(0.95),
        max_ms=sums.totals.get("max_ms"),
    )


def _model(key: tuple[Any, ...], sums: Sums) -> ModelUsage:
    provider, model = key
    return ModelUsage(
        provider=provider,
        model=model,
        calls=sums.count("calls"),
        failed=sums.count("failed"),
        cache_hits=sums.count("cache_hits"),
        **{name: sums.known(name) for name in TOKENS},
        cost_usd=sums.totals.get("cost_usd"),
        avg_latency_ms=sums.mean("latency_ms", "timed"),
        p50_latency_ms=sums.quantile(0.5),
        p95_latency_ms=sums.quantile(0.95),
        avg_time_to_first_token_ms=sums.mean("first_token_ms", "streamed"),
    )


def _cost(key: tuple[Any, ...], sums: Sums) -> Cost:
    day, organization, user, provider, model = key
    return Cost(
        day=day,
        organization=organization,
        user=user,
        provider=provider,
        model=model,
        calls=sums.count("calls"),
        prompt_tokens=sums.known("prompt_tokens"),
        completion_tokens=sums.known("completion_tokens"),
        total_tokens=sums.known("total_tokens"),
        cost_usd=sums.totals.get("cost_usd"),
    )


def _by_day_and_cost(row: Cost) -> tuple[Any, ...]:
    names = (row.organization, row.user, row.provider, row.model)
    day = row.day.toordinal() if row.day else 0
    return day, -(row.cost_usd or 0), *(name or "" for name in names)
