"""Reads back what both savers wrote, in a process that may deserialize strictly: see its test."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver

from langgraph_persist import PersistSaver

NESTED: Any = ["\ud800"]
for _ in range(200):
    NESTED = [NESTED]

JSON: dict[str, Any] = {
    "integer": 2**100,
    "text": "lone \ud800",
    "nested": {"k\udfff": [-(10**4000), 1.5, float("-inf"), -0.0, True, None, "\x00"]},
    "message": HumanMessage("lone \ud800", id="\udc00"),
    "messages": [
        AIMessage(
            "x",
            tool_calls=[{"name": "f", "args": {"n": 10**30}, "id": "1"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"model_name": "m"},
        ),
        ToolMessage("lone \udfff", tool_call_id="1", artifact=[10**40]),
    ],
}
OTHERS: dict[str, Any] = {
    "key": {2**70: 1},
    "pair": "\ud83d\ude00",
    "lc": {"lc": 2, "type": "constructor", "id": ["builtins", "list"], "n": 2**70},
    "digits": 2**20_000,
    "deep": NESTED,
    "set": {10**30, "a"},
}


class Counting(logging.Handler):
    """Remembers what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def unequal(saver: PostgresSaver, expected: dict[str, Any]) -> Iterator[str]:
    """What is not read as it was written, whether as state or as a write."""
    for name, value in expected.items():
        found = saver.get_tuple(config(name))
        assert found is not None
        read = found.checkpoint["channel_values"]["c"]
        if (read, found.pending_writes) != (value, [("task", "c", value)]):
            yield name


def main(url: str, stock_url: str) -> None:
    log = Counting()
    logging.getLogger().addHandler(log)
    with PersistSaver.from_conn_string(url) as ours:
        for name, value in (JSON | OTHERS).items():
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"c": value}
            checkpoint["channel_versions"] = {"c": "1"}
            metadata: Any = {"source": "input", "step": -1, "odd": value}
            saved = ours.put(config(name), checkpoint, metadata, {"c": "1"})
            ours.put_writes(saved, [("c", value)], "task")
        print("ours differ:", *unequal(ours, JSON | OTHERS))
        print("logged:", *log.messages)
    with PostgresSaver.from_conn_string(stock_url) as stock:
        print("stock differ:", *unequal(stock, JSON))


if __name__ == "__main__":
    main(*sys.argv[1:])
