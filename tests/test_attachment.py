"""How the handler comes to a run, and which run, thread and graph an event belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers import context
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from langgraph_persist import Persist, PersistCallbackHandler
from langgraph_persist.errors import DurabilityError
from tests.graphs import (
    MODES,
    Steps,
    approval_graph,
    chain_of,
    chat_graph,
    fake_model,
    run,
    weather,
)
from tests.models import Scripted, said


@pytest.fixture(autouse=True)
def unraised(persist: Persist) -> Iterator[None]:
    yield
    assert not persist.handler.failures.counts


NODES = (
    "SELECT n.*, s.state_data, c.workflow_id AS of_workflow FROM nodes n"
    " JOIN node_states s ON s.thread_id = n.thread_id AND s.node_id = n.id"
    " LEFT JOIN (SELECT * FROM checkpoints OFFSET 0) c ON c.checkpoint_id = n.checkpoint_id"
    "   AND c.thread_id = coalesce(n.checkpoint_thread_id, n.thread_id)"
    " ORDER BY n.started_at, n.execution_order"
)


def calling(inner: Any, config: Any) -> StateGraph[Any, Any, Any, Any]:
    """A graph with a node that calls another graph."""

    def call(state: Steps) -> Steps:
        return {"count": 100 + inner.invoke({"count": 10}, config)["count"]}

    async def acall(state: Steps) -> Steps:
        return {"count": 100 + (await inner.ainvoke({"count": 10}, config))["count"]}

    builder = chain_of(["a"])
    builder.add_node("call", RunnableLambda(call, acall))
    builder.add_edge("a", "call")
    return builder


@pytest.mark.parametrize("mode", MODES)
def test_a_graph_called_in_a_node_on_a_thread_of_its_own(
    persist: Persist, rows: Any, mode: str
) -> None:
    inner = chain_of(["i", "j"]).compile(checkpointer=persist.checkpointer)
    outer = calling(inner, {"configurable": {"thread_id": "own"}})
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows(NODES)}
    assert {n["thread_id"] for n in nodes.values()} == {"t"}
    assert {n: row["checkpoint_thread_id"] for n, row in nodes.items()} == {
        "a": None,
        "call": None,
        "i": "own",
        "j": "own",
    }
    assert {n: row["state_data"]["count"] for n, row in nodes.items()} == {
        "a": 1,
        "i": 11,
        "j": 12,
        "call": 112,
    }
    assert all(n["of_workflow"] == n["workflow_id"] for n in nodes.values())
    assert nodes["j"]["input_checkpoint_id"] == nodes["i"]["checkpoint_id"]
    assert nodes["i"]["parent_node_id"] == nodes["call"]["id"]
    assert len(rows("SELECT * FROM workflows")) == 1


def test_a_graph_called_in_a_node_on_the_same_thread(persist: Persist, rows: Any) -> None:
    inner = chain_of(["i", "j"]).compile(checkpointer=persist.checkpointer)
    outer = calling(inner, {"configurable": {"thread_id": "t"}})
    graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    counts = {n["node_name"]: n["state_data"]["count"] for n in rows(NODES)}
    assert counts == {"a": 1, "i": 11, "j": 12, "call": 112}


def test_what_a_called_graph_could_not_save_fails_the_run(persist: Persist, migrated: str) -> None:
    with psycopg.connect(migrated, autocommit=True) as admin:
        admin.execute("ALTER TABLE checkpoints ADD CONSTRAINT no_own CHECK (thread_id <> 'own')")
        inner = chain_of(["i", "j"]).compile(checkpointer=persist.checkpointer)
        outer = calling(inner, {"configurable": {"thread_id": "own"}})
        graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
        try:
            with pytest.raises(DurabilityError, match="no_own"):
                graph.invoke({"count": 0}, persist.config("t"))
        finally:
            admin.execute("ALTER TABLE checkpoints DROP CONSTRAINT no_own")


def test_interleaved_runs_on_one_thread_keep_their_steps_apart(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a", "b", "c"]).compile(checkpointer=persist.checkpointer))
    streams = [graph.stream({"count": count}, persist.config("t")) for count in (0, 1000)]
    for _ in range(3):
        for stream in streams:
            next(stream)
    for stream in streams:
        assert list(stream) == []
    first, second = rows("SELECT id FROM workflows ORDER BY turn")
    nodes = rows(NODES)
    counts = {
        workflow["id"]: [n["state_data"]["count"] for n in nodes if n["run_id"] == workflow["id"]]
        for workflow in (first, second)
    }
    assert counts == {first["id"]: [1, 2, 3], second["id"]: [1001, 1002, 1003]}
    assert all(n["of_workflow"] == n["workflow_id"] for n in nodes)


def test_reading_an_older_state_during_a_run_does_not_move_it(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    oldest = list(graph.get_state_history(persist.config("t")))[-1]

    def look(state: Steps) -> Steps:
        graph.get_state(oldest.config)
        raise ValueError("after looking")

    builder = chain_of(["x"])
    builder.add_node("look", look)
    builder.add_edge("x", "look")
    looking = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    with pytest.raises(ValueError, match="after looking"):
        looking.invoke({"count": 7}, persist.config("t"))
    nodes = {n["node_name"]: n for n in rows(NODES)}
    assert nodes["look"]["input_checkpoint_id"] == nodes["x"]["checkpoint_id"]
    assert rows("SELECT checkpoint_id FROM workflow_runs ORDER BY started_at DESC LIMIT 1") == [
        {"checkpoint_id": nodes["x"]["checkpoint_id"]}
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_id_used_again_is_another_run(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    given = uuid4()
    for count in (0, 10):
        run(graph, mode, {"count": count}, persist.config("t", run_id=given))
    first, second = rows("SELECT * FROM workflows ORDER BY turn")
    assert first["id"] == given != second["id"]
    assert [first["result"]["count"], second["result"]["count"]] == [2, 12]
    assert [first["status"], second["status"]] == ["completed"] * 2
    assert second["metadata"]["run_id"] == str(given)
    assert [n["workflow_id"] for n in rows(NODES)] == [first["id"]] * 2 + [second["id"]] * 2


def elsewhere(persist: Persist, mode: str, given: UUID, *values: int) -> None:
    """Run a graph in another process, on the thread ``t``, under this id."""
    command = [sys.executable, "-m", "tests._run_id_worker", persist.url, mode, str(given)]
    command += map(str, values)
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=True, timeout=120)


OLD = UUID("018f2b6e-0000-7000-8000-000000000001")
"""Of the version that LangChain makes, but not of today."""


@pytest.mark.parametrize(
    ("mode", "given"),
    [("invoke", uuid4()), ("ainvoke", OLD), ("stream", OLD), ("astream", uuid4())],
)
def test_a_run_id_that_another_process_used_is_another_run(
    persist: Persist, rows: Any, mode: str, given: UUID
) -> None:
    elsewhere(persist, mode, given, 0)
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 10}, persist.config("t", run_id=given))
    elsewhere(persist, mode, given, 20)
    workflows = rows("SELECT * FROM workflows ORDER BY turn")
    assert [w["turn"] for w in workflows] == [1, 2, 3]
    assert [w["result"]["count"] for w in workflows] == [2, 12, 22]
    assert [w["status"] for w in workflows] == ["completed"] * 3
    assert workflows[0]["id"] == given
    assert [w["metadata"]["run_id"] for w in workflows[1:]] == [str(given)] * 2
    runs = rows("SELECT id, workflow_id, attempt FROM workflow_runs ORDER BY started_at")
    assert [(r["id"], r["attempt"]) for r in runs] == [(w["id"], 1) for w in workflows]
    assert [n["workflow_id"] for n in rows(NODES)] == [w["id"] for w in workflows for _ in "ab"]
    left = rows("SELECT workflow_id FROM checkpoints ORDER BY checkpoint_id")
    assert [c["workflow_id"] for c in left] == [w["id"] for w in workflows for _ in range(4)]


@pytest.mark.parametrize("mode", ["invoke", "astream"])
def test_a_resume_under_the_same_run_id_continues_the_workflow(
    persist: Persist, rows: Any, mode: str
) -> None:
    given = uuid4()
    elsewhere(persist, mode, given)
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    run(graph, mode, Command(resume="yes"), persist.config("t", run_id=given))
    (workflow,) = rows("SELECT * FROM workflows")
    assert (workflow["id"], workflow["status"]) == (given, "completed")
    runs = rows("SELECT id, kind, status, attempt FROM workflow_runs ORDER BY started_at")
    assert [(r["kind"], r["status"], r["attempt"]) for r in runs] == [
        ("start", "interrupted", 1),
        ("resume", "completed", 2),
    ]
    assert runs[0]["id"] == given != runs[1]["id"]
    nodes = rows("SELECT node_name, status, run_id FROM nodes ORDER BY execution_order")
    assert [(n["node_name"], n["status"], n["run_id"]) for n in nodes] == [
        ("draft", "completed", runs[0]["id"]),
        ("ask", "interrupted", runs[0]["id"]),
        ("ask", "completed", runs[1]["id"]),
        ("publish", "completed", runs[1]["id"]),
    ]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_a_model_under_the_run_id_of_an_earlier_call(migrated: str, rows: Any, mode: str) -> None:
    """Nothing of the first call is left in memory."""
    given = uuid4()
    for answer in ("one", "two"):
        with Persist(migrated, enforce_quotas=answer == "one") as persist:
            config = {"callbacks": [persist.handler], "run_id": given}
            run(fake_model(answer), mode, "hi", config)
    found = rows("SELECT id, output, thread_id FROM generations ORDER BY started_at")
    assert [g["output"] for g in found] == ["one", "two"]
    assert found[0]["id"] == given != found[1]["id"]
    assert [s["turns"] for s in rows("SELECT turns FROM sessions")] == [1, 1]


def test_a_run_keeps_its_id_where_nobody_can_be_asked(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    persist.open()
    given = uuid4()
    broken = {"run_exists": "SELECT FROM nowhere"}
    monkeypatch.setattr("langgraph_persist.handler.reused.queries", lambda *args: broken)
    graph.invoke({"count": 0}, persist.config("t", run_id=given))
    assert [w["id"] for w in rows("SELECT id FROM workflows")] == [given]
    assert persist.handler.failures.counts.pop("run_id: UndefinedTable") == 1


def test_only_ids_that_are_given_are_asked_for(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(PersistCallbackHandler, "settle", lambda self, doubt: asked.append(doubt))
    graph = persist.attach(chat_graph("1", "2").compile(checkpointer=persist.checkpointer))
    graph.invoke({"messages": [("human", "hi")]}, persist.config("t"))
    fake_model("hi").invoke("hi", {"callbacks": [persist.handler]})
    assert asked == []
    given = uuid4()
    graph.invoke({"messages": [("human", "hi")]}, persist.config("t", run_id=given))
    assert [(doubt.thread_id, doubt.run_id) for doubt in asked] == [("t", given)]


def test_a_run_id_used_twice_at_once_is_two_runs(persist: Persist, rows: Any) -> None:
    both = threading.Barrier(2)

    def meet(state: Steps) -> Steps:
        both.wait(10)
        return {"count": state["count"] + 1}

    builder = chain_of(["a"])
    builder.add_node("meet", meet)
    builder.add_edge("a", "meet")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    given = uuid4()
    threads = [
        threading.Thread(
            target=graph.invoke, args=({"count": count}, persist.config(name, run_id=given))
        )
        for name, count in (("one", 0), ("two", 10))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workflows = {w["thread_id"]: w for w in rows("SELECT * FROM workflows")}
    assert {name: w["result"]["count"] for name, w in workflows.items()} == {"one": 2, "two": 12}
    assert len({w["id"] for w in workflows.values()}) == 2
    found = {(n["thread_id"], n["node_name"], n["workflow_id"]) for n in rows(NODES)}
    assert found == {
        (name, node, w["id"]) for name, w in workflows.items() for node in ("a", "meet")
    }


@pytest.mark.parametrize("mode", MODES)
def test_a_run_id_that_is_no_uuid(persist: Persist, rows: Any, mode: str) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t", run_id="request-7"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert isinstance(workflow["id"], UUID)
    assert workflow["metadata"]["run_id"] == "request-7"
    assert [n["run_id"] for n in rows(NODES)] == [workflow["id"]]


@pytest.mark.parametrize("mode", MODES)
def test_two_handlers_of_one_database_record_once(persist: Persist, rows: Any, mode: str) -> None:
    other = PersistCallbackHandler(journal=persist.handler.journal)
    graph = persist.attach(chat_graph("fine").compile(checkpointer=persist.checkpointer))
    config: Any = {**persist.config("t"), "callbacks": [other]}
    run(graph, mode, {"messages": [("human", "hi")]}, config)
    assert [w["status"] for w in rows("SELECT * FROM workflows")] == ["completed"]
    nodes = rows(NODES)
    assert [n["node_name"] for n in nodes] == ["look", "ask"]
    assert all(n["state_data"] and n["of_workflow"] for n in nodes)
    (generation,) = rows("SELECT * FROM generations")
    assert (generation["node_id"], generation["output"]) == (nodes[1]["id"], "fine")
    assert len(rows("SELECT * FROM tool_executions")) == 1
    assert not other.failures.counts


def test_a_handler_of_the_model_alone_joins_the_graphs(persist: Persist, rows: Any) -> None:
    other = PersistCallbackHandler(journal=persist.handler.journal)
    model = fake_model("hello")
    model.callbacks = [other]

    def ask(state: Steps) -> Steps:
        model.invoke("hi")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    persist.attach(builder.compile()).invoke({"count": 0}, persist.config("t"))
    (node,) = rows("SELECT * FROM nodes")
    assert [g["node_id"] for g in rows("SELECT * FROM generations")] == [node["id"]]
    assert len(rows("SELECT * FROM workflows")) == 1


def test_a_model_is_recorded_by_its_own_callbacks(persist: Persist, rows: Any) -> None:
    model = fake_model("hello")
    model.callbacks = [persist.handler]
    model.invoke("hi")
    assert [g["output"] for g in rows("SELECT * FROM generations")] == ["hello"]


def test_metadata_does_not_move_the_record_to_another_thread(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    config: Any = {
        "configurable": {"thread_id": "t"},
        "metadata": {"thread_id": "elsewhere", "session_id": "nowhere", "checkpoint_id": "x"},
    }
    graph.invoke({"count": 0}, config)
    (node,) = rows(NODES)
    assert (node["thread_id"], node["state_data"]["count"]) == ("t", 1)
    assert rows("SELECT thread_id FROM sessions") == [{"thread_id": "t"}]
    assert rows("SELECT kind FROM workflow_runs") == [{"kind": "start"}]


def test_config_knows_what_is_no_metadata() -> None:
    config: Any = Persist.config(
        "t",
        user="alice",
        plan="gold",
        tags=["x"],
        recursion_limit=7,
        metadata={"k": 1},
        configurable={"model": "m"},
    )
    assert config == {
        "configurable": {"thread_id": "t", "model": "m"},
        "metadata": {"session_id": "t", "user": "alice", "plan": "gold", "k": 1},
        "tags": ["x"],
        "recursion_limit": 7,
    }


def test_update_state_is_no_run(persist: Persist, rows: Any) -> None:
    builder = chain_of(["a", "b"])
    builder.add_conditional_edges("a", lambda state: "b", ["b"])
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    graph.update_state(persist.config("t"), {"count": 5}, as_node="a")
    persist.flush()
    assert len(rows("SELECT * FROM workflows")) == 1


# --- install ---


def everything(rows: Any) -> dict[str, list[Any]]:
    """What is recorded, by table."""

    def in_order(table: str) -> list[Any]:
        return list(rows(f"SELECT * FROM {table} ORDER BY started_at"))

    return {
        "workflows": [(w["name"], w["status"]) for w in in_order("workflows")],
        "nodes": [n["node_name"] for n in rows("SELECT * FROM nodes ORDER BY execution_order")],
        "generations": [g["output"] for g in in_order("generations")],
        "tools": [t["tool_name"] for t in in_order("tool_executions")],
    }


CHAT = {
    "workflows": [("LangGraph", "completed")],
    "nodes": ["look", "ask"],
    "generations": ["fine"],
    "tools": ["weather"],
}


@pytest.fixture
def installed(persist: Persist) -> Iterator[Persist]:
    persist.install()
    yield persist
    persist.uninstall()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attached", ["not", "to the graph", "in the config", "by another handler"])
def test_installed(installed: Persist, rows: Any, mode: str, attached: str) -> None:
    persist = installed
    graph: Any = chat_graph("fine").compile(checkpointer=persist.checkpointer)
    config: Any = {"configurable": {"thread_id": "t"}}
    if attached == "to the graph":
        graph = persist.attach(graph)
    elif attached == "in the config":
        config["callbacks"] = [persist.handler]
    elif attached == "by another handler":
        config["callbacks"] = [PersistCallbackHandler(journal=persist.handler.journal)]
    run(graph, mode, {"messages": [("human", "hi")]}, config)
    assert everything(rows) == CHAT
    assert all(n["state_data"] and n["of_workflow"] for n in rows(NODES))


@pytest.mark.parametrize("mode", MODES)
def test_installed_sees_static_interrupts(installed: Persist, rows: Any, mode: str) -> None:
    builder = chain_of(["a", "b"])
    graph = builder.compile(checkpointer=installed.checkpointer, interrupt_before=["b"])
    config: Any = {"configurable": {"thread_id": "t"}}
    run(graph, mode, {"count": 0}, config)
    assert rows("SELECT status FROM workflows") == [{"status": "interrupted"}]
    run(graph, mode, None, config)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert [r["kind"] for r in rows("SELECT kind FROM workflow_runs ORDER BY attempt")] == [
        "start",
        "resume",
    ]


class Quiet(BaseCallbackHandler):
    """Somebody else's handler."""


@pytest.mark.parametrize("mode", MODES)
def test_calls_with_callbacks_of_their_own_belong_to_their_node(
    installed: Persist, rows: Any, mode: str
) -> None:
    replaced: Any = {"callbacks": [Quiet()]}
    model = fake_model("one", "two")
    chain = RunnableLambda(lambda text: text) | fake_model("three")

    def call(state: Steps) -> Steps:
        weather.invoke({"city": "Rome"}, replaced)
        model.invoke("hi", replaced)
        chain.invoke("hi", replaced)
        return {"count": 1}

    async def acall(state: Steps) -> Steps:
        await weather.ainvoke({"city": "Rome"}, replaced)
        await model.ainvoke("hi", replaced)
        await chain.ainvoke("hi", replaced)
        return {"count": 1}

    inner = StateGraph(Steps)
    inner.add_node("call", RunnableLambda(call, acall))
    inner.add_edge(START, "call")
    builder = chain_of(["a"])
    builder.add_node("sub", inner.compile())
    builder.add_edge("a", "sub")
    graph = builder.compile(checkpointer=installed.checkpointer)
    run(graph, mode, {"count": 0}, {"configurable": {"thread_id": "t"}})
    (workflow,) = rows("SELECT * FROM workflows")
    assert workflow["generation_count"] == 2
    (node,) = rows("SELECT * FROM nodes WHERE node_name = 'call'")
    calls = rows("SELECT node_id, output AS said FROM generations") + rows(
        "SELECT node_id, tool_name AS said FROM tool_executions"
    )
    assert {c["said"] for c in calls} == {"one", "three", "weather"}
    assert {c["node_id"] for c in calls} == {node["id"]}


def test_calls_outside_of_graphs_are_runs_of_their_own(installed: Persist, rows: Any) -> None:
    fake_model("hello").invoke("hi")
    (RunnableLambda(lambda text: text) | fake_model("again")).invoke("hi")
    weather.invoke({"city": "Rome"})
    assert everything(rows) == {
        "workflows": [
            ("GenericFakeChatModel", "completed"),
            ("RunnableSequence", "completed"),
            ("weather", "completed"),
        ],
        "nodes": [],
        "generations": ["hello", "again"],
        "tools": ["weather"],
    }


def test_threads_and_tasks_older_than_install_are_served(persist: Persist, rows: Any) -> None:
    go = threading.Event()

    def later(model: Any) -> None:
        go.wait(10)
        model.invoke("hi")

    async def task(started: threading.Event) -> None:
        started.set()
        await asyncio.to_thread(go.wait, 10)
        await fake_model("from a task").ainvoke("hi")

    started = threading.Event()
    old = [
        threading.Thread(target=later, args=(fake_model("from a thread"),)),
        threading.Thread(target=lambda: asyncio.run(task(started))),
    ]
    for thread in old:
        thread.start()
    started.wait(10)
    older = contextvars.copy_context()
    persist.install()
    go.set()
    for thread in old:
        thread.join()
    older.run(lambda: fake_model("from a context").invoke("hi"))
    persist.uninstall()
    assert {g["output"] for g in rows("SELECT output FROM generations")} == {
        "from a thread",
        "from a task",
        "from a context",
    }


def test_close_uninstalls_and_places_are_used_again(migrated: str, rows: Any) -> None:
    def places() -> int:
        return len(context._configure_hooks)

    for number in range(3):
        with Persist(migrated) as persist:
            persist.install()
            persist.install()
            fake_model(str(number)).invoke("hi")
            used = places()
        fake_model("unseen").invoke("hi")
    assert places() == used
    assert [g["output"] for g in rows("SELECT * FROM generations ORDER BY id")] == ["0", "1", "2"]


def test_two_databases_are_both_installed(
    installed: Persist, migrated_anew: str, rows: Any
) -> None:
    with Persist(migrated_anew) as other:
        other.install()
        chat_graph("fine").compile(checkpointer=other.checkpointer).invoke(
            {"messages": [("human", "hi")]}, {"configurable": {"thread_id": "t"}}
        )
        assert [w.name for w in other.history.workflows()] == ["LangGraph"]
        (workflow,) = other.history.workflows()
        assert workflow.nodes[-1].checkpoint_id is not None
    assert everything(rows) == CHAT


def test_a_run_that_started_before_install_is_not_recorded_by_half(
    persist: Persist, rows: Any
) -> None:
    model = fake_model("hello")

    def ask(state: Steps) -> Steps:
        persist.install()
        model.invoke("hi")
        return {"count": 1}

    builder = chain_of(["a"])
    builder.add_node("ask", ask)
    builder.add_node("after", lambda state: {"count": 2})
    builder.add_edge("a", "ask")
    builder.add_edge("ask", "after")
    builder.compile(checkpointer=persist.checkpointer).invoke(
        {"count": 0}, {"configurable": {"thread_id": "t"}}
    )
    persist.uninstall()
    assert everything(rows) == {
        "workflows": [("GenericFakeChatModel", "completed")],
        "nodes": [],
        "generations": ["hello"],
        "tools": [],
    }


# --- models ---


@tool
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


class Ear(BaseCallbackHandler):
    def __init__(self) -> None:
        self.heard = 0

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.heard += 1


def structured(model: Any) -> Any:
    return model.with_structured_output({"title": "Total", "type": "object", "properties": {}})


@pytest.mark.parametrize("own", ["none", "list", "manager"])
@pytest.mark.parametrize(
    "made_of",
    [
        lambda model: model,
        lambda model: model.bind_tools([add]),
        structured,
        lambda model: create_agent(model, [add]),
    ],
    ids=["itself", "bind_tools", "structured", "agent"],
)
def test_what_is_made_of_an_attached_model_is_recorded(
    persist: Persist, rows: Any, made_of: Any, own: str
) -> None:
    ear = Ear()
    others: Any = {"none": None, "list": [ear], "manager": CallbackManager([ear])}[own]
    call = {"name": "Total", "args": {}, "id": "1"}
    answer = said("done", tool_calls=[call] if made_of is structured else [])
    model = Scripted(answers=[answer], callbacks=others)

    attached = persist.attach(persist.attach(model))

    assert isinstance(attached, Scripted)
    made = made_of(attached)
    given: Any = {"messages": [("user", "x")]} if hasattr(made, "nodes") else "x"
    made.invoke(given)
    assert rows("SELECT status FROM generations") == [{"status": "completed"}]
    made_of(model).invoke(given)
    assert rows("SELECT count(*) AS n FROM generations") == [{"n": 1}]
    assert ear.heard == (0 if own == "none" else 2)
