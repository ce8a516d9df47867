"""Every error this package raises of its own, in one tree.

    PersistError
    ├── ConfigurationError          a URL, name or argument that cannot work
    ├── DatabaseUnavailable         no usable connection
    │   ├── AuthenticationFailed
    │   ├── DatabaseMissing
    │   ├── ServerTooOld
    │   └── TlsFailed
    ├── EmbeddedServerError         the embedded PostgreSQL cannot run
    ├── SchemaError
    │   ├── SchemaOutdated          tables missing or older than this package
    │   ├── SchemaTooNew            tables newer than this package
    │   ├── PrivilegeMissing
    │   ├── MigrationFailed
    │   ├── MigrationChecksumMismatch
    │   └── MigrationLockTimeout
    ├── DurabilityError             something could not be committed
    ├── JournalClosed
    ├── UnserializableValue         (also TypeError) a state value cannot be stored
    ├── UnreadableValue             (also ValueError) a stored value cannot be read
    ├── ProjectionFailed            a projection of the user's raised, or gave what is no row
    ├── QuotaExceeded               an organization has reached one of its limits
    └── NotRecorded                 (also LookupError) history has no such row

The docstring's first sentence is the message when none is given. Errors of psycopg itself pass
through the saver's methods unchanged, with the thread and the operation added as a note.
"""

from __future__ import annotations

import inspect
from datetime import datetime
from functools import partial
from typing import Any


class PersistError(Exception):
    """Something in langgraph-persist failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(self.__doc__ or "").split("\n\n")[0])


class ConfigurationError(PersistError, ValueError):
    """An argument cannot work as given; correct it and try again."""


class DatabaseUnavailable(PersistError, ConnectionError):
    """PostgreSQL cannot be reached; check that the server runs and that the URL is right."""


class AuthenticationFailed(DatabaseUnavailable):
    """PostgreSQL refused the user or password; correct them in the URL."""


class DatabaseMissing(DatabaseUnavailable):
    """The database named in the URL does not exist; create it or correct the URL."""


class ServerTooOld(DatabaseUnavailable):
    """The server is older than PostgreSQL 14; upgrade it or use the embedded one."""


class TlsFailed(DatabaseUnavailable):
    """No encrypted connection can be made as the URL asks; correct its sslmode or sslrootcert."""


class EmbeddedServerError(PersistError, RuntimeError):
    """The embedded PostgreSQL cannot run; pass a URL or see the log named in this message."""


class SchemaError(PersistError):
    """The database's tables are not as this version needs them."""


class SchemaOutdated(SchemaError):
    """Tables are missing or outdated; open with migrate=True or run Persist.migrate()."""


class SchemaTooNew(SchemaError):
    """The tables were made by a newer langgraph-persist; upgrade this installation."""


class PrivilegeMissing(SchemaError, PermissionError):
    """The database user lacks a privilege; grant it or let a DBA run the DDL."""


class MigrationFailed(SchemaError):
    """A migration failed and was rolled back; nothing of it remains."""


class MigrationChecksumMismatch(SchemaError):
    """An applied migration's file was edited; restore the file as released."""


class MigrationLockTimeout(SchemaError):
    """Another process has been migrating for too long; wait for it or end it, then retry."""


class DurabilityError(PersistError):
    """What the run wrote could not be committed; its thread resumes from the last checkpoint."""


class JournalClosed(PersistError, RuntimeError):
    """This Persist, saver or handler is closed; open a new one."""


class UnserializableValue(PersistError, TypeError):
    """A state value cannot be stored; give its channel a type that LangGraph can serialise."""

    def __init__(self, message: str | None = None, *, channel: str = "") -> None:
        super().__init__(message)
        self.channel = channel


class UnreadableValue(PersistError, ValueError):
    """A stored value cannot be read; give the serializer and key that it was written with."""


class ProjectionFailed(PersistError):
    """A projection raised, so its checkpoint was not saved; correct it and invoke again."""


class QuotaExceeded(PersistError):
    """An organization has reached one of its limits; wait until it resets, or raise the limit."""

    def __init__(
        self,
        organization: str,
        quota: str,
        *,
        limit: int,
        used: int,
        resets_at: datetime | None,
    ) -> None:
        reset, remedy = "", "raise"
        if resets_at is not None:
            reset, remedy = f" until {resets_at.isoformat(timespec='minutes')}", "wait, or raise"
        super().__init__(
            f"organization {organization!r} may have {limit:,} {quota.replace('_', ' ')}{reset}, "
            f"and has {used:,}; {remedy} its max_{quota}"
        )
        self.organization, self.quota = organization, quota
        self.limit, self.used, self.resets_at = limit, used, resets_at

    def __reduce__(self) -> tuple[Any, ...]:
        made = partial(QuotaExceeded, limit=self.limit, used=self.used, resets_at=self.resets_at)
        return made, (self.organization, self.quota)


class NotRecorded(PersistError, LookupError):
    """No such row is recorded in this database."""
