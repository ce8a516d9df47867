"""Runs a graph that stops amid everything, says so on standard output, and waits to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.tools import tool
from langgraph.graph import StateGraph

from langgraph_persist import Persist
from tests.graphs import Steps, chain_of, step


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


class Hanging(GenericFakeChatModel):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(3600)


@tool
async def hanging(city: str) -> str:
    """Never answers."""
    await asyncio.sleep(3600)
    return city


def nested(hang: bool) -> StateGraph[Any, Any, Any, Any]:
    """A node, then a subgraph of a node and one that hangs with a model and a tool, if told so."""

    async def stuck(state: Steps) -> Steps:
        if hang:
            calls = [
                Hanging(messages=iter([])).ainvoke("hi"),
                hanging.ainvoke({"city": "Oslo"}),
            ]
            asyncio.get_running_loop().call_later(0.3, say, "stuck")
            await asyncio.gather(*calls)
        return {"log": ["stuck"]}

    inner = chain_of(["i"])
    inner.add_node("stuck", stuck)
    inner.add_edge("i", "stuck")
    builder = chain_of(["a"])
    builder.add_node("sub", inner.compile())
    builder.add_edge("a", "sub")
    builder.add_node("end", step("end"))
    builder.add_edge("sub", "end")
    return builder


def main(url: str, thread_id: str) -> None:
    persist = Persist(url)
    graph = persist.attach(nested(True).compile(checkpointer=persist.checkpointer))
    asyncio.run(graph.ainvoke({"count": 0}, persist.config(thread_id, user="alice")))


if __name__ == "__main__":
    main(*sys.argv[1:])
