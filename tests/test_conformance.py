"""The public conformance suite, through the async methods and, by an adapter, the sync ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.postgres import PostgresSaver

from langgraph_persist import PersistSaver
from langgraph_persist.database.queries import Schemas, quote
from langgraph_persist.migrate import upgrade
from tests.test_retention import delta_graph

BASE = ["put", "put_writes", "get_tuple", "list", "delete_thread"]


class SyncMethods(BaseCheckpointSaver[str]):
    """Gives a saver's sync methods the names the suite calls."""

    def __init__(self, saver: PersistSaver) -> None:
        super().__init__(serde=saver.serde)
        self.saver = saver

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self.saver.get_next_version(current, channel)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.saver.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await asyncio.to_thread(self.saver.put_writes, config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.saver.get_tuple, config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        for item in await asyncio.to_thread(lambda: [*self.saver.list(config, **options)]):
            yield item

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.saver.delete_thread, thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.saver.prune(thread_ids, strategy=strategy))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.saver.copy_thread, source_thread_id, target_thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.saver.delete_for_runs, run_ids)


@pytest.fixture(params=["public", "else where"])
def places(request: pytest.FixtureRequest, direct: str) -> Iterator[dict[str, Any]]:
    """The schemas of the migrated database, or two of any name."""
    if request.param == "public":
        yield {}
        return
    schemas = Schemas('my "record', request.param)
    upgrade(direct, schemas)
    yield {"schema": schemas.record, "checkpoint_schema": schemas.checkpoints}
    with psycopg.connect(direct) as conn:
        for name in (schemas.record, schemas.checkpoints):
            conn.execute(f"DROP SCHEMA {quote(name)} CASCADE".encode())


@pytest.mark.parametrize("through", ["async", "sync"])
async def test_every_capability_passes(migrated: str, places: dict[str, Any], through: str) -> None:
    async def factory() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        saver = PersistSaver(migrated, **places)
        yield saver if through == "async" else SyncMethods(saver)
        await asyncio.to_thread(saver.close)

    report = await validate(RegisteredCheckpointer(through, factory))
    for name in [*BASE, "delete_for_runs", "copy_thread", "prune"]:
        result = report.results[name]
        assert result.detected, f"{name} is not detected"
        assert result.passed, f"{name}: {result.failures}"
        assert result.tests_passed > 0


@pytest.mark.plain_postgres("stock reads no distributed tables")
async def test_delta_channels_have_the_history_that_upstream_gives(
    migrated: str, direct: str
) -> None:
    """Whoever wrote them, stock or ours in sync or async runs, and at every checkpoint."""
    thread: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    channels = ["log", "files", "count"]
    with PostgresSaver.from_conn_string(direct) as stock:
        saver = PersistSaver(migrated)
        for _ in range(3):
            await asyncio.to_thread(delta_graph(stock).invoke, {"log": ["in"]}, thread)
            await asyncio.to_thread(delta_graph(saver).invoke, {"log": ["in"]}, thread)
            await delta_graph(saver).ainvoke({"log": ["in"]}, thread)
        states = [*delta_graph(saver).get_state_history(thread)]
        assert states == [*delta_graph(stock).get_state_history(thread)]
        assert states[0].values["count"] == 9
        assert len(states[0].values["log"]) == 27
        written = 0
        for state in states:
            where: Any = {"config": state.config, "channels": channels}
            found = stock.get_delta_channel_history(**where)
            assert saver.get_delta_channel_history(**where) == found
            assert await saver.aget_delta_channel_history(**where) == found
            written += len(found["log"]["writes"])
        assert written > 20
        saver.close()
