"""Deletes what is recorded of one thread and older than wanted.

A session goes whole once nothing has happened in it since; one that lives on loses its older
turns, and the content that nothing else in it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from langgraph_persist.database.statements import Row, Transaction
from langgraph_persist.retention.checkpoints import RUN_PATIENCE
from langgraph_persist.retention.report import Tally
from langgraph_persist.retention.store import Store

BATCH = 100
"""Workflows deleted in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRule:
    """What stays of a record: what is not older than ``cutoff``.

    Content stays while anything happened since ``recent``: for so long a process may take it for
    stored.
    """

    cutoff: datetime
    recent: datetime
    dry_run: bool = False


class Forgetting:
    """One session under one rule."""

    def __init__(self, store: Store, thread_id: str, rule: RecordRule, tally: Tally) -> None:
        self._store, self._thread_id, self._rule, self._tally = store, thread_id, rule, tally

    def run(self, forget: Callable[[str], None]) -> None:
        """Delete what is old; ``forget`` is told of the thread if content goes."""
        params = {"cutoff": self._rule.cutoff, "patience": RUN_PATIENCE}
        found = self._store.rows("old_workflows", thread_id=self._thread_id, **params)
        ids: list[UUID] = [row["id"] for row in found]
        for start in range(0, len(ids), BATCH):
            self._remove(partial(self._workflows, ids=ids[start : start + BATCH]))
        if self._remove(partial(self._rest, gone=ids)):
            forget(self._thread_id)

    def _workflows(self, transaction: Transaction, ids: Sequence[UUID]) -> list[Row]:
        """Old turns, with all that belongs to them."""
        where = {"thread_id": self._thread_id, "ids": [*ids]}
        measured = transaction.rows("measure_workflows", **where)
        self._delete(transaction, "delete_workflows", cutoff=self._rule.cutoff, **where)
        return measured

    def _rest(self, transaction: Transaction, gone: Sequence[UUID]) -> list[Row]:
        """The whole session, or what nothing in it needs once these workflows are gone."""
        where: dict[str, object] = {"thread_id": self._thread_id, "gone": [*gone]}
        held = transaction.rows("hold_session", patience=RUN_PATIENCE, **where)
        if not held or held[0]["busy"]:
            return []
        if (last := held[0]["updated_at"]) >= self._rule.recent:
            self._tally.spare("sessions", int(bool(gone) or last < self._rule.cutoff))
            return []
        (remains,) = transaction.rows("remains", cutoff=self._rule.cutoff, **where)
        if remains["is_over"]:
            measured = transaction.rows("measure_workflows", ids=remains["workflows"], **where)
            measured += transaction.rows("measure_session", **where)
            self._delete(transaction, "delete_session", ids=None, **where)
            return measured
        return self._content(transaction, where) if gone else []

    def _content(self, transaction: Transaction, where: dict[str, object]) -> list[Row]:
        found = transaction.rows("unused_content", **where)
        ids = {
            "values": [row["id"] for row in found if row["name"] == "state_values"],
            "messages": [row["id"] for row in found if row["name"] == "messages"],
        }
        measured = transaction.rows("measure_content", **where, **ids)
        self._run(transaction, "delete_state_values", **where, **ids)
        self._run(transaction, "delete_messages", **where, **ids)
        return measured

    def _delete(self, transaction: Transaction, name: str, **params: object) -> None:
        """Delete what reports tell of, so that they tell of it no more."""
        if not self._rule.dry_run:
            periods = transaction.rows("recorded_periods", **params)
            transaction.run(name, **params)
            transaction.run("reopen_periods", rows=Jsonb(periods, dumps=orjson.dumps))

    def _run(self, transaction: Transaction, name: str, **params: object) -> None:
        if not self._rule.dry_run:
            transaction.run(name, **params)

    def _remove(self, work: Callable[[Transaction], list[Row]]) -> bool:
        """Do a part of the work in a transaction; whether anything went."""
        measured = self._store.change(self._thread_id, work)
        self._tally.add(self._thread_id, measured)
        return any(row["count"] for row in measured) and not self._rule.dry_run
