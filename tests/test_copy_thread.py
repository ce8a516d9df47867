"""``copy_thread`` neither mixes two histories nor copies nothing; refused, it writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
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
