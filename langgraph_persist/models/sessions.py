"""Sessions, and the content that a session keeps once: messages and state values."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from langgraph_persist.kinds import SessionStatus
from langgraph_persist.models.base import (
    Base,
    Gaps,
    Json,
    Times,
    linked,
    of_session,
    one_of,
    owned,
    refers_to,
)

if TYPE_CHECKING:
    from langgraph_persist.models.evaluation import Evaluation, Feedback
    from langgraph_persist.models.planning import Plan
    from langgraph_persist.models.reference import Organization, User
    from langgraph_persist.models.runs import Workflow
    from langgraph_persist.models.views import TranscriptLine

StateValueKind: TypeAlias = Literal["value", "messages", "list"]


class Session(Times, Gaps, Base):
    """A conversation: what LangGraph calls a thread."""

    __tablename__ = "sessions"
    __table_args__ = (
        refers_to("users", "user_id"),
        refers_to("organizations", "organization_id"),
        one_of("status", SessionStatus),
        Index(
            "sessions_active_idx",
            "user_id",
            "created_at",
            postgresql_where=text("status = 'active'"),
        ),
        Index(
            "sessions_ended_idx",
            "status",
            "updated_at",
            "thread_id",
            postgresql_where=text("status = ANY (ARRAY['expired'::text, 'error'::text])"),
        ),
        Index(
            "sessions_expires_at_idx",
            "expires_at",
            postgresql_where=text("status = 'active' AND expires_at IS NOT NULL"),
        ),
        Index("sessions_organization_id_idx", "organization_id"),
        Index("sessions_updated_at_idx", "updated_at", "thread_id"),
        Index("sessions_user_id_updated_at_idx", "user_id", "updated_at", "thread_id"),
    )
    _shown = ("status", "turns")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    organization_id: Mapped[uuid.UUID | None]
    status: Mapped[SessionStatus] = mapped_column(Text, server_default="active")
    language: Mapped[str | None]
    initial_input: Mapped[str | None]
    current_context: Mapped[dict[str, Any] | None]
    # "metadata" is SQLAlchemy's own name on a model.
    meta: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    turns: Mapped[int] = mapped_column(server_default=text("0"))
    retry_of: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    user: Mapped[User | None] = relationship(back_populates="sessions")
    organization: Mapped[Organization | None] = relationship(back_populates="sessions")
    workflows: Mapped[list[Workflow]] = owned("session", order_by="Workflow.turn")
    plans: Mapped[list[Plan]] = owned("session", order_by="Plan.created_at")
    messages: Mapped[list[Message]] = owned("session", order_by="Message.created_at")
    state_values: Mapped[list[StateValue]] = owned("session")
    evaluations: Mapped[list[Evaluation]] = owned("session")
    feedback: Mapped[list[Feedback]] = owned("session")
    transcript: Mapped[list[TranscriptLine]] = linked(
        "session",
        primaryjoin="Session.thread_id == foreign(TranscriptLine.thread_id)",
        order_by="TranscriptLine.turn, TranscriptLine.position",
    )


class Message(Times, Base):
    """A chat message, once per session; its id is the hash of its content."""

    __tablename__ = "messages"
    __table_args__ = (of_session(),)
    _shown = ("role", "text")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    message_id: Mapped[str | None]
    turn: Mapped[int | None]
    role: Mapped[str]
    text: Mapped[str | None]
    content: Mapped[Json | None]
    name: Mapped[str | None]
    tool_calls: Mapped[Json | None]
    tool_call_id: Mapped[str | None]
    extra: Mapped[dict[str, Any] | None]

    session: Mapped[Session] = relationship(back_populates="messages")


class StateValue(Times, Base):
    """A channel's value, once per session; its id is the hash of its content.

    Of kind ``messages``, ``value`` lists the messages that follow those of ``base``, each with
    LangChain's id for it; of kind ``list``, the elements that follow.
    """

    __tablename__ = "state_values"
    __table_args__ = (of_session(), one_of("kind", StateValueKind))
    _shown = ("kind",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[StateValueKind] = mapped_column(Text, server_default="value")
    value: Mapped[Json] = mapped_column(nullable=False)
    base_id: Mapped[uuid.UUID | None]

    session: Mapped[Session] = relationship(back_populates="state_values")
    base: Mapped[StateValue | None] = relationship(
        primaryjoin="and_(StateValue.thread_id == remote(StateValue.thread_id),"
        " foreign(StateValue.base_id) == remote(StateValue.id))",
        viewonly=True,
    )
