"""The examples run as they are, and leave behind what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(example: str, url: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example],
        cwd=cwd,
        env=os.environ | {"LANGGRAPH_PERSIST_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


@pytest.fixture
def quickstart(database: str, project: Path) -> str:
    return run("quickstart.py", database, project)


def test_quickstart_records_its_course(quickstart: str, database: str) -> None:
    workflows = rows(database, "SELECT status, turn FROM langgraph_persist.workflows")
    assert workflows == [("completed", 1)]
    kinds = "SELECT kind FROM langgraph_persist.workflow_runs ORDER BY attempt"
    assert rows(database, kinds) == [("start",), ("resume",)]
    nodes = rows(
        database,
        "SELECT node_name, status FROM langgraph_persist.nodes"
        " WHERE status <> 'skipped' ORDER BY step, node_name, started_at",
    )
    assert nodes == [
        ("classify", "completed"),
        ("plan", "completed"),
        ("search", "completed"),
        ("write", "completed"),
        ("review", "interrupted"),
        ("review", "completed"),
    ]
    calls = rows(
        database,
        "SELECT t.tool_name, g.model_name, g.prompt_tokens, g.completion_tokens"
        " FROM langgraph_persist.tool_executions t, langgraph_persist.generations g",
    )
    assert calls == [("search_library", "offline-writer-1", 27, 26)]


def test_quickstart_shows_all_of_it(quickstart: str) -> None:
    headings = r"^(?:Timeline|Generations|State after review|The same in SQL)\n\n"
    _, timeline, generations, state, sql = re.split(headings, quickstart, flags=re.MULTILINE)
    assert "search_library" in timeline
    assert "runs: start, resume" in timeline
    assert "system: 'You write short articles from facts.'" in generations
    assert '"published": true' in state
    assert sql.count("offline-writer-1") == 1


def test_date_planner_records_a_failure_and_a_skipped_node(database: str, project: Path) -> None:
    shown = run("date_planner.py", database, project)

    assert "Sorry: no dining within 10 km of Reykjavik." in shown
    workflows = rows(
        database,
        "SELECT status, error_type FROM langgraph_persist.workflows ORDER BY started_at",
    )
    assert workflows == [("completed", None), ("failed", "LookupError"), ("completed", None)]
    executed = rows(
        database,
        "SELECT count(*) FILTER (WHERE node_name = 'find_cafes'), count(*)"
        " FROM langgraph_persist.nodes WHERE status <> 'skipped'"
        " GROUP BY thread_id ORDER BY min(started_at)",
    )
    assert executed == [(1, 5), (0, 3), (0, 4)]
    promoted = rows(
        database,
        "SELECT settings, result, user_input FROM langgraph_persist.workflows ORDER BY started_at",
    )
    settings = {"time_settings": "from ten to six", "date_theme": "relaxed", "search_radius": 10}
    assert [row[0] for row in promoted] == [settings] * 3
    assert str(promoted[0][1]).startswith("10:00 Tile museum")
    assert promoted[1][1] is None
    found = rows(database, "SELECT kind, count(*) FROM found_places GROUP BY 1 ORDER BY 1")
    assert found == [("activity", 5), ("cafe", 1), ("dining", 4)]
    assert "The same in SQL" in shown
    assert shown.count("Never executed: find_cafes\n") == 1
    assert shown.count("State after") == 3
