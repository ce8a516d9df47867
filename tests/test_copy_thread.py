"""``copy_thread`` neither mixes two histories nor copies nothing; refused, it writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.saver.copies import Copy
from tests.graphs import chain_of
from tests.test_saver import config

Rows = Callable[..., list[dict[str, Any]]]
TABLES = [
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "sessions",
    "workflows",
    "nodes",
    "state_values",
]


@pytest.fixture(params=["sync", "async"])
def copy(request: pytest.FixtureRequest, persist: Persist) -> Callable[..., None]:
    """``copy_thread`` or ``acopy_thread``."""
    saver = persist.checkpointer
    if request.param == "sync":
        return saver.copy_thread
    return lambda *args, **options: asyncio.run(saver.acopy_thread(*args, **options))


def run(persist: Persist, *thread_ids: str) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    for thread_id in thread_ids:
        graph.invoke({"count": 0}, persist.config(thread_id))


def everything(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    return {t: rows(f"SELECT * FROM {t} AS t ORDER BY t::text") for t in TABLES}


@pytest.mark.parametrize("record", [False, True])
def test_copying_over_a_history_is_refused(
    persist: Persist, copy: Callable[..., None], rows: Rows, record: bool
) -> None:
    run(persist, "t", "u")
    before = everything(rows)
    remedy = r'delete_thread\(\'u\', record="delete"\)' if record else r"delete_thread\('u'\)"
    with pytest.raises(ConfigurationError, match=rf"thread 'u' has checkpoints.* new.*{remedy}"):
        copy("t", "u", record=record)
    assert everything(rows) == before


@pytest.mark.parametrize("record", [False, True])
def test_copying_an_unknown_thread_is_refused(
    persist: Persist, copy: Callable[..., None], rows: Rows, record: bool
) -> None:
    run(persist, "t")
    before = everything(rows)
    with pytest.raises(ConfigurationError, match=r"thread 'tt' has no checkpoints.* be copied"):
        copy("tt", "u", record=record)
    assert everything(rows) == before


def test_a_record_alone_is_copied_and_in_the_way_of_another(
    persist: Persist, copy: Callable[..., None]
) -> None:
    run(persist, "t")
    persist.checkpointer.delete_thread("t")
    with pytest.raises(ConfigurationError, match="'t' has no checkpoints"):
        copy("t", "u")
    copy("t", "u", record=True)
    with pytest.raises(ConfigurationError, match="'u' has a record of its own"):
        copy("t", "u", record=True)
    run(persist, "v")
    copy("v", "u")
    assert [w.thread_id for w in persist.history.workflows(thread="u")] == ["u"]
    found = [*persist.checkpointer.list(config("u"))]
    assert len(found) == 3


# --- several at once ---


def checkpoints(rows: Rows, thread: str) -> list[str]:
    found = rows("SELECT * FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id", thread)
    return [row["checkpoint_id"] for row in found]


def wait_for_a_lock(rows: Rows) -> None:
    """Until somebody waits for a thread that another copies to."""
    for _ in range(600):
        if rows(
            "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
        ):
            return
        time.sleep(0.05)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("record", [False, True])
def test_of_two_copies_to_one_thread_one_is_made(
    persist: Persist, rows: Rows, record: bool
) -> None:
    run(persist, "t", "v", "v")
    saver = persist.checkpointer
    with psycopg.connect(persist.url) as other, ThreadPoolExecutor(1) as threads:
        with other.transaction():
            Copy(saver.schemas, "t", "u", record=record)(other)
            late = threads.submit(saver.copy_thread, "v", "u", record=record)
            wait_for_a_lock(rows)
        with pytest.raises(ConfigurationError, match="'u' has checkpoints of its own"):
            late.result(30)
    assert checkpoints(rows, "u") == checkpoints(rows, "t") != []


def test_a_copy_is_made_once_however_often_it_is_tried(persist: Persist, rows: Rows) -> None:
    run(persist, "t", "v")
    copy = Copy(persist.checkpointer.schemas, "t", "u", record=True)
    broken = psycopg.connect(persist.url)
    with pytest.raises(psycopg.OperationalError), broken, broken.transaction():
        copy(broken)
        broken.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert not checkpoints(rows, "u")
    with psycopg.connect(persist.url, autocommit=True) as conn:
        copy(conn)
        assert checkpoints(rows, "u") == checkpoints(rows, "t") != []
        run(persist, "t")
        after = everything(rows)
        copy(conn)  # as where the answer to the commit was lost
        assert everything(rows) == after


def test_a_copy_that_is_tried_again_does_not_mix_with_anothers(
    persist: Persist, rows: Rows
) -> None:
    run(persist, "t", "v")
    copy = Copy(persist.checkpointer.schemas, "t", "u", record=True)
    with psycopg.connect(persist.url, autocommit=True) as conn:
        with conn.transaction(force_rollback=True):
            copy(conn)
        persist.checkpointer.copy_thread("v", "u", record=True)
        before = everything(rows)
        with pytest.raises(ConfigurationError, match="'u' has checkpoints of its own"):
            copy(conn)
    assert everything(rows) == before
