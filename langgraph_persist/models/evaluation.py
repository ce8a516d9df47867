"""What it was worth and what it used: evaluations, feedback, usage metrics."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import CheckConstraint, Enum, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from langgraph_persist.kinds import EvaluationType, Metric
from langgraph_persist.models.base import (
    Base,
    Times,
    belongs_to,
    linked,
    new_id,
    of_session,
    one_of,
    refers_to,
)

if TYPE_CHECKING:
    from langgraph_persist.models.planning import Plan
    from langgraph_persist.models.reference import Organization, User
    from langgraph_persist.models.runs import Workflow
    from langgraph_persist.models.sessions import Session

_NOBODY = "'00000000-0000-0000-0000-000000000000'::uuid"
_SCORE = """
CASE
    WHEN jsonb_typeof(details -> 'score') = 'number'
        THEN (details ->> 'score')::numeric BETWEEN 0 AND 100
    ELSE false
END
"""


class Evaluation(Times, Base):
    """A judgement of one turn, or of the session as a whole.

    ``details`` holds at least a ``score`` from 0 to 100 and an ``analysis``.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        of_session(),
        belongs_to("workflows", "turn", key="turn"),
        CheckConstraint("(evaluation_type = 'TURN_EVAL') = (turn IS NOT NULL)", name="turn"),
        CheckConstraint(_SCORE, name="details_score"),
        CheckConstraint(
            "coalesce(jsonb_typeof(details -> 'analysis') <> 'null', false)",
            name="details_analysis",
        ),
        Index(
            "evaluations_turn_eval_key",
            "thread_id",
            "turn",
            unique=True,
            postgresql_where=text("evaluation_type = 'TURN_EVAL'"),
        ),
        Index(
            "evaluations_holistic_flow_key",
            "thread_id",
            unique=True,
            postgresql_where=text("evaluation_type = 'HOLISTIC_FLOW'"),
        ),
        Index("evaluations_created_at_idx", "created_at"),
        Index("evaluations_evaluator_idx", "evaluator", "created_at"),
        Index(
            "evaluations_holistic_flow_idx",
            "created_at",
            postgresql_where=text("evaluation_type = 'HOLISTIC_FLOW'"),
        ),
        Index("evaluations_score_idx", text("((details ->> 'score'::text)::numeric)")),
    )
    _shown = ("evaluation_type", "turn")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    turn: Mapped[int | None]
    evaluation_type: Mapped[EvaluationType] = mapped_column(
        Enum(*get_args(EvaluationType), name="evaluation_type", metadata=Base.metadata)
    )
    details: Mapped[dict[str, Any]]
    evaluator: Mapped[str | None]

    session: Mapped[Session] = relationship(back_populates="evaluations")
    workflow: Mapped[Workflow | None] = linked("evaluations")


class Feedback(Times, Base):
    """What a user thought of it."""

    __tablename__ = "feedback"
    __table_args__ = (
        of_session(),
        belongs_to("workflows", "workflow_id"),
        belongs_to("plans", "plan_id"),
        refers_to("users", "user_id"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        Index("feedback_created_at_idx", "created_at"),
        Index(
            "feedback_feedback_type_idx",
            "feedback_type",
            "created_at",
            postgresql_where=text("feedback_type IS NOT NULL"),
        ),
        Index("feedback_plan_id_idx", "plan_id", postgresql_where=text("plan_id IS NOT NULL")),
        Index("feedback_user_id_idx", "user_id", "created_at"),
        Index("feedback_workflow_id_idx", "thread_id", "workflow_id"),
    )
    _shown = ("rating", "feedback_type")

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = new_id()
    workflow_id: Mapped[uuid.UUID | None]
    plan_id: Mapped[uuid.UUID | None]
    user_id: Mapped[uuid.UUID | None]
    rating: Mapped[int | None]
    feedback_type: Mapped[str | None]
    comment: Mapped[str | None]
    context_data: Mapped[dict[str, Any] | None]

    session: Mapped[Session] = relationship(back_populates="feedback")
    workflow: Mapped[Workflow | None] = linked("feedback")
    plan: Mapped[Plan | None] = linked("feedback")
    user: Mapped[User | None] = relationship(back_populates="feedback")


class UsageMetric(Times, Base):
    """What was used on a day by one user of one organization, with one model where that matters.

    The day begins in the organization's time zone, in UTC for runs of none. ``daily_requests``
    and ``monthly_tokens`` are of the organization as a whole, the latter by month.
    """

    __tablename__ = "usage_metrics"
    __table_args__ = (
        one_of("metric_type", Metric),
        CheckConstraint("period_end > period_start", name="period_end"),
        Index(
            "usage_metrics_bucket_key",
            "period_start",
            "metric_type",
            text(f"coalesce(organization_id, {_NOBODY})"),
            text(f"coalesce(user_id, {_NOBODY})"),
            text("coalesce(model_name, ''::text)"),
            unique=True,
        ),
        Index("usage_metrics_organization_id_idx", "organization_id", "period_start"),
        Index("usage_metrics_user_id_idx", "user_id", "period_start"),
    )
    _shown = ("metric_type", "metric_value", "period_start")

    id: Mapped[uuid.UUID] = new_id()
    organization_id: Mapped[uuid.UUID | None]
    user_id: Mapped[uuid.UUID | None]
    model_name: Mapped[str | None]
    metric_type: Mapped[Metric] = mapped_column(Text)
    metric_value: Mapped[Decimal] = mapped_column(server_default=text("0"))
    metric_data: Mapped[dict[str, Any] | None]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]

    organization: Mapped[Organization | None] = linked(
        "usage_metrics",
        primaryjoin="Organization.id == foreign(UsageMetric.organization_id)",
    )
    user: Mapped[User | None] = linked(
        "usage_metrics", primaryjoin="User.id == foreign(UsageMetric.user_id)"
    )
