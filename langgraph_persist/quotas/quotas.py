"""What organizations may use: asked once, when a workflow starts."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from langgraph_persist.database.connection import is_connection_lost
from langgraph_persist.database.queries import queries
from langgraph_persist.database.statements import Row, Statements, Transaction
from langgraph_persist.errors import QuotaExceeded
from langgraph_persist.journal import Journal

REMEMBER = 5.0
"""Seconds for which a user who belongs to no organization with limits is not asked for again."""

REMEMBER_USERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How an organization stands with one of its limits."""

    name: str
    """``users``, ``daily_requests`` or ``monthly_tokens``."""
    limit: int | None
    """None for no limit."""
    used: int
    resets_at: datetime | None
    """When the day or month ends in the organization's time zone; None for users."""


class Quotas:
    """Admits requests within the limits of their organization.

    All processes that use the database count together. Whoever is admitted is counted at once;
    tokens are known only later, so requests under way can exceed ``max_monthly_tokens``.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._unlimited: OrderedDict[str, float] = OrderedDict()

    def admit(self, user: str | None, organization: str | None, at: datetime) -> bool:
        """Count a request; False where no limit applies, and nothing is counted.

        The organization is the user's own where none is named. It is asked for each time; a user
        who had none with limits is remembered for some seconds.

        Raises:
            QuotaExceeded: a limit is reached.
        """
        if organization is None and (user is None or self._is_unlimited(user)):
            return False
        asked = {"user": user, "organization": organization, "at": at}
        found = self._ask(asked)
        if found is not None and found["is_new_user"]:
            self._join(found, user)
            found = self._ask(asked)
        if found is None:
            if organization is None and user is not None:
                self._remember(user)
            return False
        if found["requests"] is None:
            raise _refusal(found)
        return True

    def forget(self) -> None:
        """Ask for every user again: an organization or its users were changed."""
        with self._lock:
            self._unlimited.clear()

    def _ask(self, asked: dict[str, Any]) -> Row | None:
        try:
            return self._ask_once(asked)
        except psycopg.OperationalError as error:
            if not is_connection_lost(error):
                raise
            # At worst the request is counted twice; unasked it would pass any limit.
            return self._ask_once(asked)

    def _ask_once(self, asked: dict[str, Any]) -> Row | None:
        database = self._journal.database
        with database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._sql["admit"].encode(), asked).fetchone()

    def _join(self, organization: Row, user: str | None) -> None:
        """Make the user, if the organization has room for another."""
        accounts = Statements(self._journal.database, self._journal.schemas, "quotas")
        accounts.transaction(lambda t: join(t, organization["slug"], user))

    @property
    def _sql(self) -> Mapping[str, str]:
        return queries("quotas", self._journal.schemas)

    def _is_unlimited(self, user: str) -> bool:
        with self._lock:
            return self._unlimited.get(user, 0) > time.monotonic()

    def _remember(self, user: str) -> None:
        with self._lock:
            self._unlimited[user] = time.monotonic() + REMEMBER
            self._unlimited.move_to_end(user)
            if len(self._unlimited) > REMEMBER_USERS:
                self._unlimited.popitem(last=False)


def join(transaction: Transaction, organization: str, user: str | None) -> None:
    """Make the user one of the organization's, unless it exists.

    Raises:
        QuotaExceeded: the organization has as many users as it may.
    """
    id = require_room(transaction, organization, user)
    transaction.run("add_user", user=user, id=id)


def require_room(transaction: Transaction, organization: str, user: str | None) -> Any:
    """The organization's id, if this user can be one of its users; it is locked."""
    (found,) = transaction.rows("lock_organization", organization=organization)
    used = transaction.rows("count_users", id=found["id"], user=user)[0]["users"]
    if (limit := found["max_users"]) is not None and used >= limit:
        raise QuotaExceeded(organization, "users", limit=limit, used=used, resets_at=None)
    return found["id"]


def _refusal(found: Row) -> QuotaExceeded:
    tokens: Decimal = found["tokens"]
    if (limit := found["max_monthly_tokens"]) is not None and tokens >= limit:
        return QuotaExceeded(
            found["slug"],
            "monthly_tokens",
            limit=limit,
            used=int(tokens),
            resets_at=found["month_end"],
        )
    limit = found["max_daily_requests"]
    used = max(limit, int(found["requests_before"] or 0))
    return QuotaExceeded(
        found["slug"], "daily_requests", limit=limit, used=used, resets_at=found["day_end"]
    )
