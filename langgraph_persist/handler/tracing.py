"""LangGraph's ``TracePolicy``: what a node's own run may record of its input and output."""

from __future__ import annotations

from typing import Any

from langgraph.types import TracePolicy

from langgraph_persist.handler.spans import Span
from langgraph_persist.journal import Failures


def trace_policy(graph: Span | None, node_name: str) -> TracePolicy | None:
    """The policy of a node in this call of a graph, if there is one.

    LangGraph applies it for tracers only, so it is looked up in the graph.
    """
    called = graph.call.graph if graph is not None and graph.call is not None else None
    node = getattr(called, "nodes", {}).get(node_name)
    policy = getattr(node, "trace_policy", None)
    return policy if isinstance(policy, TracePolicy) else None


def traced_input(span: Span, value: Any, failures: Failures) -> Any:
    """A node's input as its policy lets it be recorded; nothing where the policy raises."""
    return _traced(span.policy and span.policy.process_inputs, value, failures)


def traced_output(span: Span, value: Any, failures: Failures) -> Any:
    """The same for its output."""
    return _traced(span.policy and span.policy.process_outputs, value, failures)


def _traced(process: Any, value: Any, failures: Failures) -> Any:
    if process is None:
        return value
    try:
        return process(value)
    except Exception as error:
        failures.add("trace_policy", error)
        return f"<trace policy failed: {type(error).__name__}>"
