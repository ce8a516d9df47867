"""What README says to those who come from stock's savers, and may want to go back."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.errors import ConfigurationError
from tests.graphs import chain_of

pytestmark = pytest.mark.plain_postgres("stock reads no distributed tables")

CATALOG = {
    "columns": "SELECT table_name || '.' || column_name, data_type, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = 'public'",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "relations": "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    " AND relkind IN ('r', 'v', 'm', 'S', 'p')",
    "triggers": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "schemas": "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'",
}


def config(thread_id: str = "t") -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def catalog(url: str) -> dict[str, set[tuple[Any, ...]]]:
    with psycopg.connect(url) as conn:
        return {k: {*conn.execute(query.encode())} for k, query in CATALOG.items()}


def test_all_that_is_added_to_the_tables(database: str) -> None:
    with PostgresSaver.from_conn_string(database) as stock:
        stock.setup()
    before = catalog(database)
    with PersistSaver.from_conn_string(database) as saver:
        saver.setup()
    after = catalog(database)
    index = "checkpoint_writes_thread_id_task_id_idx"
    assert {kind: {row[0] for row in after[kind] - before[kind]} for kind in CATALOG} == {
        "columns": {"checkpoints.workflow_id", "checkpoints.created_at"},
        "indexes": {index},
        "constraints": set(),
        "relations": set(),
        "triggers": set(),
        "functions": set(),
        "schemas": {"langgraph_persist"},
    }
    assert all(nullable == "YES" for _, _, nullable, _ in after["columns"] - before["columns"])
    assert not any(before[kind] - after[kind] for kind in CATALOG)


async def test_both_kinds_of_stock_go_on_after_it_and_without_it(database: str) -> None:
    builder = chain_of(["a"])
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        await stock.setup()
        await builder.compile(checkpointer=stock).ainvoke({"count": 0}, config())
    with Persist(database) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        await graph.ainvoke({"count": 0}, config())
        graph.invoke({"count": 0}, config())
        assert len(persist.history.workflows(thread="t")) == 2
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        await stock.setup()
        result = await builder.compile(checkpointer=stock).ainvoke({"count": 0}, config())
        assert result["log"] == ["a"] * 4
    with psycopg.connect(database) as conn:
        conn.execute("DROP SCHEMA langgraph_persist CASCADE")
        conn.execute("ALTER TABLE checkpoints DROP COLUMN workflow_id, DROP COLUMN created_at")
        conn.execute("DROP INDEX checkpoint_writes_thread_id_task_id_idx")
    with PostgresSaver.from_conn_string(database) as stock_sync:
        stock_sync.setup()
        graph = builder.compile(checkpointer=stock_sync)
        assert (await asyncio.to_thread(graph.invoke, {"count": 0}, config()))["log"] == ["a"] * 5


def test_what_stock_reads_otherwise(migrated: str, direct: str) -> None:
    metadata: Any = {"source": "input", "step": -1, "odd": "a\x00b", "plain": "x"}
    with PersistSaver.from_conn_string(migrated) as saver:
        saver.put(config(), empty_checkpoint(), metadata, {})
        assert [item.metadata for item in saver.list(config())] == [metadata]
    with PostgresSaver.from_conn_string(direct) as stock:
        found = stock.get_tuple(config())
        assert found is not None
        read: dict[str, Any] = {**found.metadata}
    assert read.pop("langgraph_persist_exact")
    assert read == metadata | {"odd": "a\ufffdb"}


async def test_an_async_pool_is_refused() -> None:
    pool: Any = AsyncConnectionPool("postgresql://", open=False)
    with pytest.raises(
        ConfigurationError, match=r"URL, a psycopg ConnectionPool.* not Async.*serve"
    ):
        PersistSaver(pool)
