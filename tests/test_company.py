"""Runs that end at once share a commit, and none waits in vain."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from langgraph_persist.database.connection import Database
from langgraph_persist.journal import Journal, Unit, company
from tests.test_journal import session, sessions

LONG = 1000.0
"""Seconds; whoever waits so long has waited in vain."""


@pytest.fixture
def journal(migrated: str) -> Iterator[Journal]:
    opened = Journal(Database(migrated, retry_for=5.0), linger=LONG)
    yield opened
    opened.close()


def in_thread(journal: Journal, thread_id: str, ran: float) -> threading.Thread:
    """Waits for a commit in a thread of its own; the main one never writes by itself."""
    receipt = journal.commit(Unit(thread_id, session(thread_id)), ran)
    waiting = threading.Thread(target=receipt.result)
    waiting.start()
    return waiting


def test_as_many_as_are_enough_share_a_commit(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "LONGEST", LONG)
    waiting = [in_thread(journal, str(n), ran=10 * LONG) for n in range(company.ENOUGH)]
    for thread in waiting:
        thread.join(60)
    assert journal.committed_groups == 1
    assert len(sessions(migrated)) == company.ENOUGH


def test_one_whose_company_does_not_come_goes_on(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "AT_LEAST", 0)
    in_thread(journal, "t", ran=0.1).join(60)
    assert sessions(migrated) == {"t"}


def test_nobody_waits_where_no_others_come(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "LONGEST", LONG)
    in_thread(journal, "t", ran=1.0).join(60)
    assert sessions(migrated) == {"t"}


def test_one_that_waits_is_done_when_another_commits(
    journal: Journal, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "LONGEST", LONG)
    waiting = in_thread(journal, "waits", ran=10 * LONG)
    in_thread(journal, "does not", ran=0).join(60)
    waiting.join(60)
    assert sessions(migrated) == {"waits", "does not"}
