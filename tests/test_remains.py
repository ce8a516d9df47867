"""A run of which something could not be committed is recorded all the same, as failed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist
from langgraph_persist.errors import DurabilityError
from tests.graphs import MODES, Steps, approval_graph, chain_of, chat_graph, run
from tests.test_barriers import refused

TYPE = "langgraph_persist.errors.DurabilityError"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_a_refused_run_has_failed(
    persist: Persist, migrated: str, rows: Any, mode: str, durability: str
) -> None:
    graph = persist.attach(chat_graph("hello").compile(checkpointer=persist.checkpointer))
    value, config = {"messages": [HumanMessage("hi")]}, persist.config("t", user="alice")
    with refused(migrated), pytest.raises(DurabilityError, match="no_t"):
        run(graph, mode, value, config, durability=durability)
    for table in ("workflows", "workflow_runs"):
        (row,) = rows(f"SELECT * FROM {table}")
        assert (row["status"], row["error_type"]) == ("failed", TYPE)
        assert "no_t" in row["error_message"]
        assert row["completed_at"] >= row["started_at"]
    (workflow,) = persist.history.workflows(user="alice")
    assert (workflow.user_input, workflow.result) == ("hi", None)
    assert rows("SELECT 1 FROM nodes WHERE status <> 'cancelled' OR state IS NOT NULL") == []
    assert rows("SELECT 1 FROM checkpoints") == rows("SELECT 1 FROM checkpoint_blobs") == []
    assert not persist.handler.failures.counts


def test_what_a_refused_run_did_and_cost_is_kept(
    persist: Persist, migrated: str, rows: Any
) -> None:
    graph = persist.attach(chat_graph("hello there").compile(checkpointer=persist.checkpointer))
    value = {"messages": [HumanMessage("hi")]}
    with refused(migrated), pytest.raises(DurabilityError):
        graph.invoke(value, persist.config("t"), durability="exit")
    nodes = rows("SELECT * FROM nodes ORDER BY execution_order")
    assert [(n["node_name"], n["status"]) for n in nodes] == [
        ("look", "cancelled"),
        ("ask", "cancelled"),
    ]
    assert {n["checkpoint_id"] or n["input_checkpoint_id"] for n in nodes} == {None}
    (generation,) = rows("SELECT * FROM generations")
    assert (generation["status"], generation["output"]) == ("completed", "hello there")
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["total_tokens"] == generation["total_tokens"] > 0
    assert rows("SELECT success FROM tool_executions") == [{"success": True}]


def test_what_was_recorded_as_running_is_closed(persist: Persist, migrated: str, rows: Any) -> None:
    begun: list[Any] = []
    with ExitStack() as stack:

        def look(state: Steps) -> Steps:
            if not begun:
                persist.flush(10)
                begun.extend(
                    rows("SELECT status FROM nodes UNION ALL SELECT status FROM workflows")
                )
                stack.enter_context(refused(migrated))
            return {"log": ["look"]}

        builder = StateGraph(Steps)
        builder.add_node("look", look)
        builder.add_edge(START, "look")
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises(DurabilityError):
            graph.invoke({"count": 0}, persist.config("t"))
    assert begun == [{"status": "running"}] * 2
    assert rows("SELECT status FROM nodes") == [{"status": "cancelled"}]
    assert rows("SELECT status, error_type FROM workflows") == [
        {"status": "failed", "error_type": TYPE}
    ]
    assert graph.invoke(None, persist.config("t"))["log"] == ["look"]
    assert rows("SELECT status, error_type FROM workflows") == [
        {"status": "completed", "error_type": None}
    ]
    runs = rows("SELECT status FROM workflow_runs ORDER BY started_at")
    assert runs == [{"status": "failed"}, {"status": "completed"}]


def test_what_a_run_failed_with_itself_stays(persist: Persist, migrated: str, rows: Any) -> None:
    def fail(state: Steps) -> Steps:
        raise ValueError("the node's own")

    builder = chain_of(["a"])
    builder.add_node("fail", fail)
    builder.add_edge("a", "fail")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with refused(migrated), pytest.raises((ValueError, DurabilityError)):
        graph.invoke({"count": 0}, persist.config("t"), durability="exit")
    assert rows("SELECT status, error_type FROM workflows") == [
        {"status": "failed", "error_type": "ValueError"}
    ]
    failed = rows("SELECT node_name, error_type FROM nodes WHERE status = 'failed'")
    assert failed == [{"node_name": "fail", "error_type": "ValueError"}]


def test_nobody_is_asked_what_was_not_saved(persist: Persist, migrated: str, rows: Any) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    with refused(migrated), pytest.raises(DurabilityError):
        graph.invoke({"log": []}, persist.config("t"), durability="exit")
    assert rows("SELECT status FROM workflows") == [{"status": "failed"}]
    assert persist.history.pending() == []


def test_a_run_of_which_nothing_is_taken_is_told_so(
    persist: Persist, migrated: str, rows: Any
) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    with psycopg.connect(migrated, autocommit=True) as conn:
        conn.execute("ALTER TABLE langgraph_persist.workflows RENAME TO elsewhere")
        try:
            with pytest.raises(DurabilityError, match="does not exist"):
                graph.invoke({"count": 0}, persist.config("t"))
        finally:
            conn.execute("ALTER TABLE langgraph_persist.elsewhere RENAME TO workflows")
    assert rows("SELECT 1 FROM workflows") == []
    assert graph.invoke({"count": 0}, persist.config("t"))["count"] == 1
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
