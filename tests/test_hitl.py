"""Human in the loop: what a graph asks, what it was told, and what goes on after it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, interrupt
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ValidationError

from langgraph_persist import Persist
from langgraph_persist.errors import NotRecorded
from langgraph_persist.extract import hitl_answers, hitl_request
from tests.graphs import MODES, Steps, answer, approval_graph, chain_of, run, weather

EVENTS = (
    "SELECT e.*, n.node_name, u.username FROM hitl_events e"
    " LEFT JOIN nodes n ON n.thread_id = e.thread_id AND n.id = e.node_id"
    " LEFT JOIN users u ON u.id = e.user_id ORDER BY e.requested_at, e.interrupt_id"
)


def asking(name: str, *questions: str) -> Any:
    """A node that asks these, one after another, and logs the answers."""

    def node(state: Steps) -> Steps:
        return {"log": [f"{name}: {interrupt(question)}" for question in questions]}

    return node


def askers(persist: Persist, **questions: str) -> Any:
    """Nodes side by side that ask one question each."""
    builder = StateGraph(Steps)
    for name, question in questions.items():
        builder.add_node(name, asking(name, question))
        builder.add_edge(START, name)
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


def approval(persist: Persist) -> Any:
    return persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))


# --- one question ---


@pytest.mark.parametrize("mode", MODES)
def test_a_question_and_its_answer(persist: Persist, rows: Any, mode: str) -> None:
    graph = approval(persist)
    run(graph, mode, {"note": "draft 1"}, persist.config("t", user="alice"))
    (event,) = rows(EVENTS)
    assert (event["status"], event["event_type"]) == ("pending", "input_request")
    assert event["event_data"] == {"question": "publish?", "note": "draft 1"}
    assert event["node_name"] == "ask"
    assert event["requested_at"] is not None
    assert event["responded_at"] is event["username"] is event["user_input"] is None
    (waiting,) = graph.get_state(persist.config("t")).interrupts
    assert event["interrupt_id"] == waiting.id

    run(graph, mode, Command(resume="approve"), persist.config("t", user="carol"))
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "approve")
    assert (event["username"], event["user_input"]) == ("carol", "approve")
    assert event["responded_at"] > event["requested_at"]
    runs = rows(
        "SELECT kind, status, attempt, username FROM workflow_runs r"
        " JOIN users u ON u.id = r.user_id ORDER BY attempt"
    )
    assert [tuple(r.values()) for r in runs] == [
        ("start", "interrupted", 1, "alice"),
        ("resume", "completed", 2, "carol"),
    ]
    (workflow,) = rows("SELECT w.*, username FROM workflows w JOIN users u ON u.id = w.user_id")
    assert (workflow["status"], workflow["username"]) == ("completed", "alice")


@pytest.mark.parametrize("mode", MODES)
def test_the_order_and_the_attempts_go_on(persist: Persist, rows: Any, mode: str) -> None:
    graph = approval(persist)
    run(graph, mode, {"count": 0}, persist.config("t"))
    run(graph, mode, Command(resume="yes"), persist.config("t"))
    nodes = rows("SELECT * FROM nodes ORDER BY execution_order")
    assert [(n["execution_order"], n["node_name"], n["attempt"]) for n in nodes] == [
        (1, "draft", 1),
        (2, "ask", 1),
        (3, "ask", 2),
        (4, "publish", 1),
    ]
    assert nodes[1]["task_id"] == nodes[2]["task_id"]
    assert rows("SELECT node_count FROM workflows") == [{"node_count": 4}]


def test_the_time_waited_is_not_active(persist: Persist, rows: Any, migrated: str) -> None:
    graph = approval(persist)
    graph.invoke({"count": 0}, persist.config("t"))
    past = "SET started_at = now() - interval '1 hour'"
    rows(f"UPDATE workflows {past} RETURNING 1")
    rows(f"UPDATE workflow_runs {past} RETURNING 1")
    graph.invoke(Command(resume="yes"), persist.config("t"))
    (workflow,) = rows("SELECT duration_ms, active_ms FROM workflows")
    assert workflow["duration_ms"] > 3_600_000
    assert 0 < workflow["active_ms"] < 60_000


@pytest.mark.plain_postgres("a cluster has no snapshot of all its servers")
def test_it_commits_with_the_interrupt_in_its_checkpoint(persist: Persist, rows: Any) -> None:
    """Neither is there without the other, also while the run goes on."""
    found: list[Any] = []

    async def watch(state: Steps) -> Steps:
        both = (
            "SELECT (SELECT count(*) FROM hitl_events) AS asked, (SELECT count(*)"
            " FROM checkpoint_writes WHERE channel = '__interrupt__') AS saved"
        )
        while not (found and found[-1]["saved"]):
            found.extend(await asyncio.to_thread(rows, both))
        return {}

    builder = StateGraph(Steps)
    builder.add_node("ask", asking("ask", "sure?"))
    builder.add_node("watch", watch)
    builder.add_edge(START, "ask")
    builder.add_edge(START, "watch")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    asyncio.run(graph.ainvoke({"count": 0}, persist.config("t")))
    assert all(seen["asked"] == seen["saved"] for seen in found)
    assert found[-1] == {"asked": 1, "saved": 1}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_durabilities(persist: Persist, rows: Any, durability: Any) -> None:
    graph = approval(persist)
    graph.invoke({"count": 0}, persist.config("t"), durability=durability)
    assert [e["status"] for e in rows(EVENTS)] == ["pending"]
    graph.invoke(Command(resume=True), persist.config("t"), durability=durability)
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "approve")


def test_another_process_answers(migrated: str, rows: Any) -> None:
    inputs: list[Any] = [{"count": 0}, Command(resume="ok")]
    for value in inputs:
        with Persist(migrated) as persist:  # remembers nothing of the first
            approval(persist).invoke(value, persist.config("t"))
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_input"], event["user_decision"]) == (
        "completed",
        "ok",
        None,
    )
    orders = rows("SELECT execution_order, attempt FROM nodes ORDER BY execution_order")
    assert [tuple(o.values()) for o in orders] == [(1, 1), (2, 1), (3, 2), (4, 1)]


def test_with_a_foreign_checkpointer(persist: Persist, rows: Any) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=InMemorySaver()))
    graph.invoke({"count": 0}, persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["pending"]
    graph.invoke(Command(resume="reject"), persist.config("t"))
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "reject")
    orders = rows("SELECT execution_order, attempt FROM nodes ORDER BY execution_order")
    assert [tuple(o.values()) for o in orders] == [(1, 1), (2, 1), (3, 2), (4, 1)]
    graph.invoke({"count": 0}, persist.config("t"))
    graph.invoke({"count": 0}, persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["completed", "cancelled", "pending"]


@pytest.mark.parametrize("mode", MODES)
def test_another_process_answers_on_a_foreign_checkpointer(
    migrated: str, rows: Any, mode: str
) -> None:
    saver = InMemorySaver()
    inputs: list[Any] = [{"count": 0}, Command(resume="ok"), {"count": 0}, {"count": 0}]
    for value in inputs:
        with Persist(migrated) as persist:  # remembers nothing of what was before
            graph = persist.attach(approval_graph().compile(checkpointer=saver))
            run(graph, mode, value, persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["completed", "cancelled", "pending"]
    workflows = rows("SELECT status, turn FROM workflows ORDER BY turn")
    assert [tuple(w.values()) for w in workflows] == [
        ("completed", 1),
        ("cancelled", 2),
        ("interrupted", 3),
    ]
    orders = rows(
        "SELECT n.execution_order, n.attempt FROM nodes n JOIN workflows w"
        " ON w.thread_id = n.thread_id AND w.id = n.workflow_id WHERE w.turn = 1 ORDER BY 1"
    )
    assert [tuple(o.values()) for o in orders] == [(1, 1), (2, 1), (3, 2), (4, 1)]


def test_a_copied_question_is_answered_on_its_own(migrated: str, rows: Any) -> None:
    with Persist(migrated) as persist:
        approval(persist).invoke({"count": 0}, persist.config("t"))
        persist.checkpointer.copy_thread("t", "copy", record=True)
    with Persist(migrated) as persist:
        approval(persist).invoke(Command(resume="ok"), persist.config("copy"))
        assert [event.thread_id for event in persist.history.pending()] == ["t"]
        approval(persist).invoke(Command(resume="ok"), persist.config("t"))
    workflows = rows("SELECT thread_id, status FROM workflows ORDER BY 1")
    assert [tuple(w.values()) for w in workflows] == [("copy", "completed"), ("t", "completed")]


def test_nobody_is_asked_on_a_thread_that_was_deleted(persist: Persist, rows: Any) -> None:
    approval(persist).invoke({"count": 0}, persist.config("t"))
    persist.checkpointer.delete_thread("t")
    assert persist.history.pending() == []
    assert [e["status"] for e in rows(EVENTS)] == ["cancelled"]
    assert [w["status"] for w in rows("SELECT status FROM workflows")] == ["cancelled"]


def test_a_reader_who_stops_at_the_question_interrupts(persist: Persist, rows: Any) -> None:
    graph = approval(persist)
    for chunk in (stream := graph.stream({"count": 0}, persist.config("t"))):
        if "__interrupt__" in chunk:
            break
    stream.close()
    assert rows("SELECT status FROM workflows") == [{"status": "interrupted"}]
    assert [e["status"] for e in rows(EVENTS)] == ["pending"]


# --- several questions ---


@pytest.mark.parametrize("mode", MODES)
def test_several_at_once_answered_one_by_one(persist: Persist, rows: Any, mode: str) -> None:
    graph = askers(persist, a="first?", b="second?")
    config = persist.config("t")
    run(graph, mode, {"count": 0}, config)
    ids = {i.value: i.id for i in graph.get_state(config).interrupts}
    assert {e["node_name"]: e["event_data"] for e in rows(EVENTS)} == {
        "a": "first?",
        "b": "second?",
    }

    run(graph, mode, Command(resume={ids["first?"]: "yes"}), config)
    events = {e["event_data"]: e for e in rows(EVENTS)}
    assert (events["first?"]["status"], events["first?"]["user_input"]) == ("completed", "yes")
    assert events["second?"]["status"] == "pending"
    assert len(events) == len(rows(EVENTS)) == 2
    assert rows("SELECT status FROM workflows") == [{"status": "interrupted"}]

    run(graph, mode, Command(resume={ids["second?"]: {"type": "edit"}}), config)
    events = {e["event_data"]: e for e in rows(EVENTS)}
    assert (events["second?"]["status"], events["second?"]["user_decision"]) == (
        "completed",
        "edit",
    )
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    attempts = rows("SELECT attempt FROM workflow_runs ORDER BY attempt")
    assert [a["attempt"] for a in attempts] == [1, 2, 3]


def test_an_answer_that_langgraph_refuses_answers_nothing(persist: Persist, rows: Any) -> None:
    graph = askers(persist, a="first?", b="second?")
    graph.invoke({"count": 0}, persist.config("t"))
    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        graph.invoke(Command(resume="yes"), persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["pending", "pending"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nested", [False, True])
def test_what_completed_beside_a_question_gets_the_state_after_its_step(
    persist: Persist, rows: Any, nested: bool, mode: str
) -> None:
    builder = StateGraph(Steps)
    for name in ("first", "second"):
        builder.add_node(name, asking(name, f"{name}?"))
        builder.add_edge(START, name)
    builder.add_node("beside", lambda state: {"log": ["beside"]})
    builder.add_edge(START, "beside")
    builder.add_node("later", lambda state: {"log": ["later"]})
    builder.add_edge(["first", "second", "beside"], "later")
    if nested:
        outer = StateGraph(Steps)
        outer.add_node("inner", builder.compile())
        outer.add_edge(START, "inner")
        builder = outer
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"log": []}, persist.config("t"))
    with pytest.raises(NotRecorded, match="step was not finished"):
        persist.history.last().state_after("beside")
    for name in ("first", "second"):
        waiting = {i.value: i.id for i in graph.get_state(persist.config("t")).interrupts}
        run(graph, mode, Command(resume={waiting[f"{name}?"]: "yes"}), persist.config("t"))
    log = ["beside", "first: yes", "second: yes"]
    workflow = persist.history.last()
    for name in ("beside", "first", "second"):
        assert workflow.state_after(name) == {"log": log}
    assert workflow.state_after("later") == {"log": [*log, "later"]}
    placed = rows(
        "SELECT DISTINCT checkpoint_id FROM nodes WHERE status = 'completed'"
        " AND node_name IN ('beside', 'first', 'second')"
    )
    assert len(placed) == 1


def test_what_completed_beside_a_failure_gets_the_state_after_its_step(migrated: str) -> None:
    failing = iter([True, False])

    def fails(state: Steps) -> Steps:
        if next(failing):
            raise ValueError
        return {"log": ["fails"]}

    builder = StateGraph(Steps)
    for name, node in {"beside": lambda state: {"log": ["beside"]}, "fails": fails}.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    builder.add_node("hidden", lambda state: {"log": ["hidden"]})
    builder.add_edge(START, "hidden")
    with Persist(migrated, exclude={"nodes": ["hidden"]}) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises(ValueError):
            graph.invoke({"log": []}, persist.config("t"))
        graph.invoke(None, persist.config("t"))
        workflow = persist.history.last()
        assert workflow.state_after("beside") == {"log": ["beside", "fails", "hidden"]}
        with pytest.raises(NotRecorded, match="exclude="):
            workflow.state_after("hidden")


@pytest.mark.parametrize("mode", MODES)
def test_one_after_another_in_a_node(persist: Persist, rows: Any, mode: str) -> None:
    builder = StateGraph(Steps)
    builder.add_node("ask", asking("ask", "name?", "age?"))
    builder.add_edge(START, "ask")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    run(graph, mode, {"count": 0}, config)
    run(graph, mode, Command(resume="Ann"), config)
    events = rows(EVENTS)
    assert [(e["event_data"], e["status"]) for e in events] == [
        ("name?", "completed"),
        ("age?", "pending"),
    ]
    run(graph, mode, Command(resume=42), config)
    assert [(e["event_data"], e["status"], e["user_input"]) for e in rows(EVENTS)] == [
        ("name?", "completed", "Ann"),
        ("age?", "completed", 42),
    ]
    assert [n["attempt"] for n in rows("SELECT attempt FROM nodes ORDER BY execution_order")] == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("mode", MODES)
def test_in_a_subgraph(persist: Persist, rows: Any, mode: str) -> None:
    inner = StateGraph(Steps)
    for name in ("x", "y"):
        inner.add_node(name, asking(name, f"{name}?"))
        inner.add_edge(START, name)
    builder = chain_of(["a"])
    builder.add_node("sub", inner.compile())
    builder.add_edge("a", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    run(graph, mode, {"count": 0}, config)
    asked = {(e["node_name"], e["event_data"], e["status"]) for e in rows(EVENTS)}
    assert asked == {("x", "x?", "pending"), ("y", "y?", "pending")}
    ids = {i.value: i.id for i in graph.get_state(config).interrupts}
    run(graph, mode, Command(resume={ids["x?"]: 1, ids["y?"]: 2}), config)
    told = {(e["event_data"], e["status"], e["user_input"]) for e in rows(EVENTS)}
    assert told == {("x?", "completed", 1), ("y?", "completed", 2)}
    assert len(rows(EVENTS)) == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_answered_twice_at_once(migrated: str, rows: Any, processes: int) -> None:
    """Both runs go on with the workflow, not knowing of each other; all is counted once."""
    met = threading.Barrier(2)

    def ask(state: Steps) -> Steps:
        answer = interrupt("sure?")
        met.wait(30)
        return {"log": [str(answer)]}

    builder = chain_of(["draft"])
    builder.add_node("ask", ask)
    builder.add_edge("draft", "ask")
    with ExitStack() as stack:
        # Another URL makes a journal of its own, as another process has.
        urls = [make_conninfo(migrated, connect_timeout=20 + n) for n in range(processes)]
        opened = [stack.enter_context(Persist(url)) for url in urls]
        assert len({id(persist.checkpointer.journal) for persist in opened}) == processes
        graphs = [p.attach(builder.compile(checkpointer=p.checkpointer)) for p in opened]
        graphs[0].invoke({"count": 0}, opened[0].config("t"))

        def answer(number: int) -> None:
            persist, graph = opened[number % processes], graphs[number % processes]
            graph.invoke(Command(resume=f"yes {number}"), persist.config("t"))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(answer, range(2)))
        graphs[0].invoke({"count": 0}, opened[0].config("other"))
    first = " WHERE thread_id = 't' ORDER BY 1"
    nodes = rows(f"SELECT execution_order, node_name, attempt FROM nodes{first}")
    assert [tuple(n.values()) for n in nodes] == [
        (1, "draft", 1),
        (2, "ask", 1),
        (3, "ask", 2),
        (4, "ask", 3),
    ]
    runs = rows(f"SELECT attempt FROM workflow_runs{first}")
    assert [r["attempt"] for r in runs] == [1, 2, 3]
    assert rows(f"SELECT node_count FROM workflows{first}") == [{"node_count": 4}]


# --- a graph that a node calls, on a thread of its own ---


def caller_of(persist: Persist, inner: Any) -> Any:
    """A graph whose node calls another one on the thread "inner"."""

    def call(state: Steps) -> Steps:
        inner.invoke({"count": 0}, persist.config("inner"))
        return {"log": ["called"]}

    async def acall(state: Steps) -> Steps:
        await inner.ainvoke({"count": 0}, persist.config("inner"))
        return {"log": ["called"]}

    builder = StateGraph(Steps)
    builder.add_node("call", RunnableLambda(call, acall))
    builder.add_edge(START, "call")
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


def statuses(rows: Any) -> list[tuple[Any, ...]]:
    """The requests: on which thread they are recorded, which one waits, and how it went."""
    events = rows(
        "SELECT thread_id, checkpoint_thread_id, event_data, status, user_input FROM hitl_events"
        " ORDER BY requested_at, event_data"
    )
    return [tuple(event.values()) for event in events]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("again", [False, True], ids=["same process", "another process"])
def test_a_called_graph_waits_on_its_own_thread(
    migrated: str, rows: Any, mode: str, again: bool
) -> None:
    with Persist(migrated) as persist:
        inner = askers(persist, a="first?", b="second?")
        run(caller_of(persist, inner), mode, {"count": 0}, persist.config("outer", user="alice"))
        if not again:
            answer_by_recipe(persist, inner, mode)
    if again:
        with Persist(migrated) as persist:
            answer_by_recipe(persist, askers(persist, a="first?", b="second?"), mode)
    assert {s[2:] for s in statuses(rows)} >= {
        ("first?", "completed", "yes"),
        ("second?", "completed", "yes"),
    }
    assert {s[3] for s in statuses(rows)} <= {"completed", "cancelled"}
    workflows = rows("SELECT thread_id, status FROM workflows ORDER BY 1")
    assert [tuple(w.values()) for w in workflows] == [
        ("inner", "completed"),
        ("outer", "completed"),
    ]


def answer_by_recipe(persist: Persist, inner: Any, mode: str) -> None:
    """Answer what waits one by one, as the README has it."""
    asked = persist.history.pending()
    assert [(e.thread_id, e.resume_thread_id) for e in asked] == [("outer", "inner")] * 2
    assert asked == persist.history.pending(thread="inner")
    for number in (2, 1):
        event, *others = persist.history.pending()
        assert len(others) == number - 1
        resume: Any = Command(resume={event.interrupt_id: "yes"})
        run(inner, mode, resume, persist.config(event.resume_thread_id, user="carol"))
    assert persist.history.pending() == []


def test_an_answer_to_the_calling_thread_answers_nothing(persist: Persist, rows: Any) -> None:
    inner = askers(persist, a="sure?")
    outer = caller_of(persist, inner)
    outer.invoke({"count": 0}, persist.config("outer"))
    (event,) = persist.history.pending()
    outer.invoke(Command(resume={event.interrupt_id: "yes"}), persist.config("outer"))
    assert statuses(rows) == [("outer", "inner", "sure?", "pending", None)]
    saved = inner.get_state(persist.config("inner")).metadata
    assert saved is not None
    assert not [key for key in saved if "persist" in key]
    inner.invoke(Command(resume="no"), persist.config("inner", user="carol"))
    assert statuses(rows) == [("outer", "inner", "sure?", "completed", "no")]


def test_what_a_called_graph_asks_outlives_its_callers_turn(persist: Persist, rows: Any) -> None:
    graph = approval(persist)
    graph.invoke({"count": 0}, persist.config("outer"))
    inner = askers(persist, a="sure?")
    outer = caller_of(persist, inner)
    outer.invoke({"count": 0}, persist.config("outer"))
    graph.invoke({"count": 0}, persist.config("outer"))
    assert [s[:4] for s in statuses(rows)] == [
        ("outer", None, {"note": None, "question": "publish?"}, "cancelled"),
        ("outer", "inner", "sure?", "pending"),
        ("outer", None, {"note": None, "question": "publish?"}, "pending"),
    ]


@pytest.mark.parametrize("by", ["its caller", "itself"])
def test_a_new_input_ends_what_a_called_graph_asked(persist: Persist, rows: Any, by: str) -> None:
    inner = askers(persist, a="sure?")
    outer = caller_of(persist, inner)
    outer.invoke({"count": 0}, persist.config("outer"))
    if by == "itself":
        inner.invoke({"count": 0}, persist.config("inner"))
    else:
        outer.invoke({"count": 0}, persist.config("outer"))
    asked_again = ("inner", None) if by == "itself" else ("outer", "inner")
    assert [s[:4] for s in statuses(rows)] == [
        ("outer", "inner", "sure?", "cancelled"),
        (*asked_again, "sure?", "pending"),
    ]


def test_a_node_that_calls_a_graph_anew_ends_what_it_asked(persist: Persist, rows: Any) -> None:
    inner = askers(persist, a="sure?")

    def call(state: Steps) -> Steps:
        for _ in range(2):
            inner.invoke({"count": 0}, persist.config("inner"))
        return {}

    builder = StateGraph(Steps)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("outer"))
    assert [s[:4] for s in statuses(rows)] == [
        ("outer", "inner", "sure?", "cancelled"),
        ("outer", "inner", "sure?", "pending"),
    ]


def test_a_pause_deep_in_a_called_graph_is_one(persist: Persist, rows: Any) -> None:
    paused = chain_of(["x", "y"]).compile(interrupt_before=["y"])
    builder = StateGraph(Steps)
    builder.add_node("sub", paused)
    builder.add_edge(START, "sub")
    inner = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    caller_of(persist, inner).invoke({"count": 0}, persist.config("outer"))
    assert [s[:2] + s[3:4] for s in statuses(rows)] == [("outer", "inner", "pending")]
    inner.invoke(None, persist.config("inner"))
    assert [s[:2] + s[3:4] for s in statuses(rows)] == [("outer", "inner", "completed")]


def test_a_called_graph_whose_thread_is_deleted_asks_nobody(persist: Persist, rows: Any) -> None:
    caller_of(persist, askers(persist, a="sure?")).invoke({"count": 0}, persist.config("outer"))
    persist.checkpointer.copy_thread("outer", "copy", record=True)
    assert [event.thread_id for event in persist.history.pending()] == ["outer"]
    persist.checkpointer.delete_thread("inner")
    assert statuses(rows) == [("outer", "inner", "sure?", "cancelled", None)]


def test_an_edit_of_a_called_graphs_state_is_its_answer(persist: Persist, rows: Any) -> None:
    inner = askers(persist, a="sure?")
    caller_of(persist, inner).invoke({"count": 0}, persist.config("outer"))
    inner.update_state(persist.config("inner"), {"log": ["by hand"]}, as_node="a")
    inner.invoke(None, persist.config("inner", user="carol"))
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "edit")


@pytest.mark.parametrize("mode", MODES)
def test_a_node_answers_what_a_graph_asks_that_it_calls(
    persist: Persist, rows: Any, mode: str
) -> None:
    """In the same run, and in a later one what a run of the called graph itself had asked."""
    builder = StateGraph(Steps)
    builder.add_node("ask", asking("ask", "name?", "age?"))
    builder.add_edge(START, "ask")
    inner = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    told: list[Any] = [{"count": 0}, Command(resume="Ann"), Command(resume=42)]

    def call(state: Steps) -> Steps:
        for value in told:
            inner.invoke(value, persist.config("inner"))
        return {}

    async def acall(state: Steps) -> Steps:
        for value in told:
            await inner.ainvoke(value, persist.config("inner"))
        return {}

    outer = StateGraph(Steps)
    outer.add_node("call", RunnableLambda(call, acall))
    outer.add_edge(START, "call")
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("outer", user="alice"))
    assert statuses(rows) == [
        ("outer", "inner", "name?", "completed", "Ann"),
        ("outer", "inner", "age?", "completed", 42),
    ]
    assert {event["username"] for event in rows(EVENTS)} == {"alice"}
    inner.invoke(told.pop(0), persist.config("inner"))
    run(graph, mode, {"count": 0}, persist.config("outer", user="alice"))
    assert statuses(rows)[2:] == [
        ("inner", None, "name?", "completed", "Ann"),
        ("outer", "inner", "age?", "completed", 42),
    ]


def test_a_called_graph_that_pauses_waits(persist: Persist, rows: Any) -> None:
    paused = chain_of(["x", "y"]).compile(checkpointer=persist.checkpointer, interrupt_before=["y"])
    inner = persist.attach(paused)
    caller_of(persist, inner).invoke({"count": 0}, persist.config("outer"))
    asked = {"when": "before", "nodes": ["y"]}
    assert statuses(rows) == [("outer", "inner", asked, "pending", None)]
    inner.invoke(None, persist.config("inner"))
    assert statuses(rows) == [("outer", "inner", asked, "completed", None)]


# --- the functional API ---


@pytest.mark.parametrize("mode", MODES)
def test_functional_api(persist: Persist, rows: Any, mode: str) -> None:
    @task
    def draft(topic: str) -> str:
        return f"on {topic}"

    @task
    def review(text: str) -> str:
        return str(interrupt({"review": text}))

    @entrypoint(checkpointer=persist.checkpointer)
    def flow(topic: str) -> str:
        text = draft(topic).result()
        first = review(text).result()
        return f"{text}: {first}, {interrupt('publish?')}"

    graph, config = persist.attach(flow), persist.config("t")
    run(graph, mode, "cats", config)
    (event,) = rows(EVENTS)
    assert (event["node_name"], event["event_data"]) == ("review", {"review": "on cats"})
    run(graph, mode, Command(resume="good"), config)
    run(graph, mode, Command(resume="sure"), config)
    assert [(e["node_name"], e["status"], e["user_input"]) for e in rows(EVENTS)] == [
        ("review", "completed", "good"),
        ("flow", "completed", "sure"),
    ]
    (workflow,) = rows("SELECT status, result FROM workflows")
    assert workflow == {"status": "completed", "result": "on cats: good, sure"}


# --- agents ---


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def agent(persist: Persist, cities: list[str], **options: Any) -> Any:
    calls = [{"name": "weather", "args": {"city": city}, "id": f"call-{city}"} for city in cities]
    model = Model(messages=iter([answer("", tool_calls=calls), answer("done")]))
    humans = HumanInTheLoopMiddleware(interrupt_on={"weather": True}, **options)
    made = create_agent(model, [weather], middleware=[humans], checkpointer=persist.checkpointer)
    return persist.attach(made)


@pytest.mark.parametrize("mode", MODES)
def test_an_agents_actions_are_approved(persist: Persist, rows: Any, mode: str) -> None:
    graph, config = agent(persist, ["Oslo", "Rome"]), persist.config("t", user="carol")
    run(graph, mode, {"messages": [HumanMessage("Weather?")]}, config)
    (event,) = rows(EVENTS)
    assert (event["event_type"], event["status"]) == ("approval_request", "pending")
    asked = event["event_data"]["action_requests"]
    assert [a["args"] for a in asked] == [{"city": "Oslo"}, {"city": "Rome"}]
    told = {"decisions": [{"type": "approve"}, {"type": "reject", "message": "no"}]}
    run(graph, mode, Command(resume=told), config)
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "approve, reject")
    assert (event["username"], event["user_input"]) == ("carol", told)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_an_agents_actions_are_approved_one_by_one(persist: Persist, rows: Any, mode: str) -> None:
    graph = agent(persist, ["Oslo", "Rome"], interrupt_mode="per_call")
    config = persist.config("t")
    run(graph, mode, {"messages": [HumanMessage("Weather?")]}, config)
    events = rows(EVENTS)
    assert {e["event_type"] for e in events} == {"approval_request"}
    assert {e["event_data"]["args"]["city"] for e in events} == {"Oslo", "Rome"}
    assert all(e["response_schema"] for e in events)
    first, second = events

    with pytest.raises(ValidationError):
        run(graph, mode, Command(resume={first["interrupt_id"]: {"type": "shrug"}}), config)
    assert [e["status"] for e in rows(EVENTS)] == ["pending", "pending"]
    assert rows(EVENTS)[0]["user_input"] is None

    told = {
        first["interrupt_id"]: {"type": "approve"},
        second["interrupt_id"]: {"type": "respond", "message": "rain"},
    }
    run(graph, mode, Command(resume=told), config)
    decided = {e["interrupt_id"]: (e["status"], e["user_decision"]) for e in rows(EVENTS)}
    assert decided == {
        first["interrupt_id"]: ("completed", "approve"),
        second["interrupt_id"]: ("completed", "respond"),
    }


@pytest.mark.parametrize("called", [False, True])
def test_an_answer_of_the_wrong_form_leaves_the_others(
    persist: Persist, rows: Any, called: bool
) -> None:
    class Age(BaseModel):
        years: int

    def ask_age(state: Steps) -> Steps:
        return {"count": interrupt("age?", response_schema=Age).years}

    builder = StateGraph(Steps)
    builder.add_node("age", ask_age)
    builder.add_node("name", asking("name", "name?"))
    builder.add_edge(START, "age")
    builder.add_edge(START, "name")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    config = persist.config("inner")
    if called:
        caller_of(persist, graph).invoke({"log": []}, persist.config("outer"))
    else:
        graph.invoke({"log": []}, config)
    ids = {e["event_data"]: e["interrupt_id"] for e in rows(EVENTS)}
    with pytest.raises(ValidationError):
        graph.invoke(Command(resume={ids["age?"]: {"years": "x"}, ids["name?"]: "Ann"}), config)
    assert {e["event_data"]: e["status"] for e in rows(EVENTS)} == {
        "age?": "pending",
        "name?": "completed",
    }
    result = graph.invoke(Command(resume={ids["age?"]: {"years": 7}}), config)
    assert (result["count"], result["log"]) == (7, ["name: Ann"])
    assert {e["status"] for e in rows(EVENTS)} == {"completed"}


# --- pauses ---


@pytest.mark.parametrize("mode", MODES)
def test_a_static_interrupt_is_a_pause(persist: Persist, rows: Any, mode: str) -> None:
    builder = chain_of(["a", "b", "c"])
    saver = persist.checkpointer
    compiled = builder.compile(checkpointer=saver, interrupt_before=["b"], interrupt_after=["b"])
    graph, config = persist.attach(compiled), persist.config("t", user="carol")
    run(graph, mode, {"count": 0}, config)
    run(graph, mode, None, config)
    before, after = rows(EVENTS)
    assert before["event_data"] == {"when": "before", "nodes": ["b"]}
    assert (before["event_type"], before["status"], before["username"]) == (
        "pause",
        "completed",
        "carol",
    )
    assert (after["event_data"], after["status"]) == ({"when": "after", "nodes": ["c"]}, "pending")
    run(graph, mode, None, config)
    assert [e["status"] for e in rows(EVENTS)] == ["completed", "completed"]
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


def test_a_pause_in_a_subgraph(persist: Persist, rows: Any) -> None:
    builder = chain_of(["a"])
    builder.add_node("sub", chain_of(["i", "j"]).compile(interrupt_before=["j"]))
    builder.add_edge("a", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    (event,) = rows(EVENTS)
    assert (event["event_type"], event["node_name"]) == ("pause", "sub")
    graph.invoke(None, persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["completed"]


def test_a_state_edited_during_a_pause(persist: Persist, rows: Any) -> None:
    builder = chain_of(["a", "b"])
    graph = persist.attach(
        builder.compile(checkpointer=persist.checkpointer, interrupt_before=["b"])
    )
    config = persist.config("t")
    graph.invoke({"count": 0}, config)
    graph.update_state(config, {"count": 10})
    assert graph.invoke(None, config)["count"] == 11
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "edit")


def test_a_state_edited_instead_of_an_answer(persist: Persist, rows: Any) -> None:
    graph, config = approval(persist), persist.config("t")
    graph.invoke({"count": 0}, config)
    graph.update_state(config, {"log": ["by hand"]}, as_node="ask")
    assert graph.invoke(None, config)["log"] == ["draft", "by hand", "publish"]
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "edit")


def test_going_on_without_an_answer_asks_no_second_time(persist: Persist, rows: Any) -> None:
    graph = approval(persist)
    for value in ({"count": 0}, None, None):
        graph.invoke(value, persist.config("t"))
    (event,) = rows(EVENTS)
    assert event["status"] == "pending"
    assert rows("SELECT status FROM workflows") == [{"status": "interrupted"}]
    graph.invoke(Command(resume="yes"), persist.config("t"))
    assert [e["status"] for e in rows(EVENTS)] == ["completed"]


# --- other ways to go on ---


@pytest.mark.parametrize("mode", MODES)
def test_a_new_input_cancels_the_question(persist: Persist, rows: Any, mode: str) -> None:
    graph, config = approval(persist), persist.config("t")
    run(graph, mode, {"note": "one"}, config)
    run(graph, mode, {"note": "two"}, config)
    assert [(e["status"], e["event_data"]["note"]) for e in rows(EVENTS)] == [
        ("cancelled", "one"),
        ("pending", "two"),
    ]
    statuses = rows("SELECT status FROM workflows ORDER BY turn")
    assert [s["status"] for s in statuses] == ["cancelled", "interrupted"]
    run(graph, mode, Command(resume="yes"), config)
    assert [e["status"] for e in rows(EVENTS)] == ["cancelled", "completed"]


def test_a_run_beside_the_graph_cancels_nothing(persist: Persist, rows: Any) -> None:
    approval(persist).invoke({"count": 0}, persist.config("t"))
    weather.invoke({"city": "Oslo"}, {**persist.config("t"), "callbacks": [persist.handler]})
    assert [e["status"] for e in rows(EVENTS)] == ["pending"]


def test_an_answer_with_the_newest_checkpoints_id_is_no_fork(persist: Persist, rows: Any) -> None:
    """As some clients send it along with every resume."""
    graph, config = approval(persist), persist.config("t")
    graph.invoke({"count": 0}, config)
    here = graph.get_state(config).config
    graph.invoke(Command(resume="yes"), here)
    assert [r["kind"] for r in rows("SELECT kind FROM workflow_runs ORDER BY attempt")] == [
        "start",
        "resume",
    ]
    assert [e["status"] for e in rows(EVENTS)] == ["completed"]


def test_an_answer_in_the_past_is_a_fork(persist: Persist, rows: Any) -> None:
    graph, config = approval(persist), persist.config("t")
    graph.invoke({"count": 0}, config)
    here = graph.get_state(config).config
    graph.invoke(Command(resume="yes"), config)
    graph.invoke(Command(resume="no"), here)
    first, second = rows("SELECT * FROM workflows ORDER BY turn")
    assert second["replay_of"] == first["id"]
    assert [r["kind"] for r in rows("SELECT kind FROM workflow_runs ORDER BY started_at")] == [
        "start",
        "resume",
        "fork",
    ]
    (event,) = rows(EVENTS)
    assert event["user_input"] == "yes"


def test_a_command_without_an_answer_goes_on_with_what_waits(persist: Persist, rows: Any) -> None:
    graph, config = approval(persist), persist.config("t")
    graph.invoke({"count": 0}, config)
    graph.invoke(Command(update={"note": "x"}), config)
    assert len(rows("SELECT 1 FROM workflows")) == 1
    assert [e["status"] for e in rows(EVENTS)] == ["pending"]
    graph.invoke(Command(resume="yes"), config)
    graph.invoke(Command(goto="draft"), config)
    turns = rows("SELECT turn, status FROM workflows ORDER BY turn")
    assert [tuple(t.values()) for t in turns] == [(1, "completed"), (2, "interrupted")]


def edited(graph: Any, config: Any) -> Any:
    """An older checkpoint than the one that waits for a human is changed; its config."""
    older = next(s for s in graph.get_state_history(config) if s.next == ("draft",))
    return graph.update_state(older.config, {"log": ["by hand"]}, as_node="ask")


@pytest.mark.parametrize("mode", MODES)
def test_a_command_after_an_edit_leaves_no_question(persist: Persist, rows: Any, mode: str) -> None:
    graph, config = approval(persist), persist.config("t", user="carol")
    graph.invoke({"count": 0}, config)
    edited(graph, config)
    run(graph, mode, Command(goto="publish"), config)
    assert graph.get_state(config).values["log"] == ["by hand", "publish"]
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    (event,) = rows(EVENTS)
    assert (event["status"], event["user_decision"]) == ("completed", "edit")
    assert event["username"] == "carol"


@pytest.mark.parametrize("mode", MODES)
def test_what_an_edit_leaves_behind_is_cancelled(persist: Persist, rows: Any, mode: str) -> None:
    graph, config = approval(persist), persist.config("t")
    graph.invoke({"count": 0}, config)
    run(graph, mode, None, edited(graph, config))
    assert graph.get_state(config).values["log"] == ["by hand", "publish"]
    statuses = rows("SELECT status FROM workflows ORDER BY turn")
    assert [s["status"] for s in statuses] == ["cancelled", "completed"]
    assert [e["status"] for e in rows(EVENTS)] == ["cancelled"]


@pytest.mark.parametrize("mode", MODES)
def test_a_command_ends_a_pause(persist: Persist, rows: Any, mode: str) -> None:
    builder = chain_of(["a", "b"])
    graph = persist.attach(
        builder.compile(checkpointer=persist.checkpointer, interrupt_before=["b"])
    )
    graph.invoke({"count": 0}, persist.config("t"))
    run(graph, mode, Command(update={"note": "go on"}), persist.config("t"))
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert [e["status"] for e in rows(EVENTS)] == ["completed"]


def test_a_graph_called_in_a_node_does_not_stop_the_run(persist: Persist, rows: Any) -> None:
    child = approval_graph().compile(checkpointer=persist.checkpointer)

    def call(state: Steps) -> Steps:
        found = child.invoke({"count": 0}, {"configurable": {"thread_id": "child"}})
        return {"count": len(found["__interrupt__"])}

    graph = chain_of(["a"])
    graph.add_node("call", call)
    graph.add_edge("a", "call")
    compiled = persist.attach(graph.compile(checkpointer=persist.checkpointer))
    assert compiled.invoke({"count": 0}, persist.config("t"))["count"] == 1
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert [(e["node_name"], e["status"]) for e in rows(EVENTS)] == [("ask", "pending")]


# --- reading it ---


def test_history_tells_what_was_asked_and_answered(persist: Persist) -> None:
    graph = approval(persist)
    graph.invoke({"note": "x"}, persist.config("t", user="alice"))
    workflow = persist.history.last()
    (event,) = workflow.hitl_events
    assert (event.node_name, event.status, event.user) == ("ask", "pending", None)
    assert event.event_data == {"question": "publish?", "note": "x"}
    assert workflow.nodes[1].hitl_events == (event,)
    assert "input_request pending" in str(workflow.timeline())

    answered: Any = Command(resume={event.interrupt_id: {"type": "approve"}})
    graph.invoke(answered, persist.config("t", user="carol"))
    workflow = persist.history.last()
    (event,) = workflow.hitl_events
    assert (event.status, event.user, event.user_decision) == ("completed", "carol", "approve")
    assert event.user_input == {"type": "approve"}
    assert [r.user for r in workflow.runs] == ["alice", "carol"]
    assert "input_request completed: approve by carol" in str(workflow.timeline())


def test_pending_lists_what_waits_longest_first(persist: Persist, rows: Any) -> None:
    graph = approval(persist)
    for thread_id, user in [("t", "alice"), ("u", "bob"), ("v", "alice"), ("w", "bob")]:
        graph.invoke({"note": thread_id}, persist.config(thread_id, user=user))
    graph.invoke(Command(resume="yes"), persist.config("u"))
    rows("UPDATE hitl_events SET timeout_at = now() WHERE thread_id = 'w' RETURNING 1")
    history = persist.history
    assert [e.thread_id for e in history.pending()] == ["t", "v"]
    (first,) = history.pending(limit=1)
    assert (first.thread_id, first.event_data["note"]) == ("t", "t")
    assert [e.thread_id for e in history.pending(after=first)] == ["v"]
    assert [e.thread_id for e in history.pending(thread="v")] == ["v"]
    assert history.pending(user="bob") == []
    assert len(history.pending(user="alice")) == 2


def test_a_pause_stands_outside_of_nodes_in_the_timeline(persist: Persist) -> None:
    compiled = chain_of(["a", "b"]).compile(
        checkpointer=persist.checkpointer, interrupt_before=["b"]
    )
    persist.attach(compiled).invoke({"count": 0}, persist.config("t"))
    assert "(outside of nodes)" in str(persist.history.last().timeline())
    (event,) = persist.history.pending()
    assert (event.event_type, event.interrupt_id) == ("pause", None)


# --- what is asked and answered, by itself ---

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Form(TypedDict):
    name: str


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("sure?", "input_request"),
        (None, "input_request"),
        ({"action_requests": [], "review_configs": []}, "approval_request"),
        ({"type": "tool_approval", "name": "x"}, "approval_request"),
        ([{"action_request": {"action": "x"}, "config": {}}], "approval_request"),
        ({"event_type": "plan_review", "plan": []}, "plan_review"),
        ({"event_type": "nonsense"}, "input_request"),
    ],
)
def test_kinds_of_requests(value: Any, kind: str) -> None:
    assert hitl_request(Interrupt(value, id="i"), NOW, None)["event_type"] == kind


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [
        ("sure?", None, None),
        ("sure?", timedelta(hours=1), NOW + timedelta(hours=1)),
        ({"timeout_seconds": 60}, timedelta(hours=1), NOW + timedelta(minutes=1)),
        ({"timeout_seconds": True}, None, None),
        ({"timeout_seconds": float("inf")}, None, None),
        ({"timeout_at": "2026-01-02T00:00:00+00:00"}, None, NOW + timedelta(days=1)),
        ({"timeout_at": "2026-01-02T00:00:00"}, None, NOW + timedelta(days=1)),
        ({"timeout_at": NOW + timedelta(days=2)}, None, NOW + timedelta(days=2)),
        ({"timeout_at": "soon"}, None, None),
    ],
)
def test_how_long_a_request_waits(value: Any, default: Any, expected: Any) -> None:
    assert hitl_request(Interrupt(value, id="i"), NOW, default)["timeout_at"] == expected


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (True, "approve"),
        (False, "reject"),
        ("Approved ", "approve"),
        ("maybe", None),
        ("yes", None),
        (7, None),
        ({"decisions": [{"type": "edit"}]}, "edit"),
        ({"decisions": [{"type": "reject"}, {"type": "approve"}]}, "reject, approve"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "approve"),
        ({"decisions": []}, None),
        ([{"type": "accept", "args": None}], "approve"),
        ([{"type": "ignore", "args": None}], "reject"),
        ([{"type": "response", "args": "hm"}], "respond"),
        ({"approved": False}, "reject"),
        ({"type": "unheard of"}, None),
    ],
)
def test_decisions(value: Any, decision: str | None) -> None:
    (answered,) = hitl_answers(Command(resume=value))
    assert answered["user_decision"] == decision
    assert answered["interrupt_id"] is None


def test_answers_by_interrupt() -> None:
    ids = ["0" * 32, "f" * 32]
    found = hitl_answers(Command(resume=dict.fromkeys(ids, "approve")))
    assert [(a["interrupt_id"], a["user_decision"]) for a in found] == [
        (ids[0], "approve"),
        (ids[1], "approve"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_replay_from_before_the_question_leaves_it(
    persist: Persist, rows: Any, mode: str
) -> None:
    graph, config = approval(persist), persist.config("t")
    run(graph, mode, {"count": 0}, config)
    before = next(s for s in graph.get_state_history(config) if s.next == ("draft",))
    run(graph, mode, None, before.config)
    assert [(e["status"], e["node_name"]) for e in rows(EVENTS)] == [
        ("cancelled", "ask"),
        ("pending", "ask"),
    ]
    workflows = rows("SELECT status FROM workflows ORDER BY turn")
    assert [w["status"] for w in workflows] == ["cancelled", "interrupted"]
