"""Every scenario, called in every way: what is recorded, and that nobody notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_persist import Persist
from tests.scenarios import PAGE, SCENARIOS, Scenario, Stage, Way, page, recorded
from tests.scenarios import written_comparison as comparison

SAVING_NOTHING = {"lcel", "bare_model", "bare_tool", "step_timeout"}
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
    unplaced = rows(
        "SELECT n.node_name FROM nodes n LEFT JOIN (SELECT * FROM checkpoints OFFSET 0) c"
        " ON c.thread_id = coalesce(n.checkpoint_thread_id, n.thread_id)"
        " AND c.checkpoint_ns = n.checkpoint_ns AND c.checkpoint_id = n.checkpoint_id"
        " WHERE n.status = 'completed' AND c.checkpoint_id IS NULL AND ("
        "   n.checkpoint_id IS NOT NULL"
        "   OR n.checkpoint_ns IN (SELECT checkpoint_ns FROM checkpoints)"
        " )"
    )
    assert unplaced == []
    if scenario.name not in SAVING_NOTHING:
        assert rows("SELECT 1 FROM nodes WHERE state IS NOT NULL LIMIT 1")


def test_the_page_shows_what_is_tested() -> None:
    assert PAGE.read_text("utf-8") == page(comparison()), "run python -m tests.scenarios"
