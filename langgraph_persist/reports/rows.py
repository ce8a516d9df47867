"""The rows of reports. None is what is not known, or cannot be told as nothing happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSuccess:
    """How the workflows of one user, for one organization, have ended."""

    user: str | None
    organization: str | None
    workflows: int
    completed: int
    failed: int
    cancelled: int
    interrupted: int
    running: int
    refused: int
    success_rate: float | None
    """Between 0 and 1, of those that completed or failed."""
    avg_duration_ms: float | None
    total_tokens: int | None
    cost_usd: Decimal | None
    last_started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePerformance:
    """How often a node of a graph ran, how often it failed, and how long it took."""

    workflow: str
    node: str
    node_type: str
    executions: int
    completed: int
    failed: int
    failure_rate: float | None
    """Between 0 and 1, of those that completed or failed."""
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """How often a model was called, what it read and wrote, how long it took and what it cost.

    An answer from LangChain's cache counts as a call, not as usage.
    """

    provider: str | None
    model: str | None
    calls: int
    failed: int
    cache_hits: int
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    avg_time_to_first_token_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What model calls cost, by what was asked for; the rest is None."""

    day: date | None
    organization: str | None
    user: str | None
    provider: str | None
    model: str | None
    calls: int
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEvent:
    """Something that happened in a workflow."""

    kind: str
    """run, node, subgraph, task, error_handler, update, generation, tool, retrieval or hitl."""
    id: UUID
    node_id: UUID | None
    name: str | None
    status: str
    started_at: datetime
    completed_at: datetime | None
    offset_ms: float
    """How long after the workflow's start."""
    duration_ms: float | None
    total_tokens: int | None
    cost_usd: Decimal | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """What the calls with a version of a prompt took, and how their workflows were judged."""

    name: str
    version: str | None
    calls: int
    failure_rate: float | None
    avg_prompt_tokens: float | None
    avg_completion_tokens: float | None
    cost_usd: Decimal | None
    avg_cost_usd: Decimal | None
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    first_used_at: datetime
    last_used_at: datetime
    avg_score: float | None
    """Of the evaluations of turns, from 0 to 100."""
    scores: int
    avg_rating: float | None
    """Of users' feedback, from 1 to 5; several to one workflow count as one."""
    ratings: int
