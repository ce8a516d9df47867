"""Organizations and users, as ``persist.organizations`` and ``persist.users``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from langgraph_persist.arguments import Limit, Name, checked
from langgraph_persist.database.statements import Statements, Transaction
from langgraph_persist.database.zones import require_zone
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.extract import to_json_bytes
from langgraph_persist.kinds import Role
from langgraph_persist.quotas.quotas import Quota, require_room

UNCHANGED: Any = type("Unchanged", (), {"__repr__": lambda self: "UNCHANGED"})()
"""Leaves a field as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A tenant with its limits; one that is None is no limit."""

    id: UUID
    slug: str
    name: str
    max_users: int | None
    max_daily_requests: int | None
    max_monthly_tokens: int | None
    timezone: str
    settings: dict[str, Any] | None
    is_active: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or program on whose behalf workflows run."""

    id: UUID
    username: str
    organization: str | None
    """Its slug."""
    role: Role
    name: str | None
    email: str | None
    language: str | None
    preferences: dict[str, Any] | None
    is_active: bool
    created_at: datetime


@checked
class Organizations:
    """Makes, changes and reads organizations.

    One has the limits that it was given, whether a run named it before or not: none by default.
    """

    def __init__(
        self, statements: Statements, *, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._statements = statements
        self._changed = changed

    def save(
        self,
        slug: Name,
        *,
        name: Name = UNCHANGED,
        max_users: Limit | None = UNCHANGED,
        max_daily_requests: Limit | None = UNCHANGED,
        max_monthly_tokens: Limit | None = UNCHANGED,
        timezone: str = UNCHANGED,
        settings: Mapping[str, Any] | None = UNCHANGED,
        is_active: bool = UNCHANGED,
    ) -> Organization:
        """Make an organization, or change the fields that are given.

        Args:
            slug: how runs name it.
            name: for people.
            max_users: more cannot be made; None for no limit, here and below, as at first.
            max_daily_requests: more workflows are refused, till midnight.
            max_monthly_tokens: once so many are used, workflows are refused till the month ends.
            timezone: where midnight is, an IANA name as ``Europe/Berlin``; UTC if not given. What
                was counted before a change stays as it is until ``usage.rebuild()``.
            settings: anything.
            is_active: for your own use.

        Raises:
            ConfigurationError: a limit below 0, or a value that PostgreSQL refuses.
        """
        fields = _given(
            name=name,
            max_users=max_users,
            max_daily_requests=max_daily_requests,
            max_monthly_tokens=max_monthly_tokens,
            timezone=timezone,
            settings=settings,
            is_active=is_active,
        )

        def write(transaction: Transaction) -> None:
            if timezone is not UNCHANGED:
                require_zone(transaction, timezone)
            transaction.run("make_organization", slug=slug)
            transaction.run("change_organization", slug=slug, fields=_json(fields))

        _write(self._statements, write)
        self._changed()
        return self.get(slug)

    def get(self, slug: str) -> Organization:
        """The organization with this slug.

        Raises:
            NotRecorded: there is none.
        """
        for row in self._statements.rows("organizations", slug=slug):
            return Organization(**row)
        raise NotRecorded(f"there is no organization {slug!r}; save() makes one")

    def all(self) -> list[Organization]:
        """All organizations."""
        return [Organization(**r) for r in self._statements.rows("organizations", slug=None)]

    def quotas(self, slug: str) -> list[Quota]:
        """How an organization stands with its limits now.

        Raises:
            NotRecorded: there is none.
        """
        rows = self._statements.rows("quotas", slug=slug, at=datetime.now(UTC))
        if not rows:
            raise NotRecorded(f"there is no organization {slug!r}; save() makes one")
        resets = {"users": None, "daily_requests": "day_end", "monthly_tokens": "month_end"}
        return [
            Quota(
                name=name,
                limit=rows[0][f"max_{name}"],
                used=int(rows[0][name] or 0),
                resets_at=rows[0][end] if end else None,
            )
            for name, end in resets.items()
        ]


@checked
class Users:
    """Makes, changes and reads users. One that a run merely names is made with role ``user``."""

    def __init__(
        self,
        statements: Statements,
        *,
        enforce: bool,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._statements = statements
        self._enforce = enforce
        self._changed = changed

    def save(
        self,
        username: Name,
        *,
        organization: str | None = UNCHANGED,
        role: Role = UNCHANGED,
        name: str | None = UNCHANGED,
        email: str | None = UNCHANGED,
        language: str | None = UNCHANGED,
        preferences: Mapping[str, Any] | None = UNCHANGED,
        is_active: bool = UNCHANGED,
    ) -> User:
        """Make a user, or change the fields that are given.

        Raises:
            NotRecorded: there is no such organization.
            QuotaExceeded: the organization has as many users as it may.
            ConfigurationError: a value that PostgreSQL refuses, as an email that another has.
        """
        fields = _given(
            role=role,
            name=name,
            email=email,
            language=language,
            preferences=preferences,
            is_active=is_active,
        )
        return self._save(username, organization, fields, changes=True)

    def make(
        self,
        username: Name,
        *,
        organization: str | None = UNCHANGED,
        name: str | None = UNCHANGED,
        email: str | None = UNCHANGED,
    ) -> User:
        """Make a user with these fields; one that exists stays as it is.

        Raises:
            NotRecorded: there is no such organization.
            QuotaExceeded: the organization has as many users as it may.
            ConfigurationError: a value that PostgreSQL refuses, as an email that another has.
        """
        return self._save(username, organization, _given(name=name, email=email), changes=False)

    def _save(
        self, username: str, organization: str | None, fields: dict[str, Any], *, changes: bool
    ) -> User:
        def write(transaction: Transaction) -> None:
            given = dict(fields)
            if organization is not UNCHANGED:
                id = self._organization_id(transaction, organization, username)
                given["organization_id"] = str(id) if id else None
            # Whoever makes the same one meanwhile is waited for.
            if transaction.run("add_user", user=username, id=None) or changes:
                transaction.run("change_user", username=username, fields=_json(given))

        _write(self._statements, write)
        self._changed()
        return self.get(username)

    def get(self, username: str) -> User:
        """The user of this name.

        Raises:
            NotRecorded: there is none.
        """
        for user in self._page(username=username):
            return user
        raise NotRecorded(f"there is no user {username!r}; save() makes one")

    def all(self, *, organization: str | None = None, role: Role | None = None) -> list[User]:
        """All users, or those of an organization or with a role."""
        return self._page(organization=organization, role=role)

    def _page(self, **filters: object) -> list[User]:
        unset = dict.fromkeys(("username", "organization", "role"))
        return [User(**row) for row in self._statements.rows("users", **unset | filters)]

    def _organization_id(
        self, transaction: Transaction, organization: str | None, username: str
    ) -> UUID | None:
        if organization is None:
            return None
        rows = transaction.rows("organizations", slug=organization)
        if not rows:
            raise NotRecorded(
                f"there is no organization {organization!r}; make it with organizations.save()"
            )
        if self._enforce:
            require_room(transaction, organization, username)
        id: UUID = rows[0]["id"]
        return id


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not UNCHANGED}


def _json(fields: Mapping[str, Any]) -> Jsonb:
    return Jsonb(fields, dumps=to_json_bytes)


def _write(statements: Statements, work: Any) -> None:
    """Run it in one transaction; what the tables refuse is the caller's mistake."""
    try:
        statements.transaction(work)
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise ConfigurationError(error.diag.message_primary or str(error)) from error
