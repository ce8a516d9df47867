"""LangChain and LangGraph callback payloads as row fields: pure functions, no I/O.

A field is None, a bool, int, float, str, UUID, list of str, or, for a jsonb column, an
``orjson.Fragment``: its bytes are the snapshot. Everything is valid for PostgreSQL: no NUL, no
lone surrogate. No function here raises on odd input; none changes its input.
"""

from __future__ import annotations

from langgraph_persist.extract.answers import (
    answer_keys,
    is_same_text,
    streamed_text,
    structured_response,
)
from langgraph_persist.extract.content import keep_for
from langgraph_persist.extract.encode import to_json, to_json_bytes
from langgraph_persist.extract.failures import error_fields, hide
from langgraph_persist.extract.generations import (
    Billing,
    GenerationStart,
    asked_calls,
    billing,
    generation_end,
    generation_start,
)
from langgraph_persist.extract.humans import hitl_answers, hitl_request
from langgraph_persist.extract.keep import Keep, References, without
from langgraph_persist.extract.messages import Row, is_message_list, message_entry, message_list
from langgraph_persist.extract.nodes import NodeIdentity, node_identity, nodes_around, task_around
from langgraph_persist.extract.runs import is_resume, root_input, runnable_name, state_input
from langgraph_persist.extract.schemas import bound_tools
from langgraph_persist.extract.text import (
    NAME_LENGTH,
    clean_text,
    content_text,
    is_a,
    is_excerpt,
    qualified_name,
    safe_str,
)
from langgraph_persist.extract.tools import (
    refused_calls,
    retriever_end,
    retriever_start,
    tool_end,
    tool_start,
)

__all__ = [
    "NAME_LENGTH",
    "Billing",
    "GenerationStart",
    "Keep",
    "NodeIdentity",
    "References",
    "Row",
    "answer_keys",
    "asked_calls",
    "billing",
    "bound_tools",
    "clean_text",
    "content_text",
    "error_fields",
    "generation_end",
    "generation_start",
    "hide",
    "hitl_answers",
    "hitl_request",
    "is_a",
    "is_excerpt",
    "is_message_list",
    "is_resume",
    "is_same_text",
    "keep_for",
    "message_entry",
    "message_list",
    "node_identity",
    "nodes_around",
    "qualified_name",
    "refused_calls",
    "retriever_end",
    "retriever_start",
    "root_input",
    "runnable_name",
    "safe_str",
    "state_input",
    "streamed_text",
    "structured_response",
    "task_around",
    "to_json",
    "to_json_bytes",
    "tool_end",
    "tool_start",
    "without",
]
