"""Runs a graph that stops amid everything, says so on standard output, and waits to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import psycopg
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.runnables import RunnableConfig
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


def wait_until_seen(url: str, thread_id: str) -> None:
    """Returns once a model call and a tool call of the thread are seen as running."""
    with psycopg.connect(url, autocommit=True) as conn:
        for table in ("generations", "tool_executions"):
            seen = f"SELECT status FROM langgraph_persist.{table} WHERE thread_id = %s".encode()
            while conn.execute(seen, [thread_id]).fetchall() != [("running",)]:
                time.sleep(0.02)


def nested(hang: str | None = None) -> StateGraph[Any, Any, Any, Any]:
    """A node, then a subgraph of a node and one with a model and a tool.

    These hang if told so, and say it once they are seen in the database with this URL.
    """

    async def say_stuck(url: str, thread_id: str) -> None:
        await asyncio.to_thread(wait_until_seen, url, thread_id)
        say("stuck")

    async def stuck(state: Steps, config: RunnableConfig) -> Steps:
        if hang is not None:
            calls = [
                Hanging(messages=iter([])).ainvoke("hi"),
                hanging.ainvoke({"city": "Oslo"}),
            ]
            await asyncio.gather(*calls, say_stuck(hang, config["configurable"]["thread_id"]))
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
    graph = persist.attach(nested(url).compile(checkpointer=persist.checkpointer))
    asyncio.run(graph.ainvoke({"count": 0}, persist.config(thread_id, user="alice")))


if __name__ == "__main__":
    main(*sys.argv[1:])
