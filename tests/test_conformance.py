"""The public conformance suite, through the async methods and, by an adapter, the sync ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

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

from langgraph_persist import PersistSaver

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


@pytest.mark.parametrize("through", ["async", "sync"])
async def test_every_capability_passes(migrated: str, through: str) -> None:
    async def factory() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        saver = PersistSaver(migrated)
        yield saver if through == "async" else SyncMethods(saver)
        await asyncio.to_thread(saver.close)

    report = await validate(RegisteredCheckpointer(through, factory))
    for name in [*BASE, "delete_for_runs", "copy_thread", "prune"]:
        result = report.results[name]
        assert result.detected, f"{name} is not detected"
        assert result.passed, f"{name}: {result.failures}"
        assert result.tests_passed > 0
