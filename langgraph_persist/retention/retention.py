"""``retain``: one pass over all threads, or some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import psycopg

from langgraph_persist.checks import count, durations, identifiers
from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.retention.checkpoints import Pruning
from langgraph_persist.retention.plan import Key, Rule
from langgraph_persist.retention.record import Forgetting, RecordRule
from langgraph_persist.retention.report import RetentionReport, Tally
from langgraph_persist.retention.store import Store

Sessions: TypeAlias = Literal["expired", "completed"] | Sequence[str]

GRACE = timedelta(hours=1)
PAGE = 500
SETTLE = 2.0
"""Seconds after which writes without a checkpoint are looked at again, before they go."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to retain; see ``Retention.retain``."""

    keep_last: int | None = None
    older_than: timedelta | None = None
    sessions: Sessions | None = None
    record_older_than: timedelta | None = None
    grace: timedelta = GRACE
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.keep_last is not None:
            count("keep_last", self.keep_last)
        ages = ("older_than", "record_older_than", "grace")
        durations(**{name: getattr(self, name) for name in ages})
        if isinstance(self.sessions, str) and self.sessions not in ("expired", "completed"):
            raise ConfigurationError(
                f"sessions must be 'expired', 'completed' or a list of thread ids, "
                f"not {self.sessions!r}"
            )
        if self.sessions is not None and not isinstance(self.sessions, str):
            object.__setattr__(self, "sessions", identifiers("sessions", self.sessions))
        if self.sessions not in (None, "expired") and self._is_empty:
            raise ConfigurationError(
                "say how much of these sessions stays: keep_last (0 for nothing), older_than or "
                "record_older_than"
            )

    @property
    def _is_empty(self) -> bool:
        given = (self.keep_last, self.older_than, self.record_older_than)
        return all(value is None for value in given)

    @property
    def reads_checkpoints(self) -> bool:
        """Whether the threads' checkpoints are looked at, if only for what crashes left."""
        return self.prunes or self._is_empty

    @property
    def prunes(self) -> bool:
        pruned = (self.keep_last, self.older_than) != (None, None)
        return pruned or (self.sessions == "expired" and self._is_empty)

    def rule(self, now: datetime) -> Rule:
        """What it means for the checkpoints of a thread, at this time."""
        expired = self.sessions == "expired"
        keep_last = self.keep_last
        if keep_last is None and self.prunes:
            keep_last = 0 if expired else 1
        return Rule(
            keep_last=keep_last,
            cutoff=None if self.older_than is None else before(now, self.older_than),
            recent=before(now, self.grace),
            expired=expired,
            dry_run=self.dry_run,
        )


def before(now: datetime, age: timedelta) -> datetime:
    """The time so long ago, or the first there is."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


class Retention:
    """Deletes what is no longer wanted, beside running graphs.

    Args:
        database: where.
        schemas: where the tables are.
        forget: told of threads whose recorded content went.
    """

    def __init__(
        self,
        database: Database,
        schemas: Schemas,
        *,
        forget: Callable[[str], None] = lambda thread_id: None,
    ) -> None:
        self._store = Store(database, schemas)
        self._forget = forget

    def retain(self, policy: Policy) -> RetentionReport:
        """Delete what the policy does not keep; again after an interruption, the rest of it."""
        tally = Tally()
        now: datetime = self._store.rows("now")[0]["now"]
        if policy.reads_checkpoints:
            self._prune_all(policy, now, tally)
        if policy.record_older_than is not None:
            rule = RecordRule(
                cutoff=before(now, policy.record_older_than),
                recent=before(now, policy.grace),
                dry_run=policy.dry_run,
            )
            for thread_id in self._recorded(policy, rule):
                with _noting(thread_id):
                    Forgetting(self._store, thread_id, rule, tally).run(self._forget)
        if not policy.dry_run:
            self._store.harden()
        return tally.report(dry_run=policy.dry_run, grace=policy.grace)

    def keep_latest(self, thread_id: str) -> None:
        """Keep the newest checkpoint of each namespace of a thread, and what it is rebuilt from.

        Checkpoints without children go, too, however new. A call of a subgraph goes with the root
        checkpoint it started from.
        """
        rule = Rule(keep_last=1, recent=_NEVER, sweep=False)
        Pruning(self._store, thread_id, rule, Tally()).run()
        self._store.harden()

    def _prune_all(self, policy: Policy, now: datetime, tally: Tally) -> None:
        rule = policy.rule(now)
        suspects: list[tuple[Pruning, list[Key]]] = []
        for thread_id in self._threads(policy.sessions):
            with _noting(thread_id):
                pruning = Pruning(self._store, thread_id, rule, tally)
                if keys := pruning.run():
                    suspects.append((pruning, keys))
                    seen = time.monotonic()
        if suspects and not policy.dry_run:
            time.sleep(max(0.0, seen + SETTLE - time.monotonic()))
        for pruning, keys in suspects:
            pruning.delete_orphans(keys)

    def _threads(self, sessions: Sessions | None) -> Iterator[str]:
        if sessions is None:
            return self._pages("threads")
        if isinstance(sessions, str):
            return self._pages("sessions", kind=sessions)
        return iter(dict.fromkeys(sessions))

    def _recorded(self, policy: Policy, rule: RecordRule) -> Iterator[str]:
        kind = policy.sessions if isinstance(policy.sessions, str) else None
        named = None if kind else policy.sessions
        threads = None if named is None else [*named]
        return self._pages("recorded_threads", kind=kind, thread_ids=threads, cutoff=rule.cutoff)

    def _pages(self, statement: str, **params: object) -> Iterator[str]:
        """The thread ids that a paged statement gives, in order."""
        after: str | None = None
        while True:
            page = self._store.rows(statement, after=after, limit=PAGE, **params)
            for row in page:
                after = row["thread_id"]
                yield row["thread_id"]
            if len(page) < PAGE:
                return


@contextmanager
def _noting(thread_id: str) -> Iterator[None]:
    """Says of a database error which thread it came from."""
    try:
        yield
    except psycopg.Error as error:
        error.add_note(f"in retain, at thread {thread_id!r}; call it again for what is left")
        raise
