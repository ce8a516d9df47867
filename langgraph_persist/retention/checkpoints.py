"""Deletes what one thread no longer needs of LangGraph's tables.

It is planned what goes, and then it goes in small transactions, newest first, so that what a
crash leaves is whole and the next call finds the rest. Nothing goes that a checkpoint outside of
the plan was built on: if one appears meanwhile, the plan is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from langgraph_persist.database.statements import Row, Transaction
from langgraph_persist.retention.plan import Key, Plan, Rule, is_call, is_recent, plan
from langgraph_persist.retention.report import Tally
from langgraph_persist.retention.store import Store

T = TypeVar("T")

BATCH = 500
"""Checkpoints deleted in one transaction, if there are not very many."""
BATCHES = 20
LARGEST_BATCH = 5_000
BLOB_BATCH = 1_000
ATTEMPTS = 10
RUN_PATIENCE = timedelta(days=1)
"""A run that told nothing of itself for so long has crashed."""


class _Stale(Exception):
    """The thread changed after the plan was made."""


class _Busy(Exception):
    """The thread's last checkpoints may be in use."""


class Pruning:
    """One thread under one rule."""

    def __init__(self, store: Store, thread_id: str, rule: Rule, tally: Tally) -> None:
        self._store, self._thread_id, self._rule, self._tally = store, thread_id, rule, tally
        self._gone: list[Key] = []
        self._gone_calls: list[str] = []

    def run(self) -> list[Key]:
        """Delete what may go; returns checkpoints that have writes but seem never to come."""
        try:
            if self._may_end:
                self._store.change(self._thread_id, self._check_idle)
            self._prune()
            self._delete_blobs()
            self._expire()
        except _Busy:
            return []
        return self._orphans() if self._rule.sweep else []

    def delete_orphans(self, keys: Sequence[Key]) -> None:
        """Delete the writes of checkpoints that are still not there."""
        namespaces, ids = _columns(keys, 2)
        where = {"namespaces": namespaces, "ids": ids}
        with suppress(_Busy):
            self._remove("measure_orphan_writes", ["delete_orphan_writes"], where)

    # --- checkpoints ---

    def _prune(self) -> None:
        keep = self._rule.keep_last
        spaces = self._rows("namespaces")
        sizes = {space["checkpoint_ns"]: space["count"] for space in spaces}
        pruned = {ns for ns, size in sizes.items() if keep is not None and size > keep}
        roots = self._plan("") if "" in pruned else Plan("")
        over = [space for space in spaces if self._is_over(space, roots.ends)]
        self._delete_calls(over)
        self._apply(roots)
        for ns in sorted(pruned - {"", *(space["checkpoint_ns"] for space in over)}):
            self._apply(self._plan(ns))

    def _is_over(self, space: Row, ends: frozenset[str]) -> bool:
        """Whether a namespace is of a call whose root checkpoint goes, or never came.

        A call may commit before the root checkpoint it started from, but not long before.
        """
        if not is_call(space):
            return False
        if space["root_saved"]:
            return space["root"] in ends
        return self._rule.sweep and space["updated_at"] < self._rule.recent and not self._is_busy()

    def _plan(self, ns: str) -> Plan:
        return plan(self._store, self._thread_id, ns, self._rule)

    def _apply(self, plan: Plan) -> None:
        """Carry out a plan, made anew when the thread changed under it."""
        for _ in range(ATTEMPTS):
            try:
                self._link(plan)
                for ids in _batches(plan.gone, _batch_size(len(plan.gone))):
                    self._delete(plan, ids)
                self._tally.spare("checkpoints", plan.spared)
                return
            except _Stale:
                plan = self._plan(plan.checkpoint_ns)

    def _link(self, plan: Plan) -> None:
        if self._rule.dry_run or not plan.links:
            return
        ids, olds, news = _columns(plan.links, 3)

        def work(transaction: Transaction) -> None:
            where = {"thread_id": self._thread_id, "checkpoint_ns": plan.checkpoint_ns}
            if transaction.run("relink", ids=ids, olds=olds, news=news, **where) < len(ids):
                raise _Stale

        self._store.change(self._thread_id, work)

    def _delete(self, plan: Plan, ids: Sequence[str]) -> None:
        where = {"checkpoint_ns": plan.checkpoint_ns, "ids": [*ids]}

        def check(transaction: Transaction) -> None:
            children = transaction.rows("children", thread_id=self._thread_id, **where)
            if not {child["checkpoint_id"] for child in children}.issubset(plan.gone):
                raise _Stale

        deletes = ["delete_writes", "delete_checkpoints"]
        self._remove("measure_checkpoints", deletes, where, check)
        self._gone += [Key(plan.checkpoint_ns, id) for id in ids]

    def _delete_calls(self, spaces: Sequence[Row]) -> None:
        """Delete whole namespaces, before the root checkpoints that they are found by."""
        deletes = [f"delete_namespace_{table}" for table in ("writes", "blobs", "checkpoints")]
        for names in _groups(spaces):
            self._remove("measure_namespaces", deletes, {"namespaces": names})
            self._gone_calls += names

    # --- values and writes ---

    def _delete_blobs(self) -> None:
        """Delete the channel values that no checkpoint names, whoever left them."""
        namespaces, ids = _columns(self._gone if self._rule.dry_run else [], 2)
        gone = {"namespaces": namespaces, "ids": ids, "gone_namespaces": self._gone_calls}
        found = [tuple(row.values()) for row in self._rows("unreferenced_blobs", **gone)]
        for keys in _batches(found, BLOB_BATCH):
            names, channels, versions = _columns(keys, 3)
            where = {"namespaces": names, "channels": channels, "versions": versions}
            self._remove("measure_blobs", ["delete_blobs"], where)

    def _orphans(self) -> list[Key]:
        """Checkpoints that have writes but never came, if none of them can be on its way.

        Writes may commit before the checkpoint they follow. That is as old as its id, except for
        the first one of a run that saves when it exits.
        """
        rows = self._rows("orphan_writes", gone_namespaces=self._gone_calls)
        keys = [key for row in rows if not is_recent(key := Key(*row.values()), self._rule)]
        return keys if keys and self._is_quiet() else []

    # --- runs under way ---

    @property
    def _may_end(self) -> bool:
        """Whether the thread's last checkpoints may go."""
        return self._rule.keep_last == 0 or self._rule.expired

    def _check_idle(self, transaction: Transaction) -> None:
        """Leave a thread alone whose last checkpoints would go while a run may need them.

        The session stays locked until the transaction ends, and a run starts by writing it.
        """
        session = self._session(transaction)
        expired = session is not None and session["expired"]
        if (session is not None and session["busy"]) or (self._rule.expired and not expired):
            raise _Busy

    def _is_quiet(self) -> bool:
        newest = self._rows("newest")[0]["created_at"]
        return (newest is None or newest < self._rule.recent) and not self._is_busy()

    def _is_busy(self) -> bool:
        session = self._store.change(self._thread_id, self._session)
        return session is not None and bool(session["busy"])

    def _session(self, transaction: Transaction) -> Row | None:
        where = {"thread_id": self._thread_id, "patience": RUN_PATIENCE}
        return next(iter(transaction.rows("hold_session", **where)), None)

    def _expire(self) -> None:
        if self._rule.expired and not self._rule.dry_run:
            where = {"thread_id": self._thread_id}
            self._store.change(self._thread_id, lambda t: t.run("expire_session", **where))

    # --- statements ---

    def _remove(
        self,
        measure: str,
        deletes: Sequence[str],
        where: Mapping[str, object],
        check: Callable[[Transaction], None] | None = None,
    ) -> None:
        """Count rows and, unless this is a dry run, delete them, in one transaction."""

        def work(transaction: Transaction) -> list[Row]:
            if self._may_end:
                self._check_idle(transaction)
            if check is not None:
                check(transaction)
            measured = transaction.rows(measure, thread_id=self._thread_id, **where)
            for name in deletes:
                transaction.run(name, thread_id=self._thread_id, **where)
            return measured

        if self._rule.dry_run:
            measured = self._rows(measure, **where)
        else:
            measured = self._store.change(self._thread_id, work)
        self._tally.add(self._thread_id, measured)

    def _rows(self, name: str, **params: object) -> list[Row]:
        return self._store.rows(name, thread_id=self._thread_id, **params)


def _columns(rows: Sequence[tuple[T, ...]], width: int) -> tuple[list[T], ...]:
    """The columns of rows, as many as they are wide even where there is no row."""
    return tuple([row[index] for row in rows] for index in range(width))


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _batch_size(count: int) -> int:
    """Each batch looks through the thread for children, so of very many there are few."""
    return max(BATCH, min(count // BATCHES, LARGEST_BATCH))


def _groups(spaces: Sequence[Row]) -> Iterator[list[str]]:
    """Namespaces in groups of about as many checkpoints as a batch has."""
    names: list[str] = []
    count = 0
    for space in spaces:
        names.append(space["checkpoint_ns"])
        count += space["count"]
        if count >= BATCH:
            yield names
            names, count = [], 0
    if names:
        yield names
