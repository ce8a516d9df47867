"""The objects of the read side: one frozen class per table, its fields named like the columns.

Two objects are equal when they are the same row, whatever it said when each was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langgraph_persist.errors import NotRecorded
from langgraph_persist.extract import content_text, is_excerpt
from langgraph_persist.history.contents import Contents, Row, Source
from langgraph_persist.history.humans import HitlEvent

if TYPE_CHECKING:
    from langgraph_persist.history.timeline import Timeline


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Record:
    thread_id: str
    id: UUID
    status: str
    started_at: datetime
    completed_at: datetime | None
    error_type: str | None
    error_message: str | None
    error_traceback: str | None
    missing: dict[str, str] | None
    """What could not be recorded and why, by column or event; None if nothing is known to lack."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return (self.thread_id, self.id) == (other.thread_id, other.id)

    def __hash__(self) -> int:
        return hash((self.thread_id, self.id))

    def _show(self, *facts: object) -> str:
        shown = [str(fact) for fact in facts if fact is not None]
        if self.error_type:
            shown.append(self.error_type)
        return f"<{type(self).__name__} {', '.join(shown)}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Workflow(_Record):
    """One request of a user, from its input to its result, over all interrupts and resumes."""

    turn: int
    name: str
    user: str | None
    organization: str | None
    user_input: str | None
    input_type: str | None
    settings: Any
    metadata: Any
    tags: list[str] | None
    replay_of: UUID | None
    duration_ms: float | None
    active_ms: float | None
    node_count: int
    generation_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal | None
    _input: Any
    _result: Any
    _parts: _Parts

    @property
    def input(self) -> Any:
        """What the run was given."""
        return self._parts.whole(self._input)

    @property
    def result(self) -> Any:
        """What it gave back."""
        return self._parts.whole(self._result)

    @property
    def runs(self) -> Sequence[WorkflowRun]:
        """Its executions: the start, then every resume."""
        return self._parts.runs

    @property
    def nodes(self) -> Sequence[Node]:
        """Its nodes in the order they started, those of subgraphs and retries included."""
        return self._parts.nodes

    @property
    def generations(self) -> Sequence[Generation]:
        return self._parts.generations

    @property
    def tool_executions(self) -> Sequence[ToolExecution]:
        return self._parts.tool_executions

    @property
    def retrievals(self) -> Sequence[Retrieval]:
        return self._parts.retrievals

    @property
    def hitl_events(self) -> Sequence[HitlEvent]:
        """What it asked humans, and what these answered."""
        return self._parts.hitl_events

    def state_after(self, node: str | UUID | Node) -> dict[str, Any]:
        """The full state after a node; a name means the last execution of it.

        Raises:
            NotRecorded: this workflow has no such node, or no state was recorded after it.
        """
        return self._parts.state(self._find(node))

    def timeline(self) -> Timeline:
        """What happened, in order; printed, a table."""
        from langgraph_persist.history.timeline import Timeline

        return Timeline.of(self)

    def _find(self, node: str | UUID | Node) -> Node:
        wanted = node.id if isinstance(node, Node) else node
        for one in reversed(self.nodes):
            if wanted == (one.node_name if isinstance(wanted, str) else one.id):
                return one
        known = ", ".join(dict.fromkeys(one.node_name for one in self.nodes)) or "none"
        raise NotRecorded(f"{self!r} has no node {wanted!s}; recorded are: {known}")

    def __repr__(self) -> str:
        return self._show(
            repr(self.name),
            f"{self.thread_id} turn {self.turn}",
            self.status,
            _ms(self.duration_ms),
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class WorkflowRun(_Record):
    """One execution of a workflow: its start, a resume, a replay or a fork."""

    workflow_id: UUID
    attempt: int
    kind: str
    duration_ms: float | None
    instance_id: str | None
    heartbeat_at: datetime | None
    """When it was last heard of."""
    checkpoint_id: str | None
    user: str | None
    """Who ran or resumed it."""

    def __repr__(self) -> str:
        return self._show(f"#{self.attempt} {self.kind}", self.status, _ms(self.duration_ms))


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Node(_Record):
    """One execution of a node."""

    workflow_id: UUID
    run_id: UUID
    parent_node_id: UUID | None
    node_name: str
    node_type: str
    execution_order: int | None
    step: int | None
    attempt: int
    cached: bool
    task_id: str | None
    checkpoint_ns: str | None
    triggers: list[str] | None
    input_checkpoint_id: str | None
    checkpoint_id: str | None
    checkpoint_thread_id: str | None
    metadata: Any
    duration_ms: float | None
    _input_data: Any
    _output_data: Any
    _parts: _Parts

    @property
    def input_data(self) -> Any:
        """What the node was given."""
        return self._parts.whole(self._input_data)

    @property
    def output_data(self) -> Any:
        """What it gave back."""
        return self._parts.whole(self._output_data)

    @property
    def generations(self) -> Sequence[Generation]:
        """The model calls made in this node itself, not in nodes below it."""
        return tuple(g for g in self._parts.generations if g.node_id == self.id)

    @property
    def tool_executions(self) -> Sequence[ToolExecution]:
        """The tool calls made in this node itself, not in nodes below it."""
        return tuple(t for t in self._parts.tool_executions if t.node_id == self.id)

    @property
    def retrievals(self) -> Sequence[Retrieval]:
        """The searches made in this node itself, not in nodes below it."""
        return tuple(r for r in self._parts.retrievals if r.node_id == self.id)

    @property
    def hitl_events(self) -> Sequence[HitlEvent]:
        """What this node itself asked humans, not nodes below it."""
        return tuple(h for h in self._parts.hitl_events if h.node_id == self.id)

    @property
    def state(self) -> dict[str, Any]:
        """The full state after this node.

        Raises:
            NotRecorded: no state was recorded after it.
        """
        return self._parts.state(self)

    def __repr__(self) -> str:
        order = "" if self.execution_order is None else f"#{self.execution_order} "
        again = f"attempt {self.attempt}" if self.attempt > 1 else None
        return self._show(f"{order}{self.node_name!r}", again, self.status, _ms(self.duration_ms))


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Generation(_Record):
    """One call of a language model."""

    workflow_id: UUID
    run_id: UUID
    node_id: UUID | None
    model_name: str | None
    model_provider: str | None
    requested_model: str | None
    retry_of: UUID | None
    """The failed call that this one repeats, with the same model or another."""
    parsed_output: Any
    temperature: float | None
    max_tokens: int | None
    invocation_params: Any
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None
    price_source: str | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    streamed: bool
    finish_reason: str | None
    cache_hit: bool
    attempt: int
    prompt_name: str | None
    prompt_version: str | None
    _system_prompt: str | None
    _user_prompt: str | None
    _output: str | None
    _output_message: Any
    _tool_calls: Any
    _parts: _Parts

    @property
    def system_prompt(self) -> str | None:
        """What the system messages say."""
        if not is_excerpt(self._system_prompt):
            return self._system_prompt
        return "\n\n".join(self._said_by("system")) or self._system_prompt

    @property
    def user_prompt(self) -> str | None:
        """What the last human message says."""
        if not is_excerpt(self._user_prompt):
            return self._user_prompt
        return next(reversed(self._said_by("human")), self._user_prompt)

    @property
    def output(self) -> str | None:
        """What the model said."""
        message = self.output_message if is_excerpt(self._output) else None
        return content_text(message.get("content")) if message else self._output

    @property
    def output_message(self) -> Any:
        """The model's answer whole."""
        return self._parts.whole(self._output_message)

    @property
    def tool_calls(self) -> Any:
        """The tools that the model calls."""
        return self._parts.whole(self._tool_calls)

    def _said_by(self, role: str) -> list[str]:
        said = (message for message in self.prompt if message.get("type") == role)
        return [content_text(message.get("content")) for message in said]

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """All messages the model was given, in their order."""
        return self._parts.prompt(self)

    def __repr__(self) -> str:
        return self._show(
            repr(self.model_name or "unknown model"),
            f"attempt {self.attempt}" if self.attempt > 1 else None,
            self.status,
            None if self.total_tokens is None else f"{_tokens(self)} tokens",
            None if self.cost_usd is None else usd(self.cost_usd),
            _ms(self.latency_ms),
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ToolExecution(_Record):
    """One call of a tool."""

    workflow_id: UUID
    run_id: UUID
    node_id: UUID | None
    tool_name: str
    tool_call_id: str | None
    success: bool | None
    execution_time_ms: float | None
    tokens_used: int | None
    cost_usd: Decimal | None
    _input_params: Any
    _output_data: Any
    _parts: _Parts

    @property
    def input_params(self) -> Any:
        """What the tool was given."""
        return self._parts.whole(self._input_params)

    @property
    def output_data(self) -> Any:
        """What it gave back."""
        return self._parts.whole(self._output_data)

    def __repr__(self) -> str:
        return self._show(repr(self.tool_name), self.status, _ms(self.execution_time_ms))


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Retrieval(_Record):
    """One search of a retriever."""

    workflow_id: UUID
    run_id: UUID | None
    node_id: UUID | None
    query: str | None
    document_count: int
    latency_ms: float | None
    _documents: Any
    _parts: _Parts

    @property
    def documents(self) -> Any:
        """What was found, with scores and other metadata."""
        return self._parts.whole(self._documents)

    def __repr__(self) -> str:
        found = f"{self.document_count} documents"
        return self._show(repr(self.query), self.status, found, _ms(self.latency_ms))


class _Parts:
    """What belongs to one workflow, read on first use."""

    def __init__(self, source: Source, thread_id: str, workflow_id: UUID) -> None:
        self._source = source
        self._workflow = {"thread_id": thread_id, "workflow_id": workflow_id}
        self._contents = Contents(source, thread_id)

    @cached_property
    def runs(self) -> tuple[WorkflowRun, ...]:
        return tuple(WorkflowRun(**row) for row in self._rows("runs"))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(**row, _parts=self) for row in self._rows("nodes"))

    @cached_property
    def generations(self) -> tuple[Generation, ...]:
        return tuple(Generation(**row, _parts=self) for row in self._rows("generations"))

    @cached_property
    def tool_executions(self) -> tuple[ToolExecution, ...]:
        return tuple(ToolExecution(**row, _parts=self) for row in self._rows("tool_executions"))

    @cached_property
    def retrievals(self) -> tuple[Retrieval, ...]:
        return tuple(Retrieval(**row, _parts=self) for row in self._rows("retrievals"))

    @cached_property
    def hitl_events(self) -> tuple[HitlEvent, ...]:
        return tuple(HitlEvent(**row) for row in self._rows("hitl_events"))

    def state(self, node: Node) -> dict[str, Any]:
        rows = self._source.rows("node_state", thread_id=node.thread_id, node_id=node.id)
        if not rows or rows[0]["state"] is None:
            why = _why_never_saved(node, self.nodes) or _why_no_state(node)
            raise NotRecorded(f"no state was recorded after {node!r}; {why}")
        state: dict[str, Any] = self.whole(rows[0]["state"])
        return state

    def prompt(self, generation: Generation) -> list[dict[str, Any]]:
        key = {"thread_id": generation.thread_id, "generation_id": generation.id}
        rows = self._source.rows("generation_prompt", **key)
        messages: list[dict[str, Any]] | None = self.whole(rows[0]["prompt"]) if rows else None
        return messages or []

    def whole(self, stored: Any) -> Any:
        """A column's value with what it refers to in its place."""
        return self._contents.whole(stored)

    def _rows(self, statement: str) -> list[Row]:
        return self._source.rows(statement, **self._workflow)


def _why_no_state(node: Node) -> str:
    if node.status != "completed" or node.checkpoint_id is None:
        return "only one that completed in a graph with a checkpointer, or was told it, has one"
    if node.checkpoint_id == node.input_checkpoint_id:
        return "its step was not finished: what ran beside it has failed or waits"
    return (
        "its content was left out, by capture='structure', by exclude= or by an encrypting serde= "
        "(with which record_cipher= keeps content, encrypted)"
    )


def read_workflow(source: Source, row: Row) -> Workflow:
    return Workflow(**row, _parts=_Parts(source, row["thread_id"], row["id"]))


def _why_never_saved(node: Node, others: Iterable[Node]) -> str | None:
    saved = {o.checkpoint_id for o in others if _is_later(o, node)} - {None}
    if node.checkpoint_id not in saved:
        return None
    return "its run had durability='exit', which saves the state after the last step only"


def _is_later(node: Node, other: Node) -> bool:
    """Whether a node's step, which was finished, came after another's in the same graph."""
    finished = node.checkpoint_id != node.input_checkpoint_id
    same_graph = node.checkpoint_ns == other.checkpoint_ns
    return finished and same_graph and (node.step or 0) > (other.step or 0)


def usd(cost: Decimal) -> str:
    """A cost for people, as exact as it is."""
    return f"{cost.normalize():f} USD"


def _ms(duration: float | None) -> str | None:
    return None if duration is None else f"{duration:,.1f} ms"


def _tokens(generation: Generation) -> str:
    return f"{generation.prompt_tokens}+{generation.completion_tokens}"
