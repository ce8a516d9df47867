"""What may go of a thread, found by plain reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from langgraph_persist.database.statements import Row
from langgraph_persist.retention.delta import Link, Walk
from langgraph_persist.retention.store import Store

PAGE = 500

_GREGORIAN = datetime(1582, 10, 15, tzinfo=UTC)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What stays of a thread.

    Args:
        keep_last: so many of each namespace's newest checkpoints; None for all.
        cutoff: those that are not older, too.
        recent: what is newer may belong to a run under way.
        expired: the thread's session must have expired.
        sweep: whether to look for what crashes left.
        dry_run: count only.
    """

    keep_last: int | None
    recent: datetime
    cutoff: datetime | None = None
    expired: bool = False
    sweep: bool = True
    dry_run: bool = False


class Key(NamedTuple):
    """A checkpoint of a thread."""

    checkpoint_ns: str
    checkpoint_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes of a namespace."""

    checkpoint_ns: str
    gone: tuple[str, ...] = ()
    """Newest first."""
    links: tuple[Link, ...] = ()
    ends: frozenset[str] = frozenset()
    """Where subgraph calls go along: all but what stays for its own sake."""
    spared: int = 0
    """How many stay because they are recent, and a run may be about to build on them."""


def plan(store: Store, thread_id: str, ns: str, rule: Rule) -> Plan:
    """The checkpoints of a namespace that go, delta channels' history spared."""
    where: dict[str, object] = {"thread_id": thread_id, "checkpoint_ns": ns}
    limits = {"keep_last": rule.keep_last, "cutoff": rule.cutoff, "recent": rule.recent}
    found = store.rows("outdated", **where, **limits)
    outdated = [row["checkpoint_id"] for row in found if not row["spared"]]
    spared = len(found) - len(outdated)
    if not outdated:
        return Plan(ns, spared=spared)
    channels = {row["channel"] for row in store.rows("delta_channels", **where)}
    where["channels"] = [*channels]
    frontier = store.rows("frontier", **where, gone=outdated)
    parents = {row["parent_checkpoint_id"] for row in frontier if row["needs_parent"]}
    walk = Walk(frozenset(outdated), parents)
    for row in frontier:
        lacking = channels - set(row["stored"])
        walk.start(row["checkpoint_id"], row["parent_checkpoint_id"], lacking)
    _follow(walk, store, where)
    gone = tuple(id for id in outdated if id not in walk.needed)
    return Plan(ns, gone, tuple(walk.links()), frozenset(outdated) - parents, spared)


def _follow(walk: Walk, store: Store, where: dict[str, object]) -> None:
    """Visit what the walk wants, a page at a time."""
    before: str | None = None
    while walk.wanted:
        page = store.rows("ancestors", **where, wanted=walk.wanted, before=before, limit=PAGE)
        for row in page:
            walk.visit(row)
        if len(page) < PAGE:
            return
        before = page[-1]["checkpoint_id"]


def is_call(space: Row) -> bool:
    """Whether a namespace is that of one call of a subgraph, with the call's task id in it.

    The state of a subgraph with ``checkpointer=True`` outlives its calls, and has no task id.
    """
    return ":" in space["checkpoint_ns"] and space["root"] is not None


def is_recent(key: Key, rule: Rule) -> bool:
    """Whether a checkpoint that is not there may be about to come, going by its id."""
    made_at = time_of(key.checkpoint_id)
    return made_at is not None and made_at >= rule.recent


def time_of(checkpoint_id: str) -> datetime | None:
    """When a checkpoint was made, by its id; None if that does not say."""
    try:
        uuid = UUID(checkpoint_id)
    except ValueError:
        return None
    if uuid.version == 7:
        return _UNIX + timedelta(milliseconds=uuid.int >> 80)
    if uuid.version == 6:
        ticks = (uuid.int >> 80) << 12 | (uuid.int >> 64) & 0xFFF
        return _GREGORIAN + timedelta(microseconds=ticks // 10)
    return None
