"""Sessions begin with a run, end by a call, and can be tried again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError, NotRecorded
from tests.checks import query
from tests.graphs import chain_of


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


def test_a_session_completes_until_it_goes_on(persist: Persist) -> None:
    run(persist, "t")
    ended = persist.sessions.complete("t")
    assert ended.status == "completed"
    assert ended.ended_at is not None
    assert persist.sessions.complete("t").ended_at == ended.ended_at
    run(persist, "t")
    again = persist.sessions.get("t")
    assert (again.status, again.ended_at, again.turns) == ("active", None, 2)
    assert persist.sessions.fail("t").status == "error"


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


def test_mistakes_are_told(persist: Persist) -> None:
    for call in (persist.sessions.get, persist.sessions.complete, persist.sessions.retry):
        with pytest.raises(NotRecorded, match="no session of thread 'x'"):
            call("x")
    run(persist, "t")
    run(persist, "u")
    with pytest.raises(ConfigurationError, match="thread 'u' has a session already"):
        persist.sessions.retry("t", new_thread_id="u")
