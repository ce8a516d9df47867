"""Reports say what the record holds, whether they are read from rows or from sums of them."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import quantiles
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.journal import Rows, Unit
from langgraph_persist.reports import Report, Reports
from langgraph_persist.reports.sums import WIDTH, Sums
from tests.checks import query
from tests.graphs import chain_of, chat_graph

START = datetime(2026, 3, 27, 20, tzinfo=UTC)  # Berlin's clocks go forward in the second night.
MINUTES = 4 * 24 * 60
END = START + timedelta(minutes=MINUTES)
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/Los_Angeles"]
SPANS = [
    (None, None),
    (START, END),
    (START + timedelta(hours=7, minutes=13), END - timedelta(hours=30, seconds=1)),
    (START + timedelta(hours=30), START + timedelta(hours=30, minutes=20)),
    (datetime(2026, 3, 28, tzinfo=ZoneInfo("Europe/Berlin")), datetime(2026, 3, 30, tzinfo=UTC)),
    (datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)),
]
Key = tuple[Any, ...]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    """Its connections live in a time zone of their own, which must not matter."""
    with Persist(make_conninfo(migrated, options="-c TimeZone=Asia/Tokyo")) as opened:
        yield opened


@pytest.fixture
def reports(persist: Persist) -> Reports:
    return persist.reports


class Traffic:
    """Workflows of some days, with nodes and model calls, of and for anybody or nobody."""

    def __init__(self, persist: Persist, seed: int = 1, workflows: int = 40) -> None:
        self.journal, self.random = persist.handler.journal, random.Random(seed)
        for _ in range(workflows):
            self.commit(self.workflow())

    def id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def commit(self, rows: Rows) -> None:
        self.journal.commit(Unit("any", rows)).result(60)

    def workflow(self) -> Rows:
        pick = self.random.choice
        thread, began = f"t-{self.random.randint(1, 8)}", self.time()
        organization, user = pick(["acme", "wurst", None]), pick(["ann", "bob", None])
        owner = {"user": user, "organization": organization}
        rows: Rows = []
        if organization:
            made = {"id": self.id(), "name": organization, "slug": organization}
            rows.append(("organizations", made))
        if user:
            rows.append(("users", {"id": self.id(), "username": user, "organization": None}))
        key = {"thread_id": thread, "id": self.id(), "name": pick(["w", "v"])}
        status = pick(["completed", "completed", "failed", "cancelled", "interrupted", "running"])
        workflow = key | owner | {"status": status, "started_at": began.isoformat()}
        rows += [("sessions", {"thread_id": thread, **owner}), ("workflows", workflow)]
        for _ in range(self.random.randint(0, 6)):
            rows.append(("generations", self.call(thread, key["id"], began)))
            rows.append(("nodes", self.node(thread, key["id"], began)))
        return rows

    def call(self, thread: str, workflow: Any, began: datetime, **fields: Any) -> dict[str, Any]:
        pick, number = self.random.choice, self.random.randint
        prompt, completion = pick([None, number(1, 900)]), number(1, 900)
        return {
            "thread_id": thread,
            "id": self.id(),
            "workflow_id": workflow,
            "run_id": workflow,
            "started_at": (began + timedelta(minutes=number(0, 600))).isoformat(),
            "model_provider": pick(["p", None]),
            "model_name": pick(["fast", "wise", None]),
            "status": pick(["completed", "completed", "failed", "running"]),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": None if prompt is None else prompt + completion,
            "cost_usd": pick([None, str(Decimal(number(0, 10**6)) / 10**8)]),
            "latency_ms": pick([None, self.random.lognormvariate(6, 2)]),
            "time_to_first_token_ms": pick([None, self.random.uniform(1, 90)]),
            "cache_hit": self.random.random() < 0.2,
        } | fields

    def node(self, thread: str, workflow: Any, began: datetime) -> dict[str, Any]:
        pick, number = self.random.choice, self.random.randint
        return {
            "thread_id": thread,
            "id": self.id(),
            "workflow_id": workflow,
            "run_id": workflow,
            "node_name": pick(["a", "b", "c"]),
            "node_type": pick(["node", "subgraph"]),
            "started_at": (began + timedelta(minutes=number(0, 600))).isoformat(),
            "status": pick(["completed", "completed", "failed", "skipped", "running"]),
            "duration_ms": pick([None, self.random.lognormvariate(3, 3)]),
        }

    def time(self) -> datetime:
        return START + timedelta(minutes=self.random.randint(0, MINUTES), seconds=1.5)


def recorded(persist: Persist, table: str) -> list[dict[str, Any]]:
    """Rows with whose they are; one of each id."""
    rows = query(
        persist.url,
        "SELECT DISTINCT ON (t.id) t.*, w.name AS workflow, u.username AS user,"
        f" o.slug AS organization FROM {table} t JOIN workflows w"
        " ON w.thread_id = t.thread_id AND w.id = t.workflow_id"
        " LEFT JOIN users u ON u.id = w.user_id"
        " LEFT JOIN organizations o ON o.id = w.organization_id ORDER BY t.id",
    )
    return [
        row | {"provider": row.get("model_provider"), "model": row.get("model_name")}
        for row in rows
    ]


def within(
    rows: list[dict[str, Any]], since: datetime | None, until: datetime | None, **of: Any
) -> list[dict[str, Any]]:
    return [
        row
        for row in rows
        if (since is None or row["started_at"] >= since)
        and (until is None or row["started_at"] < until)
        and all(row[key] == value for key, value in of.items() if value is not None)
    ]


def by(rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], Key]) -> dict[Key, list[Any]]:
    found = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return dict(found)


def total(rows: list[dict[str, Any]], name: str) -> Any:
    """What is known of calls that were no cache's, summed up."""
    known = [row[name] for row in rows if not row["cache_hit"] and row[name] is not None]
    return sum(known) if known else None


def rounded(cost: Decimal | None) -> Decimal | None:
    return None if cost is None else cost.quantize(Decimal("1e-8"))


def mean(values: list[float]) -> Any:
    return pytest.approx(sum(values) / len(values)) if values else None


def about(values: list[float], percent: int) -> Any:
    """A percentile, to within 1 %."""
    if not values:
        return None
    ordered = sorted(values)
    rank = percent / 100 * (len(ordered) - 1)
    low, high = ordered[int(rank)], ordered[min(int(rank) + 1, len(ordered) - 1)]
    return pytest.approx(low + rank % 1 * (high - low), rel=0.011)


# --- costs ---


def check_costs(persist: Persist, zone: str, wanted: list[Any], **of: Any) -> int:
    """Costs of any time are those of its rows; returns how many groups there were."""
    calls, count = recorded(persist, "generations"), 0

    def key(call: dict[str, Any]) -> Key:
        day = call["started_at"].astimezone(ZoneInfo(zone)).date()
        given = {**call, "day": day}
        parts = ["day", "organization", "user", *(["provider", "model"])]
        names = {*wanted, *(["provider"] if "model" in wanted else [])}
        return tuple(given[name] if name in names else None for name in parts)

    for since, until in SPANS:
        expected = {
            of_key: (
                len(rows),
                total(rows, "prompt_tokens"),
                total(rows, "total_tokens"),
                rounded(total(rows, "cost_usd")),
            )
            for of_key, rows in by(within(calls, since, until, **of), key).items()
        }
        found = persist.reports.costs(wanted, since=since, until=until, timezone=zone, **of)
        assert {
            (c.day, c.organization, c.user, c.provider, c.model): (
                c.calls,
                c.prompt_tokens,
                c.total_tokens,
                rounded(c.cost_usd),
            )
            for c in found
        } == expected
        count += len(expected)
        assert [c.day or date.min for c in found] == sorted(c.day or date.min for c in found)
    return count


@pytest.mark.parametrize("zone", ZONES)
def test_costs_are_those_of_the_calls(persist: Persist, zone: str) -> None:
    Traffic(persist)
    for wanted in (["day"], ["day", "user"], ["model", "organization", "day"]):
        assert check_costs(persist, zone, wanted)


def test_costs_are_told_apart_by_anything(persist: Persist) -> None:
    Traffic(persist)
    zone = "UTC"
    for size in range(5):
        for wanted in itertools.combinations(["day", "organization", "user", "model"], size):
            assert check_costs(persist, zone, [*wanted])
    for of in ({"user": "ann"}, {"organization": "acme"}, {"model": "wise"}):
        assert check_costs(persist, zone, ["day"], **of)
    assert check_costs(persist, zone, ["user"], organization="acme", model="fast")


def test_the_most_expensive_come_first(persist: Persist) -> None:
    Traffic(persist)
    found = persist.reports.costs("model")
    costs = [c.cost_usd or 0 for c in found]
    assert costs == sorted(costs, reverse=True)
    assert persist.reports.costs("model", limit=1) == found[:1]
    assert isinstance(found[0].cost_usd, Decimal)


# --- models, nodes, users ---


@pytest.mark.parametrize("of", [{}, {"organization": "acme"}, {"user": "bob"}, {"model": "fast"}])
def test_model_usage_is_that_of_the_calls(persist: Persist, of: dict[str, Any]) -> None:
    Traffic(persist, 2)
    calls = recorded(persist, "generations")
    for since, until in SPANS:
        found = persist.reports.model_usage(since=since, until=until, **of)
        expected = by(within(calls, since, until, **of), lambda c: (c["provider"], c["model"]))
        assert {(m.provider, m.model) for m in found} == set(expected)
        for usage in found:
            rows = expected[usage.provider, usage.model]
            own = [row for row in rows if not row["cache_hit"]]
            latencies = [row["latency_ms"] for row in own if row["latency_ms"] is not None]
            first = [r["time_to_first_token_ms"] for r in own if r["time_to_first_token_ms"]]
            assert usage.calls == len(rows)
            assert usage.failed == sum(row["status"] == "failed" for row in rows)
            assert usage.cache_hits == len(rows) - len(own)
            assert usage.total_tokens == total(rows, "total_tokens")
            assert usage.reasoning_tokens is None
            assert rounded(usage.cost_usd) == rounded(total(rows, "cost_usd"))
            assert usage.avg_latency_ms == mean(latencies)
            assert usage.p50_latency_ms == about(latencies, 50)
            assert usage.p95_latency_ms == about(latencies, 95)
            assert usage.avg_time_to_first_token_ms == mean(first)


@pytest.mark.parametrize("of", [{}, {"organization": "acme"}, {"user": "bob"}, {"workflow": "w"}])
def test_node_performance_is_that_of_the_nodes(persist: Persist, of: dict[str, Any]) -> None:
    Traffic(persist, 3)
    nodes = [n for n in recorded(persist, "nodes") if n["status"] != "skipped"]
    for since, until in SPANS:
        found = persist.reports.node_performance(since=since, until=until, **of)
        expected = by(
            within(nodes, since, until, **of),
            lambda n: (n["workflow"], n["node_name"], n["node_type"]),
        )
        assert {(n.workflow, n.node, n.node_type) for n in found} == set(expected)
        for node in found:
            rows = expected[node.workflow, node.node, node.node_type]
            times = [row["duration_ms"] for row in rows if row["duration_ms"] is not None]
            completed, failed = (
                sum(row["status"] == s for row in rows) for s in ("completed", "failed")
            )
            assert (node.executions, node.completed, node.failed) == (len(rows), completed, failed)
            ended = completed + failed
            assert node.failure_rate == (pytest.approx(failed / ended) if ended else None)
            assert node.avg_ms == mean(times)
            assert node.max_ms == (max(times) if times else None)
            assert node.p50_ms == about(times, 50)
            assert node.p95_ms == about(times, 95)


def test_percentiles_are_right_to_a_percent(persist: Persist) -> None:
    traffic = Traffic(persist, workflows=0)
    thread, workflow = "t", uuid4()
    key = {"thread_id": thread, "id": workflow, "name": "w", "status": "completed"}
    rows: Rows = [("sessions", {"thread_id": thread})]
    rows.append(("workflows", key | {"started_at": START.isoformat()}))
    given = {"status": "completed", "cache_hit": False, "model_provider": "p", "model_name": "m"}
    latencies = [random.Random(5).lognormvariate(6, 1.5) for _ in range(2000)]
    latencies = [value * (1 + n / 2000) for n, value in enumerate(latencies)]
    for value in latencies:
        rows.append(
            ("generations", traffic.call(thread, workflow, START, latency_ms=value, **given))
        )
    traffic.commit(rows)
    (usage,) = persist.reports.model_usage()
    percentiles = quantiles(latencies, n=100, method="inclusive")
    assert usage.p50_latency_ms == pytest.approx(percentiles[49], rel=0.015)
    assert usage.p95_latency_ms == pytest.approx(percentiles[94], rel=0.015)


@pytest.mark.parametrize(
    "values", [[7.0], [1.0, 300.0], [1.0, 2.0, 3.0, 4.0, 1000.0], [1.0, 1.0, 1.0, 9.0]]
)
def test_percentiles_of_few_are_those_of_the_view(values: list[float]) -> None:
    sums = Sums()
    for value in values:
        sums.add({"buckets": [math.floor(WIDTH * math.log(value))], "counts": [1]}, ())
    expected = quantiles(values * (3 - min(len(values), 2)), n=100, method="inclusive")
    for percent in (50, 95):
        assert sums.quantile(percent / 100) == pytest.approx(expected[percent - 1], rel=0.011)
    assert Sums().quantile(0.5) is None


def test_success_is_that_of_the_workflows(persist: Persist) -> None:
    Traffic(persist, 4)
    workflows = query(
        persist.url,
        "SELECT w.*, u.username AS user, o.slug AS organization FROM workflows w"
        " LEFT JOIN users u ON u.id = w.user_id"
        " LEFT JOIN organizations o ON o.id = w.organization_id",
    )
    wanted: list[dict[str, Any]] = [{}, {"user": "ann"}]
    for (since, until), of in itertools.product(SPANS, wanted):
        found = persist.reports.user_success(since=since, until=until, **of)
        expected = by(
            within(workflows, since, until, **of), lambda w: (w["user"], w["organization"])
        )
        assert {(s.user, s.organization) for s in found} == set(expected)
        for success in found:
            rows = expected[success.user, success.organization]
            ended = [row["status"] for row in rows if row["status"] in ("completed", "failed")]
            assert success.workflows == len(rows)
            assert success.running == sum(row["status"] == "running" for row in rows)
            assert success.success_rate == (
                pytest.approx(ended.count("completed") / len(ended)) if ended else None
            )
            assert success.last_started_at == max(row["started_at"] for row in rows)


# --- what is written later, copied, deleted ---


def overall(persist: Persist) -> tuple[Any, ...]:
    reports = persist.reports
    costs = next(iter(reports.costs([])), None)
    # Sums of floats depend on their order.
    nodes = [replace(n, avg_ms=n.avg_ms and round(n.avg_ms, 6)) for n in reports.node_performance()]
    users = reports.costs("user")
    return costs, nodes, {(c.user, c.calls, rounded(c.cost_usd)) for c in users}


def check_sums(persist: Persist) -> tuple[Any, ...]:
    """What the sums say is what the rows say."""
    before = overall(persist)
    query(persist.url, "WITH d AS (DELETE FROM report_periods RETURNING 1) SELECT count(*) FROM d")
    assert overall(persist) == before
    return before


def test_what_ends_late_is_in_the_sums(persist: Persist) -> None:
    traffic = Traffic(persist)
    before = check_sums(persist)
    calls = query(
        persist.url,
        "SELECT * FROM generations WHERE status = 'running' AND NOT cache_hit"
        " AND cost_usd IS NULL ORDER BY id",
    )
    nodes = query(persist.url, "SELECT * FROM nodes WHERE status = 'running' ORDER BY id")
    keys = ("thread_id", "id", "workflow_id", "run_id", "started_at", "node_name", "node_type")
    ended = {"status": "failed", "completion_tokens": 5, "cost_usd": "0.5", "cache_hit": False}
    for table, rows in (("generations", calls), ("nodes", nodes)):
        key = {name: rows[0][name] for name in keys if name in rows[0]}
        traffic.commit([(table, key | (ended if table == "generations" else {"status": "failed"}))])
    after = check_sums(persist)
    assert after[0].cost_usd > before[0].cost_usd
    assert sum(n.failed for n in after[1]) == sum(n.failed for n in before[1]) + 1
    assert after[2] != before[2]


def test_what_begins_late_is_in_the_sums(persist: Persist) -> None:
    traffic = Traffic(persist)
    before = check_sums(persist)
    for _ in range(10):
        traffic.commit(traffic.workflow())
    after = check_sums(persist)
    assert after[0].calls > before[0].calls


def test_a_lost_run_is_in_the_sums(persist: Persist, migrated: str) -> None:
    traffic = Traffic(persist)
    workflow = {"thread_id": "lost", "id": uuid4(), "name": "w", "started_at": START.isoformat()}
    run = {"thread_id": "lost", "id": uuid4(), "workflow_id": workflow["id"], "kind": "start"}
    run |= {"started_at": START.isoformat(), "status": "running", "instance_id": "gone:1@b.1.1"}
    call = traffic.call("lost", workflow["id"], START, run_id=run["id"], status="running")
    node = traffic.node("lost", workflow["id"], START) | {"status": "running", "run_id": run["id"]}
    traffic.commit(
        [
            ("sessions", {"thread_id": "lost"}),
            ("workflows", workflow | {"status": "running"}),
            ("workflow_runs", run),
            ("generations", call),
            ("nodes", node),
        ]
    )
    with psycopg.connect(migrated) as conn:
        conn.execute(
            "UPDATE langgraph_persist.workflow_runs SET heartbeat_at = %s WHERE thread_id = 'lost'",
            [START + timedelta(hours=11)],
        )
    before = check_sums(persist)
    assert len(persist.reap().runs) == 1
    after = check_sums(persist)
    assert sum(n.failed for n in after[1]) == sum(n.failed for n in before[1]) + 1
    assert sum(m.failed for m in persist.reports.model_usage()) == len(
        query(persist.url, "SELECT 1 FROM generations WHERE status = 'failed'")
    )


def test_a_copied_session_is_reported_once(persist: Persist) -> None:
    Traffic(persist)
    before = check_sums(persist)
    persist.checkpointer.copy_thread("t-1", "copy", record=True)
    assert check_sums(persist) == before


COUNTING = [
    "user_success_rates",
    "node_performance",
    "model_usage",
    "daily_costs",
    "prompt_versions",
]


def counted(persist: Persist) -> dict[str, Any]:
    """All that the counting views, their reports and prompts say."""
    reports = persist.reports

    def view(name: str) -> list[dict[str, Any]]:
        # Sums of floats depend on their order.
        rows = query(persist.url, f"SELECT * FROM {name}")
        told = [{k: round(v, 6) if type(v) is float else v for k, v in r.items()} for r in rows]
        return sorted(told, key=repr)

    return {name: view(name) for name in COUNTING} | {
        "success": sorted(reports.user_success(), key=repr),
        "prompts": [*reports.prompt_versions()],
        "compared": persist.prompts.versions("plan"),
    }


def test_what_is_copied_is_counted_once_in_every_view(persist: Persist) -> None:
    traffic = Traffic(persist)
    began, workflow = START + timedelta(hours=1), traffic.id()
    named = {"prompt_name": "plan", "prompt_version": "1"}
    owner = {"user": "ann", "organization": "acme"}

    def spend(thread: str, at: datetime) -> None:
        call = traffic.call(thread, workflow, at, started_at=at.isoformat(), **named)
        node = traffic.node(thread, workflow, at) | {
            "started_at": at.isoformat(),
            "status": "failed",
        }
        traffic.commit([("generations", call), ("nodes", node)])

    made = {"thread_id": "t-1", "id": workflow, "name": "w", "status": "interrupted"}
    made |= {"started_at": began.isoformat(), **owner}
    traffic.commit([("workflows", made)])
    spend("t-1", began)
    (turn,) = query(persist.url, f"SELECT turn FROM workflows WHERE id = '{workflow}'")
    persist.evaluations.record("t-1", turn=turn["turn"], score=50, analysis="fair")
    persist.feedback.record("t-1", turn=turn["turn"], rating=4)
    before = counted(persist)
    persist.checkpointer.copy_thread("t-1", "a copy", record=True)
    persist.checkpointer.copy_thread("a copy", "b copy", record=True)
    assert counted(persist) == before
    persist.checkpointer.delete_thread("t-1", record="delete")
    assert counted(persist) == before
    # What goes on in a copy happened there.
    spend("b copy", datetime.now(UTC))
    after = counted(persist)
    totals = [sum(row["calls"] for row in c["model_usage"]) for c in (before, after)]
    assert totals[1] == totals[0] + 1
    assert after["node_performance"] != before["node_performance"]
    assert after["daily_costs"] != before["daily_costs"]
    assert after["user_success_rates"] == before["user_success_rates"]
    assert after["prompts"][0].calls == after["compared"][0].calls == 2
    persist.checkpointer.delete_thread("a copy", record="delete")
    persist.checkpointer.delete_thread("b copy", record="delete")
    assert not persist.reports.prompt_versions()


def test_a_deleted_session_is_reported_no_more(persist: Persist) -> None:
    Traffic(persist)
    before = check_sums(persist)
    persist.checkpointer.delete_thread("t-1", record="delete")
    after = check_sums(persist)
    assert after[0].calls < before[0].calls
    persist.retain(record_older_than=timedelta(0), grace=timedelta(0))
    assert overall(persist) == (None, [], set())


def test_old_turns_that_go_are_reported_no_more(persist: Persist, migrated: str) -> None:
    Traffic(persist)
    with psycopg.connect(migrated) as conn:
        conn.execute(
            "UPDATE langgraph_persist.workflows SET updated_at = started_at, status = 'completed'"
        )
    before = check_sums(persist)
    now = datetime.now(UTC)
    persist.retain(record_older_than=now - (START + timedelta(days=2)))
    after = check_sums(persist)
    assert 0 < after[0].calls < before[0].calls


def test_sums_are_made_once(persist: Persist) -> None:
    Traffic(persist)
    reports = persist.reports
    assert reports.refresh(START, END) > 90
    assert reports.refresh(START, END) == 0
    assert reports.refresh() > 0
    assert reports.refresh() == 0
    query(
        persist.url,
        "WITH d AS (UPDATE generations SET cost_usd = 1, cache_hit = false RETURNING 1)"
        " SELECT count(*) FROM d",
    )
    (stale,) = reports.costs([])
    assert reports.refresh(anew=True) > 100
    (right,) = reports.costs([])
    assert right.cost_usd == right.calls != stale.cost_usd


def test_many_write_and_read_at_once(persist: Persist) -> None:
    Traffic(persist, 1, 10)

    def write(seed: int) -> None:
        Traffic(persist, seed, 15)

    def read(seed: int) -> None:
        for _ in range(5):
            persist.reports.costs(["day", "organization"])
            persist.reports.node_performance()

    with ThreadPoolExecutor(4) as pool:
        for done in [*pool.map(write, [11, 12]), *pool.map(read, [1, 2]), *pool.map(write, [13])]:
            assert done is None
        both = [pool.submit(write, 14), pool.submit(read, 3), pool.submit(read, 4)]
        for future in both:
            future.result(120)
    check_sums(persist)
    assert check_costs(persist, "Europe/Berlin", ["day", "organization"])


def test_where_nothing_may_be_written_reports_are_the_same(persist: Persist, migrated: str) -> None:
    Traffic(persist)
    expected = overall(persist)
    query(persist.url, "WITH d AS (DELETE FROM report_periods RETURNING 1) SELECT count(*) FROM d")
    options = "-c default_transaction_read_only=on"
    with Persist(make_conninfo(migrated, options=options), migrate=False) as reader:
        assert overall(reader) == expected
    assert query(persist.url, "SELECT count(*) FROM report_periods") == [{"count": 0}]


# --- sessions and prompts ---


def test_a_workflow_and_its_session_are_told(persist: Persist) -> None:
    graph = persist.attach(chat_graph("one two").compile(checkpointer=persist.checkpointer))
    graph.invoke({"messages": [("human", "hi")]}, persist.config("t", user="ann"))
    workflow = persist.history.last()
    events = persist.reports.timeline(workflow)
    assert (events[0].kind, events[0].offset_ms, events[0].node_id) == ("run", 0, None)
    assert [e.total_tokens for e in events if e.kind == "generation"] == [
        call.total_tokens for call in workflow.generations
    ]
    assert {e.name for e in events if e.kind == "node"} == {n.node_name for n in workflow.nodes}
    assert persist.reports.timeline(str(workflow.id)) == events
    assert persist.reports.timeline(uuid4()) == []
    lines = persist.reports.transcript("t")
    assert lines == persist.history.transcript("t")
    assert (lines[0].role, lines[0].text) == ("human", "hi")
    assert persist.reports.transcript("x") == []


def test_prompt_versions_are_compared(persist: Persist, migrated: str) -> None:
    traffic = Traffic(persist, workflows=0)
    for number, version in enumerate(["1", "1", "2", None]):
        thread, id = f"t{number}", uuid4()
        key = {"thread_id": thread, "id": id, "name": "w", "status": "completed"}
        prompt: dict[str, Any] = {
            "prompt_name": "plan",
            "prompt_version": version,
            "cache_hit": False,
        }
        prompt |= {"latency_ms": 100.0 * number, "cost_usd": "0.25", "status": "completed"}
        traffic.commit(
            [
                ("sessions", {"thread_id": thread}),
                ("workflows", key | {"started_at": START.isoformat()}),
                ("generations", traffic.call(thread, id, START, **prompt)),
                ("generations", traffic.call(thread, id, START, **prompt)),
                ("generations", traffic.call(thread, id, START)),
            ]
        )
    with psycopg.connect(migrated) as conn:
        conn.execute("SET search_path = langgraph_persist")
        for rating in (1, 4):
            conn.execute(
                "INSERT INTO feedback (thread_id, workflow_id, rating)"
                " SELECT thread_id, id, %s FROM workflows WHERE thread_id = 't0'",
                [rating],
            )
        conn.execute(
            "INSERT INTO evaluations (thread_id, turn, evaluation_type, details)"
            " VALUES ('t2', 1, 'TURN_EVAL', '{\"score\": 80, \"analysis\": \"\"}')"
        )
    found = {v.version: v for v in persist.reports.prompt_versions("plan")}
    assert {v: (p.calls, p.cost_usd) for v, p in found.items()} == {
        "1": (4, Decimal("1.00")),
        "2": (2, Decimal("0.50")),
        None: (2, Decimal("0.50")),
    }
    assert (found["1"].p50_latency_ms, found["2"].p95_latency_ms) == (50, 200)
    assert (found["1"].avg_rating, found["1"].ratings, found["1"].scores) == (2.5, 1, 0)
    assert (found["2"].avg_score, found["2"].scores, found["2"].avg_rating) == (80, 1, None)
    assert persist.reports.prompt_versions("plan", until=START) == []
    assert persist.reports.prompt_versions("other") == []
    assert len(persist.reports.prompt_versions(limit=2)) == 2


# --- at the edges ---


def every(reports: Reports) -> list[Report[Any]]:
    return [
        reports.user_success(),
        reports.node_performance(),
        reports.model_usage(),
        reports.costs(["day", "user"], timezone="Asia/Kolkata"),
        reports.timeline(UUID(int=1)),
        reports.transcript("t"),
        reports.prompt_versions(),
    ]


def test_an_empty_database_has_empty_reports(reports: Reports) -> None:
    assert all(report == [] for report in every(reports))
    assert reports.refresh() == 0
    for report in every(reports):
        assert list(report.to_pandas().columns)


def test_what_runs_now_is_reported(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile())
    graph.invoke({"count": 0}, persist.config("t"))
    (success,) = persist.reports.user_success()
    assert (success.user, success.workflows, success.success_rate) == (None, 1, 1.0)
    assert [n.node for n in persist.reports.node_performance()] == ["a"]
    assert persist.reports.model_usage() == []
    assert persist.reports.costs() == []


def test_numbers_that_are_none_do_no_harm(persist: Persist, migrated: str) -> None:
    Traffic(persist, 6)
    with psycopg.connect(migrated) as conn:
        conn.execute("SET search_path = langgraph_persist")
        for cost, latency in (("NaN", "NaN"), ("Infinity", "Infinity"), ("0", "-1")):
            conn.execute(
                "UPDATE generations SET cost_usd = %s, latency_ms = %s, cache_hit = false,"
                " time_to_first_token_ms = 'NaN' WHERE id IN"
                " (SELECT id FROM generations WHERE cost_usd <> 'NaN' ORDER BY id LIMIT 3)",
                [cost, latency],
            )
        conn.execute("UPDATE nodes SET duration_ms = 'NaN' WHERE node_name = 'a'")
        conn.execute("UPDATE workflows SET cost_usd = 'NaN', duration_ms = 'Infinity'")
    for _ in range(2):
        assert all(
            c.cost_usd is None or c.cost_usd.is_finite() for c in persist.reports.costs("day")
        )
        assert all((m.p95_latency_ms or 0) < 10**9 for m in persist.reports.model_usage())
        assert {n.max_ms for n in persist.reports.node_performance() if n.node == "a"} == {None}
        assert {s.cost_usd for s in persist.reports.user_success()} == {None}


def test_mistakes_are_told(reports: Reports) -> None:
    naive = datetime(2026, 1, 1)
    for ask in (reports.user_success, reports.node_performance, reports.model_usage):
        with pytest.raises(ConfigurationError, match="since is a datetime with a time zone"):
            ask(since=naive)
        with pytest.raises(ConfigurationError, match="limit is a whole number from 1, not 0"):
            ask(limit=0)
        with pytest.raises(ConfigurationError, match="nothing is since"):
            ask(since=END, until=START)
    with pytest.raises(ConfigurationError, match="since is a datetime with a time zone"):
        reports.refresh(naive)
    with pytest.raises(ConfigurationError, match="'model' or a Sequence, not 'week'"):
        reports.costs("week")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match='time zone "Mars/Olympus" not recognized'):
        reports.costs(timezone="Mars/Olympus")
    for wrong in ("+05:30", "UTC+3", "Asia/Kolkata-3", "IST"):
        with pytest.raises(ConfigurationError, match="IANA name"):
            reports.costs(timezone=wrong)
    for right in ("UTC", "europe/berlin", "Etc/GMT+5", "EST5EDT", "America/Port-au-Prince"):
        reports.costs(timezone=right)
    with pytest.raises(ConfigurationError, match="workflow is a UUID, not 'x'"):
        reports.timeline("x")


# --- pandas ---


def test_reports_are_data_frames_too(persist: Persist) -> None:
    Traffic(persist)
    costs = persist.reports.costs(["day", "user"]).to_pandas()
    assert dict(costs.dtypes.astype(str)) == {
        "day": "datetime64[us]",
        "organization": "string",
        "user": "string",
        "provider": "string",
        "model": "string",
        "calls": "Int64",
        "prompt_tokens": "Int64",
        "completion_tokens": "Int64",
        "total_tokens": "Int64",
        "cost_usd": "float64",
    }
    (all_costs,) = persist.reports.costs([])
    assert costs["cost_usd"].sum() == pytest.approx(float(all_costs.cost_usd or 0))
    assert costs["model"].isna().all()
    success = persist.reports.user_success().to_pandas()
    assert str(success["last_started_at"].dtype) == "datetime64[us, UTC]"
    assert success["last_started_at"].max() == max(
        s.last_started_at for s in persist.reports.user_success()
    )
    empty = persist.reports.user_success(until=START - timedelta(days=1)).to_pandas()
    assert len(empty) == 0
    assert dict(empty.dtypes) == dict(success.dtypes)


def test_without_pandas_only_the_frame_is_missing(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = reports.costs()
    with pytest.raises(ConfigurationError, match=r"pip install 'langgraph-persist\[pandas\]'"):
        found.to_pandas()


def test_pandas_is_imported_only_if_wanted() -> None:
    code = (
        "import sys, langgraph_persist, langgraph_persist.reports; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
