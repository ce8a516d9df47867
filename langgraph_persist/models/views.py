"""The views: whole states and prompts, timelines, transcripts and reports.

Where a report's groups may be NULL, a count joins its key here: SQLAlchemy skips a row whose key is
NULL throughout.
"""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Mapped, column_property, mapped_column

from langgraph_persist.models.base import BigInt, Json, View, linked
from langgraph_persist.models.runs import Generation, Node

if TYPE_CHECKING:
    from langgraph_persist.models.runs import Workflow
    from langgraph_persist.models.sessions import Session


class StateContent(View):
    """What a row of state_values stands for, as JSON."""

    __tablename__ = "state_contents"
    _shown = ("kind",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    content: Mapped[Json | None]


class NodeState(View):
    """The whole state after a node."""

    __tablename__ = "node_states"
    _shown = ("node_name", "execution_order")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID]
    node_name: Mapped[str]
    execution_order: Mapped[int | None]
    step: Mapped[int | None]
    checkpoint_id: Mapped[str | None]
    state_data: Mapped[dict[str, Any] | None]
    input_data: Mapped[Json | None]
    output_data: Mapped[Json | None]


class WorkflowContent(View):
    """What a workflow was given and gave back, whole."""

    __tablename__ = "workflow_contents"
    _shown = ("turn",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    turn: Mapped[int]
    input: Mapped[Json | None]
    result: Mapped[Json | None]


class ToolContent(View):
    """What a tool was given and gave back, whole."""

    __tablename__ = "tool_contents"
    _shown = ("tool_name",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    tool_execution_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    tool_name: Mapped[str]
    input_params: Mapped[Json | None]
    output_data: Mapped[Json | None]


class GenerationPrompt(View):
    """All that a model was told in one call, and what it answered."""

    __tablename__ = "generation_prompts"

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    generation_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    messages: Mapped[Json | None]
    system_prompt: Mapped[str | None]
    user_prompt: Mapped[str | None]
    output: Mapped[str | None]
    output_message: Mapped[Json | None]
    tool_calls: Mapped[Json | None]


class TimelineEvent(View):
    """Something that happened in a workflow: kind says in which table the rest is."""

    __tablename__ = "workflow_timeline"
    _shown = ("name", "status", "duration_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    turn: Mapped[int]
    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    node_id: Mapped[uuid.UUID | None]
    name: Mapped[str | None]
    status: Mapped[str]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    offset_ms: Mapped[float]
    duration_ms: Mapped[float | None]
    total_tokens: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
    error_message: Mapped[str | None]

    workflow: Mapped[Workflow] = linked(
        "timeline",
        primaryjoin="and_(Workflow.thread_id == foreign(TimelineEvent.thread_id),"
        " Workflow.id == foreign(TimelineEvent.workflow_id))",
    )


class TranscriptLine(View):
    """A message of the conversation, in the turn that brought it."""

    __tablename__ = "session_transcript"
    _shown = ("turn", "role", "text")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    turn: Mapped[int]
    position: Mapped[BigInt] = mapped_column(primary_key=True)
    role: Mapped[str]
    name: Mapped[str | None]
    text: Mapped[str | None]
    content: Mapped[Json | None]
    tool_calls: Mapped[Json | None]
    message_id: Mapped[str | None]

    session: Mapped[Session] = linked(
        "transcript", primaryjoin="Session.thread_id == foreign(TranscriptLine.thread_id)"
    )


class UserSuccessRate(View):
    """How a user's workflows ended."""

    __tablename__ = "user_success_rates"
    _shown = ("username", "success_rate")

    user_id: Mapped[uuid.UUID | None] = mapped_column(primary_key=True)
    username: Mapped[str | None]
    organization_id: Mapped[uuid.UUID | None] = mapped_column(primary_key=True)
    workflows: Mapped[BigInt] = mapped_column(primary_key=True)
    completed: Mapped[BigInt]
    failed: Mapped[BigInt]
    cancelled: Mapped[BigInt]
    interrupted: Mapped[BigInt]
    running: Mapped[BigInt]
    success_rate: Mapped[float | None]
    avg_duration_ms: Mapped[float | None]
    total_tokens: Mapped[Decimal | None]
    cost_usd: Mapped[Decimal | None]
    last_started_at: Mapped[datetime]
    refused: Mapped[BigInt]


class NodePerformance(View):
    """How often a node ran and failed, and how long it took."""

    __tablename__ = "node_performance"
    _shown = ("executions", "failure_rate", "p50_ms", "p95_ms")

    workflow_name: Mapped[str] = mapped_column(primary_key=True)
    node_name: Mapped[str] = mapped_column(primary_key=True)
    node_type: Mapped[str] = mapped_column(primary_key=True)
    executions: Mapped[BigInt]
    completed: Mapped[BigInt]
    failed: Mapped[BigInt]
    failure_rate: Mapped[float | None]
    avg_ms: Mapped[float | None]
    p50_ms: Mapped[float | None]
    p95_ms: Mapped[float | None]
    max_ms: Mapped[float | None]


class ModelUsage(View):
    """How often a model was called, what it used and how fast it was."""

    __tablename__ = "model_usage"
    _shown = ("total_tokens", "cost_usd")

    model_provider: Mapped[str | None] = mapped_column(primary_key=True)
    model_name: Mapped[str | None] = mapped_column(primary_key=True)
    calls: Mapped[BigInt] = mapped_column(primary_key=True)
    failed: Mapped[BigInt]
    cache_hits: Mapped[BigInt]
    prompt_tokens: Mapped[Decimal | None]
    completion_tokens: Mapped[Decimal | None]
    total_tokens: Mapped[Decimal | None]
    cache_read_tokens: Mapped[Decimal | None]
    cost_usd: Mapped[Decimal | None]
    avg_latency_ms: Mapped[float | None]
    p95_latency_ms: Mapped[float | None]
    avg_time_to_first_token_ms: Mapped[float | None]


class DailyCost(View):
    """What a day (UTC) cost, by organization, user and model."""

    __tablename__ = "daily_costs"
    _shown = ("total_tokens", "cost_usd")

    day: Mapped[date] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID | None] = mapped_column(primary_key=True)
    organization: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None] = mapped_column(primary_key=True)
    username: Mapped[str | None]
    model_provider: Mapped[str | None] = mapped_column(primary_key=True)
    model_name: Mapped[str | None] = mapped_column(primary_key=True)
    calls: Mapped[BigInt]
    prompt_tokens: Mapped[Decimal | None]
    completion_tokens: Mapped[Decimal | None]
    total_tokens: Mapped[Decimal | None]
    cost_usd: Mapped[Decimal | None]


class PromptVersion(View):
    """How a version of a named prompt does, to compare it with the others."""

    __tablename__ = "prompt_versions"
    _shown = ("calls", "failure_rate", "avg_score")

    prompt_name: Mapped[str] = mapped_column(primary_key=True)
    prompt_version: Mapped[str | None] = mapped_column(primary_key=True)
    calls: Mapped[BigInt]
    failure_rate: Mapped[float | None]
    avg_prompt_tokens: Mapped[Decimal | None]
    avg_completion_tokens: Mapped[Decimal | None]
    avg_cost_usd: Mapped[Decimal | None]
    avg_latency_ms: Mapped[float | None]
    p95_latency_ms: Mapped[float | None]
    first_used_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    avg_score: Mapped[Decimal | None]
    avg_rating: Mapped[Decimal | None]
    p50_latency_ms: Mapped[float | None]
    cost_usd: Mapped[Decimal | None]
    scores: Mapped[BigInt]
    """How many evaluations of turns there are."""
    ratings: Mapped[BigInt]
    """How many workflows have feedback with a rating."""


Node.state_data = column_property(
    select(NodeState.state_data)
    .where(and_(NodeState.thread_id == Node.thread_id, NodeState.node_id == Node.id))
    .scalar_subquery(),
    deferred=True,
)
Generation.prompt_messages = column_property(
    select(GenerationPrompt.messages)
    .where(
        and_(
            GenerationPrompt.thread_id == Generation.thread_id,
            GenerationPrompt.generation_id == Generation.id,
        )
    )
    .scalar_subquery(),
    deferred=True,
)
