"""The sums that ``persist.reports`` keeps of past hours and days: a cache of the record."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from sqlalchemy import ARRAY, BigInteger, Identity, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from langgraph_persist.models.base import Base, BigInt, one_of

ReportKind: TypeAlias = Literal["models", "nodes", "users"]


def _number() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


class ReportPeriod(Base):
    """An hour or day of UTC whose sums are right."""

    __tablename__ = "report_periods"
    __table_args__ = (one_of("kind", ReportKind),)

    kind: Mapped[ReportKind] = mapped_column(Text, primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReportModels(Base):
    """Model calls of an hour: of all organizations together (``is_total``), or of one."""

    __tablename__ = "report_models"
    __table_args__ = (Index("report_models_period_start_idx", "is_total", "period_start"),)
    _shown = ("period_start", "model_name", "calls")

    id: Mapped[int] = _number()
    period_start: Mapped[datetime]
    is_total: Mapped[bool]
    organization_id: Mapped[uuid.UUID | None]
    model_provider: Mapped[str | None]
    model_name: Mapped[str | None]
    calls: Mapped[BigInt]
    failed: Mapped[BigInt]
    cache_hits: Mapped[BigInt]
    prompt_tokens: Mapped[BigInt | None]
    completion_tokens: Mapped[BigInt | None]
    total_tokens: Mapped[BigInt | None]
    cache_read_tokens: Mapped[BigInt | None]
    cache_creation_tokens: Mapped[BigInt | None]
    reasoning_tokens: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
    timed: Mapped[BigInt]
    latency_ms: Mapped[float | None]
    streamed: Mapped[BigInt]
    first_token_ms: Mapped[float | None]
    buckets: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    counts: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))


class ReportNodes(Base):
    """Executions of nodes on a day: for all organizations together (``is_total``), or for one."""

    __tablename__ = "report_nodes"
    __table_args__ = (Index("report_nodes_period_start_idx", "is_total", "period_start"),)
    _shown = ("period_start", "node_name", "executions")

    id: Mapped[int] = _number()
    period_start: Mapped[datetime]
    is_total: Mapped[bool]
    organization_id: Mapped[uuid.UUID | None]
    workflow_name: Mapped[str]
    node_name: Mapped[str]
    node_type: Mapped[str]
    executions: Mapped[BigInt]
    completed: Mapped[BigInt]
    failed: Mapped[BigInt]
    timed: Mapped[BigInt]
    duration_ms: Mapped[float | None]
    max_ms: Mapped[float | None]
    buckets: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    counts: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))


class ReportUsers(Base):
    """Model calls of a user on a day: of all models together (``is_total``), or of one."""

    __tablename__ = "report_users"
    __table_args__ = (Index("report_users_period_start_idx", "is_total", "period_start"),)
    _shown = ("period_start", "model_name", "calls")

    id: Mapped[int] = _number()
    period_start: Mapped[datetime]
    is_total: Mapped[bool]
    organization_id: Mapped[uuid.UUID | None]
    user_id: Mapped[uuid.UUID | None]
    model_provider: Mapped[str | None]
    model_name: Mapped[str | None]
    calls: Mapped[BigInt]
    failed: Mapped[BigInt]
    cache_hits: Mapped[BigInt]
    prompt_tokens: Mapped[BigInt | None]
    completion_tokens: Mapped[BigInt | None]
    total_tokens: Mapped[BigInt | None]
    cost_usd: Mapped[Decimal | None]
