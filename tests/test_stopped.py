"""A process that is told to stop in the midst of our own work: by Ctrl-C or by a signal."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langgraph_persist import Persist
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Spans
from langgraph_persist.journal import Journal
from tests.graphs import chat_graph

PLACES = [
    *[(Journal, name) for name in ("begin", "append", "commit")],
    *[(Spans, name) for name in ("add", "pop", "end")],
    *[(Recording, name) for name in ("begin", "begin_node", "begin_call", "finish_node")],
    *[(Recording, name) for name in ("record", "finish", "send", "identity")],
]
RUNNING = "SELECT count(*) AS n FROM {} WHERE status = 'running'"


def stop_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> None:
    """Let the n-th call of a method be interrupted, just before it or just after it."""
    original, calls = getattr(owner, name), 0

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise KeyboardInterrupt
        found = original(*args, **kwargs)
        if calls == call:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    ("owner", "name"), PLACES, ids=lambda part: getattr(part, "__name__", part)
)
def test_nothing_is_left_running(
    persist: Persist,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    after: bool,
) -> None:
    graph = persist.attach(chat_graph("hi").compile(checkpointer=persist.checkpointer))
    with monkeypatch.context() as patch:
        stop_at(patch, owner, name, call, after)
        try:
            graph.invoke({"messages": ["hello"]}, persist.config("t"))
        except KeyboardInterrupt:
            status = {"cancelled"}
        else:
            status = {"completed"}  # it is not called so often
    persist.flush()
    for table in ("workflows", "workflow_runs", "nodes", "generations", "tool_executions"):
        assert rows(RUNNING.format(table)) == [{"n": 0}], table
    assert {row["status"] for row in rows("SELECT status FROM workflows")} <= status
    assert not len(persist.handler._spans) and not persist.handler.failures.counts
    assert not persist.checkpointer.journal.heartbeat._runs


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_so_it_is_with_a_run_that_langchain_does_not_end_again(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    chain = persist.attach(RunnableLambda(str.upper) | RunnableLambda(str.lower))
    with monkeypatch.context() as patch:
        stop_at(patch, Recording, "finish", 1, after)
        with pytest.raises(KeyboardInterrupt):
            chain.invoke("hello")
    persist.flush()
    assert rows("SELECT status FROM workflows") == [{"status": "cancelled"}]
