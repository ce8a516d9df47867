"""What ran: workflows, their runs, nodes, generations, tool calls and retrievals."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from langgraph_persist.models.base import (
    Base,
    BigInt,
    Error,
    Gaps,
    Json,
    Times,
    belongs_to,
    linked,
    of_session,
    one_of,
    owned,
    refers_to,
    whole_of,
)

if TYPE_CHECKING:
    from langgraph_persist.models.evaluation import Evaluation, Feedback
    from langgraph_persist.models.planning import HitlEvent, Plan, ToolExecution
    from langgraph_persist.models.reference import Organization, User
    from langgraph_persist.models.sessions import Session
    from langgraph_persist.models.stock import Checkpoint
    from langgraph_persist.models.views import (
        GenerationPrompt,
        NodeState,
        TimelineEvent,
        WorkflowContent,
    )

RunStatus: TypeAlias = Literal[
    "running", "completed", "failed", "cancelled", "interrupted", "refused"
]
RunKind: TypeAlias = Literal["start", "resume", "replay", "fork"]
NodeType: TypeAlias = Literal["node", "subgraph", "task", "error_handler", "update"]
NodeStatus: TypeAlias = Literal[
    "pending", "running", "completed", "failed", "skipped", "interrupted", "cancelled"
]
CallStatus: TypeAlias = Literal["running", "completed", "failed", "interrupted", "cancelled"]


def of_node(other: str) -> str:
    """The join of a row with the node it happened in, which no foreign key points to."""
    return (
        f"and_(Node.thread_id == foreign({other}.thread_id),"
        f" Node.workflow_id == foreign({other}.workflow_id),"
        f" Node.id == foreign({other}.node_id))"
    )


class Workflow(Times, Error, Gaps, Base):
    """One request of a user, from its input to its result: a turn of the session."""

    __tablename__ = "workflows"
    __table_args__ = (
        UniqueConstraint("thread_id", "turn"),
        of_session(),
        refers_to("users", "user_id"),
        refers_to("organizations", "organization_id"),
        one_of("status", RunStatus),
        Index("workflows_id_idx", "id"),
        Index("workflows_started_at_idx", "started_at"),
        Index("workflows_user_id_started_at_idx", "user_id", "started_at"),
        Index("workflows_organization_id_started_at_idx", "organization_id", "started_at"),
        Index("workflows_thread_id_status_idx", "thread_id", "status"),
        Index(
            "workflows_not_completed_idx",
            "status",
            "started_at",
            postgresql_where=text("status <> 'completed'"),
        ),
        Index(
            "workflows_copied_from_idx",
            "copied_from",
            postgresql_where=text("copied_from IS NOT NULL"),
        ),
    )
    _shown = ("turn", "name", "status", "duration_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    organization_id: Mapped[uuid.UUID | None]
    turn: Mapped[int]
    name: Mapped[str]
    status: Mapped[RunStatus] = mapped_column(Text, server_default="running")
    replay_of: Mapped[uuid.UUID | None]
    user_input: Mapped[str | None]
    input_type: Mapped[str | None]
    input: Mapped[Json | None]
    settings: Mapped[dict[str, Any] | None]
    result: Mapped[Json | None]
    meta: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    tags: Mapped[list[str] | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[float | None]
    active_ms: Mapped[float | None]
    node_count: Mapped[int] = mapped_column(server_default=text("0"))
    generation_count: Mapped[int] = mapped_column(server_default=text("0"))
    prompt_tokens: Mapped[BigInt] = mapped_column(server_default=text("0"))
    completion_tokens: Mapped[BigInt] = mapped_column(server_default=text("0"))
    total_tokens: Mapped[BigInt] = mapped_column(server_default=text("0"))
    cost_usd: Mapped[Decimal | None]
    copied_from: Mapped[str | None]
    """The session where what began before ``copied_at`` happened; no view counts it here."""
    copied_at: Mapped[datetime | None]

    whole: Mapped[WorkflowContent] = whole_of("Workflow", "WorkflowContent", "workflow_id")
    session: Mapped[Session] = relationship(back_populates="workflows")
    user: Mapped[User | None] = relationship(back_populates="workflows")
    organization: Mapped[Organization | None] = relationship(back_populates="workflows")
    runs: Mapped[list[WorkflowRun]] = owned("workflow", order_by="WorkflowRun.started_at")
    nodes: Mapped[list[Node]] = owned("workflow", order_by="Node.execution_order, Node.started_at")
    generations: Mapped[list[Generation]] = owned("workflow", order_by="Generation.started_at")
    tool_executions: Mapped[list[ToolExecution]] = owned(
        "workflow", order_by="ToolExecution.started_at"
    )
    retrievals: Mapped[list[Retrieval]] = owned("workflow", order_by="Retrieval.started_at")
    hitl_events: Mapped[list[HitlEvent]] = owned("workflow", order_by="HitlEvent.requested_at")
    plans: Mapped[list[Plan]] = linked("workflow", order_by="Plan.created_at")
    evaluations: Mapped[list[Evaluation]] = linked("workflow")
    feedback: Mapped[list[Feedback]] = linked("workflow")
    projection_errors: Mapped[list[ProjectionError]] = linked(
        "workflow", order_by="ProjectionError.created_at"
    )
    timeline: Mapped[list[TimelineEvent]] = linked(
        "workflow",
        primaryjoin="and_(Workflow.thread_id == foreign(TimelineEvent.thread_id),"
        " Workflow.id == foreign(TimelineEvent.workflow_id))",
        order_by="TimelineEvent.started_at, TimelineEvent.id",
    )
    checkpoints: Mapped[list[Checkpoint]] = linked(
        "workflow",
        primaryjoin="and_(Workflow.thread_id == foreign(Checkpoint.thread_id),"
        " Workflow.id == foreign(Checkpoint.workflow_id))",
        order_by="Checkpoint.checkpoint_id",
    )


class WorkflowRun(Times, Error, Gaps, Base):
    """One invocation of the graph: a workflow's start, or its resumption after an interrupt."""

    __tablename__ = "workflow_runs"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        refers_to("users", "user_id"),
        one_of("kind", RunKind),
        one_of("status", RunStatus),
        Index("workflow_runs_workflow_id_idx", "thread_id", "workflow_id"),
        Index(
            "workflow_runs_running_idx",
            "heartbeat_at",
            postgresql_where=text("status = 'running'"),
        ),
        Index("workflow_runs_started_at_idx", "started_at", postgresql_using="brin"),
    )
    _shown = ("kind", "status", "duration_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    kind: Mapped[RunKind] = mapped_column(Text, server_default="start")
    status: Mapped[RunStatus] = mapped_column(Text, server_default="running")
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[float | None]
    instance_id: Mapped[str | None]
    heartbeat_at: Mapped[datetime | None]
    checkpoint_id: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None]

    user: Mapped[User | None] = relationship(back_populates="workflow_runs")
    workflow: Mapped[Workflow] = relationship(back_populates="runs")
    nodes: Mapped[list[Node]] = linked(
        "run",
        primaryjoin="and_(WorkflowRun.thread_id == foreign(Node.thread_id),"
        " WorkflowRun.workflow_id == foreign(Node.workflow_id),"
        " WorkflowRun.id == foreign(Node.run_id))",
        order_by="Node.execution_order, Node.started_at",
    )


class Node(Times, Error, Gaps, Base):
    """One execution of a node, task or subgraph.

    ``state`` refers to what is stored once; ``state_data`` is the whole state after the node.
    It is loaded when asked for: by ``undefer(Node.state_data)``, or at first access.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        one_of("node_type", NodeType),
        one_of("status", NodeStatus),
        Index("nodes_workflow_id_idx", "thread_id", "workflow_id", "execution_order"),
        Index("nodes_started_at_idx", "started_at", postgresql_using="brin"),
    )
    _shown = ("node_name", "execution_order", "status", "duration_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID]
    parent_node_id: Mapped[uuid.UUID | None]
    node_name: Mapped[str]
    node_type: Mapped[NodeType] = mapped_column(Text, server_default="node")
    execution_order: Mapped[int | None]
    step: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    task_id: Mapped[str | None]
    checkpoint_ns: Mapped[str | None]
    triggers: Mapped[list[str] | None]
    status: Mapped[NodeStatus] = mapped_column(Text, server_default="running")
    cached: Mapped[bool] = mapped_column(server_default=text("false"))
    input_checkpoint_id: Mapped[str | None]
    checkpoint_id: Mapped[str | None]
    checkpoint_thread_id: Mapped[str | None]
    input_data: Mapped[Json | None]
    output_data: Mapped[Json | None]
    state: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[float | None]
    meta: Mapped[dict[str, Any] | None] = mapped_column("metadata")

    if TYPE_CHECKING:
        # Set by the views module, which reads it from node_states.
        state_data: Mapped[dict[str, Any] | None]

    whole: Mapped[NodeState] = whole_of("Node", "NodeState", "node_id")
    workflow: Mapped[Workflow] = relationship(back_populates="nodes")
    run: Mapped[WorkflowRun | None] = linked(
        "nodes",
        primaryjoin="and_(WorkflowRun.thread_id == foreign(Node.thread_id),"
        " WorkflowRun.workflow_id == foreign(Node.workflow_id),"
        " WorkflowRun.id == foreign(Node.run_id))",
    )
    parent: Mapped[Node | None] = linked(
        "children",
        primaryjoin="and_(remote(Node.thread_id) == foreign(Node.thread_id),"
        " remote(Node.id) == foreign(Node.parent_node_id))",
    )
    children: Mapped[list[Node]] = linked(
        "parent",
        primaryjoin="and_(Node.thread_id == remote(foreign(Node.thread_id)),"
        " Node.workflow_id == remote(foreign(Node.workflow_id)),"
        " Node.id == remote(foreign(Node.parent_node_id)))",
        order_by="Node.execution_order, Node.started_at",
    )
    generations: Mapped[list[Generation]] = linked(
        "node", primaryjoin=of_node("Generation"), order_by="Generation.started_at"
    )
    tool_executions: Mapped[list[ToolExecution]] = linked(
        "node", primaryjoin=of_node("ToolExecution"), order_by="ToolExecution.started_at"
    )
    retrievals: Mapped[list[Retrieval]] = linked(
        "node", primaryjoin=of_node("Retrieval"), order_by="Retrieval.started_at"
    )
    hitl_events: Mapped[list[HitlEvent]] = linked(
        "node", primaryjoin=of_node("HitlEvent"), order_by="HitlEvent.requested_at"
    )
    checkpoint: Mapped[Checkpoint | None] = relationship(
        primaryjoin="and_(foreign(Node.thread_id) == remote(Checkpoint.thread_id),"
        " foreign(Node.checkpoint_id) == remote(Checkpoint.checkpoint_id))",
        viewonly=True,
        uselist=False,
    )


class Generation(Times, Error, Gaps, Base):
    """One call of a model.

    ``prompt`` refers to what is stored once; ``prompt_messages`` is the whole prompt, loaded when
    asked for like :attr:`Node.state_data`.
    """

    __tablename__ = "generations"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        one_of("status", CallStatus),
        CheckConstraint(
            "coalesce(cache_read_tokens, 0) + coalesce(cache_creation_tokens, 0) <= prompt_tokens",
            name="prompt_tokens",
        ),
        Index("generations_workflow_id_idx", "thread_id", "workflow_id", "started_at"),
        Index("generations_started_at_idx", "started_at", postgresql_using="brin"),
        Index(
            "generations_prompt_name_idx",
            "prompt_name",
            "started_at",
            postgresql_include=[
                "prompt_version",
                "thread_id",
                "workflow_id",
                "model_name",
                "status",
                "cache_hit",
                "prompt_tokens",
                "completion_tokens",
                "cost_usd",
                "latency_ms",
            ],
            postgresql_where=text("prompt_name IS NOT NULL"),
        ),
    )
    _shown = ("model_name", "status", "total_tokens", "latency_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID]
    node_id: Mapped[uuid.UUID | None]
    model_name: Mapped[str | None]
    model_provider: Mapped[str | None]
    system_prompt: Mapped[str | None]
    user_prompt: Mapped[str | None]
    prompt: Mapped[dict[str, Any] | None]
    output: Mapped[str | None]
    output_message: Mapped[dict[str, Any] | None]
    parsed_output: Mapped[Json | None]
    tool_calls: Mapped[Json | None]
    temperature: Mapped[float | None]
    max_tokens: Mapped[BigInt | None]
    invocation_params: Mapped[dict[str, Any] | None]
    prompt_tokens: Mapped[BigInt | None]
    completion_tokens: Mapped[BigInt | None]
    total_tokens: Mapped[BigInt | None]
    cache_read_tokens: Mapped[BigInt | None]
    cache_creation_tokens: Mapped[BigInt | None]
    reasoning_tokens: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
    price_source: Mapped[str | None]
    latency_ms: Mapped[float | None]
    time_to_first_token_ms: Mapped[float | None]
    streamed: Mapped[bool] = mapped_column(server_default=text("false"))
    finish_reason: Mapped[str | None]
    cache_hit: Mapped[bool] = mapped_column(server_default=text("false"))
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    status: Mapped[CallStatus] = mapped_column(Text, server_default="running")
    prompt_name: Mapped[str | None]
    prompt_version: Mapped[str | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    requested_model: Mapped[str | None]
    retry_of: Mapped[uuid.UUID | None]

    if TYPE_CHECKING:
        # Set by the views module, which reads it from generation_prompts.
        prompt_messages: Mapped[list[dict[str, Any]] | None]

    whole: Mapped[GenerationPrompt] = whole_of("Generation", "GenerationPrompt", "generation_id")
    workflow: Mapped[Workflow] = relationship(back_populates="generations")
    node: Mapped[Node | None] = linked("generations", primaryjoin=of_node("Generation"))


class Retrieval(Times, Error, Gaps, Base):
    """One search of a retriever."""

    __tablename__ = "retrievals"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        Index("retrievals_workflow_id_idx", "thread_id", "workflow_id"),
    )
    _shown = ("query", "document_count", "latency_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID]
    node_id: Mapped[uuid.UUID | None]
    query: Mapped[str | None]
    documents: Mapped[Json | None]
    document_count: Mapped[int] = mapped_column(server_default=text("0"))
    latency_ms: Mapped[float | None]
    started_at: Mapped[datetime | None]

    workflow: Mapped[Workflow] = relationship(back_populates="retrievals")
    node: Mapped[Node | None] = linked("retrievals", primaryjoin=of_node("Retrieval"))


class ProjectionError(Times, Error, Base):
    """Why a projection wrote nothing, or not this row, for a checkpoint."""

    __tablename__ = "projection_errors"
    __table_args__ = (belongs_to("workflows", "workflow_id"), of_session())
    _shown = ("projection", "error_type")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID | None]
    checkpoint_ns: Mapped[str]
    checkpoint_id: Mapped[str]
    projection: Mapped[str]

    workflow: Mapped[Workflow | None] = linked("projection_errors")
