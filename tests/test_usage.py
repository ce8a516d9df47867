"""What is counted while it is recorded is what the record says when counted anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID, uuid4

import pytest
from langgraph.graph import StateGraph
from langgraph.types import interrupt
from psycopg.conninfo import make_conninfo

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.journal import Journal, Rows, Unit
from langgraph_persist.usage import UsageMetric
from tests.checks import query
from tests.graphs import Steps, approval_graph, chain_of, chat_graph

START = datetime(2026, 3, 28, 22, tzinfo=UTC)  # Berlin's clocks go forward that night.
END = date(2026, 4, 12)
ORGANIZATIONS = {"acme": "UTC", "kiwi": "Pacific/Auckland", "wurst": "Europe/Berlin"}
MODELS = ["fast", "wise", None]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    """Its connections live in a time zone of their own, which must not matter."""
    with Persist(make_conninfo(migrated, options="-c TimeZone=Asia/Tokyo")) as opened:
        yield opened


def counted(persist: Persist) -> dict[tuple[Any, ...], tuple[Decimal, dict[str, Any]]]:
    """All buckets in which something counts."""
    return {
        (m.metric, m.organization, m.user, m.model, m.period_start, m.period_end): (
            m.value,
            m.data,
        )
        for m in persist.usage.metrics()
        if m.value or any(m.data.values())
    }


def check_rebuilt(persist: Persist, until: date | None = None) -> dict[tuple[Any, ...], Any]:
    """A rebuild finds what was counted; also from nothing, and again."""
    before = counted(persist)
    persist.usage.rebuild(until=until)
    assert counted(persist) == before
    query_nothing(persist.url, "DELETE FROM usage_metrics")
    persist.usage.rebuild(until=until)
    assert counted(persist) == before
    return before


def query_nothing(url: str, sql: str) -> None:
    query(url, f"WITH done AS ({sql} RETURNING 1) SELECT count(*) FROM done")


def metric(persist: Persist, name: Any, **filters: Any) -> UsageMetric:
    (found,) = persist.usage.metrics(name, **filters)
    return found


# --- by graphs ---


def test_a_run_is_counted(persist: Persist) -> None:
    graph = persist.attach(chat_graph("one two", "three").compile())
    for _ in range(2):
        graph.invoke({"messages": []}, persist.config("t", user="ann", organization="acme"))

    tokens = metric(persist, "token_usage")
    assert (tokens.organization, tokens.user, tokens.model) == ("acme", "ann", "fake-1")
    assert tokens.value == 9 + 8
    assert tokens.data["prompt_tokens"] == 14
    assert tokens.data["completion_tokens"] == 3
    calls = metric(persist, "api_calls")
    assert (int(calls.value), calls.data["failed"], calls.model) == (2, 0, "fake-1")
    assert calls.data["latency_ms"] > 0
    success = metric(persist, "success_rate")
    assert (int(success.value), success.data["completed"], success.model) == (1, 2, None)
    (runs,) = query(persist.url, "SELECT sum(duration_ms::numeric) AS ms FROM workflow_runs")
    assert metric(persist, "execution_time").value == runs["ms"]
    check_rebuilt(persist)


def test_metrics_are_found_by_what_they_are_of(persist: Persist) -> None:
    for user, organization in [("ann", "acme"), ("bob", "acme"), ("eve", None)]:
        graph = persist.attach(chat_graph("one").compile())
        config = persist.config(f"t-{user}", user=user, organization=organization)
        graph.invoke({"messages": []}, config)
    now = datetime.now(UTC)
    usage = persist.usage
    assert len(usage.metrics("token_usage")) == 3
    assert {m.user for m in usage.metrics("token_usage", organization="acme")} == {"ann", "bob"}
    assert {m.metric for m in usage.metrics(user="eve")} == {
        "token_usage",
        "api_calls",
        "execution_time",
        "success_rate",
    }
    assert len(usage.metrics(model="fake-1")) == 6
    assert usage.metrics("api_calls", since=now + timedelta(days=2)) == []
    assert usage.metrics("api_calls", until=now - timedelta(days=2)) == []
    with pytest.raises(ConfigurationError, match="or 'monthly_tokens', not 'tokens'"):
        usage.metrics("tokens")  # type: ignore[arg-type]


def test_a_user_counts_for_their_organization(persist: Persist) -> None:
    persist.organizations.save("acme", max_users=None)
    persist.users.save("ann", organization="acme")
    chain = persist.attach(chain_of(["a"]).compile())
    chain.invoke({"count": 0}, persist.config("t", user="ann"))
    assert metric(persist, "success_rate").organization == "acme"
    assert metric(persist, "daily_requests").value == 1
    check_rebuilt(persist)


def test_an_interrupted_workflow_counts_once_it_ends(persist: Persist) -> None:
    from langgraph.types import Command

    graph = approval_graph().compile(checkpointer=persist.checkpointer)
    graph = persist.attach(graph)
    config = persist.config("t", user="ann", organization="acme")
    graph.invoke({"count": 0}, config)
    assert persist.usage.metrics("success_rate") == []
    assert metric(persist, "execution_time").data == {"runs": 1}
    graph.invoke(Command(resume="yes"), persist.config("t", user="boss"))
    assert metric(persist, "success_rate").data["completed"] == 1
    assert metric(persist, "success_rate").user == "ann"
    assert metric(persist, "execution_time").data == {"runs": 2}
    before = check_rebuilt(persist)
    assert [value for key, (value, _) in before.items() if key[0] == "daily_requests"] == [1]


def test_a_new_input_of_a_called_graph_ends_none_of_its_callers(persist: Persist) -> None:
    inner = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))

    def call(state: Steps) -> Steps:
        inner.invoke({"count": 0}, persist.config("inner"))
        return {"note": str(interrupt("and?"))}

    builder = StateGraph(Steps)
    builder.add_node("call", call)
    builder.set_entry_point("call")
    outer = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    outer.invoke({"count": 0}, persist.config("outer", user="ann"))
    inner.invoke({"count": 0}, persist.config("inner", user="ann"))
    assert [w.status for w in persist.history.workflows()] == ["interrupted"] * 2
    assert persist.usage.metrics("success_rate") == []
    check_rebuilt(persist)


def test_an_interrupted_workflow_counts_as_cancelled_once_another_begins(persist: Persist) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="ann", organization="acme")
    graph.invoke({"count": 0}, config)
    graph.invoke({"count": 0}, config)
    counted = {"completed": 0, "failed": 0, "cancelled": 1, "refused": 0}
    assert metric(persist, "success_rate").data == counted
    check_rebuilt(persist)


def test_a_failed_workflow_that_goes_on_has_not_failed(persist: Persist) -> None:
    from langgraph.graph import START, StateGraph

    from tests.graphs import Steps

    attempts = iter([ValueError("no"), None])

    def flaky(state: Steps) -> Steps:
        if error := next(attempts):
            raise error
        return {"log": ["done"]}

    builder = StateGraph(Steps)
    builder.add_node("flaky", flaky)
    builder.add_edge(START, "flaky")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"count": 0}, persist.config("t"))
    assert metric(persist, "success_rate").data["failed"] == 1
    assert metric(persist, "success_rate").value == 0
    graph.invoke(None, persist.config("t"))
    success = metric(persist, "success_rate")
    assert success.data == {"completed": 1, "failed": 0, "cancelled": 0, "refused": 0}
    assert success.value == 1
    check_rebuilt(persist)


def test_a_copied_session_is_not_counted_again(persist: Persist) -> None:
    graph = chat_graph("one").compile(checkpointer=persist.checkpointer)
    persist.attach(graph).invoke({"messages": []}, persist.config("t", organization="acme"))
    persist.checkpointer.copy_thread("t", "u", record=True)
    check_rebuilt(persist)


def test_plans_and_todos_are_counted_when_they_are_made(persist: Persist) -> None:
    from langgraph.graph import START, StateGraph

    class Work(TypedDict, total=False):
        todos: list[dict[str, str]]

    names: list[Any] = ["plan_count", "todo_count"]

    def todos(**statuses: str) -> Any:
        listed = [{"content": name, "status": status} for name, status in statuses.items()]
        return lambda state: {"todos": listed}

    builder = StateGraph(Work)
    steps = [
        ("plan", todos(a="in_progress", b="pending")),
        ("go", todos(a="completed", b="in_progress", c="pending")),
        ("end", todos(a="completed", b="completed", c="completed")),
    ]
    builder.add_sequence(steps)
    builder.add_edge(START, "plan")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="ann", organization="acme")
    graph.invoke({}, config)
    assert [int(metric(persist, n).value) for n in names] == [1, 3]
    assert metric(persist, "todo_count", user="ann").organization == "acme"
    persist.checkpointer.copy_thread("t", "u", record=True)
    graph.invoke({}, config)
    assert [int(metric(persist, n).value) for n in names] == [2, 6]
    check_rebuilt(persist)


# --- lost processes ---


def lose(persist: Persist, thread: str = "lost") -> tuple[Any, Any, Any]:
    """A run with a call that its process left open and a reaper closed: workflow, run, call."""
    owner = {"user": "ann", "organization": "acme"}
    at = datetime.now(UTC) - timedelta(hours=3)
    workflow = {"thread_id": thread, "id": uuid4(), "name": "w", "started_at": at, **owner}
    key = {"thread_id": thread, "workflow_id": workflow["id"], "started_at": at}
    run = {**key, "id": uuid4(), "kind": "start", "instance_id": "elsewhere:1@boot.1.1"}
    call = {**key, "id": uuid4(), "run_id": run["id"], "model_name": "fast"}
    running = {"status": "running"}
    head: Rows = [
        ("organizations", {"id": uuid4(), "name": "acme", "slug": "acme"}),
        ("users", {"id": uuid4(), "username": "ann", "organization": "acme"}),
        ("sessions", {"thread_id": thread, **owner}),
        ("workflows", workflow | running | {"is_new": True}),
        ("workflow_runs", run | running),
        ("generations", call | running),
    ]
    persist.handler.journal.commit(Unit(thread, head)).result(60)
    query_nothing(
        persist.url,
        "UPDATE workflow_runs SET heartbeat_at = now() - interval '2 hours'"
        f" WHERE thread_id = '{thread}'",
    )
    assert len(persist.reap().runs) == 1
    return workflow, run, call


def end(persist: Persist, workflow: Any, run: Any, call: Any) -> None:
    ended = {"status": "completed", "completed_at": datetime.now(UTC)}
    tokens = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7, "latency_ms": 5.5}
    rows: Rows = [
        ("generations", call | ended | tokens),
        ("workflows", workflow | ended),
        ("workflow_runs", run | ended | {"duration_ms": 9.25}),
    ]
    persist.handler.journal.commit(Unit(workflow["thread_id"], rows)).result(60)


def test_lost_runs_count_when_they_are_closed(persist: Persist) -> None:
    lose(persist)
    assert metric(persist, "success_rate").data["failed"] == 1
    assert metric(persist, "execution_time").data == {"runs": 1}
    assert metric(persist, "api_calls").data["failed"] == 1
    assert persist.reap().runs == []
    check_rebuilt(persist)


def test_a_run_that_was_only_slow_counts_as_it_ended(persist: Persist) -> None:
    end(persist, *lose(persist))
    assert metric(persist, "success_rate").data["failed"] == 0
    assert metric(persist, "success_rate").value == 1
    assert metric(persist, "execution_time").value == Decimal("9.25")
    assert metric(persist, "token_usage").value == 7
    calls = metric(persist, "api_calls")
    assert (int(calls.value), calls.data["failed"], calls.data["latency_ms"]) == (1, 0, 5.5)
    check_rebuilt(persist)


def test_a_run_that_is_heard_of_again_has_not_failed(persist: Persist) -> None:
    workflow, run, call = lose(persist)
    beat: Rows = [("heartbeats", {"thread_id": run["thread_id"], "id": run["id"]})]
    for _ in range(2):
        persist.handler.journal.commit(Unit("lost", beat)).result(60)
        assert {key[0] for key in check_rebuilt(persist)} == {"api_calls", "daily_requests"}
    end(persist, workflow, run, call)
    assert metric(persist, "success_rate").value == 1
    check_rebuilt(persist)


def test_many_reapers_count_a_lost_run_once(persist: Persist) -> None:
    lose(persist, "a")
    query_nothing(
        persist.url,
        "UPDATE workflow_runs SET status = 'running', error_type = NULL,"
        " heartbeat_at = now() - interval '2 hours'",
    )
    query_nothing(persist.url, "UPDATE workflows SET status = 'running', error_type = NULL")
    query_nothing(persist.url, "UPDATE generations SET status = 'running', error_type = NULL")
    query_nothing(persist.url, "DELETE FROM usage_metrics")
    persist.usage.rebuild()
    with ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            pool.submit(persist.reap)
    assert metric(persist, "success_rate").data["failed"] == 1
    check_rebuilt(persist)


# --- by rows, so that they can be of any day and come in any order ---


class Traffic:
    """Random workflows with their runs and calls, written piece by piece in random groups."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self.journal = journal
        self.random = random.Random(seed)
        self.pieces: list[list[Rows]] = [self._workflow() for _ in range(25)]

    def play(self) -> None:
        """Each workflow's pieces in order, those of several mixed; some are written again."""
        while waiting := [pieces for pieces in self.pieces if pieces]:
            chosen = self.random.sample(waiting, k=min(len(waiting), self.random.randint(1, 4)))
            rows = [row for pieces in chosen for row in pieces.pop(0)]
            for _ in range(self.random.choice([1, 1, 2])):
                self.journal.commit(Unit("any", rows)).result(60)

    def _workflow(self) -> list[Rows]:
        pick = self.random.choice
        thread = f"t-{self.random.randint(1, 6)}"
        began = START + timedelta(minutes=self.random.randint(0, 4 * 24 * 60))
        organization, user = pick([*ORGANIZATIONS, None]), pick(["ann", "bob", None])
        owner = {"user": user, "organization": organization}
        head: Rows = []
        if organization:
            slug = {"name": organization, "slug": organization}
            head.append(("organizations", {"id": uuid4(), **slug}))
        if user:
            head.append(("users", {"id": uuid4(), "username": user, "organization": None}))
        head.append(("sessions", {"thread_id": thread, **owner}))
        key: dict[str, Any] = {"thread_id": thread, "id": uuid4(), "name": "w"}
        key["started_at"] = began.isoformat()
        pieces: list[Rows] = []
        for status in self.random.sample(
            ["completed", "failed", "cancelled", "interrupted"], k=self.random.randint(1, 3)
        ):
            run: dict[str, Any] = {"thread_id": thread, "id": uuid4(), "kind": "start"}
            run |= {"workflow_id": key["id"], "started_at": began.isoformat()}
            opening = [("workflows", {**key, **owner, "status": "running"})]
            pieces.append([*head, *opening, ("workflow_runs", {**run, "status": "running"})])
            for _ in range(self.random.randint(0, 3)):
                pieces += self._call(key["id"], run["id"], thread, began)
            ended = {"status": status, "duration_ms": self.random.uniform(1, 5000)}
            pieces.append([("workflows", key | ended), ("workflow_runs", run | ended)])
            began += timedelta(hours=self.random.randint(1, 40))
        return pieces

    def _call(self, workflow: UUID, run: UUID, thread: str, began: datetime) -> list[Rows]:
        at = began + timedelta(minutes=self.random.randint(0, 300))
        call: dict[str, Any] = {"thread_id": thread, "id": uuid4(), "workflow_id": workflow}
        call |= {"run_id": run, "started_at": at.isoformat()}
        model = self.random.choice(MODELS)
        prompt, completion = self.random.randint(1, 900), self.random.randint(1, 900)
        ended = {
            "status": self.random.choice(["completed", "completed", "failed", "cancelled"]),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cost_usd": str(Decimal(self.random.randint(0, 10**6)) / 10**8),
            "latency_ms": self.random.uniform(1, 5000),
            "cache_hit": self.random.random() < 0.2,
        }
        return [
            [("generations", {**call, "model_name": model, "status": "running"})],
            [("generations", call | ended)],
        ]


@pytest.mark.parametrize("seed", range(4))
def test_any_traffic_is_counted_as_the_record_has_it(persist: Persist, seed: int) -> None:
    for slug, timezone in ORGANIZATIONS.items():
        persist.organizations.save(slug, timezone=timezone)
    Traffic(persist.handler.journal, seed).play()
    before = check_rebuilt(persist, END)
    assert len({key[0] for key in before}) == 6
    (total,) = query(
        persist.url,
        "SELECT sum(total_tokens) AS tokens, count(*) AS calls, sum(cost_usd) AS cost"
        " FROM generations WHERE NOT cache_hit",
    )
    tokens = [(value, data) for key, (value, data) in before.items() if key[0] == "token_usage"]
    assert sum(value for value, _ in tokens) == total["tokens"]
    assert Decimal(sum(data["cost_usd"] for _, data in tokens)).quantize(Decimal("1e-8")) == total[
        "cost"
    ].quantize(Decimal("1e-8"))
    calls = [value for key, (value, _) in before.items() if key[0] == "api_calls"]
    assert sum(calls) == total["calls"]


def test_days_are_those_of_the_organization(persist: Persist) -> None:
    for slug, timezone in ORGANIZATIONS.items():
        persist.organizations.save(slug, timezone=timezone)
    journal = persist.handler.journal
    for number, slug in enumerate(ORGANIZATIONS):
        key = {"thread_id": slug, "id": UUID(int=number), "started_at": "2026-03-28T23:30:00Z"}
        session = ("sessions", {"thread_id": slug, "organization": slug})
        row = {**key, "name": "w", "organization": slug, "status": "completed"}
        journal.commit(Unit(slug, [session, ("workflows", row)])).result(60)

    found = {m.organization: m for m in persist.usage.metrics("success_rate")}
    starts = {slug: m.period_start.astimezone(UTC) for slug, m in found.items()}
    assert starts == {
        "acme": datetime(2026, 3, 28, tzinfo=UTC),
        "kiwi": datetime(2026, 3, 28, 11, tzinfo=UTC),
        "wurst": datetime(2026, 3, 28, 23, tzinfo=UTC),
    }
    lengths = {slug: m.period_end - m.period_start for slug, m in found.items()}
    assert lengths["acme"] == timedelta(hours=24)
    assert lengths["wurst"] == timedelta(hours=23)
    check_rebuilt(persist, END)


def test_a_time_zone_that_is_none_is_refused(persist: Persist) -> None:
    with pytest.raises(ConfigurationError, match='time zone "Mars/Olympus" not recognized'):
        persist.organizations.save("acme", timezone="Mars/Olympus")


def test_a_new_time_zone_counts_after_a_rebuild(persist: Persist) -> None:
    Traffic(persist.handler.journal, 7).play()
    persist.organizations.save("acme", timezone="Asia/Kolkata")
    before = counted(persist)
    persist.usage.rebuild(until=END)
    after = check_rebuilt(persist, END)
    assert after != before
    assert {key[4].minute for key in after if key[0] == "api_calls" and key[1] == "acme"} == {30}


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"])
def test_a_month_is_counted_once_after_a_new_time_zone(persist: Persist, timezone: str) -> None:
    Traffic(persist.handler.journal, 7).play()
    tokens = sum(m.value for m in persist.usage.metrics("token_usage", organization="acme"))
    for zone in ("Pacific/Kiritimati", timezone):
        persist.organizations.save("acme", timezone=zone)
        persist.usage.rebuild(until=END + timedelta(days=2))
    months = persist.usage.metrics("monthly_tokens", organization="acme")
    assert sum(month.value for month in months) == tokens


def test_only_the_days_asked_for_are_rebuilt(persist: Persist) -> None:
    Traffic(persist.handler.journal, 8).play()
    before = counted(persist)
    spoil = "UPDATE usage_metrics SET metric_value = -1 WHERE metric_type NOT LIKE '%token%'"
    query_nothing(persist.url, spoil)
    assert persist.usage.rebuild(date(2026, 3, 30), date(2026, 3, 31)) == 2
    for key, (value, data) in counted(persist).items():
        day = key[4].astimezone(UTC).date()
        is_as_before = key[0] in ("monthly_tokens", "token_usage")
        if is_as_before or day in (date(2026, 3, 30), date(2026, 3, 31)):
            assert (value, data) == before[key]
        else:
            assert value == -1


def test_nothing_recorded_is_nothing_rebuilt(persist: Persist) -> None:
    assert persist.usage.rebuild() == 0
    assert persist.usage.metrics() == []


def test_rebuilding_loses_nothing_that_is_recorded_meanwhile(persist: Persist) -> None:
    graph = persist.attach(chat_graph(*["one"] * 60).compile())

    def run(number: int) -> None:
        graph.invoke({"messages": []}, persist.config(f"t-{number}", user="ann"))

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run, number) for number in range(60)]
        while not all(run.done() for run in runs):
            persist.usage.rebuild()
        for done in runs:
            done.result()
    assert metric(persist, "api_calls").value == 60
    assert metric(persist, "success_rate").data["completed"] == 60
    check_rebuilt(persist)


def test_a_group_that_is_written_again_counts_once(persist: Persist) -> None:
    """As after a lost connection, when nobody knows whether the commit came through."""
    journal = persist.handler.journal
    key = {"thread_id": "t", "id": uuid4(), "name": "w", "started_at": START.isoformat()}
    call = {"thread_id": "t", "id": uuid4(), "workflow_id": key["id"], "run_id": uuid4()}
    rows: Rows = [
        ("sessions", {"thread_id": "t"}),
        ("workflows", key | {"status": "completed"}),
        (
            "generations",
            call | {"started_at": START.isoformat(), "status": "completed", "total_tokens": 5},
        ),
    ]
    for _ in range(3):
        journal.commit(Unit("t", rows)).result(60)
    assert metric(persist, "token_usage").value == 5
    assert metric(persist, "success_rate").data["completed"] == 1
