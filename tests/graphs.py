"""Graphs that the tests run, with langchain-core's fake models."""

from __future__ import annotations

import asyncio
import operator
import time
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

MODES = ["invoke", "ainvoke", "stream", "astream"]


def run(graph: Any, mode: str, value: Any, config: Any, **kwargs: Any) -> Any:
    """A runnable's result by one of its four entrances."""
    if mode == "invoke":
        return graph.invoke(value, config, **kwargs)
    if mode == "stream":
        return list(graph.stream(value, config, **kwargs))
    if mode == "ainvoke":
        return asyncio.run(graph.ainvoke(value, config, **kwargs))

    async def collect() -> list[Any]:
        return [chunk async for chunk in graph.astream(value, config, **kwargs)]

    return asyncio.run(collect())


class Steps(TypedDict, total=False):
    """A counter, a log of the nodes that ran, and room for a large value."""

    count: int
    log: Annotated[list[str], operator.add]
    note: str


def step(name: str, seconds: float = 0) -> Any:
    """A node that counts and logs itself, taking its time if told so."""

    def node(state: Steps) -> Steps:
        time.sleep(seconds)
        return {"count": state.get("count", 0) + 1, "log": [name]}

    return node


def chain_of(names: list[str], seconds: float = 0) -> StateGraph[Any, Any, Any, Any]:
    """Nodes one after the other."""
    builder = StateGraph(Steps)
    for name in names:
        builder.add_node(name, step(name, seconds))
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder


def fan_of(names: list[str]) -> StateGraph[Any, Any, Any, Any]:
    """Nodes side by side, each adding to the log, then one that joins."""

    def branch(name: str) -> Any:
        return lambda state: {"log": [name]}

    builder = StateGraph(Steps)
    builder.add_node("join", step("join"))
    for name in names:
        builder.add_node(name, branch(name))
        builder.add_edge(START, name)
        builder.add_edge(name, "join")
    builder.add_edge("join", END)
    return builder


class Chat(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def answer(text: str, **fields: Any) -> AIMessage:
    """A model's answer with token counts."""
    count = len(text.split())
    usage = {"input_tokens": 7, "output_tokens": count, "total_tokens": 7 + count}
    return AIMessage(
        text,
        usage_metadata=usage,
        response_metadata={"model_name": "fake-1", "finish_reason": "stop"},
        **fields,
    )


def fake_model(*texts: str) -> GenericFakeChatModel:
    """A chat model that gives these answers in turn."""
    return GenericFakeChatModel(messages=iter([answer(text) for text in texts]))


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def chat_graph(*texts: str) -> StateGraph[Any, Any, Any, Any]:
    """A node that looks up the weather and one that asks a model, which answers these texts."""
    model = fake_model(*texts)

    def look(state: Chat) -> dict[str, Any]:
        return {"messages": [HumanMessage(weather.invoke({"city": "Oslo"}))]}

    def ask(state: Chat) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(Chat)
    builder.add_node("look", look)
    builder.add_node("ask", ask)
    builder.add_edge(START, "look")
    builder.add_edge("look", "ask")
    builder.add_edge("ask", END)
    return builder


def approval_graph() -> StateGraph[Any, Any, Any, Any]:
    """Drafts, asks a human, publishes."""

    def ask(state: Steps) -> Steps:
        decision = interrupt({"question": "publish?", "note": state.get("note")})
        return {"log": [f"ask:{decision}"]}

    builder = StateGraph(Steps)
    builder.add_node("draft", step("draft"))
    builder.add_node("ask", ask)
    builder.add_node("publish", step("publish"))
    for before, after in [
        (START, "draft"),
        ("draft", "ask"),
        ("ask", "publish"),
        ("publish", END),
    ]:
        builder.add_edge(before, after)
    return builder
