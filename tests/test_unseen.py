"""What no callback tells of: nodes answered from a cache, and edits of the state."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import CachePolicy, Send, StateUpdate

from langgraph_persist import Persist, PersistSaver
from tests.graphs import MODES, Steps, approval_graph, chain_of, run, step
from tests.load import PATIENCE


@pytest.fixture(autouse=True)
def unraised(persist: Persist) -> Iterator[None]:
    yield
    assert not persist.handler.failures.counts


DURABILITIES = ["async", "sync", "exit"]
CACHED = {"__metadata__": {"cached": True}}
"""What LangGraph adds to a chunk of updates that comes from a cache."""
NODES = (
    "SELECT n.*, s.state_data FROM (SELECT * FROM nodes OFFSET 0) n"
    " JOIN node_states s ON s.thread_id = n.thread_id AND s.node_id = n.id"
    " WHERE n.thread_id = %s ORDER BY n.workflow_id, n.step, n.execution_order, n.id"
)


def cached_graph(names: str = "abc") -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(Steps)
    for name in names:
        builder.add_node(name, step(name), cache_policy=CachePolicy() if name == "b" else None)
    for before, after in zip([START, *names], names, strict=False):
        builder.add_edge(before, after)
    return builder


@pytest.mark.parametrize("mode", MODES)
def test_a_cached_node(persist: Persist, rows: Any, mode: str) -> None:
    compiled = cached_graph().compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    graph = persist.attach(compiled)
    for thread_id in ("first", "again"):
        run(graph, mode, {"count": 0}, persist.config(thread_id))
    assert [(n["node_name"], n["cached"]) for n in rows(NODES, "first")] == [
        ("a", False),
        ("b", False),
        ("c", False),
    ]
    a, b, c = rows(NODES, "again")
    assert [n["cached"] for n in (a, b, c)] == [False, True, False]
    assert [n["state_data"]["count"] for n in (a, b, c)] == [1, 2, 3]
    assert (b["status"], b["node_type"], b["step"]) == ("completed", "node", 2)
    assert {n["execution_order"] for n in (a, b, c)} == {1, 2, 3}
    assert b["input_checkpoint_id"] == a["checkpoint_id"]
    assert c["input_checkpoint_id"] == b["checkpoint_id"]
    assert b["input_data"] == {"count": 1, "log": ["a"]}
    assert b["output_data"] == {"count": 2, "log": ["b"]}
    assert b["duration_ms"] is None
    found = rows("SELECT count(*) AS n FROM checkpoint_writes WHERE task_id = %s", b["task_id"])
    assert found[0]["n"] > 0
    assert [w["node_count"] for w in rows("SELECT node_count FROM workflows")] == [3, 3]


@pytest.mark.parametrize("mode", MODES)
def test_a_step_with_nothing_but_a_cached_node(persist: Persist, rows: Any, mode: str) -> None:
    compiled = cached_graph("b").compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    graph = persist.attach(compiled)
    for thread_id in ("first", "again"):
        run(graph, mode, {"count": 0}, persist.config(thread_id))
    (node,) = rows(NODES, "again")
    assert (node["cached"], node["state_data"]["count"]) == (True, 1)
    stored = rows("SELECT checkpoint_id FROM checkpoints WHERE thread_id = 'again'")
    assert node["checkpoint_id"] in {row["checkpoint_id"] for row in stored}


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
def test_steps_with_nothing_but_cached_nodes(
    persist: Persist, rows: Any, mode: str, durability: str
) -> None:
    """With ``exit``, only the last checkpoint is saved, and nothing of the steps before it."""
    builder = cached_graph()
    for node in builder.nodes.values():
        node.cache_policy = CachePolicy()
    cache: Any = InMemoryCache()
    plain = builder.compile(checkpointer=InMemorySaver(), cache=cache)
    first = run(plain, mode, {"count": 0}, {"configurable": {"thread_id": "t"}})
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, cache=cache))
    again = run(graph, mode, {"count": 0}, persist.config("t"), durability=durability)
    assert again == (first if "stream" not in mode else [c | CACHED for c in first])
    found = rows(NODES, "t")
    assert [(n["node_name"], n["cached"], n["step"]) for n in found] == [
        ("a", True, 1),
        ("b", True, 2),
        ("c", True, 3),
    ]
    assert [n["input_data"] for n in found] == [
        {"count": 0, "log": []},
        {"count": 1, "log": ["a"]},
        {"count": 2, "log": ["a", "b"]},
    ]
    assert [n["output_data"]["log"] for n in found] == [["a"], ["b"], ["c"]]
    assert found[-1]["state_data"] == {"count": 3, "log": ["a", "b", "c"]}
    stored = rows("SELECT checkpoint_id FROM checkpoints WHERE thread_id = 't'")
    assert {n["checkpoint_id"] for n in found} <= {row["checkpoint_id"] for row in stored}
    (workflow,) = rows("SELECT status, node_count FROM workflows")
    assert workflow == {"status": "completed", "node_count": 3}


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_failure_beside_and_after_cached_nodes(
    persist: Persist, rows: Any, durability: Any
) -> None:
    """What is cached is not executed again by the resume, and recorded once."""
    broken = [True]

    def fails(state: Steps) -> Steps:
        if broken[0]:
            raise ValueError("boom")
        return {"log": ["fails"]}

    builder = cached_graph("b")
    builder.add_node("later", step("later"), cache_policy=CachePolicy())
    builder.add_node("fails", fails)
    builder.add_edge("b", "later")
    builder.add_edge("b", "fails")
    cache: Any = InMemoryCache()
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, cache=cache))
    for thread_id in ("first", "again"):
        with pytest.raises(ValueError):
            graph.invoke({"count": 0}, persist.config(thread_id), durability=durability)
    status = [(n["node_name"], n["cached"], n["status"]) for n in rows(NODES, "again")]
    assert sorted(status) == [
        ("b", True, "completed"),
        ("fails", False, "failed"),
        ("later", True, "completed"),
    ]
    broken.clear()
    broken.append(False)
    graph.invoke(None, persist.config("again"), durability=durability)
    names = [n["node_name"] for n in rows(NODES, "again") if n["status"] == "completed"]
    assert sorted(names) == ["b", "fails", "later"]
    (workflow,) = rows("SELECT status FROM workflows WHERE thread_id = 'again'")
    assert workflow["status"] == "completed"


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_what_fails_of_a_cached_nodes_row_is_said_and_costs_nothing(
    persist: Persist, rows: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = cached_graph().compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    graph = persist.attach(compiled)
    first = run(graph, mode, {"count": 0}, persist.config("first"))

    def defect(*args: Any) -> Any:
        raise LookupError("what was said")

    monkeypatch.setattr("langgraph_persist.saver.cached._output", defect)
    assert run(graph, mode, {"count": 0}, persist.config("again")) == first
    assert [n["node_name"] for n in rows(NODES, "again")] == ["a", "c"]
    (workflow,) = rows("SELECT status, missing FROM workflows WHERE thread_id = 'again'")
    assert workflow == {"status": "completed", "missing": {"cached": "failed: LookupError"}}
    assert persist.handler.failures.counts.pop("cached: LookupError") == 1


class Filling(InMemoryCache[Any]):
    """Tells when it has something: LangGraph fills it in the background."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = threading.Event()

    def set(self, pairs: Any) -> None:
        super().set(pairs)
        self.filled.set()


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
def test_cached_tasks_and_sends(persist: Persist, rows: Any, mode: str, durability: Any) -> None:
    policy: Any = CachePolicy()

    @task(cache_policy=policy)
    def double(x: int) -> int:
        return x * 2

    cache = Filling()

    @entrypoint(checkpointer=persist.checkpointer, cache=cache)
    def flow(n: int) -> int:
        first = double(n).result()
        assert cache.filled.wait(PATIENCE)
        return first + double(n).result()

    run(persist.attach(flow), mode, 3, persist.config("tasks"), durability=durability)
    outer, first, second = rows(NODES, "tasks")
    assert (first["cached"], second["cached"]) == (False, True)
    assert (second["node_name"], second["node_type"]) == ("double", "task")
    assert second["parent_node_id"] == outer["id"]
    assert second["output_data"] == 6
    assert second["checkpoint_id"] == outer["checkpoint_id"]

    builder = StateGraph(Steps)
    builder.add_node("work", lambda arg: {"log": [str(arg["count"])]}, cache_policy=CachePolicy())
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"count": i}) for i in range(3)], ["work"]
    )
    compiled = builder.compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    for thread_id in ("sent", "again"):
        config = persist.config(thread_id)
        run(persist.attach(compiled), mode, {"count": 0}, config, durability=durability)
    nodes = rows(NODES, "again")
    assert [n["cached"] for n in nodes] == [True] * 3
    assert sorted(n["input_data"]["count"] for n in nodes) == [0, 1, 2]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_cached_node_in_a_subgraph(
    persist: Persist, rows: Any, mode: str, durability: Any
) -> None:
    cache: Any = InMemoryCache()
    builder = chain_of(["first"])
    builder.add_node("sub", cached_graph().compile(cache=cache))
    builder.add_edge("first", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, cache=cache))
    for thread_id in ("first", "again"):
        run(graph, mode, {"count": 0}, persist.config(thread_id), durability=durability)
    nodes = {n["node_name"]: n for n in rows(NODES, "again")}
    assert nodes["b"]["cached"]
    assert nodes["b"]["parent_node_id"] == nodes["sub"]["id"]
    assert nodes["b"]["checkpoint_ns"] == nodes["a"]["checkpoint_ns"]
    # With durability "exit" LangGraph saves no checkpoints of subgraphs.
    saved = {name for name, node in nodes.items() if node["checkpoint_id"]}
    assert saved == {"first", "sub"} | (set() if durability == "exit" else {*"abc"})


@pytest.mark.parametrize("mode", MODES)
def test_a_cached_node_in_a_subgraph_that_is_replayed(
    persist: Persist, rows: Any, mode: str
) -> None:
    """LangGraph looks for the checkpoint that such a subgraph starts from in another way."""
    cache: Any = InMemoryCache()
    builder = chain_of(["first"])
    builder.add_node("sub", cached_graph("b").compile(cache=cache))
    builder.add_edge("first", "sub")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"count": 0}, persist.config("t"))
    before = next(s for s in graph.get_state_history(persist.config("t")) if s.next == ("sub",))
    run(graph, mode, None, before.config)
    again = rows("SELECT id FROM workflows ORDER BY turn")[1]
    nodes = {n["node_name"]: n for n in rows(NODES, "t") if n["workflow_id"] == again["id"]}
    assert nodes.keys() == {"sub", "b"}
    assert nodes["b"]["cached"]
    assert nodes["b"]["parent_node_id"] == nodes["sub"]["id"]


def test_a_resumed_node_is_not_taken_for_cached(persist: Persist, rows: Any) -> None:
    builder = approval_graph()
    compiled = builder.compile(checkpointer=persist.checkpointer, cache=InMemoryCache())
    graph = persist.attach(compiled)
    graph.invoke({"count": 0}, persist.config("t"))
    graph.invoke(None, persist.config("t"))
    assert not any(n["cached"] for n in rows(NODES, "t"))


def edit(graph: Any, mode: str, *args: Any, **kwargs: Any) -> Any:
    if mode == "sync":
        return graph.update_state(*args, **kwargs)
    return asyncio.run(graph.aupdate_state(*args, **kwargs))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_update_state_is_a_row_of_the_workflow_it_edits(
    persist: Persist, rows: Any, mode: str
) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    edited = edit(
        graph, mode, persist.config("t", user="bob"), {"note": "by hand"}, as_node="draft"
    )
    nodes = rows(NODES, "t")
    (row,) = [n for n in nodes if n["node_type"] == "update"]
    (draft,) = [n for n in nodes if n["node_name"] == "draft" and n["node_type"] == "node"]
    assert (row["node_name"], row["status"]) == ("draft", "completed")
    assert row["input_data"] == {"note": "by hand"}
    assert row["state_data"]["note"] == "by hand"
    assert row["metadata"] == {"user": "bob"}
    assert row["checkpoint_id"] == edited["configurable"]["checkpoint_id"]
    assert row["input_checkpoint_id"] == draft["checkpoint_id"]
    assert row["workflow_id"] == draft["workflow_id"]


def test_a_run_after_an_edit_continues_the_workflow_in_any_process(
    migrated: str, rows: Any
) -> None:
    """Nothing of the first run is left in memory."""
    for number in range(3):
        with Persist(migrated) as persist:
            graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
            if number == 0:
                graph.invoke({"count": 0}, persist.config("t"))
            elif number == 1:
                graph.update_state(persist.config("t"), {"log": ["edit"]}, as_node="ask")
            else:
                graph.invoke(None, persist.config("t"))
    (workflow,) = rows("SELECT * FROM workflows")
    assert (workflow["status"], workflow["node_count"]) == ("completed", 3)
    assert [r["kind"] for r in rows("SELECT kind FROM workflow_runs ORDER BY attempt")] == [
        "start",
        "resume",
    ]
    order = rows(
        "SELECT node_name, node_type FROM nodes WHERE status = 'completed' ORDER BY started_at"
    )
    assert [(n["node_name"], n["node_type"]) for n in order] == [
        ("draft", "node"),
        ("ask", "update"),
        ("publish", "node"),
    ]


def test_an_edit_of_an_older_checkpoint_is_a_fork(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    config = persist.config("t")
    graph.invoke({"count": 0}, config)
    before_b = next(s for s in graph.get_state_history(config) if s.next == ("b",))
    forked = graph.update_state(before_b.config, {"count": 50})
    assert graph.invoke(None, forked)["count"] == 51
    first, second = rows("SELECT * FROM workflows ORDER BY turn")
    (row,) = [n for n in rows(NODES, "t") if n["node_type"] == "update"]
    assert row["node_name"] == "a"
    assert row["workflow_id"] == first["id"] == second["replay_of"]
    assert row["input_checkpoint_id"] == before_b.config["configurable"]["checkpoint_id"]
    assert row["metadata"] == {"forks": True}
    (again,) = [n for n in rows(NODES, "t") if n["workflow_id"] == second["id"]]
    assert again["state_data"]["count"] == 51


def talking(persist: Persist) -> Any:
    """A graph that answers what was said last."""
    builder = StateGraph(MessagesState)
    builder.add_node("ask", lambda s: {"messages": [AIMessage(f"A({s['messages'][-1].text})")]})
    builder.add_edge(START, "ask")
    return persist.attach(builder.compile(checkpointer=persist.checkpointer))


def said_in(persist: Persist) -> list[tuple[int, str]]:
    return [(line.turn, line.text or "") for line in persist.history.transcript("t")]


def test_each_branch_of_a_thread_tells_its_own_lines_once(persist: Persist) -> None:
    graph, config = talking(persist), persist.config("t")
    ends = []
    for text in ("q1", "q2", "q3"):
        graph.invoke({"messages": text}, config)
        ends.append(graph.get_state(config).config)
    graph.invoke({"messages": "q2, again"}, ends[0])
    graph.invoke({"messages": "q4"}, ends[2])
    graph.invoke({"messages": "q5"}, config)
    questions = ["q1", "q2", "q3", "q2, again", "q4", "q5"]
    assert said_in(persist) == [
        line for turn, q in enumerate(questions, 1) for line in ((turn, q), (turn, f"A({q})"))
    ]


def test_what_turns_said_stays_as_it_is_beside_a_fork(persist: Persist) -> None:
    graph, config = talking(persist), persist.config("t")

    for number in (1, 2, 3):
        graph.invoke({"messages": f"q{number}"}, config)
    before = [(n, text) for n in (1, 2, 3) for text in (f"q{n}", f"A(q{n})")]
    assert said_in(persist) == before
    again = persist.history.replay_config(persist.history.workflows(thread="t")[1].nodes[0])
    old = graph.get_state(again).values["messages"][-1]
    forked = graph.update_state(again, {"messages": [HumanMessage("q2, wrongly", id=old.id)]})
    forked = graph.update_state(forked, {"messages": [HumanMessage("q2, edited", id=old.id)]})
    assert said_in(persist) == before
    graph.invoke(None, forked)
    edited = [*before, (4, "q2, edited"), (4, "A(q2, edited)")]
    assert said_in(persist) == edited
    # An edit of where the thread is now is what its last turn came to.
    last = graph.get_state(config).values["messages"][-1]
    graph.update_state(config, {"messages": [AIMessage("corrected", id=last.id)]})
    assert said_in(persist) == [*edited[:-1], (4, "corrected")]


def test_several_edits_at_once_and_in_any_name(persist: Persist, rows: Any) -> None:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    updates = [
        [StateUpdate({"log": ["x"]}, "a"), StateUpdate({"log": ["y"]}, "b")],
        [StateUpdate({"count": 9}, "__input__")],
        [StateUpdate(None, "__end__")],
    ]
    graph.bulk_update_state(persist.config("t"), updates)
    edits = [n for n in rows(NODES, "t") if n["node_type"] == "update"]
    assert [(n["node_name"], n["input_data"]) for n in edits] == [
        ("a", {"log": ["x"]}),
        ("b", {"log": ["y"]}),
        ("__input__", {"count": 9}),
        ("__end__", None),
    ]
    assert edits[0]["checkpoint_id"] == edits[1]["checkpoint_id"]
    assert edits[2]["input_checkpoint_id"] == edits[1]["checkpoint_id"]


def test_an_edit_of_what_was_never_recorded_or_is_no_more(
    persist: Persist, migrated: str, rows: Any
) -> None:
    plain = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
    plain.invoke({"count": 0}, {"configurable": {"thread_id": "plain"}})
    plain.update_state({"configurable": {"thread_id": "plain"}}, {"count": 5})
    plain.update_state({"configurable": {"thread_id": "new"}}, {"count": 5}, as_node="a")
    persist.attach(plain).invoke({"count": 0}, persist.config("t"))
    with psycopg.connect(migrated, autocommit=True) as conn:
        conn.execute("DELETE FROM langgraph_persist.sessions")
    plain.update_state({"configurable": {"thread_id": "t"}}, {"count": 5})
    assert plain.get_state({"configurable": {"thread_id": "t"}}).values["count"] == 5
    assert rows("SELECT * FROM nodes") == []


def test_the_saver_alone_has_no_edits_to_record(migrated: str) -> None:
    with PersistSaver.from_conn_string(migrated) as saver:
        graph = chain_of(["a"]).compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        graph.update_state(config, {"count": 5}, as_node="a")
        assert graph.get_state(config).values["count"] == 5
