"""Every kind of execution, once: what the tests run, what SCENARIOS.md shows, what is compared.

``python -m tests.scenarios`` writes the page. What it says is recorded is what the tests assert.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
)
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, TimeoutPolicy, interrupt

from langgraph_persist import Persist
from tests.graphs import (
    Steps,
    answer,
    approval_graph,
    chain_of,
    chat_graph,
    fake_model,
    fan_of,
    step,
    weather,
)

PAGE = Path(__file__).parent.parent / "SCENARIOS.md"


class Way(NamedTuple):
    """How a run is called."""

    method: str
    stream_mode: str | None = None

    def __str__(self) -> str:
        return f"{self.method}-{self.stream_mode}" if self.stream_mode else self.method


WAYS = [Way("invoke"), Way("ainvoke")] + [
    Way(method, mode)
    for method in ("stream", "astream")
    for mode in ("values", "updates", "messages")
]
ASYNC = [way for way in WAYS if way.method in ("ainvoke", "astream")]
STATES = [way for way in WAYS if way.stream_mode in ("values", "updates")]
"""The streams that tell of a node once its result is kept."""


@dataclass
class Stage:
    """Where a scenario is played: with which checkpointer, attached to what, called how."""

    checkpointer: Any
    way: Way = WAYS[0]
    attach: Callable[[Any], Any] = lambda runnable: runnable
    url: str | None = None
    """The database, where there is one."""
    outcomes: list[Any] = field(default_factory=list)
    """What each run gave: its result, or its chunks; and the exception, if it raised one."""
    task: asyncio.Task[Any] | None = None
    """The task that an asynchronous run goes on in."""

    def compile(self, builder: Any, **options: Any) -> Any:
        """A graph with the checkpointer."""
        return self.attach(builder.compile(checkpointer=self.checkpointer, **options))

    def run(self, runnable: Any, value: Any, thread_id: str = "t", **config: Any) -> None:
        """Call it in this stage's way, whatever comes of it."""
        whole: Any = {"configurable": {"thread_id": thread_id}, **config}
        chunks: list[Any] = []
        self._keep(chunks, lambda: self._call(runnable, value, whole, chunks))

    def close(self, graph: Any, value: Any, enough: Callable[[Any], bool]) -> None:
        """Read a stream in this stage's way until a chunk is enough, and close it."""
        config: Any = {"configurable": {"thread_id": "t"}}
        chunks: list[Any] = []

        def read() -> list[Any]:
            stream = graph.stream(value, config, stream_mode=self.way.stream_mode)
            while not (chunks and enough(chunks[-1])):
                chunks.append(next(stream))
            stream.close()
            return chunks

        async def aread() -> list[Any]:
            stream = graph.astream(value, config, stream_mode=self.way.stream_mode)
            while not (chunks and enough(chunks[-1])):
                chunks.append(await anext(stream))
            await stream.aclose()
            return chunks

        self._keep(chunks, read if self.way.method == "stream" else lambda: asyncio.run(aread()))

    def _keep(self, chunks: list[Any], call: Callable[[], Any]) -> None:
        try:
            self.outcomes.append(call())
        except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:
            self.outcomes.append([*chunks, (type(error).__name__, str(error))])

    def _call(self, runnable: Any, value: Any, config: Any, chunks: list[Any]) -> Any:
        method, mode = self.way
        options = {"stream_mode": mode} if mode and hasattr(runnable, "get_state") else {}
        if method == "invoke":
            return runnable.invoke(value, config)
        if method == "stream":
            chunks.extend(runnable.stream(value, config, **options))
            return chunks

        async def collect() -> Any:
            self.task = asyncio.current_task()
            if method == "ainvoke":
                return await runnable.ainvoke(value, config)
            async for chunk in runnable.astream(value, config, **options):
                chunks.append(chunk)
            return chunks

        return asyncio.run(collect())


class Scenario(NamedTuple):
    """One kind of execution, and what is recorded of it."""

    title: str
    recorded: str
    play: Callable[[Stage], None]
    ways: Sequence[Way] = WAYS

    @property
    def name(self) -> str:
        return self.play.__name__


SCENARIOS: list[Scenario] = []


def scenario(
    title: str, recorded: str, ways: Sequence[Way] = WAYS
) -> Callable[[Callable[[Stage], None]], Scenario]:
    """Adds a scenario to the registry, to be called in these ways."""

    def add(play: Callable[[Stage], None]) -> Scenario:
        SCENARIOS.append(Scenario(title, recorded, play, ways))
        return SCENARIOS[-1]

    return add


def graph_of(*edges: tuple[str, str], **nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    """Nodes by name, and edges."""
    builder = StateGraph(Steps)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in edges:
        builder.add_edge(before, after)
    return builder


def logs(name: str) -> Any:
    """A node that may run beside others: it only logs itself."""
    return lambda state: {"log": [name]}


class Caller(GenericFakeChatModel):
    """A fake model that takes tools, and calls them when streaming too."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        said: Any = next(self.messages)
        calls: list[Any] = [
            {"name": c["name"], "args": json.dumps(c["args"]), "id": c["id"], "index": i}
            for i, c in enumerate(said.tool_calls)
        ]
        chunk = ChatGenerationChunk(
            message=AIMessageChunk(
                content=said.content,
                tool_call_chunks=calls,
                usage_metadata=said.usage_metadata,
                response_metadata=said.response_metadata,
                chunk_position="last",
            )
        )
        if run_manager is not None:
            run_manager.on_llm_new_token(said.content, chunk=chunk)
        yield chunk


def caller(*messages: AIMessage) -> Caller:
    return Caller(messages=iter(messages))


def wants(tool: str, **args: Any) -> AIMessage:
    """A model's wish to call a tool."""
    return answer("let me see", tool_calls=[{"name": tool, "args": args, "id": f"call-{tool}"}])


@scenario("Sequence", "completed: a, b, c")
def sequence(stage: Stage) -> None:
    stage.run(stage.compile(chain_of(["a", "b", "c"])), {"count": 0})


@scenario("Parallel branches", "completed: x, y, z, join")
def parallel(stage: Stage) -> None:
    stage.run(stage.compile(fan_of(["x", "y", "z"])), {"count": 0})


@scenario("Conditional edge", "completed: a, b, c skipped")
def conditional(stage: Stage) -> None:
    builder = graph_of((START, "a"), a=step("a"), b=step("b"), c=step("c"))
    builder.add_conditional_edges("a", lambda state: "b", ["b", "c"])
    stage.run(stage.compile(builder), {"count": 0})


@scenario("`Send` map-reduce", "completed: work x3, reduce")
def send(stage: Stage) -> None:
    builder = graph_of(
        ("work", "reduce"), work=lambda arg: {"log": [str(arg["count"])]}, reduce=step("reduce")
    )
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"count": i}) for i in range(3)], ["work"]
    )
    stage.run(stage.compile(builder), {"count": 0})


@scenario("Subgraph", "completed: a, sub[i, j]")
def subgraph(stage: Stage) -> None:
    inner = chain_of(["i", "j"]).compile()
    stage.run(stage.compile(graph_of((START, "a"), ("a", "sub"), a=step("a"), sub=inner)), {})


@scenario("Subgraph that saves nothing", "completed: a, sub[i, j]")
def stateless_subgraph(stage: Stage) -> None:
    inner = chain_of(["i", "j"]).compile(checkpointer=False)
    stage.run(stage.compile(graph_of((START, "a"), ("a", "sub"), a=step("a"), sub=inner)), {})


@scenario(
    "Subgraph with a memory of its own, two turns",
    "completed: a, sub[i, j]; completed: a, sub[i, j]",
)
def stateful_subgraph(stage: Stage) -> None:
    inner = chain_of(["i", "j"]).compile(checkpointer=True)
    graph = stage.compile(graph_of((START, "a"), ("a", "sub"), a=step("a"), sub=inner))
    for _ in range(2):
        stage.run(graph, {"count": 0})


@scenario("Subgraph in a subgraph", "completed: outer[middle[i, j]]")
def nested_twice(stage: Stage) -> None:
    inner = chain_of(["i", "j"]).compile()
    middle = graph_of((START, "middle"), middle=inner).compile()
    stage.run(stage.compile(graph_of((START, "outer"), outer=middle)), {"count": 0})


@scenario("Graph called in a node, on a thread of its own", "completed: call[i, j]")
def called_graph(stage: Stage) -> None:
    inner = chain_of(["i", "j"]).compile(checkpointer=stage.checkpointer)
    config: Any = {"configurable": {"thread_id": "own"}}

    def call(state: Steps) -> Any:
        return {"count": inner.invoke({"count": 5}, config)["count"]}

    async def acall(state: Steps) -> Any:
        return {"count": (await inner.ainvoke({"count": 5}, config))["count"]}

    stage.run(stage.compile(graph_of((START, "call"), call=RunnableLambda(call, acall))), {})


@scenario("`@entrypoint` and `@task`", "completed: flow[task double x3]")
def functional(stage: Stage) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint(checkpointer=stage.checkpointer)
    def flow(n: int) -> int:
        return sum(future.result() for future in [double(i) for i in range(n)])

    stage.run(stage.attach(flow), 3)


@scenario("`@task` that is retried", "completed: flow[task shaky failed, task shaky attempt 2]")
def retried_task(stage: Stage) -> None:
    tries: list[int] = []

    def shaky() -> int:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("again")
        return 1

    make: Any = task
    retried = make(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))(shaky)

    @entrypoint(checkpointer=stage.checkpointer)
    def flow(n: int) -> int:
        return n + int(retried().result())

    stage.run(stage.attach(flow), 3)


@scenario("Failing `@task`", "failed (ValueError): flow failed[task bad failed]")
def failing_task(stage: Stage) -> None:
    @task
    def bad() -> int:
        raise ValueError("no luck")

    @entrypoint(checkpointer=stage.checkpointer)
    def flow(n: int) -> int:
        return n + bad().result()

    stage.run(stage.attach(flow), 3)


@scenario(
    "`@entrypoint` that asks, and is resumed",
    "completed (start, resume): flow interrupted(input_request completed)[task draft],"
    " flow attempt 2",
)
def asking_entrypoint(stage: Stage) -> None:
    @task
    def draft(n: int) -> str:
        return f"draft {n}"

    @entrypoint(checkpointer=stage.checkpointer)
    def flow(n: int) -> str:
        return draft(n).result() + str(interrupt("publish?"))

    graph = stage.attach(flow)
    stage.run(graph, 3)
    stage.run(graph, Command(resume="yes"))


@scenario("A node that asks a model and calls a tool", "completed: look(tool weather), ask(model)")
def chat(stage: Stage) -> None:
    stage.run(stage.compile(chat_graph("It is sunny")), {"messages": [("human", "Weather?")]})


class Counting(AgentMiddleware[Any, Any, Any]):
    """A middleware with a node before each model call."""

    def before_model(self, state: Any, runtime: Any) -> None:
        return None


@scenario(
    "`create_agent` with a tool and middlewares",
    "completed: ModelCallLimitMiddleware.before_model, Counting.before_model, model(model),"
    " ModelCallLimitMiddleware.after_model, tools(tool weather),"
    " ModelCallLimitMiddleware.before_model, Counting.before_model, model(model),"
    " ModelCallLimitMiddleware.after_model",
)
def agent(stage: Stage) -> None:
    made = create_agent(
        caller(wants("weather", city="Oslo"), answer("It is sunny")),
        [weather],
        middleware=[ModelCallLimitMiddleware(run_limit=5), Counting()],
        checkpointer=stage.checkpointer,
    )
    stage.run(stage.attach(made), {"messages": [("human", "Weather?")]})


@scenario(
    "deepagents' `create_deep_agent` with a subagent",
    "completed: PatchToolCallsMiddleware.before_agent, model(model),"
    " tools(tool task)[PatchToolCallsMiddleware.before_agent, model(model), tools(tool weather),"
    " model(model)], model(model), _ParentNotifierMiddleware.after_agent",
)
def deep_agent(stage: Stage) -> None:
    made = create_deep_agent(
        caller(wants("task", description="look", subagent_type="scout"), answer("It is sunny")),
        subagents=[
            {
                "name": "scout",
                "description": "Looks things up.",
                "system_prompt": "You look things up.",
                "model": caller(wants("weather", city="Oslo"), answer("sunny")),
                "tools": [weather],
            }
        ],
        checkpointer=stage.checkpointer,
    )
    stage.run(stage.attach(made), {"messages": [("human", "Weather?")]})


@scenario("Node cache, second run", "completed: a, b; completed: a, b cached")
def cached(stage: Stage) -> None:
    builder = graph_of((START, "a"), ("a", "b"), a=step("a"))
    builder.add_node("b", step("b"), cache_policy=CachePolicy())
    graph = stage.compile(builder, cache=InMemoryCache())
    for thread_id in ("t", "u"):
        stage.run(graph, {"count": 0}, thread_id)


@scenario("Retries", "completed: shaky failed, shaky attempt 2 failed, shaky attempt 3")
def retries(stage: Stage) -> None:
    tries: list[int] = []

    def shaky(state: Steps) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("again")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("shaky", shaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "shaky")
    stage.run(stage.compile(builder), {"count": 0})


@scenario("Error handler", "completed: bad failed, error_handler __error_handler__bad")
def error_handler(stage: Stage) -> None:
    def bad(state: Steps) -> Any:
        raise ValueError("no luck")

    builder = StateGraph(Steps)
    builder.add_node("bad", bad, error_handler=lambda state: {"log": ["handled"]})
    builder.add_edge(START, "bad")
    stage.run(stage.compile(builder), {"count": 0})


@scenario("Deferred node", "completed: a, long, short, longer, late")
def deferred(stage: Stage) -> None:
    builder = graph_of(
        (START, "a"), ("a", "short"), ("a", "long"), ("long", "longer"),
        a=logs("a"), short=logs("short"), long=logs("long"), longer=logs("longer"),
    )  # fmt: skip
    builder.add_node("late", logs("late"), defer=True)
    builder.add_edge("short", "late")
    builder.add_edge("longer", "late")
    stage.run(stage.compile(builder), {"count": 0})


@scenario("`Command(goto=…)`", "completed: decide, b, c skipped")
def command(stage: Stage) -> None:
    def decide(state: Steps) -> Command[Literal["b", "c"]]:
        return Command(goto="b", update={"count": 1})

    stage.run(
        stage.compile(graph_of((START, "decide"), decide=decide, b=step("b"), c=step("c"))), {}
    )


@scenario("`Command.PARENT`", "completed: sub[leave], b, c skipped")
def command_parent(stage: Stage) -> None:
    def leave(state: Steps) -> Any:
        return Command(goto="b", graph=Command.PARENT)

    builder = graph_of((START, "sub"), b=step("b"), c=step("c"))
    builder.add_node(
        "sub", graph_of((START, "leave"), leave=leave).compile(), destinations=("b", "c")
    )
    stage.run(stage.compile(builder), {"count": 0})


@scenario("Recursion limit", "failed (GraphRecursionError): a x3")
def recursion_limit(stage: Stage) -> None:
    builder = graph_of((START, "a"), a=step("a"))
    builder.add_conditional_edges("a", lambda state: "a", ["a", END])
    stage.run(stage.compile(builder), {"count": 0}, recursion_limit=3)


@scenario("Failing node", "failed (ValueError): a, bad failed")
def failure(stage: Stage) -> None:
    def bad(state: Steps) -> Any:
        raise ValueError("no luck")

    stage.run(stage.compile(graph_of((START, "a"), ("a", "bad"), a=step("a"), bad=bad)), {})


async def endless(state: Steps) -> Any:
    """A node that never ends by itself."""
    await asyncio.sleep(600)


@scenario("Node timeout (asynchronous)", "failed (NodeTimeoutError): a, slow failed", ASYNC)
def node_timeout(stage: Stage) -> None:
    builder = graph_of((START, "a"), a=step("a"))
    builder.add_node("slow", endless, timeout=TimeoutPolicy(run_timeout=0.05))
    builder.add_edge("a", "slow")
    stage.run(stage.compile(builder), {"count": 0})


@scenario("Step timeout (asynchronous)", "failed (TimeoutError): slow failed, slower failed", ASYNC)
def step_timeout(stage: Stage) -> None:
    graph = stage.compile(
        graph_of((START, "slow"), (START, "slower"), slow=endless, slower=endless)
    )
    graph.step_timeout = 0.1
    stage.run(graph, {"count": 0})


@scenario("Cancelled task (asynchronous)", "cancelled: a, slow cancelled", ASYNC)
def cancelled(stage: Stage) -> None:
    async def slow(state: Steps) -> None:
        assert stage.task is not None
        stage.task.cancel()
        await endless(state)

    graph = stage.compile(graph_of((START, "a"), ("a", "slow"), a=step("a"), slow=slow))
    stage.run(graph, {"count": 0})


@scenario("Stream closed after the first node", "cancelled: a", STATES)
def closed(stage: Stage) -> None:
    graph = stage.compile(chain_of(["a", "b"]))
    stage.close(graph, {"count": 0}, lambda chunk: "a" in str(chunk))


@scenario("`KeyboardInterrupt`", "cancelled: a, stopped cancelled")
def keyboard_interrupt(stage: Stage) -> None:
    def stopped(state: Steps) -> Any:
        raise KeyboardInterrupt

    async def astopped(state: Steps) -> None:
        signal.raise_signal(signal.SIGINT)
        await endless(state)

    node = RunnableLambda(stopped, astopped)
    stage.run(
        stage.compile(graph_of((START, "a"), ("a", "stopped"), a=step("a"), stopped=node)), {}
    )


@scenario("Killed process, found by another", "failed (ProcessLost): a, stuck failed")
def killed(stage: Stage) -> None:
    if stage.url is None:
        return
    command = [sys.executable, "-m", "tests._scenario_worker", stage.url, *filter(None, stage.way)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.kill()
    with Persist(stage.url):
        pass


@scenario(
    "Interrupt and resume",
    "completed (start, resume): draft, ask interrupted(input_request completed), ask attempt 2,"
    " publish",
)
def interrupted(stage: Stage) -> None:
    graph = stage.compile(approval_graph())
    stage.run(graph, {"count": 0})
    stage.run(graph, Command(resume="yes"))


@scenario(
    "Several interrupts at once, answered one by one",
    "completed (start, resume, resume): x interrupted(input_request completed),"
    " y interrupted(input_request completed), x attempt 2, y attempt 2 interrupted, y attempt 3",
)
def interrupts(stage: Stage) -> None:
    builder = StateGraph(Steps)
    for name in "xy":
        builder.add_node(name, lambda state, name=name: {"log": [f"{name}:{interrupt(name)}"]})
        builder.add_edge(START, name)
    graph = stage.compile(builder)
    stage.run(graph, {"count": 0})
    config: Any = {"configurable": {"thread_id": "t"}}
    asked = {one.value: one.id for one in graph.get_state(config).interrupts}
    for name in "xy":
        stage.run(graph, Command(resume={asked[name]: "yes"}))


@scenario(
    "A tool call that a human approves (`HumanInTheLoopMiddleware`)",
    "completed (start, resume): model(model), HumanInTheLoopMiddleware.after_model interrupted("
    "approval_request completed), HumanInTheLoopMiddleware.after_model attempt 2,"
    " tools(tool weather), model(model), HumanInTheLoopMiddleware.after_model",
)
def approval(stage: Stage) -> None:
    made = create_agent(
        caller(wants("weather", city="Oslo"), answer("It is sunny")),
        [weather],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"weather": True})],
        checkpointer=stage.checkpointer,
    )
    graph = stage.attach(made)
    stage.run(graph, {"messages": [("human", "Weather?")]})
    stage.run(graph, Command(resume={"decisions": [{"type": "approve"}]}))


@scenario(
    "A call of an unknown tool",
    "completed: model(model), tools(tool nonsense failed), model(model)",
)
def unknown_tool(stage: Stage) -> None:
    made = create_agent(
        caller(wants("nonsense", x=1), answer("I cannot")),
        [weather],
        checkpointer=stage.checkpointer,
    )
    stage.run(stage.attach(made), {"messages": [("human", "Weather?")]})


@scenario("Static interrupt", "completed (start, resume): a, b")
def static_interrupt(stage: Stage) -> None:
    graph = stage.compile(chain_of(["a", "b"]), interrupt_before=["b"])
    stage.run(graph, {"count": 0})
    stage.run(graph, None)


@scenario("`update_state`, then on from there", "completed: a, b, update a; completed (replay): b")
def update_state(stage: Stage) -> None:
    graph = stage.compile(chain_of(["a", "b"]))
    stage.run(graph, {"count": 0})
    config: Any = {"configurable": {"thread_id": "t"}}
    before_b = next(s for s in graph.get_state_history(config) if s.next == ("b",))
    forked = graph.update_state(before_b.config, {"count": 50})
    stage.run(graph, None, configurable=forked["configurable"])


@scenario("Time travel: replay", "completed: a, b; completed (replay): b")
def replay(stage: Stage) -> None:
    graph = stage.compile(chain_of(["a", "b"]))
    stage.run(graph, {"count": 0})
    config: Any = {"configurable": {"thread_id": "t"}}
    before_b = next(s for s in graph.get_state_history(config) if s.next == ("b",))
    stage.run(graph, None, configurable=before_b.config["configurable"])


@scenario("`batch`", "completed: a; completed: a; completed: a")
def batch(stage: Stage) -> None:
    graph = stage.compile(chain_of(["a"]))
    configs: list[Any] = [{"configurable": {"thread_id": f"t{n}"}} for n in range(3)]
    inputs: list[Any] = [{"count": n} for n in range(3)]
    if stage.way.method in ("invoke", "stream"):
        stage.outcomes.append(graph.batch(inputs, configs))
    else:
        stage.outcomes.append(asyncio.run(graph.abatch(inputs, configs)))


@scenario("LCEL chain without a graph", "completed: (model)")
def lcel(stage: Stage) -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "{q}")])
    stage.run(stage.attach(prompt | fake_model("fine thanks")), {"q": "How?"})


@scenario("Chat model without a graph", "completed: (model)")
def bare_model(stage: Stage) -> None:
    stage.run(stage.attach(fake_model("hello there")), "hi")


@scenario("Tool without a graph", "completed: (tool weather)")
def bare_tool(stage: Stage) -> None:
    stage.run(stage.attach(weather), {"city": "Rome"})


# --- what was recorded, as the page has it ---

WORKFLOWS = "SELECT * FROM workflows ORDER BY started_at, thread_id"
RUNS = "SELECT workflow_id, kind FROM workflow_runs ORDER BY workflow_id, attempt"
NODES = """
SELECT n.*, r.attempt AS run_attempt FROM nodes n
LEFT JOIN workflow_runs r ON r.thread_id = n.thread_id AND r.id = n.run_id
ORDER BY n.node_type = 'update', r.attempt, n.step, n.node_type = 'error_handler', n.node_name,
    n.attempt, n.status
"""
CALLS = """
SELECT workflow_id, node_id, 'model' AS said, status, started_at FROM generations
UNION ALL
SELECT workflow_id, node_id, 'tool ' || tool_name, status, started_at FROM tool_executions
UNION ALL
SELECT workflow_id, node_id, event_type, status, requested_at FROM hitl_events
WHERE node_id IS NOT NULL
ORDER BY 5
"""


def recorded(rows: Any) -> str:
    """What is in the tables, in the words of the page."""
    tables = rows(WORKFLOWS), rows(RUNS), rows(NODES), rows(CALLS)
    return "; ".join(_workflow(workflow, *tables[1:]) for workflow in tables[0])


def _workflow(workflow: Any, runs: Any, nodes: Any, calls: Any) -> str:
    own = workflow["id"]
    kinds = [run["kind"] for run in runs if run["workflow_id"] == own]
    said = ", ".join(kinds) if kinds != ["start"] else _class(workflow["error_type"])
    inside = [n for n in nodes if n["workflow_id"] == own]
    texts = [_node(n, inside, calls) for n in inside if n["parent_node_id"] is None]
    loose = [c for c in calls if c["workflow_id"] == own and c["node_id"] is None]
    course = ", ".join(_counted([*texts, *([_calls(loose)] if loose else [])]))
    return f"{workflow['status']}{f' ({said})' if said else ''}: {course}"


def _class(error_type: str | None) -> str:
    return (error_type or "").rpartition(".")[2]


def _node(node: Any, nodes: Any, calls: Any) -> str:
    kind = "" if node["node_type"] in ("node", "subgraph") else f"{node['node_type']} "
    text = kind + node["node_name"]
    text += f" attempt {node['attempt']}" if node["attempt"] > 1 else ""
    text += "" if node["status"] == "completed" else f" {node['status']}"
    text += " cached" if node["cached"] else ""
    text += _calls([c for c in calls if c["node_id"] == node["id"]])
    below = _counted([_node(n, nodes, calls) for n in nodes if n["parent_node_id"] == node["id"]])
    return f"{text}[{', '.join(below)}]" if below else text


def _calls(calls: Any) -> str:
    said = [
        c["said"] if c["status"] == "completed" and c["said"][:5] in ("model", "tool ")
        else f"{c['said']} {c['status']}"
        for c in calls
    ]  # fmt: skip
    return f"({', '.join(_counted(said))})" if said else ""


def _counted(texts: list[str]) -> list[str]:
    """Equal neighbours become one, with their number, unless they are attempts of a loop."""
    counted: list[tuple[str, int]] = []
    for text in texts:
        if counted and counted[-1][0] == text:
            counted[-1] = (text, counted[-1][1] + 1)
        else:
            counted.append((text, 1))
    return [text if count == 1 else f"{text} x{count}" for text, count in counted]


# --- the page ---


def page(comparison: str) -> str:
    """SCENARIOS.md as it should be; the comparison's table is made by a script of its own."""
    return "\n".join([*_head(), *map(_row, SCENARIOS), "", *_legend(), "", comparison.strip(), ""])


def _head() -> Iterator[str]:
    yield "# What is recorded"
    yield ""
    yield "Each row is played by `tests/test_scenarios.py` with `invoke`, `ainvoke`, `stream` and"
    yield "`astream` (values, updates, messages), or with those of them that can end so: the record"
    yield "must be what stands here, and results, chunks and exceptions must be the same as without"
    yield "any of this."
    yield ""
    yield "| scenario | record |"
    yield "| --- | --- |"


def _row(scenario: Scenario) -> str:
    return f"| {scenario.title} | {scenario.recorded} |"


def _legend() -> Iterator[str]:
    yield "A record is the status of each workflow and its nodes in order, `;` between workflows."
    yield "In square brackets are the nodes of a subgraph or the tasks of an entrypoint, in round"
    yield "ones the calls that a node made. A node without a status is completed; `x3`: three rows."
    yield "Every completed node has its input, output and, where its graph saves checkpoints, the"
    yield "checkpoint that holds its result and the state after it."


MARK = "## Compared with other handlers"


def written_comparison() -> str:
    """The part of the page that `tests/benchmarks/scenarios.py` made."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    return MARK + text.partition(MARK)[2] if MARK in text else ""


if __name__ == "__main__":
    PAGE.write_text(page(written_comparison()), "utf-8")
