"""Every scenario, called in every way: what is recorded, and that nobody notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_persist import Persist
from langgraph_persist.saver.watch import INTERNAL_CHANNELS
from tests.scenarios import PAGE, SCENARIOS, Scenario, Stage, Way, page, recorded
from tests.scenarios import written_comparison as comparison

SAVING_NOTHING = {"lcel", "bare_model", "bare_tool", "step_timeout", "failing_task"}
SIDE_BY_SIDE = {"parallel", "send", "functional", "deferred", "interrupts"}
"""What runs at the same time here may end in any order."""

VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|elapsed: [0-9.]+s"
)


@pytest.fixture(autouse=True)
def unraised(persist: Persist) -> Iterator[None]:
    yield
    assert not persist.handler.failures.counts


def normal(stage: Stage, ordered: bool) -> list[Any]:
    """What a stage's runs gave, without ids and times."""
    return [_normal(outcome, ordered) for outcome in stage.outcomes]


def _normal(outcome: Any, ordered: bool) -> Any:
    if not isinstance(outcome, list):
        return VARYING.sub("id", repr(outcome))
    parts = [VARYING.sub("id", repr(part)) for part in outcome]
    return parts if ordered else sorted(parts)


HOOK = re.compile(r"\.(before|after)_")
"""Names of a middleware's nodes, which may have nothing to say."""
TABLES = ("workflows", "workflow_runs", "nodes", "generations", "tool_executions")


def check_whole(rows: Any) -> None:
    """Nothing stays open, what failed says why, what completed has what it was given and gave."""
    for table in TABLES:
        found = rows(f"SELECT * FROM {table}")
        assert not [r for r in found if r["status"] in ("running", "pending") or r["missing"]]
        ended = [r for r in found if r["status"] != "skipped"]
        assert all(r["started_at"] <= r["completed_at"] for r in ended)
        failed = [r for r in found if r["status"] == "failed"]
        assert all(r["error_message"] is not None for r in failed)
        # Of a call of an unknown tool nothing was raised.
        raised = [r for r in failed if table != "tool_executions"]
        assert all(r["error_type"] for r in raised)
        assert all(r["error_traceback"] for r in raised if r["error_type"] != "ProcessLost")
    completed = rows("SELECT * FROM nodes WHERE status = 'completed' AND node_type <> 'update'")
    assert all(n["input_data"] is not None for n in completed if not n["cached"])
    assert all(n["output_data"] is not None for n in completed if not HOOK.search(n["node_name"]))
    called = rows("SELECT * FROM generations g JOIN generation_prompts p ON p.generation_id = g.id")
    assert all(g["output"] is not None and g["messages"] for g in called)
    assert all(g["total_tokens"] for g in called if not g["streamed"])  # a fake model tells none
    used = rows("SELECT * FROM tool_executions WHERE status = 'completed'")
    assert all(t["input_params"] and t["output_data"] and t["success"] for t in used)


PLACED = """
SELECT n.node_name, n.checkpoint_id, n.checkpoint_ns, s.state_data,
    n.checkpoint_id = n.input_checkpoint_id AS is_pending,
    coalesce(n.checkpoint_thread_id, n.thread_id) AS thread_id,
    n.checkpoint_ns IN (SELECT checkpoint_ns FROM checkpoints) AS saves
FROM nodes n JOIN node_states s ON s.thread_id = n.thread_id AND s.node_id = n.id
WHERE n.status = 'completed'
    AND n.node_name <> 'leave' -- what it left without a checkpoint of its own
"""


def check_states(persist: Persist, rows: Any, *, saves: bool) -> None:
    """The state after each node is that of the checkpoint which holds its result."""
    seen = 0
    for node in rows(PLACED):
        assert (node["checkpoint_id"] is not None) == node["saves"]
        if node["checkpoint_id"] is not None:
            keys = ("thread_id", "checkpoint_ns", "checkpoint_id")
            found = persist.checkpointer.get_tuple({"configurable": {k: node[k] for k in keys}})
            assert found is not None
            held = found.checkpoint["channel_values"]
            if node["is_pending"]:  # until the interrupted node beside it goes on
                assert node["state_data"] is None
                continue
            held = {k: said(v) for k, v in held.items() if not k.startswith(INTERNAL_CHANNELS)}
            # DeltaChannels are in it, too.
            assert said({name: node["state_data"][name] for name in held}) == held
            seen += 1
    assert bool(seen) == saves


def said(value: Any) -> Any:
    """A value of a state as JSON has it, of messages what they say."""
    if isinstance(value, BaseMessage):
        return value.content
    if isinstance(value, dict):
        is_message = {"type", "content"} <= value.keys()
        return value["content"] if is_message else {k: said(v) for k, v in value.items()}
    return [said(item) for item in value] if isinstance(value, (list, tuple)) else value


PLAYED = [
    pytest.param(scenario, way, id=f"{scenario.name}-{way}")
    for scenario in SCENARIOS
    for way in scenario.ways
]


@pytest.mark.parametrize(("scenario", "way"), PLAYED)
def test_scenario(persist: Persist, rows: Any, scenario: Scenario, way: Way) -> None:
    plain = Stage(InMemorySaver(), way)
    scenario.play(plain)
    stage = Stage(persist.checkpointer, way, persist.attach, persist.url)
    scenario.play(stage)
    persist.flush()
    assert recorded(rows) == scenario.recorded
    ordered = scenario.name not in SIDE_BY_SIDE
    assert normal(stage, ordered) == normal(plain, ordered)
    check_whole(rows)
    check_states(persist, rows, saves=scenario.name not in SAVING_NOTHING)


ONCE_MORE = [
    pytest.param(scenario, way, id=f"{scenario.name}-{way}")
    for scenario in SCENARIOS
    for way in dict.fromkeys([scenario.ways[0], scenario.ways[-1]])
    if scenario.name != "killed"
]


@pytest.mark.parametrize(("scenario", "way"), ONCE_MORE)
def test_installed(persist: Persist, rows: Any, scenario: Scenario, way: Way) -> None:
    """The same record where nothing in the application was changed."""
    persist.install()
    stage = Stage(persist.checkpointer, way)
    scenario.play(stage)
    persist.uninstall()
    persist.flush()
    assert recorded(rows) == scenario.recorded
    check_whole(rows)


CONTENT = {
    "sessions": ("initial_input", "current_context"),
    "workflows": ("user_input", "input", "result", "error_message", "error_traceback"),
    "workflow_runs": ("error_message", "error_traceback"),
    "nodes": ("input_data", "output_data", "state", "error_message", "error_traceback"),
    "generations": ("user_prompt", "prompt", "output", "output_message", "tool_calls"),
    "tool_executions": ("input_params", "output_data", "error_message", "error_traceback"),
    "hitl_events": ("event_data", "user_input"),
}


@pytest.mark.parametrize(("scenario", "way"), ONCE_MORE)
def test_structure_only(migrated: str, rows: Any, scenario: Scenario, way: Way) -> None:
    """The same record, with nothing of what was said."""
    with Persist(migrated, capture="structure") as persist:
        scenario.play(Stage(persist.checkpointer, way, persist.attach))
        assert not persist.handler.failures.counts
    assert recorded(rows) == scenario.recorded
    for table, columns in CONTENT.items():
        for row in rows(f"SELECT * FROM {table}"):
            assert {name: row[name] for name in columns} == dict.fromkeys(columns)
    assert rows("SELECT id FROM messages UNION ALL SELECT id FROM state_values") == []


def test_the_page_shows_what_is_tested() -> None:
    assert PAGE.read_text("utf-8") == page(comparison()), "run python -m tests.scenarios"
