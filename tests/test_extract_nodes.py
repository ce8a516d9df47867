"""Node runs are told from all others, and join the checkpointer's rows, in real graphs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

from langgraph_persist.extract import NodeIdentity, node_identity
from tests.test_extract_json import Hostile


class State(TypedDict):
    a: Annotated[list[str], operator.add]


class Saver(InMemorySaver):
    """Notes under which namespace the graph saves, and which task wrote where."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs: set[str] = set()
        self.tasks: dict[str, str] = {}

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        self.graphs.add(config["configurable"]["checkpoint_ns"])
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self.tasks[task_id] = config["configurable"]["checkpoint_ns"]
        super().put_writes(config, writes, task_id, task_path)


class Handler(GraphCallbackHandler):
    run_inline = True
    raise_error = True

    def __init__(self) -> None:
        self.nodes: list[NodeIdentity] = []
        self.above: dict[Any, str | None] = {}

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: Any,
        parent_run_id: Any = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        above = self.above.get(parent_run_id)
        node = node_identity(kwargs["name"], tags, metadata, enclosing_task_id=above)
        if node is not None:
            self.nodes.append(node)
        self.above[run_id] = node.task_id if node else above


def noop(state: State) -> dict[str, Any]:
    return {"a": ["x"]}


def fail(state: State) -> dict[str, Any]:
    raise ValueError("no")


@task
def inner_task(x: int) -> int:
    return x


@task
def outer_task(x: int) -> int:
    same_name: RunnableLambda[int, int] = RunnableLambda(lambda y: y, name="outer_task")
    return inner_task(same_name.invoke(x)).result()


def with_tasks(state: State) -> dict[str, Any]:
    outer_task(1).result()
    return {}


def builder(**nodes: Any) -> StateGraph[State]:
    graph = StateGraph(State)
    previous = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(previous, name)
        previous = name
    return graph


def leaf(checkpointer: Any = None, **nodes: Any) -> Any:
    return builder(**(nodes or {"leaf": noop})).compile(checkpointer=checkpointer)


def calling(graph: Any, times: int = 2) -> Callable[[State], dict[str, Any]]:
    def call(state: State) -> dict[str, Any]:
        for _ in range(times):
            graph.invoke({"a": []})
        return {}

    return call


def plain(saver: Saver) -> Any:
    return leaf(saver, one=noop, two=noop)


def nested_twice(saver: Saver) -> Any:
    return leaf(saver, top=leaf(mid=leaf(leaf=with_tasks)))


def graphs_called_twice(saver: Saver) -> Any:
    return leaf(saver, caller=calling(leaf(mid=leaf(), tasks=with_tasks)))


def lasting_subgraph(saver: Saver) -> Any:
    return leaf(saver, caller=calling(leaf(True, mid=leaf(leaf=with_tasks)), times=1))


def sends(saver: Saver) -> Any:
    graph = builder(first=noop)
    graph.add_node("sent", with_tasks)
    graph.add_node("graph", leaf(leaf=with_tasks))
    graph.add_conditional_edges(
        "first", lambda state: [Send("sent", state), Send("sent", state), Send("graph", state)]
    )
    return graph.compile(checkpointer=saver)


def failing(name: str = "bad") -> StateGraph[State]:
    graph = StateGraph(State)
    graph.add_node(name, fail, error_handler=with_tasks)
    return graph


def error_handlers(saver: Saver) -> Any:
    lower, upper = failing(), failing("sent")
    lower.add_edge(START, "bad")
    upper.add_node("bad", lower.compile())
    upper.add_conditional_edges(START, lambda state: ["bad", Send("sent", state)])
    return upper.compile(checkpointer=saver)


def functional(saver: Saver) -> Any:
    graph = leaf(leaf=with_tasks)

    @task
    def run_graph(x: int) -> None:
        graph.invoke({"a": []})
        graph.invoke({"a": []})

    @entrypoint(checkpointer=saver)
    def flow(x: Any) -> int:
        run_graph(2).result()
        return outer_task(1).result()

    return flow


CASES = {
    plain: {"one", "two"},
    nested_twice: {"top", "mid", "leaf", "outer_task", "inner_task"},
    graphs_called_twice: {"caller", "mid", "leaf", "tasks", "outer_task", "inner_task"},
    lasting_subgraph: {"caller", "mid", "leaf", "outer_task", "inner_task"},
    sends: {"first", "sent", "graph", "leaf", "outer_task", "inner_task"},
    error_handlers: {
        "bad",
        "sent",
        "__error_handler__bad",
        "__error_handler__sent",
        "outer_task",
        "inner_task",
    },
    functional: {"flow", "outer_task", "inner_task", "run_graph", "leaf"},
}


@pytest.mark.parametrize(("make", "names"), CASES.items(), ids=[make.__name__ for make in CASES])
def test_nodes_join_the_checkpointer(make: Callable[[Saver], Any], names: set[str]) -> None:
    saver, handler = Saver(), Handler()
    make(saver).invoke({"a": []}, {"configurable": {"thread_id": "1"}, "callbacks": [handler]})
    assert {node.node_name for node in handler.nodes} == names
    assert len({node.task_id for node in handler.nodes}) == len(handler.nodes)
    for node in handler.nodes:
        assert saver.tasks[node.task_id] == node.checkpoint_ns
        assert node.checkpoint_ns in saver.graphs
        assert node.step is not None
        assert node.triggers
        assert node.node_type == kind_of(node.node_name)


def kind_of(name: str) -> str:
    if name.startswith("__error_handler__"):
        return "error_handler"
    return "task" if name in ("outer_task", "inner_task", "run_graph") else "node"


def test_a_resumed_node_is_the_same_task() -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"a": [interrupt("well?")]}

    saver, handler = Saver(), Handler()
    graph = leaf(saver, top=leaf(ask=ask))
    config: RunnableConfig = {"configurable": {"thread_id": "1"}, "callbacks": [handler]}
    graph.invoke({"a": []}, config)
    graph.invoke(Command(resume="yes"), config)
    names = [node.node_name for node in handler.nodes]
    assert names == ["top", "ask", "top", "ask"]
    assert handler.nodes[:2] == handler.nodes[2:]


METADATA = {
    "langgraph_node": "n",
    "langgraph_step": 2,
    "langgraph_triggers": ("branch:to:n",),
    "langgraph_path": ("__pregel_pull", "n"),
    "langgraph_checkpoint_ns": "g:1|n:2",
}


def test_the_columns_of_a_node() -> None:
    node = node_identity("n", ["graph:step:2"], METADATA)
    assert node is not None
    assert node.path == ("__pregel_pull", "n")
    assert node.fields() == {
        "node_name": "n",
        "node_type": "node",
        "step": 2,
        "task_id": "2",
        "checkpoint_ns": "g:1",
        "triggers": ["branch:to:n"],
    }


@pytest.mark.parametrize(
    ("name", "tags", "metadata"),
    [
        ("n", ["graph:step:2", "langsmith:hidden"], METADATA),
        ("RunnableSequence", ["graph:step:2"], METADATA),
        ("n", ["seq:step:1"], METADATA),
        ("n", None, METADATA),
        ("n", ["graph:step:2"], {}),
        ("n", ["graph:step:2"], None),
        ("n", ["graph:step:2"], {"langgraph_node": "n"}),
        (None, ["graph:step:2"], METADATA),
        (Hostile(), [Hostile()], {"langgraph_node": "n"}),
        ("n", [Hostile()], METADATA),
        ("n", 3, METADATA),
    ],
    ids=lambda v: type(v).__name__,
)
def test_other_runs_are_no_nodes(name: Any, tags: Any, metadata: Any) -> None:
    assert node_identity(name, tags, metadata) is None
