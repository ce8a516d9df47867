"""What was planned and done about it: plans, todos, tool calls, human interventions."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import CheckConstraint, Index, Text, text
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
    new_id,
    of_session,
    one_of,
    owned,
    refers_to,
    whole_of,
)
from langgraph_persist.models.runs import CallStatus, of_node

if TYPE_CHECKING:
    from langgraph_persist.models.evaluation import Feedback
    from langgraph_persist.models.reference import Tool, User
    from langgraph_persist.models.runs import Node, Workflow
    from langgraph_persist.models.sessions import Session
    from langgraph_persist.models.views import ToolContent

PlanStatus: TypeAlias = Literal[
    "draft", "approved", "executing", "paused", "waiting", "completed", "failed", "cancelled"
]
ChangeType: TypeAlias = Literal["create", "replan", "user_edit", "auto_adjust"]
TodoStatus: TypeAlias = Literal[
    "pending",
    "in_progress",
    "completed",
    "failed",
    "blocked",
    "skipped",
    "needs_approval",
    "cancelled",
]
HitlEventType: TypeAlias = Literal[
    "plan_review",
    "approval_request",
    "input_request",
    "pause",
    "resume",
    "cancel",
    "edit",
    "replan",
]
HitlStatus: TypeAlias = Literal["pending", "completed", "timeout", "cancelled"]


class Plan(Times, Base):
    """A list of todos towards what the user wants."""

    __tablename__ = "plans"
    __table_args__ = (
        of_session(),
        belongs_to("workflows", "workflow_id"),
        one_of("status", PlanStatus),
        Index("plans_thread_id_status_idx", "thread_id", "status"),
    )
    _shown = ("status", "current_version", "completed_todos", "total_todos")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    workflow_id: Mapped[uuid.UUID | None]
    status: Mapped[PlanStatus] = mapped_column(Text, server_default="draft")
    current_version: Mapped[int] = mapped_column(server_default=text("1"))
    intent: Mapped[Json | None]
    total_todos: Mapped[int] = mapped_column(server_default=text("0"))
    completed_todos: Mapped[int] = mapped_column(server_default=text("0"))
    failed_todos: Mapped[int] = mapped_column(server_default=text("0"))
    estimated_cost: Mapped[Decimal | None]
    actual_cost: Mapped[Decimal | None]
    estimated_duration_seconds: Mapped[float | None]
    actual_duration_seconds: Mapped[float | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    checkpoint_ns: Mapped[str | None]
    channel_version: Mapped[str | None]

    session: Mapped[Session] = relationship(back_populates="plans")
    workflow: Mapped[Workflow | None] = linked("plans")
    versions: Mapped[list[PlanVersion]] = owned("plan", order_by="PlanVersion.version")
    todos: Mapped[list[Todo]] = owned("plan", order_by="Todo.execution_order, Todo.created_at")
    results: Mapped[list[ExecutionResult]] = linked("plan")
    hitl_events: Mapped[list[HitlEvent]] = linked("plan", order_by="HitlEvent.requested_at")
    feedback: Mapped[list[Feedback]] = linked("plan")


class PlanVersion(Times, Base):
    """A plan's todos as they were at one version."""

    __tablename__ = "plan_versions"
    __table_args__ = (belongs_to("plans", "plan_id"), one_of("change_type", ChangeType))
    _shown = ("change_type",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    plan_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    todos_snapshot: Mapped[Json | None]
    change_type: Mapped[ChangeType] = mapped_column(Text, server_default="create")
    change_reason: Mapped[str | None]
    changed_by: Mapped[str | None]

    plan: Mapped[Plan] = relationship(back_populates="versions")


class Todo(Times, Base):
    """A step of a plan."""

    __tablename__ = "todos"
    __table_args__ = (
        belongs_to("plans", "plan_id"),
        refers_to("users", "approved_by"),
        one_of("status", TodoStatus),
        CheckConstraint("priority BETWEEN 0 AND 10", name="priority"),
        CheckConstraint("progress_percentage BETWEEN 0 AND 100", name="progress_percentage"),
        Index("todos_plan_id_status_idx", "thread_id", "plan_id", "status"),
        Index("todos_plan_id_layer_idx", "thread_id", "plan_id", "layer"),
        Index(
            "todos_pending_idx",
            "thread_id",
            "plan_id",
            "execution_order",
            postgresql_where=text("status = 'pending'"),
        ),
    )
    _shown = ("title", "status")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    plan_id: Mapped[uuid.UUID]
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[TodoStatus] = mapped_column(Text, server_default="pending")
    priority: Mapped[int] = mapped_column(server_default=text("0"))
    layer: Mapped[str | None]
    tool_name: Mapped[str | None]
    tool_params: Mapped[dict[str, Any] | None]
    depends_on: Mapped[list[uuid.UUID] | None]
    blocks: Mapped[list[uuid.UUID] | None]
    timeout_seconds: Mapped[float | None]
    max_retries: Mapped[int | None]
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    progress_percentage: Mapped[float] = mapped_column(server_default=text("0"))
    requires_approval: Mapped[bool] = mapped_column(server_default=text("false"))
    approved_by: Mapped[uuid.UUID | None]
    approved_at: Mapped[datetime | None]
    rejection_reason: Mapped[str | None]
    input_data: Mapped[Json | None]
    output_path: Mapped[str | None]
    result_data: Mapped[Json | None]
    execution_order: Mapped[int | None]
    error_message: Mapped[str | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    key: Mapped[str | None]

    plan: Mapped[Plan] = relationship(back_populates="todos")
    approver: Mapped[User | None] = relationship(back_populates="approved_todos")
    results: Mapped[list[ExecutionResult]] = owned("todo", order_by="ExecutionResult.created_at")
    tool_executions: Mapped[list[ToolExecution]] = linked(
        "todo", order_by="ToolExecution.started_at"
    )
    hitl_events: Mapped[list[HitlEvent]] = linked("todo", order_by="HitlEvent.requested_at")


class ExecutionResult(Times, Base):
    """What one try of a todo gave."""

    __tablename__ = "execution_results"
    __table_args__ = (
        belongs_to("todos", "todo_id"),
        belongs_to("plans", "plan_id"),
        Index("execution_results_todo_id_idx", "thread_id", "todo_id"),
        Index("execution_results_plan_id_success_idx", "thread_id", "plan_id", "success"),
    )
    _shown = ("success", "execution_time_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    todo_id: Mapped[uuid.UUID]
    plan_id: Mapped[uuid.UUID]
    success: Mapped[bool]
    result_data: Mapped[Json | None]
    error_message: Mapped[str | None]
    error_stack: Mapped[str | None]
    execution_time_ms: Mapped[float | None]
    tool_name: Mapped[str | None]
    tool_version: Mapped[str | None]
    tokens_used: Mapped[BigInt | None]
    api_calls_count: Mapped[int] = mapped_column(server_default=text("0"))
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    todo: Mapped[Todo] = relationship(back_populates="results")
    plan: Mapped[Plan] = linked("results")


class ToolExecution(Times, Error, Gaps, Base):
    """One call of a tool."""

    __tablename__ = "tool_executions"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        refers_to("tools", "tool_id"),
        belongs_to("todos", "todo_id"),
        one_of("status", CallStatus),
        Index("tool_executions_workflow_id_idx", "thread_id", "workflow_id", "started_at"),
        Index("tool_executions_started_at_idx", "started_at", postgresql_using="brin"),
    )
    _shown = ("tool_name", "status", "execution_time_ms")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID]
    node_id: Mapped[uuid.UUID | None]
    tool_id: Mapped[uuid.UUID | None]
    todo_id: Mapped[uuid.UUID | None]
    tool_name: Mapped[str]
    tool_call_id: Mapped[str | None]
    input_params: Mapped[Json | None]
    output_data: Mapped[Json | None]
    success: Mapped[bool | None]
    status: Mapped[CallStatus] = mapped_column(Text, server_default="running")
    execution_time_ms: Mapped[float | None]
    tokens_used: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    whole: Mapped[ToolContent] = whole_of("ToolExecution", "ToolContent", "tool_execution_id")
    workflow: Mapped[Workflow] = relationship(back_populates="tool_executions")
    tool: Mapped[Tool | None] = relationship(back_populates="executions")
    todo: Mapped[Todo | None] = linked("tool_executions")
    node: Mapped[Node | None] = linked("tool_executions", primaryjoin=of_node("ToolExecution"))


class HitlEvent(Times, Gaps, Base):
    """A moment where a human was asked, or stepped in."""

    __tablename__ = "hitl_events"
    __table_args__ = (
        belongs_to("workflows", "workflow_id"),
        belongs_to("plans", "plan_id"),
        belongs_to("todos", "todo_id"),
        refers_to("users", "user_id"),
        one_of("event_type", HitlEventType),
        one_of("status", HitlStatus),
        Index("hitl_events_workflow_id_idx", "thread_id", "workflow_id"),
        Index(
            "hitl_events_pending_idx",
            "requested_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "hitl_events_timeout_idx",
            "timeout_at",
            postgresql_where=text("status = 'pending' AND timeout_at IS NOT NULL"),
        ),
        Index(
            "hitl_events_checkpoint_thread_id_idx",
            "checkpoint_thread_id",
            postgresql_where=text("status = 'pending' AND checkpoint_thread_id IS NOT NULL"),
        ),
    )
    _shown = ("event_type", "status", "user_decision")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    workflow_id: Mapped[uuid.UUID]
    run_id: Mapped[uuid.UUID | None]
    plan_id: Mapped[uuid.UUID | None]
    todo_id: Mapped[uuid.UUID | None]
    node_id: Mapped[uuid.UUID | None]
    event_type: Mapped[HitlEventType] = mapped_column(Text)
    event_data: Mapped[Json | None]
    user_id: Mapped[uuid.UUID | None]
    user_input: Mapped[Json | None]
    user_decision: Mapped[str | None]
    status: Mapped[HitlStatus] = mapped_column(Text, server_default="pending")
    requested_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    responded_at: Mapped[datetime | None]
    timeout_at: Mapped[datetime | None]
    interrupt_id: Mapped[str | None]
    response_schema: Mapped[dict[str, Any] | None]
    checkpoint_thread_id: Mapped[str | None]

    workflow: Mapped[Workflow] = relationship(back_populates="hitl_events")
    user: Mapped[User | None] = relationship(back_populates="hitl_events")
    plan: Mapped[Plan | None] = linked("hitl_events")
    todo: Mapped[Todo | None] = linked("hitl_events")
    node: Mapped[Node | None] = linked("hitl_events", primaryjoin=of_node("HitlEvent"))
