"""What a group adds to the usage of users and organizations, counted in the same transaction.

A row counts when it comes to say that something began or ended, which the statements find by
comparing it with the row that is there. So they see the tables as they were, and count a row once
however often it is written. Each adds to one row of a bucket: nothing is scanned.
"""

from __future__ import annotations

from langgraph_persist.journal.unit import Fields, Group
from langgraph_persist.kinds import TOKENS

Counted = dict[str, list[Fields]]
"""Counting statements with their rows."""

_OWNER = ("user", "organization")
_PARENT = ("thread_id", "id", "workflow_id", "started_at")
_WORKFLOW = ("thread_id", "id", "status", "started_at", "admitted", *_OWNER)
_RUN = (*_PARENT, "duration_ms")
_CALL = (
    *_PARENT,
    "status",
    "model_name",
    *TOKENS,
    "cost_usd",
    "latency_ms",
    "cache_hit",
)


def counted_first(table: str, group: Group) -> Counted:
    """What is to be counted before the rows of a table are written."""
    if table == "heartbeats":
        beats = _rows(group, table)
        return {"count_revived": beats} if beats else {}
    if table != "workflows":
        return {}
    workflows = group.rows.get("workflows", {})
    left_behind = [r for r in _rows(group, "superseded") if r["checkpoint_thread_id"] is None]
    superseding = {row["thread_id"]: row["id"] for row in left_behind}
    rows = [
        _only(_WORKFLOW, _superseded(row, superseding))
        for row in workflows.values()
        if _may_count(row)
    ]
    rows += [{"thread_id": t, "id": id, "supersedes": True} for t, id in superseding.items()]
    runs = [
        _only(_RUN, run) | _only(_OWNER, workflows.get((run["thread_id"], run["workflow_id"]), {}))
        for run in _rows(group, "workflow_runs")
        if _is_ended(run)
    ]
    return {name: rows for name, rows in (("count_workflows", rows), ("count_runs", runs)) if rows}


def counted_along(table: str, group: Group) -> Counted:
    """What is to be counted at the moment when the rows of a table are written."""
    if table != "generations":
        return {}
    rows = [_only(_CALL, row) for row in _rows(group, table) if _is_ended(row)]
    return {"count_calls": rows} if rows else {}


def _rows(group: Group, table: str) -> list[Fields]:
    return list(group.rows.get(table, {}).values())


def _only(columns: tuple[str, ...], row: Fields) -> Fields:
    """What is counted of a row, and not all that was said."""
    return {name: row[name] for name in columns if name in row}


def _is_ended(row: Fields) -> bool:
    return row.get("status") not in (None, "running")


def _superseded(row: Fields, by: dict[str, object]) -> Fields:
    """An interrupted workflow is cancelled by a new one that comes with it."""
    if row.get("status") == "interrupted" and by.get(row["thread_id"], row["id"]) != row["id"]:
        return row | {"status": "cancelled"}
    return row


def _may_count(row: Fields) -> bool:
    """All but a new workflow that runs for no organization, or whose request is counted already."""
    if _is_ended(row) or not row.get("is_new"):
        return True
    return bool(row.get("organization") or row.get("user")) and not row.get("admitted")
