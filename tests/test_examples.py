"""The examples run as they are, and leave behind what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(example: str, url: str | None, cwd: Path) -> str:
    """Its output, in a folder that is not this project's; without a URL on a server of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example],
        cwd=cwd,
        env=os.environ | {"LANGGRAPH_PERSIST_URL": url or ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
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
    contexts = "SELECT current_context FROM langgraph_persist.sessions ORDER BY created_at"
    assert [context["parsed_location"] for (context,) in rows(database, contexts)] == [
        "Lisbon",
        "Reykjavik",
        "Lisbon",
    ]
    *_, what_failed, found_by, where = re.split(r"\n\nSELECT ", shown)
    assert "find_dining  no dining within 10 km of Reykjavik  Reykjavik" in what_failed
    assert re.search(r"activity  Tile museum +2.1\d* +2 +bob", found_by)
    assert "['activity', 'dining', 'cafe']" in where
    assert shown.count("Never executed: find_cafes\n") == 1
    assert shown.count("State after") == 3


def test_two_services_share_sessions_and_limits(database: str, project: Path) -> None:
    shown = run("two_services.py", database, project)

    assert shown.splitlines()[1] == "Booked. A day in Lisbon: museum at 10, lunch at 13"
    assert "may have 6 daily requests" in shown
    ended = rows(
        database,
        "SELECT status, count(*) FROM langgraph_persist.workflows GROUP BY 1 ORDER BY 1",
    )
    assert ended == [("completed", 6), ("refused", 6)]
    processes = rows(
        database,
        "SELECT DISTINCT w.name, r.instance_id FROM langgraph_persist.workflows w"
        " JOIN langgraph_persist.workflow_runs r ON r.workflow_id = w.id ORDER BY 1",
    )
    assert [name for name, _ in processes] == ["booking", "planner"]
    assert len({instance for _, instance in processes}) == 2
    sessions = rows(
        database,
        "SELECT u.username, array_agg(w.name::text ORDER BY w.turn) FILTER (WHERE w.turn <= 2)"
        " FROM langgraph_persist.workflows w JOIN langgraph_persist.users u ON u.id = w.user_id"
        " JOIN langgraph_persist.sessions s"
        " ON s.thread_id = w.thread_id AND s.user_id = w.user_id GROUP BY 1 ORDER BY 1",
    )
    assert sessions == [("clara", ["planner", "booking"]), ("david", ["planner", "booking"])]
    read_by_the_other = rows(
        database,
        "SELECT DISTINCT left(b.thread_id, 4), p.name,"
        " b.result ->> 'confirmation' = 'Booked. ' || (p.result ->> 'itinerary')"
        " FROM langgraph_persist.workflows b"
        " JOIN langgraph_persist.workflows p ON p.id::text = b.metadata ->> 'plan'"
        " WHERE b.name = 'booking' AND b.status = 'completed' ORDER BY 1",
    )
    assert read_by_the_other == [("Lisb", "planner", True), ("Rome", "planner", True)]
    counted = rows(
        database,
        "SELECT metric_value FROM langgraph_persist.usage_metrics"
        " WHERE metric_type = 'daily_requests'",
    )
    assert counted == [(6,)]


def test_two_services_share_the_embedded_server(project: Path) -> None:
    shown = run("two_services.py", None, project)
    assert shown.count("completed  6") == shown.count("refused    6") == 1


def test_planning_agent_records_plans_approvals_and_a_refusal(database: str, project: Path) -> None:
    shown = run("planning_agent.py", database, project)

    assert "Refused: organization 'acme-" in shown
    plans = rows(
        database,
        "SELECT p.status, p.total_todos, p.completed_todos, p.actual_cost > 0,"
        " array_agg(v.change_type ORDER BY v.version)"
        " FROM langgraph_persist.plans p JOIN langgraph_persist.plan_versions v"
        " ON v.thread_id = p.thread_id AND v.plan_id = p.id GROUP BY p.thread_id, p.id"
        " ORDER BY p.created_at",
    )
    assert plans[0] == ("completed", 3, 3, True, ["create", "auto_adjust"])
    assert plans[1][0] == "cancelled"
    assert plans[1][4] == ["create", "replan", "auto_adjust"]
    results = rows(
        database,
        "SELECT t.title, r.success, r.tool_name, r.api_calls_count, r.tokens_used > 0, u.username"
        " FROM langgraph_persist.execution_results r"
        " JOIN langgraph_persist.todos t ON t.thread_id = r.thread_id AND t.id = r.todo_id"
        " LEFT JOIN langgraph_persist.users u ON u.id = t.approved_by ORDER BY r.started_at",
    )
    assert results == [
        ("Look up the sales", True, "find_sales", 1, True, None),
        ("Compare them with June", True, "find_sales", 1, True, None),
        ("Send the report", True, "send_report", 1, True, "max"),
    ]
    approvals = rows(
        database,
        "SELECT h.event_type, h.status, h.user_decision, t.title, u.username"
        " FROM langgraph_persist.hitl_events h"
        " JOIN langgraph_persist.todos t ON t.thread_id = h.thread_id AND t.id = h.todo_id"
        " JOIN langgraph_persist.users u ON u.id = h.user_id ORDER BY h.requested_at",
    )
    assert approvals == [
        ("approval_request", "completed", "approve", "Send the report", "max"),
        ("approval_request", "completed", "reject", "Ask the stores for their numbers", "max"),
    ]
    feedback = rows(
        database,
        "SELECT f.rating, p.status FROM langgraph_persist.feedback f"
        " JOIN langgraph_persist.plans p"
        " ON p.thread_id = f.thread_id AND p.workflow_id = f.workflow_id"
        " ORDER BY f.created_at",
    )
    assert feedback == [(5, "completed"), (2, "cancelled")]
    sent = "SELECT count(*) FROM langgraph_persist.tool_executions WHERE tool_name = 'send_report'"
    assert rows(database, sent) == [(1,)]
    requests = rows(
        database,
        "SELECT turn, status, user_input, cost_usd > 0 FROM langgraph_persist.workflows ORDER BY 1",
    )
    assert requests == [
        (1, "completed", "Tell the board how July went", True),
        (2, "completed", "And now August", True),
        (3, "refused", "And September", None),
    ]


def test_chat_evaluation_tells_which_prompt_is_better(database: str, project: Path) -> None:
    shown = run("chat_evaluation.py", database, project)

    assert "1 failed\n    turn 2: TimeoutError: the judge does not answer" in shown
    assert "1 turn evaluated by flaky, 80.0 on average; 2 evaluated before" in shown
    assert "the session is active" in shown
    evaluated = rows(
        database,
        "SELECT evaluation_type::text, evaluator, count(*) FROM langgraph_persist.evaluations"
        " GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert evaluated == [("HOLISTIC_FLOW", "judge", 12), ("TURN_EVAL", "manners", 36)]
    statuses = rows(database, "SELECT DISTINCT status FROM langgraph_persist.sessions")
    assert statuses == [("active",)]
    assert rows(database, "SELECT count(*), sum(rating) FROM langgraph_persist.feedback") == [
        (12, 36)
    ]
    versions = rows(
        database,
        "SELECT prompt_version, calls, round(avg_score), scores, round(avg_rating), ratings"
        " FROM langgraph_persist.prompt_versions ORDER BY 1",
    )
    assert versions == [("1", 18, 52, 18, 2, 6), ("2", 18, 92, 18, 4, 6)]
    assert re.search(r"score 1 -> 2: \+40\.0, effect \+1\.00, p [\d.]+e-\d+", shown) is not None
    assert "A dataset of 18 poor answers" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert [line for line in lines if line[1:2] == ["12"]] == [
        ["1", "12", "75.0"],
        ["2", "12", "71.0"],
        ["3", "12", "70.0"],
    ]
    assert ["customer-03", "3", "kind", "I", "want", "a", "refund"] in lines
