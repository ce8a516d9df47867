"""Sessions begin with a run, end by a call, and can be tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from langgraph_persist import Persist
from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.journal import reaper
from tests.checks import query
from tests.graphs import chain_of
from tests.processes import together


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


def run(persist: Persist, thread: str) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    config = persist.config(thread, user="ann", organization="acme", language="de")
    graph.invoke({"count": 0}, config)


def test_a_session_is_of_somebody(persist: Persist) -> None:
    run(persist, "t")
    found = persist.sessions.get("t")
    assert (found.user, found.organization, found.language) == ("ann", "acme", "de")
    assert (found.status, found.turns, found.ended_at) == ("active", 1, None)


def check_shared(url: str, runs: int) -> None:
    """All runs of a thread are counted, and whoever ran first, one user made them all."""
    turns = query(url, "SELECT turn FROM workflows WHERE thread_id = 'shared' ORDER BY turn")
    assert [row["turn"] for row in turns] == list(range(1, runs + 1))
    counted = query(url, "SELECT turns FROM sessions WHERE thread_id = 'shared'")
    assert counted == [{"turns": runs}]
    made = query(
        url,
        "SELECT u.username, o.slug, count(*) AS n FROM sessions s"
        " JOIN users u ON u.id = s.user_id JOIN organizations o ON o.id = s.organization_id"
        " GROUP BY 1, 2",
    )
    assert made == [{"username": "ann", "slug": "acme", "n": runs + 1}]
    for table in ("users", "organizations"):
        assert query(url, f"SELECT count(*) AS n FROM {table}") == [{"n": 1}]
    assert query(url, "SELECT DISTINCT status FROM workflows") == [{"status": "completed"}]


def test_turns_and_users_are_right_under_threads(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile())

    def run_both(number: int) -> None:
        for thread in ("shared", f"own-{number}"):
            graph.invoke({"count": 0}, persist.config(thread, user="ann", organization="acme"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run_both, range(48)))
    check_shared(persist.url, 48)


async def test_turns_and_users_are_right_in_an_event_loop(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile())

    async def run_both(number: int) -> None:
        for thread in ("shared", f"own-{number}"):
            config = persist.config(thread, user="ann", organization="acme")
            await graph.ainvoke({"count": 0}, config)

    await asyncio.gather(*map(run_both, range(48)))
    check_shared(persist.url, 48)


def test_turns_and_users_are_right_under_processes(persist: Persist) -> None:
    worker = ["tests._session_worker", persist.url, "12"]
    together([[*worker, f"p{number}"] for number in range(3)])
    check_shared(persist.url, 36)


def test_a_run_without_a_thread_is_a_session_of_its_own(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile())
    for _ in range(2):
        graph.invoke({"count": 0})
    found = query(
        persist.url,
        "SELECT w.thread_id = w.id::text AS own, w.turn, s.turns FROM workflows w"
        " JOIN sessions s USING (thread_id)",
    )
    assert found == [{"own": True, "turn": 1, "turns": 1}] * 2


def test_a_session_completes_until_it_goes_on(persist: Persist) -> None:
    run(persist, "t")
    ended = persist.sessions.complete("t")
    assert ended.status == "completed"
    assert ended.ended_at is not None
    assert persist.sessions.complete("t").ended_at == ended.ended_at
    run(persist, "t")
    again = persist.sessions.get("t")
    assert (again.status, again.ended_at, again.turns) == ("active", None, 2)
    failed = persist.sessions.fail("t")
    assert failed.status == "error"
    assert persist.sessions.complete("t").ended_at == failed.ended_at is not None


def test_a_session_is_of_one_user_and_their_organization(persist: Persist) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))

    def whose(thread: str, **of: str) -> tuple[str | None, str | None]:
        graph.invoke({"count": 0}, persist.config(thread, **of))
        session = persist.sessions.get(thread)
        return session.user, session.organization

    assert whose("t", user="ann") == ("ann", None)
    assert whose("t", user="bob", organization="other") == ("ann", None)
    assert whose("t", user="ann", organization="acme") == ("ann", "acme")
    assert whose("u", organization="acme") == (None, "acme")
    assert whose("u", user="bob", organization="other") == (None, "acme")
    assert whose("u", user="cid") == ("cid", "acme")
    assert whose("v") == (None, None)
    assert whose("v", user="bob", organization="other") == ("bob", "other")


def test_a_retry_is_a_session_of_its_own(persist: Persist) -> None:
    run(persist, "t")
    persist.sessions.fail("t")
    retried = persist.sessions.retry("t", new_thread_id="u")
    assert (retried.thread_id, retried.retry_of, retried.turns) == ("u", "t", 0)
    assert (retried.user, retried.organization, retried.language) == ("ann", "acme", "de")
    run(persist, "u")
    assert persist.sessions.get("u").turns == 1
    assert persist.sessions.get("t").status == "error"
    counts = query(
        persist.url, "SELECT thread_id, count(*) AS n FROM workflows GROUP BY 1 ORDER BY 1"
    )
    assert counts == [{"thread_id": "t", "n": 1}, {"thread_id": "u", "n": 1}]
    assert persist.sessions.get("u").retry_of == "t"
    assert persist.sessions.retry("t").thread_id not in ("t", "u")


def test_a_retry_knows_nothing_of_deleted_checkpoints(persist: Persist) -> None:
    run(persist, "t")
    known = persist.sessions.get("t").metadata or {}
    persist.checkpointer.delete_thread("t")
    marked = persist.sessions.get("t").metadata
    assert marked is not None and [*marked] == [*known, "checkpoints_deleted_at"]
    assert (persist.sessions.retry("t").metadata or {}) == known


def test_a_session_expires_when_its_time_is_over(migrated: str) -> None:
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        for thread in ("late", "busy", "done", "early"):
            run(persist, thread)
        persist.sessions.complete("done")
        assert persist.sessions.expire() == []
        with persist.recorder.start_workflow(thread_id="busy"):
            persist.flush()
            query(
                migrated,
                "WITH aged AS (UPDATE sessions SET expires_at = now() - interval '1 s'"
                " WHERE thread_id <> 'early' RETURNING 1) SELECT count(*) FROM aged",
            )
            assert persist.sessions.expire() == ["late"]
        late = persist.sessions.get("late")
        assert late.status == "expired"
        assert late.ended_at is not None
        assert persist.sessions.expire() == []
        run(persist, "late")
        again = persist.sessions.get("late")
        assert (again.status, again.ended_at, again.turns) == ("active", None, 2)
        statuses = query(migrated, "SELECT thread_id, status FROM sessions ORDER BY 1")
    assert {row["thread_id"]: row["status"] for row in statuses} == {
        "busy": "active",
        "done": "completed",
        "early": "active",
        "late": "active",
    }


@pytest.mark.parametrize("name", ["user", "organization"])
def test_nobody_is_nameless(persist: Persist, name: str) -> None:
    whose: dict[str, Any] = {"thread_id": "t", "user": "ann", "organization": "acme"}
    with pytest.raises(ConfigurationError, match=f"{name} is a text that is not empty"):
        persist.config(**whose | {name: " "})
    with pytest.raises(ConfigurationError, match=f"{name} is a text that is not empty"):
        persist.recorder.start_workflow(**whose | {name: ""})


def statuses(url: str) -> dict[str, str]:
    """As they are in the table, without anything that looks for those that are due."""
    found = query(url, "SELECT thread_id, status FROM sessions")
    return {row["thread_id"]: row["status"] for row in found}


def wait_for(url: str, expected: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while (found := statuses(url)) != expected:
        assert time.monotonic() < deadline, found


def age(url: str) -> None:
    """Lets the time of all sessions be over."""
    past = "UPDATE sessions SET expires_at = now() - interval '1 s' RETURNING 1"
    query(url, f"WITH aged AS ({past}) SELECT count(*) FROM aged")


def test_sessions_expire_by_themselves(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "GRACE", 0.02)
    with Persist(migrated, session_ttl=timedelta(milliseconds=20)) as persist:
        persist.checkpointer.journal.heartbeat.interval = 3600.0
        run(persist, "t")
        with persist.recorder.start_workflow(thread_id="u"):
            wait_for(migrated, {"t": "expired", "u": "active"})
        wait_for(migrated, {"t": "expired", "u": "expired"})


def test_all_that_are_due_expire_a_few_at_a_time(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "PAGE", 2)
    threads = [f"t{number}" for number in range(5)]
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        for thread in threads:
            run(persist, thread)
        age(migrated)
        persist.checkpointer.journal.reaper.expect(0)
        run(persist, "other")  # the writer goes on by itself, as long as any are left
        wait_for(migrated, dict.fromkeys(threads, "expired") | {"other": "active"})
        for thread in threads:
            run(persist, thread)
        age(migrated)
        assert sorted(persist.reap().sessions) == ["other", *threads]


def test_opening_ends_sessions_that_are_due(migrated: str) -> None:
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        run(persist, "t")
    age(migrated)
    with Persist(migrated) as persist:
        assert persist.sessions.get("t").status == "expired"


def test_a_session_that_is_being_changed_expires_later(migrated: str) -> None:
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        run(persist, "t")
        run(persist, "u")
        age(migrated)
        with psycopg.connect(migrated) as conn:
            conn.execute(
                b"SELECT 1 FROM langgraph_persist.sessions WHERE thread_id = 't' FOR UPDATE"
            )
            assert persist.sessions.expire() == ["u"]
        assert persist.sessions.expire() == ["t"]


def test_a_session_where_a_run_began_meanwhile_does_not_expire(migrated: str) -> None:
    ending = queries("sessions", Schemas())["expire_session"].encode()
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        run(persist, "t")
        with persist.recorder.start_workflow(thread_id="t"):
            persist.flush()
            age(migrated)
            # It was found to be due before.
            with psycopg.connect(migrated) as conn:
                assert conn.execute(ending, {"thread_id": "t"}).fetchall() == []
        assert persist.sessions.get("t").status == "active"


def test_a_session_reopened_without_a_time_does_not_expire(migrated: str) -> None:
    with Persist(migrated, session_ttl=timedelta(hours=1)) as persist:
        run(persist, "t")
        run(persist, "u")
        (before,) = {persist.sessions.get("u").expires_at}
        age_of_t = "UPDATE sessions SET expires_at = now() WHERE thread_id = 't' RETURNING 1"
        query(migrated, f"WITH aged AS ({age_of_t}) SELECT count(*) FROM aged")
    with Persist(migrated) as persist:
        run(persist, "t")
        run(persist, "u")
        assert persist.sessions.expire() == []
        assert persist.sessions.get("t").expires_at is None
        assert persist.sessions.get("u").expires_at == before


@pytest.mark.plain_postgres("a cluster's plans say nothing of its nodes")
def test_sessions_that_are_due_are_found_by_an_index(migrated: str) -> None:
    with psycopg.connect(migrated) as conn:
        conn.execute("SET search_path = langgraph_persist")
        conn.execute(
            "INSERT INTO sessions (thread_id, expires_at) SELECT n::text,"
            " CASE WHEN n % 2 = 0 THEN now() + n * interval '1 s' END"
            " FROM generate_series(1, 5000) AS n"
        )
        conn.execute("ANALYZE sessions")
        for name in ("due_sessions", "next_expiry"):
            sql = "EXPLAIN " + queries("sessions", Schemas())[name]
            plan = "\n".join(row[0] for row in conn.execute(sql.encode(), {"limit": 100}))
            assert "sessions_expires_at_idx" in plan
        conn.rollback()


def test_mistakes_are_told(persist: Persist) -> None:
    for call in (persist.sessions.get, persist.sessions.complete, persist.sessions.retry):
        with pytest.raises(NotRecorded, match="no session of thread 'x'"):
            call("x")
    run(persist, "t")
    run(persist, "u")
    with pytest.raises(ConfigurationError, match="thread 'u' has checkpoints already"):
        persist.sessions.retry("t", new_thread_id="u")
    with persist.recorder.start_workflow(thread_id="v"):
        pass
    with pytest.raises(ConfigurationError, match="thread 'v' has a session already"):
        persist.sessions.retry("t", new_thread_id="v")


def test_a_retry_is_on_no_thread_of_anybody_elses(persist: Persist) -> None:
    run(persist, "t")
    graph = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
    graph.invoke({"note": "mine"}, {"configurable": {"thread_id": "other"}})
    with pytest.raises(ConfigurationError, match="thread 'other' has checkpoints already"):
        persist.sessions.retry("t", new_thread_id="other")
    with pytest.raises(NotRecorded):
        persist.sessions.get("other")
