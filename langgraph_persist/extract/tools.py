"""Tool and retriever runs as columns of ``tool_executions`` and ``retrievals``.

An end leaves out what it does not know, so that folding keeps what the start knew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
from langchain_core.messages import BaseMessage, ToolMessage
from langgraph.types import Command

from langgraph_persist.extract.encode import to_json
from langgraph_persist.extract.guard import columns, gather, mapping, no_fields, no_rows, total
from langgraph_persist.extract.keep import Keep
from langgraph_persist.extract.text import (
    content_text,
    is_a,
    optional_name,
    optional_text,
    safe_str,
)

_PLAIN = Keep()
UNNAMED = "tool"
_ANSWERS = 1_000


@columns(lambda: {"tool_name": UNNAMED, "tool_call_id": None})
def tool_start(
    serialized: Mapping[str, Any] | None,
    input_str: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    name: str | None = None,
    tool_call_id: str | None = None,
    keep: Keep = _PLAIN,
    **payload: object,
) -> dict[str, Any]:
    """What ``on_tool_start`` says; a tool called with bare text has ``{"input": text}``.

    The rest of the event's payload (tags, color) is accepted and not needed.
    """

    def tool_name() -> dict[str, Any]:
        return {"tool_name": optional_name(mapping(serialized).get("name") or name) or UNNAMED}

    def called() -> dict[str, Any]:
        call_id = tool_call_id or mapping(metadata).get("tool_call_id")
        return {"tool_call_id": optional_text(call_id)}

    def input_params() -> dict[str, Any]:
        given = inputs if inputs is not None else {"input": input_str}
        return {"input_params": keep.document(given)}

    unknown = {"tool_name": UNNAMED, "tool_call_id": None}
    return unknown | gather(tool_name=tool_name, tool_call_id=called, input_params=input_params)


@columns(no_fields)
def tool_end(output: Any, keep: Keep = _PLAIN) -> dict[str, Any]:
    """The result as the tool gave it, and whether it succeeded.

    A ``ToolMessage`` is unwrapped to its content, or to content and artifact where it has one.
    One with status ``error`` (a failure the tool handled) has ``success`` False and its text as
    ``error_message``.
    """
    message = _tool_message(output)
    if message is None:
        return {"output_data": _kept(output, keep), "success": True}
    failed = message.status == "error"
    fields = {
        "output_data": _result(message, keep) if message is output else _kept(output, keep),
        "tool_call_id": optional_text(message.tool_call_id) or None,
        "success": not failed,
        "error_message": content_text(message.content) if failed else None,
    }
    return {column: value for column, value in fields.items() if value is not None}


@total(no_rows)
def refused_calls(outputs: Any) -> list[dict[str, Any]]:
    """The calls that a node answered with an error, as far as it may not have run their tools.

    That is what a node gives for a tool that it does not have. Only of nodes that answer calls,
    and do nothing else: elsewhere such messages are about something else.
    """
    found = _messages(outputs)
    if not found or not all(is_a(message, ToolMessage) for message in found):
        return []
    return [
        {
            "tool_name": optional_name(message.name),
            "tool_call_id": optional_text(message.tool_call_id),
            "success": False,
            "status": "failed",
            "error_message": content_text(message.content),
        }
        for message in found
        if message.status == "error"
    ]


@columns(no_fields)
def retriever_start(query: Any) -> dict[str, Any]:
    """The query of a retrieval."""
    return {"query": None if query is None else safe_str(query)}


@columns(no_fields)
def retriever_end(documents: Any) -> dict[str, Any]:
    """The documents found and how many."""
    count = len(documents) if is_a(documents, (list, tuple)) else None
    return {"documents": to_json(documents), "document_count": count}


def _result(message: ToolMessage, keep: Keep) -> Any:
    said = keep.said(message)
    if message.artifact is None or said is None:
        return said
    parts = {"content": said, "artifact": keep.document(message.artifact)}
    return orjson.Fragment(orjson.dumps(parts))


def _kept(output: Any, keep: Keep) -> Any:
    return keep.json(None) if output is None else keep.document(output)


def _messages(output: Any) -> list[Any]:
    """What a node adds to the messages, in any of the forms it may be given."""
    if type(output) is dict:
        return _messages(output["messages"]) if "messages" in output else []
    if is_a(output, BaseMessage):
        return [output]
    if is_a(output, Command):
        return _messages(output.update)
    if is_a(output, Mapping):
        return _messages(output.get("messages"))
    if is_a(output, (list, tuple)):
        return [message for item in output[:_ANSWERS] for message in _messages(item)]
    return []


def _tool_message(output: Any) -> ToolMessage | None:
    """The message that answers the call: the output, or within a Command or a list of these."""
    if is_a(output, ToolMessage):
        return cast(ToolMessage, output)
    if is_a(output, Command):
        output = mapping(output.update).get("messages")
    if is_a(output, (list, tuple)):
        return next((m for item in output if (m := _tool_message(item)) is not None), None)
    return None
