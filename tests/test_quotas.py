"""Limits of organizations, asked when a workflow starts."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from langgraph.types import Command

from langgraph_persist import Persist, PersistCallbackHandler
from langgraph_persist.errors import ConfigurationError, NotRecorded, PersistError, QuotaExceeded
from langgraph_persist.quotas import Quota, Quotas
from tests.checks import query
from tests.graphs import approval_graph, chain_of, chat_graph, fake_model
from tests.processes import together


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


def ask(persist: Persist, thread: str = "t", **whose: Any) -> None:
    """A request, which a limit may refuse."""
    graph = persist.attach(chain_of(["a"]).compile())
    graph.invoke({"count": 0}, persist.config(thread, **whose))


def used(persist: Persist, name: str, organization: str = "acme") -> Quota:
    return next(q for q in persist.organizations.quotas(organization) if q.name == name)


def blocked(persist: Persist) -> bool:
    """Whether somebody waits for a lock."""
    sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(query(persist.url, f"{sql} AND datname = current_database()"))


# --- daily requests ---


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_replay_with_another_state_is_a_request_of_the_same_user(
    persist: Persist, asynchronous: bool
) -> None:
    persist.organizations.save("acme", max_daily_requests=2)
    persist.users.save("ann", organization="acme")
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t", user="ann"))
    config = persist.history.replay_config(persist.history.last().nodes[1])

    def again() -> None:
        edited = graph.update_state(config, {"count": 40})
        if asynchronous:
            asyncio.run(graph.ainvoke(None, edited))
        else:
            graph.invoke(None, edited)

    again()
    assert used(persist, "daily_requests").used == 2
    with pytest.raises(QuotaExceeded):
        again()


def test_more_requests_than_allowed_are_refused(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=2)
    ask(persist, organization="acme")
    ask(persist, organization="acme", user="ann")
    with pytest.raises(QuotaExceeded) as refused:
        ask(persist, organization="acme")

    error = refused.value
    assert isinstance(error, PersistError)
    assert (error.organization, error.quota) == ("acme", "daily_requests")
    assert (error.limit, error.used) == (2, 2)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert error.resets_at == midnight + timedelta(days=1)
    assert "may have 2 daily requests until" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert used(persist, "daily_requests") == Quota(
        name="daily_requests", limit=2, used=2, resets_at=error.resets_at
    )


def test_a_refused_run_is_recorded(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=0)
    with pytest.raises(QuotaExceeded):
        ask(persist, organization="acme", user="ann")

    (workflow,) = persist.history.workflows(status="refused")
    assert (workflow.user, workflow.organization, workflow.turn) == ("ann", "acme", 1)
    assert workflow.error_type == "langgraph_persist.errors.QuotaExceeded"
    assert [(run.status, run.kind) for run in workflow.runs] == [("refused", "start")]
    assert workflow.nodes == ()
    assert persist.usage.metrics("success_rate")[0].data["refused"] == 1
    persist.usage.rebuild()
    assert persist.usage.metrics("success_rate")[0].data["refused"] == 1
    assert used(persist, "daily_requests").used == 0


def test_an_organization_without_limits_is_only_counted(persist: Persist) -> None:
    for _ in range(3):
        ask(persist, organization="acme")
    assert used(persist, "daily_requests") == Quota(
        name="daily_requests",
        limit=None,
        used=3,
        resets_at=used(persist, "daily_requests").resets_at,
    )


@pytest.mark.parametrize(
    "given",
    [{}, {"timezone": "Asia/Tokyo"}, {"max_users": 3}, {"max_monthly_tokens": 7}],
    ids=repr,
)
def test_an_organization_has_the_limits_it_was_given_whatever_came_first(
    persist: Persist, given: dict[str, Any]
) -> None:
    ask(persist, organization="named")
    names = ("max_users", "max_daily_requests", "max_monthly_tokens")
    for slug in ("named", "new"):
        made = persist.organizations.save(slug, **given)
        assert {n: getattr(made, n) for n in names} == {n: given.get(n) for n in names}


def test_a_limit_holds_as_soon_as_it_is_set(persist: Persist) -> None:
    ask(persist, organization="acme", user="ann")
    with psycopg.connect(persist.url) as conn:
        conn.execute("UPDATE langgraph_persist.organizations SET max_daily_requests = 1")
    with pytest.raises(QuotaExceeded):
        ask(persist, organization="acme")


def test_a_users_organization_counts_where_none_is_named(persist: Persist) -> None:
    ask(persist, user="ann")
    persist.organizations.save("acme", max_daily_requests=1)
    persist.users.save("ann", organization="acme")
    ask(persist, user="ann")
    with pytest.raises(QuotaExceeded):
        ask(persist, user="ann")
    ask(persist, user="bob")
    assert used(persist, "daily_requests").used == 1


def test_counting_only_refuses_nothing(migrated: str) -> None:
    with Persist(migrated, enforce_quotas=False) as persist:
        persist.organizations.save("acme", max_daily_requests=1, max_users=0)
        for _ in range(3):
            ask(persist, organization="acme", user="ann")
        assert used(persist, "daily_requests").used == 3
        persist.users.save("bob", organization="acme")


def test_a_handler_alone_refuses_too(migrated: str) -> None:
    with Persist(migrated) as persist:
        persist.organizations.save("acme", max_daily_requests=0)
        config = persist.config("t", organization="acme")
    handler = PersistCallbackHandler(migrated)
    with pytest.raises(QuotaExceeded):
        fake_model("hi").invoke("hello", {**config, "callbacks": [handler]})
    handler.close()
    counting = PersistCallbackHandler(migrated, enforce_quotas=False)
    fake_model("hi").invoke("hello", {**config, "callbacks": [counting]})
    counting.close()
    assert query(migrated, "SELECT status FROM workflows ORDER BY turn") == [
        {"status": "refused"},
        {"status": "completed"},
    ]


def test_a_resume_is_no_new_request(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=1)
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    config = persist.config("t", organization="acme")
    graph.invoke({"count": 0}, config)
    assert graph.invoke(Command(resume="yes"), config)["log"] == ["draft", "ask:yes", "publish"]
    with pytest.raises(QuotaExceeded):
        graph.invoke({"count": 0}, config)
    assert used(persist, "daily_requests").used == 1


def test_a_replay_is_a_new_request(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=2)
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    config = persist.config("t", organization="acme")
    graph.invoke({"count": 0}, config)
    earlier = [*graph.get_state_history(config)][2].config
    earlier["metadata"] = {"organization": "acme"}
    graph.invoke(None, earlier)
    with pytest.raises(QuotaExceeded):
        graph.invoke(None, earlier)
    statuses = query(persist.url, "SELECT status FROM workflows ORDER BY turn")
    assert [row["status"] for row in statuses] == ["completed", "completed", "refused"]
    assert used(persist, "daily_requests").used == 2
    persist.usage.rebuild()
    assert used(persist, "daily_requests").used == 2


def test_what_runs_within_a_workflow_is_no_request(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=1)
    graph = persist.attach(chat_graph("hi").compile())
    graph.invoke({"messages": []}, persist.config("t", organization="acme", user="ann"))
    assert used(persist, "daily_requests").used == 1


async def test_async_runs_are_refused_too(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=2)
    graph = persist.attach(chain_of(["a"]).compile())
    answers = await asyncio.gather(
        *(
            graph.ainvoke({"count": 0}, persist.config(f"t-{n}", organization="acme"))
            for n in range(5)
        ),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers].count(QuotaExceeded) == 3
    await asyncio.to_thread(persist.flush)
    found = query(persist.url, "SELECT status, count(*) AS n FROM workflows GROUP BY 1 ORDER BY 1")
    assert found == [{"status": "completed", "n": 2}, {"status": "refused", "n": 3}]


async def test_the_event_loop_goes_on_while_an_admission_waits(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=10)
    graph = persist.attach(chain_of(["a"]).compile())
    config = persist.config("t", organization="acme")
    await graph.ainvoke({"count": 0}, config)
    with psycopg.connect(persist.url) as conn:
        conn.execute("UPDATE langgraph_persist.usage_metrics SET metric_value = metric_value")
        run = asyncio.create_task(graph.ainvoke({"count": 0}, config))
        while not blocked(persist):
            await asyncio.sleep(0.01)
        assert not run.done()
        conn.commit()
    await run


def test_many_at_once_get_what_is_there(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=10, max_users=None)
    graph = persist.attach(chain_of(["a"]).compile())

    def one(number: int) -> bool:
        try:
            graph.invoke({"count": 0}, persist.config(f"t-{number}", organization="acme"))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(30))) == 10
    assert used(persist, "daily_requests").used == 10


def test_many_processes_get_what_is_there(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=12, max_users=9)
    worker = ["tests._quota_worker", persist.url, "10"]
    admitted = [int(n) for n in together([[*worker, f"p{number}"] for number in range(3)])]
    # Each request has a user of its own, so the number of users is what limits them.
    assert sum(admitted) == 9
    counts = query(persist.url, "SELECT count(*) AS n FROM users WHERE organization_id IS NOT NULL")
    assert counts == [{"n": 9}]
    found = query(persist.url, "SELECT status, count(*) AS n FROM workflows GROUP BY 1 ORDER BY 1")
    assert found == [{"status": "completed", "n": 9}, {"status": "refused", "n": 21}]
    persist.usage.rebuild()
    assert used(persist, "daily_requests").used == 9


# --- monthly tokens and users ---


def test_tokens_of_the_month_are_limited(persist: Persist) -> None:
    persist.organizations.save("acme", max_monthly_tokens=16, timezone="Pacific/Auckland")
    graph = persist.attach(chat_graph("one", "one", "one").compile())
    config = persist.config("t", organization="acme")
    graph.invoke({"messages": []}, config)
    assert used(persist, "monthly_tokens").used == 8
    graph.invoke({"messages": []}, config)
    with pytest.raises(QuotaExceeded) as refused:
        graph.invoke({"messages": []}, config)
    assert (refused.value.quota, refused.value.limit, refused.value.used) == (
        "monthly_tokens",
        16,
        16,
    )
    assert used(persist, "daily_requests").used == 2
    reset = refused.value.resets_at
    assert reset is not None
    with psycopg.connect(persist.url) as conn:
        local = conn.execute("SELECT %s AT TIME ZONE 'Pacific/Auckland'", [reset]).fetchone()
    assert local is not None
    assert (local[0].day, local[0].hour) == (1, 0)


def test_users_are_counted_by_one_at_a_time(persist: Persist) -> None:
    acme = persist.organizations.save("acme", max_users=1)
    with psycopg.connect(persist.url) as other, ThreadPoolExecutor(1) as threads:
        with other.transaction():
            other.execute(
                "SELECT 1 FROM langgraph_persist.organizations WHERE slug = 'acme'"
                " FOR NO KEY UPDATE"
            )
            other.execute(
                "INSERT INTO langgraph_persist.users (username, organization_id)"
                " VALUES ('ann', %s)",
                [acme.id],
            )
            late = threads.submit(persist.users.save, "bob", organization="acme")
            while not blocked(persist):
                assert not late.done()
                time.sleep(0.01)
        with pytest.raises(QuotaExceeded):
            late.result(30)
    assert [user.username for user in persist.users.all()] == ["ann"]


def test_users_are_limited(persist: Persist) -> None:
    persist.organizations.save("acme", max_users=2)
    persist.users.save("ann", organization="acme")
    ask(persist, organization="acme", user="bob")
    ask(persist, organization="acme", user="bob")
    with pytest.raises(QuotaExceeded) as refused:
        ask(persist, organization="acme", user="eve")
    assert (refused.value.quota, refused.value.used, refused.value.resets_at) == ("users", 2, None)
    assert "raise its max_users" in str(refused.value)
    assert persist.users.save("ann", organization="acme", role="admin").role == "admin"
    with pytest.raises(QuotaExceeded):
        persist.users.save("dan", organization="acme")
    with pytest.raises(NotRecorded):
        persist.users.get("dan")
    ask(persist, organization="acme")
    assert used(persist, "users") == Quota(name="users", limit=2, used=2, resets_at=None)


# --- workflows recorded by hand ---


def test_workflows_by_hand_are_refused_too(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=1)
    with persist.recorder.start_workflow("w", user="ann", organization="acme"):
        ask(persist, "inner", organization="acme")  # part of it
    with pytest.raises(QuotaExceeded) as refused:
        persist.recorder.start_workflow("w", user="ann", organization="acme", user_input="hi")

    assert (refused.value.limit, refused.value.used) == (1, 1)
    with pytest.raises(ConfigurationError, match="no workflow is recorded in this context"):
        persist.recorder.cancel()
    (workflow,) = persist.history.workflows(status="refused")
    assert (workflow.user, workflow.user_input) == ("ann", "hi")
    assert workflow.error_type == "langgraph_persist.errors.QuotaExceeded"
    assert [run.status for run in workflow.runs] == ["refused"]
    (metric,) = persist.usage.metrics("success_rate")
    assert (metric.data["completed"], metric.data["refused"]) == (1, 1)
    assert used(persist, "daily_requests").used == 1
    persist.usage.rebuild()
    assert persist.usage.metrics("success_rate") == [metric]
    assert used(persist, "daily_requests").used == 1


async def test_workflows_by_hand_are_refused_in_event_loops(persist: Persist) -> None:
    persist.organizations.save("acme", max_daily_requests=0)
    with pytest.raises(QuotaExceeded):
        async with persist.recorder.start_workflow("w", organization="acme"):
            raise AssertionError("it must not begin")
    persist.flush()
    assert len(persist.history.workflows(status="refused")) == 1


def test_a_stranger_by_hand_is_no_user(persist: Persist) -> None:
    persist.organizations.save("acme", max_users=0)
    with pytest.raises(QuotaExceeded, match="0 users"):
        persist.recorder.start_workflow("w", user="eve", organization="acme")
    with pytest.raises(NotRecorded):
        persist.users.get("eve")
    assert persist.history.last().user is None


def test_counting_only_refuses_nothing_by_hand(migrated: str) -> None:
    with Persist(migrated, enforce_quotas=False) as persist:
        persist.organizations.save("acme", max_daily_requests=0)
        for _ in range(2):
            with persist.recorder.start_workflow("w", organization="acme"):
                pass
        assert used(persist, "daily_requests").used == 2


# --- what must not happen ---


def test_an_unreachable_database_refuses_nobody(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Admission is not worth an outage: what cannot be asked is admitted, and counted later."""

    def broken(asked: Any) -> None:
        raise psycopg.OperationalError("gone")

    persist.organizations.save("acme", max_daily_requests=0)
    handler = persist.handler
    assert handler.quotas is not None

    monkeypatch.setattr(handler.quotas, "_ask", broken)
    ask(persist, organization="acme")
    assert handler.failures.counts == {"admit: OperationalError": 1}
    assert used(persist, "daily_requests").used == 1


def test_a_lost_connection_lets_nobody_pass(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    persist.organizations.save("acme", max_daily_requests=1)
    ask(persist, organization="acme")
    asked_once = Quotas._ask_once
    lost: list[Exception] = [psycopg.errors.AdminShutdown("terminating connection")]

    def asked(self: Quotas, request: Any) -> Any:
        if lost:
            raise lost.pop()
        return asked_once(self, request)

    monkeypatch.setattr(Quotas, "_ask_once", asked)
    with pytest.raises(QuotaExceeded):
        ask(persist, organization="acme")
    assert lost == []


def test_only_runs_for_somebody_ask(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a user without limits is not asked for again at once."""
    asked: list[Any] = []
    with Persist(migrated) as persist:
        quotas = persist.handler.quotas
        assert quotas is not None
        original = quotas._ask

        def ask_and_note(request: Any) -> Any:
            asked.append(request)
            return original(request)

        monkeypatch.setattr(quotas, "_ask", ask_and_note)
        ask(persist)
        assert asked == []
        ask(persist, user="ann")
        ask(persist, user="ann")
        assert len(asked) == 1
        monkeypatch.setattr(time, "monotonic", lambda: 10**9)
        ask(persist, user="ann")
        assert len(asked) == 2


# --- accounts ---


def test_users_have_roles(persist: Persist) -> None:
    persist.organizations.save(
        "acme", name="Acme Inc", settings={"plan": "gold"}, max_users=9, max_daily_requests=1000
    )
    ann = persist.users.save(
        "ann", organization="acme", role="admin", email="ann@acme.org", language="de"
    )
    assert (ann.organization, ann.role, ann.email) == ("acme", "admin", "ann@acme.org")
    ask(persist, user="bob", organization="acme")
    assert persist.users.get("bob").role == "user"
    assert [user.username for user in persist.users.all(organization="acme")] == ["ann", "bob"]
    assert [user.username for user in persist.users.all(role="admin")] == ["ann"]
    changed = persist.users.save("ann", role="viewer", organization=None)
    assert (changed.role, changed.organization, changed.language) == ("viewer", None, "de")
    acme = persist.organizations.save("acme", is_active=False, max_users=None)
    assert (acme.name, acme.settings, acme.max_users, acme.max_daily_requests, acme.is_active) == (
        "Acme Inc",
        {"plan": "gold"},
        None,
        1000,
        False,
    )
    assert persist.organizations.all() == [acme]


def test_mistakes_are_told(persist: Persist) -> None:
    with pytest.raises(ConfigurationError, match="or 'viewer', not 'boss'"):
        persist.users.save("ann", role="boss")  # type: ignore[arg-type]
    for wrong in (-1, "many", 1.5, True):
        with pytest.raises(ConfigurationError, match="max_users is a whole number from 0"):
            persist.organizations.save("acme", max_users=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="time zone"):
        persist.organizations.save("acme", timezone="Mars/Phobos")
    with pytest.raises(ConfigurationError, match=r"IANA name, as Asia/Kolkata or UTC; '\+05:30'"):
        persist.organizations.save("acme", timezone="+05:30")
    with pytest.raises(NotRecorded, match=r"no organization 'acme'; make it with organizations"):
        persist.users.save("ann", organization="acme")
    with pytest.raises(NotRecorded, match="no user 'ann'"):
        persist.users.get("ann")
    with pytest.raises(NotRecorded, match="no organization 'acme'"):
        persist.organizations.get("acme")
    with pytest.raises(NotRecorded, match="no organization 'acme'"):
        persist.organizations.quotas("acme")
    persist.users.save("ann", email="a@b.c")
    with pytest.raises(ConfigurationError, match="users_email_key"):
        persist.users.save("bob", email="a@b.c")
    with pytest.raises(NotRecorded):
        persist.users.get("bob")
