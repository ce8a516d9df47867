"""Rows of the edits of a state: the saver sees them, and no callback tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langchain_core.utils.uuid import uuid7

from langgraph_persist.extract import clean_text, keep_for, to_json
from langgraph_persist.journal import Fields, Journal, Rows
from langgraph_persist.saver.callers import StateEdit


class Edit(NamedTuple):
    """A call of ``update_state``, on a checkpoint that a recorded workflow has left."""

    edit: StateEdit
    workflow_id: UUID | None
    recorded: bool
    """Whether the workflow's record is still there, on the checkpoint's thread."""
    recorded_on: str | None
    """The thread that it is recorded on, where that is another one."""
    forks: bool
    """Whether the thread went on from there without it: the workflow does not end in this state."""


def update_rows(
    journal: Journal,
    edit: Edit,
    checkpoint: Fields,
    config: RunnableConfig,
    metadata: Mapping[str, Any],
    state: Any,
) -> Rows:
    """A row for each node in whose name the state was edited, and what these refer to."""
    user = (config.get("metadata") or {}).get("user")
    told = ({} if user is None else {"user": user}) | ({"forks": True} if edit.forks else {})
    owner = {"thread_id": checkpoint["thread_id"], "workflow_id": edit.workflow_id}
    now = datetime.now(UTC)
    rows: Rows = []
    for update in edit.edit.updates:
        private = journal.is_private(update.as_node, None)
        keep = keep_for(journal, checkpoint["thread_id"], private=private)
        fields: Fields = {
            **owner,
            "id": uuid7(),
            "run_id": edit.workflow_id,
            "node_name": clean_text(update.as_node),
            "node_type": "update",
            "status": "completed",
            "step": metadata.get("step"),
            "checkpoint_ns": clean_text(checkpoint["checkpoint_ns"]),
            "input_checkpoint_id": checkpoint["parent_checkpoint_id"],
            "checkpoint_id": checkpoint["checkpoint_id"],
            "input_data": keep.document(update.values),
            "state": None if private else state,
            "started_at": now,
            "completed_at": now,
            "metadata": to_json(told) if told else None,
        }
        rows += [(table, owner | row) for table, row in keep.rows]
        rows.append(("nodes", fields))
    return rows
