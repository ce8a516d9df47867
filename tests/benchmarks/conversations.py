"""Plays one conversation, or one read of a thread, in a thread or on an event loop."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from tests.benchmarks.workloads import HISTORY, PAGE, Workload


def converse(graph: Any, workload: Workload, thread_id: str) -> Any:
    """All turns of a conversation; the last one's result."""
    config = _config(thread_id)
    result = graph.invoke(workload.input(0), config)
    for turn in range(1, workload.turns):
        result = graph.invoke(_input(graph, workload, turn, result), config)
    return result


async def aconverse(graph: Any, workload: Workload, thread_id: str) -> Any:
    """Like :func:`converse`."""
    config = _config(thread_id)
    result = await graph.ainvoke(workload.input(0), config)
    for turn in range(1, workload.turns):
        result = await graph.ainvoke(_input(graph, workload, turn, result), config)
    return result


def _input(graph: Any, workload: Workload, turn: int, result: Any) -> Any:
    return workload.input(turn) if graph.checkpointer else workload.carry_on(result, turn)


def read(graph: Any, workload: Workload, thread_id: str) -> Any:
    """Read what the workload says."""
    config = _config(thread_id)
    if workload.read == "state":
        return graph.get_state(config).values
    return _checked([*graph.get_state_history(config, limit=PAGE)])


async def aread(graph: Any, workload: Workload, thread_id: str) -> Any:
    """Like :func:`read`."""
    config = _config(thread_id)
    if workload.read == "state":
        return (await graph.aget_state(config)).values
    return _checked([state async for state in graph.aget_state_history(config, limit=PAGE)])


def _checked(history: list[Any]) -> Any:
    assert len(history) == PAGE
    return history[0].values


def reference(workload: Workload) -> tuple[Any, int, int]:
    """The shape of the result in memory, and the checkpoints and writes it leaves."""
    saver = InMemorySaver()
    result = converse(workload.build().compile(checkpointer=saver), workload, "reference")
    checkpoints = sum(len(found) for found in saver.storage["reference"].values())
    writes = sum(len(found) for found in saver.writes.values())
    return shape(result), checkpoints, writes


def shape(result: dict[str, Any]) -> dict[str, Any]:
    """A result without ids and times: how long its values are."""
    return {k: len(v) if isinstance(v, Sized) else v for k, v in result.items()}


def _config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id}, "recursion_limit": HISTORY + 10}
