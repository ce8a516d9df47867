"""What the record keeps where no content may be readable: structure, timings and counts."""

from __future__ import annotations

from langgraph_persist.journal.unit import Rows

_ERROR = {"error_message", "error_traceback"}

CONTENT: dict[str, frozenset[str]] = {
    "sessions": frozenset({"initial_input"}),
    "workflows": frozenset({"user_input", "input", "settings", "result", *_ERROR}),
    "workflow_runs": frozenset(_ERROR),
    "nodes": frozenset({"input_data", "output_data", "state", *_ERROR}),
    "generations": frozenset(
        {"system_prompt", "user_prompt", "prompt", "output", "output_message", "parsed_output"}
        | {"tool_calls", "invocation_params", *_ERROR}
    ),
    "tool_executions": frozenset({"input_params", "output_data", *_ERROR}),
    "retrievals": frozenset({"query", "documents", *_ERROR}),
}
"""The columns, by table, that can hold values of a state, a prompt or an answer."""

CONTENT_TABLES = frozenset({"messages", "state_values"})


def without_content(rows: Rows) -> Rows:
    """The rows with nothing in them that a user, a model or a node said."""
    return [
        (table, {k: v for k, v in fields.items() if k not in CONTENT.get(table, ())})
        for table, fields in rows
        if table not in CONTENT_TABLES
    ]
