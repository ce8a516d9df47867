"""What the contenders run: graphs, the turns of a conversation with them, and how much that is."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send

KILOBYTE = "All happy graphs are alike; every unhappy graph stops in its own way. " * 15
HISTORY = 2_000
PAGE = 20


class FakeModel(BaseChatModel):
    """Answers at once, with the same text and token counts."""

    text: str

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        count = len(self.text) // 4
        message = AIMessage(
            self.text,
            usage_metadata={
                "input_tokens": count,
                "output_tokens": count,
                "total_tokens": 2 * count,
            },
            response_metadata={"model_name": "fake-1", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class Steps(TypedDict):
    """A small state."""

    topic: str
    steps: Annotated[list[int], operator.add]


class Answers(TypedDict):
    """What a model said so far."""

    topic: str
    answers: Annotated[list[str], operator.add]


class Chat(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


class Documents(TypedDict):
    """A megabyte that is set once, and a counter."""

    text: str
    documents: list[dict[str, str]]
    count: int


Builder = StateGraph[Any, Any, Any, Any]


def _chain(schema: Any, nodes: int, node: Any) -> Builder:
    builder: Builder = StateGraph(schema)
    before = START
    for number in range(nodes):
        builder.add_node(name := f"node{number}", node)
        builder.add_edge(before, name)
        before = name
    return builder


def _sequential() -> Builder:
    return _chain(Steps, 5, lambda state: {"steps": [len(state["steps"])]})


def _models() -> Builder:
    model = FakeModel(text=KILOBYTE)

    def ask(state: Answers) -> dict[str, Any]:
        return {"answers": [str(model.invoke(KILOBYTE).content)]}

    return _chain(Answers, 10, ask)


def _chat() -> Builder:
    model = FakeModel(text=KILOBYTE[:200])
    return _chain(Chat, 1, lambda state: {"messages": [model.invoke(state["messages"])]})


def _fan_out() -> Builder:
    builder: Builder = StateGraph(Steps)
    builder.add_node("work", lambda number: {"steps": [number]})
    builder.add_node("join", lambda state: {"topic": f"{len(state['steps'])} steps"})
    builder.add_conditional_edges(
        START, lambda state: [Send("work", number) for number in range(50)], ["work"]
    )
    builder.add_edge("work", "join")
    return builder


def _large() -> Builder:
    return _chain(Documents, 5, lambda state: {"count": state["count"] + 1})


def _loop() -> Builder:
    """A node that comes back to itself until the thread has its checkpoints."""
    builder: Builder = StateGraph(Steps)
    builder.add_node("again", lambda state: {"topic": str(int(state["topic"]) + 1)})
    builder.add_edge(START, "again")
    builder.add_conditional_edges(
        "again", lambda state: "again" if int(state["topic"]) < HISTORY - 2 else "__end__"
    )
    return builder


def _megabyte(turn: int) -> dict[str, Any]:
    if turn:
        return {"count": 0}
    pages = [{"title": f"page {number}", "text": KILOBYTE} for number in range(480)]
    return {"text": KILOBYTE * 480, "documents": pages, "count": 0}


@dataclass(frozen=True)
class Workload:
    """A conversation of some turns on a thread of its own, or reads of one thread."""

    title: str
    build: Callable[[], Builder]
    input: Callable[[int], Any]
    nodes: int
    generations: int = 0
    turns: int = 1
    read: Literal["state", "history"] | None = None
    """What is read of a thread that was filled before, instead of running the graph."""

    def carry_on(self, result: dict[str, Any], turn: int) -> dict[str, Any]:
        """The input of a turn for a graph that keeps nothing: all that was, and what is new."""
        given = self.input(turn)
        if "messages" in given:
            return {"messages": [*result["messages"], *given["messages"]]}
        return {**result, **given}

    @property
    def spans(self) -> int:
        """What a tracer sees of a turn: the run, its nodes, its calls of models."""
        return 1 + self.nodes + self.generations


WORKLOADS = {
    "a": Workload("5 nodes, small state", _sequential, lambda _: {"topic": "t", "steps": []}, 5),
    "b": Workload(
        "10 nodes with a model call each, 1 KB in and out",
        _models,
        lambda _: {"topic": "cats", "answers": []},
        10,
        10,
    ),
    "c": Workload(
        "a chat, 200 turns",
        _chat,
        lambda turn: {"messages": [("human", f"{turn}: {KILOBYTE[:200]}")]},
        1,
        1,
        200,
    ),
    "d": Workload("fan-out of 50 tasks", _fan_out, lambda _: {"topic": "t", "steps": []}, 51),
    "e": Workload("1 MB of state, of which a counter changes", _large, _megabyte, 5, turns=5),
    "f": Workload(
        f"get_state of {HISTORY} checkpoints",
        _loop,
        lambda _: {"topic": "0", "steps": []},
        HISTORY - 2,
        read="state",
    ),
    "g": Workload(
        f"get_state_history(limit={PAGE}) of {HISTORY} checkpoints",
        _loop,
        lambda _: {"topic": "0", "steps": []},
        HISTORY - 2,
        read="history",
    ),
}
