"""Who runs something and with what: organizations, users, tools."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from langgraph_persist.kinds import Role
from langgraph_persist.models.base import (
    Base,
    BigInt,
    Times,
    linked,
    new_id,
    one_of,
    refers_to,
)

if TYPE_CHECKING:
    from langgraph_persist.models.evaluation import Feedback, UsageMetric
    from langgraph_persist.models.planning import HitlEvent, Todo, ToolExecution
    from langgraph_persist.models.runs import Workflow, WorkflowRun
    from langgraph_persist.models.sessions import Session

ToolType: TypeAlias = Literal["data", "analysis", "content", "business"]


class Organization(Times, Base):
    """A tenant with its limits, of which one that is None is no limit."""

    __tablename__ = "organizations"
    __table_args__ = (
        UniqueConstraint("slug"),
        CheckConstraint(
            "('2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE timezone) IS NOT NULL",
            name="timezone",
        ),
    )
    _shown = ("slug", "name")

    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str]
    slug: Mapped[str]
    settings: Mapped[dict[str, Any] | None]
    max_users: Mapped[int | None] = mapped_column(server_default=text("10"))
    max_daily_requests: Mapped[int | None] = mapped_column(server_default=text("1000"))
    max_monthly_tokens: Mapped[BigInt | None] = mapped_column(server_default=text("1000000"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    timezone: Mapped[str] = mapped_column(server_default=text("'UTC'"))

    users: Mapped[list[User]] = relationship(back_populates="organization", passive_deletes=True)
    sessions: Mapped[list[Session]] = relationship(
        back_populates="organization", passive_deletes=True
    )
    workflows: Mapped[list[Workflow]] = relationship(
        back_populates="organization", passive_deletes=True
    )
    usage_metrics: Mapped[list[UsageMetric]] = linked(
        "organization",
        primaryjoin="Organization.id == foreign(UsageMetric.organization_id)",
    )


class User(Times, Base):
    """A person or program on whose behalf workflows run."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("username"),
        UniqueConstraint("email"),
        UniqueConstraint("api_key_hash"),
        refers_to("organizations", "organization_id"),
        one_of("role", Role),
        Index("users_organization_id_idx", "organization_id"),
    )
    _shown = ("username", "role")

    id: Mapped[uuid.UUID] = new_id()
    username: Mapped[str]
    email: Mapped[str | None]
    name: Mapped[str | None]
    organization_id: Mapped[uuid.UUID | None]
    role: Mapped[Role] = mapped_column(Text, server_default="user")
    password_hash: Mapped[str | None]
    api_key_hash: Mapped[str | None]
    preferences: Mapped[dict[str, Any] | None]
    language: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    last_login_at: Mapped[datetime | None]

    organization: Mapped[Organization | None] = relationship(back_populates="users")
    sessions: Mapped[list[Session]] = relationship(back_populates="user", passive_deletes=True)
    workflows: Mapped[list[Workflow]] = relationship(back_populates="user", passive_deletes=True)
    workflow_runs: Mapped[list[WorkflowRun]] = relationship(
        back_populates="user", passive_deletes=True
    )
    approved_todos: Mapped[list[Todo]] = relationship(
        back_populates="approver", passive_deletes=True
    )
    hitl_events: Mapped[list[HitlEvent]] = relationship(back_populates="user", passive_deletes=True)
    feedback: Mapped[list[Feedback]] = relationship(back_populates="user", passive_deletes=True)
    usage_metrics: Mapped[list[UsageMetric]] = linked(
        "user", primaryjoin="User.id == foreign(UsageMetric.user_id)"
    )


class Tool(Times, Base):
    """A tool that agents can call."""

    __tablename__ = "tools"
    __table_args__ = (UniqueConstraint("name"), one_of("type", ToolType))
    _shown = ("name", "version")

    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str]
    display_name: Mapped[str | None]
    description: Mapped[str | None]
    type: Mapped[ToolType | None] = mapped_column(Text)
    layer: Mapped[str | None]
    parameters_schema: Mapped[dict[str, Any] | None]
    output_schema: Mapped[dict[str, Any] | None]
    executor_class: Mapped[str | None]
    timeout_seconds: Mapped[float | None]
    tags: Mapped[list[str] | None]
    version: Mapped[str | None]
    dependencies: Mapped[list[str] | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))

    executions: Mapped[list[ToolExecution]] = relationship(
        back_populates="tool", passive_deletes=True
    )
