"""Todos of a state as plans: versions, todos, results, costs, approvals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypedDict

import psycopg
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    TodoListMiddleware,
)
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from psycopg.rows import dict_row

from langgraph_persist import Persist
from langgraph_persist.journal import Seal
from langgraph_persist.journal import journal as journal_module
from langgraph_persist.journal.write import write_group
from tests.graphs import answer, fake_model, weather
from tests.test_encryption import Xor, dump

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        yield opened


@pytest.fixture
def rows(migrated: str) -> Rows:
    def query(sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(migrated, row_factory=dict_row) as conn:
            conn.execute("SET search_path = langgraph_persist, public")
            return conn.execute(sql.encode()).fetchall()

    return query


class Working(TypedDict, total=False):
    todos: list[Any]
    note: str


def todo(title: str, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {"content": title, "status": status} | fields


def writing(*lists: Any) -> StateGraph[Any, Any, Any, Any]:
    """A graph whose nodes write these lists of todos, one after the other."""
    builder = StateGraph(Working)
    names = [f"n{number}" for number in range(len(lists))]
    for name, todos in zip(names, lists, strict=True):
        builder.add_node(name, todos if callable(todos) else lambda state, t=todos: {"todos": t})
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder


def work(persist: Persist, *lists: Any, **options: Any) -> Any:
    graph = persist.attach(writing(*lists).compile(checkpointer=persist.checkpointer))
    return graph.invoke({"note": "go"}, persist.config("t", user="alice"), **options)


TODOS = (
    "SELECT title, status, execution_order FROM todos"
    " ORDER BY created_at, execution_order NULLS LAST, title"
)
VERSIONS = (
    "SELECT v.version, v.change_type, v.changed_by FROM plan_versions v"
    " JOIN plans p ON p.thread_id = v.thread_id AND p.id = v.plan_id ORDER BY p.created_at, version"
)
PLANS = (
    "SELECT status, current_version, total_todos, completed_todos, failed_todos FROM plans"
    " ORDER BY created_at"
)


def values(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found]


# --- LangChain's own ---


def call(name: str, number: int, **arguments: Any) -> AIMessage:
    request = {"name": name, "args": arguments, "id": f"call-{number}", "type": "tool_call"}
    return answer("", tool_calls=[request])


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def test_an_agents_todos_become_a_plan_with_results(persist: Persist, rows: Rows) -> None:
    def lists(look: str, tell: str) -> list[dict[str, Any]]:
        return [todo("Look up the weather", look), todo("Tell the user", tell)]

    script = [
        call("write_todos", 1, todos=lists("in_progress", "pending")),
        call("weather", 2, city="Oslo"),
        call("weather", 3, city="Rome"),
        call("write_todos", 4, todos=lists("completed", "in_progress")),
        call("write_todos", 5, todos=lists("completed", "completed")),
        answer("It is sunny."),
    ]
    agent = persist.attach(
        create_agent(
            Scripted(messages=iter(script)),
            tools=[weather],
            middleware=[TodoListMiddleware()],
            checkpointer=persist.checkpointer,
        )
    )
    question: Any = {"messages": "Weather in Oslo and Rome?"}
    agent.invoke(question, persist.config("t", user="alice"))

    (plan,) = rows(
        "SELECT p.*, w.status AS ended FROM plans p"
        " JOIN workflows w ON w.thread_id = p.thread_id AND w.id = workflow_id"
    )
    assert (plan["status"], plan["ended"]) == ("completed", "completed")
    assert plan["intent"] == "Weather in Oslo and Rome?"
    assert (plan["total_todos"], plan["completed_todos"], plan["current_version"]) == (2, 2, 1)
    assert plan["actual_duration_seconds"] > 0
    assert values(rows(VERSIONS)) == [(1, "create", "agent")]
    results = rows(
        "SELECT t.title, r.success, r.tool_name, r.api_calls_count, r.tokens_used,"
        " r.execution_time_ms > 0 AS timed, t.progress_percentage FROM execution_results r"
        " JOIN todos t ON t.thread_id = r.thread_id AND t.id = r.todo_id ORDER BY t.execution_order"
    )
    assert values(results) == [
        ("Look up the weather", True, "weather", 2, 21, True, 100),
        ("Tell the user", True, None, 0, 7, True, 100),
    ]
    claimed = rows(
        "SELECT x.tool_name, t.title FROM tool_executions x"
        " LEFT JOIN todos t ON t.thread_id = x.thread_id AND t.id = x.todo_id ORDER BY x.started_at"
    )
    assert values(claimed) == [
        ("write_todos", None),
        ("weather", "Look up the weather"),
        ("weather", "Look up the weather"),
        ("write_todos", None),
        ("write_todos", None),
    ]


def test_a_plan_costs_what_was_spent_on_it(migrated: str, rows: Rows) -> None:
    script = [
        answer("Let me see."),
        call("write_todos", 1, todos=[todo("look", "in_progress")]),
        call("weather", 2, city="Oslo"),
        call("write_todos", 3, todos=[todo("look", "completed")]),
        answer("It is sunny."),
        answer("You are welcome."),
    ]
    prices: Any = {"fake-1": {"input": 1_000_000, "output": 0}}
    with Persist(migrated, prices=prices) as persist:
        agent = persist.attach(
            create_agent(
                Scripted(messages=iter(script)),
                tools=[weather],
                middleware=[TodoListMiddleware()],
                checkpointer=persist.checkpointer,
            )
        )
        for said in ("Hello!", "Weather in Oslo?", "Thanks!"):
            question: Any = {"messages": said}
            agent.invoke(question, persist.config("t"))
    (plan,) = rows("SELECT actual_cost FROM plans")
    each = rows("SELECT prompt_tokens, cost_usd FROM generations ORDER BY started_at")
    assert all(generation["cost_usd"] == generation["prompt_tokens"] for generation in each)
    assert plan["actual_cost"] == sum(generation["cost_usd"] for generation in each[2:4])


def test_a_model_in_a_tool_is_paid_for_once(migrated: str, rows: Rows) -> None:
    @tool
    def research(question: str) -> str:
        """Asks a model."""
        return fake_model("It is so.").invoke(question).text

    def act(state: Working) -> Working:
        return {"note": research.invoke("Is it?")}

    with Persist(migrated, prices={"fake-1": {"input": 1_000_000, "output": 0}}) as persist:
        work(persist, [todo("look", "in_progress")], act, [todo("look", "completed")])
    (spent,) = rows(
        "SELECT p.actual_cost AS plan, x.cost_usd AS tool, w.cost_usd AS workflow"
        " FROM plans p JOIN tool_executions x USING (thread_id) JOIN workflows w USING (thread_id)"
    )
    assert spent == dict.fromkeys(("plan", "tool", "workflow"), Decimal(7))


# --- versions ---


def test_changes_of_a_plan_are_told_apart(persist: Persist, rows: Rows) -> None:
    work(
        persist,
        [todo("a", "in_progress"), todo("b")],
        [todo("a", "completed"), todo("b", "in_progress")],
        [todo("a", "completed"), todo("b", "in_progress"), todo("c")],
        [todo("a", "completed"), todo("x", "in_progress"), todo("y")],
    )
    assert values(rows(VERSIONS)) == [
        (1, "create", "agent"),
        (2, "auto_adjust", "agent"),
        (3, "replan", "agent"),
    ]
    assert values(rows(TODOS)) == [
        ("a", "completed", 1),
        ("b", "cancelled", None),
        ("c", "cancelled", None),
        ("x", "in_progress", 2),
        ("y", "pending", 3),
    ]
    assert values(rows(PLANS)) == [("executing", 3, 3, 1, 0)]
    (first, second, _) = rows("SELECT todos_snapshot FROM plan_versions ORDER BY version")
    assert [item["title"] for item in first["todos_snapshot"]] == ["a", "b"]
    assert [item["status"] for item in second["todos_snapshot"]] == [
        "completed",
        "in_progress",
        "pending",
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_users_edit_is_told_from_the_agents(
    persist: Persist, rows: Rows, asynchronous: bool
) -> None:
    work(persist, [todo("a", "in_progress"), todo("b")])
    graph = writing([todo("z")]).compile(checkpointer=persist.checkpointer)
    config = persist.config("t", user="bob")
    edited = {"todos": [todo("a", "in_progress"), todo("b"), todo("c")]}
    if asynchronous:
        asyncio.run(graph.aupdate_state(config, edited))
    else:
        graph.update_state(config, edited)
    assert values(rows(VERSIONS)) == [(1, "create", "agent"), (2, "user_edit", "bob")]
    assert values(rows(PLANS)) == [("executing", 2, 3, 0, 0)]


def test_todos_given_with_an_input_are_the_users(persist: Persist, rows: Rows) -> None:
    work(persist, [todo("a", "in_progress"), todo("b")])
    given = {"todos": [todo("b", "in_progress"), todo("a")]}
    builder = writing(lambda state: {"note": "seen"})
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke(given, persist.config("t", user="alice"))
    assert values(rows(VERSIONS)) == [(1, "create", "agent"), (2, "user_edit", "alice")]
    assert values(rows(TODOS)) == [("b", "in_progress", 1), ("a", "pending", 2)]


def test_a_reworded_todo_stays_the_same_one(persist: Persist, rows: Rows) -> None:
    work(persist, [todo("Book a flight to Rome")])
    (before,) = rows("SELECT id FROM todos")
    work(persist, [todo("Book the flight to Rome", "in_progress")])
    (after,) = rows("SELECT id, title, status FROM todos")
    assert after == {
        "id": before["id"],
        "title": "Book the flight to Rome",
        "status": "in_progress",
    }
    assert values(rows(VERSIONS))[1:] == [(2, "auto_adjust", "agent")]


def test_another_turn_makes_another_plan_unless_it_goes_on(persist: Persist, rows: Rows) -> None:
    work(persist, [todo("a", "in_progress"), todo("b")])
    work(persist, [todo("a", "completed"), todo("b", "in_progress")])
    assert len(rows(PLANS)) == 1
    work(persist, [todo("x", "in_progress")])
    assert values(rows(PLANS)) == [("cancelled", 1, 2, 1, 0), ("executing", 1, 1, 0, 0)]
    work(persist, [todo("x", "completed")], [todo("y")])
    assert values(rows(PLANS)) == [
        ("cancelled", 1, 2, 1, 0),
        ("completed", 1, 1, 1, 0),
        ("draft", 1, 1, 0, 0),
    ]
    turns = rows(
        "SELECT w.turn FROM plans p"
        " JOIN workflows w ON w.thread_id = p.thread_id AND w.id = workflow_id ORDER BY 1"
    )
    assert values(turns) == [(1,), (3,), (4,)]


def test_a_plan_that_was_done_is_done_anew_by_another_turn(persist: Persist, rows: Rows) -> None:
    work(persist, [todo("a", "in_progress"), todo("b")], [todo(n, "completed") for n in "ab"])
    work(persist, [todo("a", "in_progress"), todo("c")])
    assert values(rows(PLANS)) == [("completed", 1, 2, 2, 0), ("executing", 1, 2, 0, 0)]
    assert values(rows(TODOS))[:2] == [("a", "completed", 1), ("b", "completed", 2)]
    work(persist, [todo("a", "completed"), todo("c", "completed")])
    work(persist, [todo("a", "completed"), todo("c", "completed"), todo("d")])
    assert values(rows(PLANS))[1:] == [("executing", 2, 3, 2, 0)]


def test_a_fork_has_a_plan_of_its_own(persist: Persist, rows: Rows) -> None:
    lists = [[todo("a")], [todo("a", "in_progress")], [todo("a", "completed")]]
    work(persist, *lists)
    graph = persist.attach(writing(*lists).compile(checkpointer=persist.checkpointer))
    past = [s for s in graph.get_state_history(persist.config("t")) if s.next == ("n1",)]
    graph.invoke(None, past[0].config)
    assert values(rows(PLANS)) == [("completed", 1, 1, 1, 0), ("completed", 1, 1, 1, 0)]
    assert len(rows("SELECT DISTINCT workflow_id FROM plans")) == 2


def test_each_process_goes_on_with_the_plan(migrated: str, rows: Rows) -> None:
    for status in ("pending", "in_progress", "completed"):
        with Persist(migrated) as persist:
            work(persist, [todo("a", status)])
    assert values(rows(PLANS)) == [("completed", 1, 1, 1, 0)]
    (result,) = rows("SELECT success, started_at, completed_at FROM execution_results")
    assert result["success"] and result["started_at"] < result["completed_at"]


def test_nodes_that_change_the_list_in_place(persist: Persist, rows: Rows) -> None:
    def finish(state: Working) -> Working:
        state["todos"][0]["status"] = "completed"
        state["todos"].append(todo("b"))
        return {"todos": state["todos"]}

    # Otherwise the node may change the list while its checkpoint is being saved.
    work(persist, [todo("a", "in_progress")], finish, durability="sync")
    assert values(rows(TODOS)) == [("a", "completed", 1), ("b", "pending", 2)]
    assert values(rows(VERSIONS)) == [(1, "create", "agent"), (2, "auto_adjust", "agent")]


# --- what a todo may say ---


def test_every_column_is_taken_from_the_state(persist: Persist, rows: Rows) -> None:
    full = {
        "id": "T1",
        "title": "Deploy",
        "description": "to production",
        "status": "needs-approval",
        "priority": "high",
        "layer": "ops",
        "tool_name": "deploy",
        "tool_params": {"to": "prod"},
        "timeout_seconds": 30,
        "max_retries": 2,
        "retry_count": 1,
        "progress": 40,
        "requires_approval": True,
        "rejection_reason": "not on Friday",
        "input_data": [1],
        "output_path": "/tmp/x",
        "result": {"ok": False},
        "error": "it broke",
        "depends_on": ["T2", "Check"],
        "estimated_cost": 1.5,
        "estimated_duration_seconds": 60,
    }
    others = [{"id": "T2", "task": "Test", "status": "BLOCKED", "blocks": ["T1"]}, "Check"]
    work(persist, [full, *others])
    deploy, test, check = rows("SELECT * FROM todos ORDER BY execution_order")
    expected = {
        "key": "T1",
        "title": "Deploy",
        "description": "to production",
        "status": "needs_approval",
        "priority": 8,
        "layer": "ops",
        "tool_name": "deploy",
        "tool_params": {"to": "prod"},
        "timeout_seconds": 30.0,
        "max_retries": 2,
        "retry_count": 1,
        "progress_percentage": 40.0,
        "requires_approval": True,
        "rejection_reason": "not on Friday",
        "input_data": [1],
        "output_path": "/tmp/x",
        "result_data": {"ok": False},
        "error_message": "it broke",
        "depends_on": [test["id"], check["id"]],
    }
    assert {name: deploy[name] for name in expected} == expected
    assert (test["title"], test["status"], test["blocks"]) == ("Test", "blocked", [deploy["id"]])
    assert (check["title"], check["status"]) == ("Check", "pending")
    (plan,) = rows("SELECT status, estimated_cost, estimated_duration_seconds FROM plans")
    assert values([plan]) == [("waiting", Decimal("1.5"), 60.0)]


def test_an_estimate_is_that_of_the_list_as_it_is_now(persist: Persist, rows: Rows) -> None:
    estimates = "SELECT estimated_cost::float, estimated_duration_seconds FROM plans"
    work(persist, [todo("a", estimated_cost=1, estimated_duration_seconds=5)])
    assert values(rows(estimates)) == [(1, 5)]
    more = todo("b", estimated_cost=0.5)
    work(persist, [todo("a", estimated_cost=2, estimated_duration_seconds=7), more])
    assert values(rows(estimates)) == [(2.5, 7)]
    work(persist, [todo("a", "completed"), todo("b")])
    assert values(rows(estimates)) == [(2.5, 7)]


def test_a_failed_todo_that_is_tried_again(persist: Persist, rows: Rows) -> None:
    tries = ["in_progress", "failed", "in_progress", "completed"]
    work(persist, *([todo("a", status, error="x" * (status == "failed"))] for status in tries))
    (one,) = rows("SELECT status, retry_count, started_at, completed_at FROM todos")
    assert (one["status"], one["retry_count"]) == ("completed", 1)
    results = rows("SELECT success, error_message FROM execution_results ORDER BY completed_at")
    assert values(results) == [(False, "x"), (True, "")]
    assert values(rows(PLANS)) == [("completed", 1, 1, 1, 0)]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["pending"], "draft"),
        (["needs_approval", "pending"], "waiting"),
        (["blocked", "completed"], "paused"),
        (["completed", "pending"], "executing"),
        (["in_progress", "needs_approval"], "executing"),
        (["completed", "failed"], "failed"),
        (["completed", "skipped"], "completed"),
        (["cancelled"], "cancelled"),
    ],
)
def test_a_plans_status_follows_from_its_todos(
    persist: Persist, rows: Rows, statuses: list[str], status: str
) -> None:
    work(persist, [todo(str(number), s) for number, s in enumerate(statuses)])
    (plan,) = rows("SELECT status FROM plans")
    assert plan["status"] == status


@pytest.mark.parametrize("value", [None, 7, "a text", [1, 2], {"a": 1}, [{"status": "done"}], []])
def test_what_is_no_list_of_todos_is_no_plan(persist: Persist, rows: Rows, value: Any) -> None:
    work(persist, value if value is None else lambda state: {"todos": value})
    assert rows("SELECT * FROM plans") == []
    assert persist.handler.failures.counts == {}


def test_an_emptied_list_cancels_what_was_open(persist: Persist, rows: Rows) -> None:
    work(persist, [todo("a", "completed"), todo("b")], [])
    assert values(rows(TODOS)) == [("a", "completed", None), ("b", "cancelled", None)]
    assert values(rows(PLANS)) == [("cancelled", 2, 0, 0, 0)]


# --- durability and privacy ---


def test_a_commit_whose_answer_was_lost_changes_no_plan_twice(
    persist: Persist, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Any] = []

    def losing(conn: Any, group: Any, *args: Any) -> Any:
        refused = write_group(conn, group, *args)
        if len(lost) < 2:
            lost.append(group)
            raise psycopg.OperationalError("the answer was lost")
        return refused

    monkeypatch.setattr(journal_module, "write_group", losing)
    work(persist, [todo("a")], [todo("a", "in_progress"), todo("b")], [todo("a", "completed")])
    assert len(lost) == 2
    assert values(rows(VERSIONS)) == [
        (1, "create", "agent"),
        (2, "auto_adjust", "agent"),
        (3, "auto_adjust", "agent"),
    ]
    assert len(rows("SELECT * FROM execution_results")) == 1


def test_a_graph_that_is_not_recorded_has_no_plan(persist: Persist, rows: Rows) -> None:
    graph = writing([todo("a")]).compile(checkpointer=persist.checkpointer)
    graph.invoke({"note": "go"}, persist.config("t"))
    graph.update_state(persist.config("t"), {"todos": [todo("b")]})
    assert rows("SELECT * FROM plans") == []


def test_with_a_serde_that_encrypts_no_todo_can_be_read(migrated: str, rows: Rows) -> None:
    lists = [
        [todo("secret a", "in_progress"), todo("secret b", result="secret r")],
        [todo("secret a", "completed"), todo("secret c", error="secret e")],
    ]
    for thread, cipher in (("structure", None), ("sealed", Xor())):
        serde = EncryptedSerializer(Xor())
        with Persist(migrated, serde=serde, record_cipher=cipher) as persist:
            graph = persist.attach(writing(*lists).compile(checkpointer=persist.checkpointer))
            graph.invoke({"note": "go"}, persist.config(thread))
    assert "secret" not in dump(migrated)
    counted = rows("SELECT thread_id, status, current_version, total_todos FROM plans ORDER BY 1")
    assert values(counted) == [("sealed", "executing", 2, 2), ("structure", "executing", 2, 2)]
    titles = rows("SELECT title FROM todos WHERE thread_id = 'structure' ORDER BY execution_order")
    assert values(titles) == [("todo 1",), ("todo 2",), ("todo 2",)]
    sealed = rows("SELECT title FROM todos WHERE thread_id = 'sealed' ORDER BY execution_order")
    assert [Seal(Xor()).open(row["title"]) for row in sealed] == [
        "secret a",
        "secret c",
        "secret b",
    ]


def test_an_approval_is_that_of_the_todo_which_waits(persist: Persist, rows: Rows) -> None:
    def ask(state: Working) -> Working:
        interrupt({"question": "May I?"})
        return {}

    done = [todo("look", "completed"), todo("deploy", "in_progress")]
    lists = [[todo("look", "completed"), todo("deploy", "needs_approval")], ask, done]
    graph = persist.attach(writing(*lists).compile(checkpointer=persist.checkpointer))
    graph.invoke({"note": "go"}, persist.config("t", user="alice"))
    joined = (
        "SELECT h.status, t.title, p.status AS plan, u.username FROM hitl_events h"
        " JOIN plans p ON p.thread_id = h.thread_id AND p.id = h.plan_id"
        " JOIN todos t ON t.thread_id = h.thread_id AND t.id = h.todo_id"
        " LEFT JOIN users u ON u.id = h.user_id"
    )
    assert values(rows(joined)) == [("pending", "deploy", "waiting", None)]
    graph.invoke(Command(resume=True), persist.config("t", user="bob"))
    assert values(rows(joined)) == [("completed", "deploy", "executing", "bob")]
    (deploy,) = rows(
        "SELECT t.requires_approval, t.approved_at IS NOT NULL AS approved, u.username FROM todos t"
        " JOIN users u ON u.id = t.approved_by"
    )
    assert values([deploy]) == [(True, True, "bob")]


def test_who_approves_a_call_approves_the_todo_in_progress(persist: Persist, rows: Rows) -> None:
    script = [
        call("write_todos", 1, todos=[todo("look", "in_progress"), todo("tell")]),
        call("weather", 2, city="Oslo"),
        call("write_todos", 3, todos=[todo("look", "completed"), todo("tell", "in_progress")]),
        answer("It is sunny."),
    ]
    middleware: list[AgentMiddleware[Any, Any, Any]] = [
        TodoListMiddleware(),
        HumanInTheLoopMiddleware({"weather": True}),
    ]
    agent = persist.attach(
        create_agent(
            Scripted(messages=iter(script)),
            tools=[weather],
            middleware=middleware,
            checkpointer=persist.checkpointer,
        )
    )
    question: Any = {"messages": "Weather?"}
    agent.invoke(question, persist.config("t", user="alice"))
    approval: Command[Any] = Command(resume={"decisions": [{"type": "approve"}]})
    agent.invoke(approval, persist.config("t", user="bob"))

    joined = rows(
        "SELECT h.event_type, h.user_decision, t.title, a.username FROM hitl_events h"
        " JOIN todos t ON t.thread_id = h.thread_id AND t.id = h.todo_id"
        " JOIN users a ON a.id = t.approved_by AND a.id = h.user_id"
    )
    assert values(joined) == [("approval_request", "approve", "look", "bob")]
    approved = "SELECT requires_approval, approved_at IS NOT NULL FROM todos ORDER BY title"
    assert values(rows(approved)) == [(True, True), (False, False)]


@pytest.mark.parametrize(
    ("statuses", "asked_for", "joined"),
    [
        (["in_progress", "in_progress"], None, None),
        (["in_progress", "needs_approval"], None, "1"),
        (["in_progress", "needs_approval"], "0", "0"),
        (["in_progress", "needs_approval", "needs_approval"], None, None),
        (["in_progress", "needs_approval", "needs_approval"], "2", "2"),
        (["pending", "completed"], None, None),
    ],
)
def test_a_request_is_for_the_todo_it_names_or_the_only_one(
    persist: Persist, rows: Rows, statuses: list[str], asked_for: str | None, joined: str | None
) -> None:
    def ask(state: Working) -> Working:
        interrupt({"question": "May I?", "todo_id": asked_for})
        return {}

    work(persist, [todo(str(number), status) for number, status in enumerate(statuses)], ask)
    found = rows(
        "SELECT t.title FROM hitl_events h"
        " LEFT JOIN todos t ON t.thread_id = h.thread_id AND t.id = h.todo_id"
    )
    assert values(found) == [(joined,)]
