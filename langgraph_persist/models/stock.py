"""LangGraph's own tables, for reading: with our columns, in the schema where stock makes them.

``schema_translate_map={"public": "other"}`` tells where they are, if not there.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Index, LargeBinary, MetaData, text
from sqlalchemy.orm import Mapped, mapped_column

from langgraph_persist.models.base import Base, linked

if TYPE_CHECKING:
    from langgraph_persist.models.runs import Workflow

SCHEMA = "public"


class Stock(Base):
    """A row of a table that langgraph-checkpoint-postgres made."""

    __abstract__ = True
    metadata = MetaData(schema=SCHEMA, naming_convention={"pk": "%(table_name)s_pkey"})


class Checkpoint(Stock):
    """The state of a thread after a step."""

    __tablename__ = "checkpoints"
    __table_args__ = (Index("checkpoints_thread_id_idx", "thread_id"),)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_ns: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    checkpoint_id: Mapped[str] = mapped_column(primary_key=True)
    parent_checkpoint_id: Mapped[str | None]
    type: Mapped[str | None]
    checkpoint: Mapped[dict[str, Any]]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    workflow_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime | None] = mapped_column(server_default=text("now()"))

    workflow: Mapped[Workflow | None] = linked(
        "checkpoints",
        primaryjoin="and_(Workflow.thread_id == foreign(Checkpoint.thread_id),"
        " Workflow.id == foreign(Checkpoint.workflow_id))",
    )


class CheckpointBlob(Stock):
    """The serialised value of a channel at a version."""

    __tablename__ = "checkpoint_blobs"
    __table_args__ = (Index("checkpoint_blobs_thread_id_idx", "thread_id"),)
    _shown = ("type",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_ns: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    channel: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    blob: Mapped[bytes | None] = mapped_column(LargeBinary)


class CheckpointWrite(Stock):
    """What a task wrote after a checkpoint."""

    __tablename__ = "checkpoint_writes"
    __table_args__ = (
        Index("checkpoint_writes_thread_id_idx", "thread_id"),
        Index("checkpoint_writes_thread_id_task_id_idx", "thread_id", "task_id"),
    )
    _shown = ("channel",)

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_ns: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    checkpoint_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(primary_key=True)
    idx: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    channel: Mapped[str]
    type: Mapped[str | None]
    blob: Mapped[bytes] = mapped_column(LargeBinary)
    task_path: Mapped[str] = mapped_column(server_default=text("''"))
