"""One journal for each database of a process, however many savers and handlers use it."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from langgraph_persist.checks import schema_names, seconds
from langgraph_persist.database.connection import Database, Target
from langgraph_persist.journal.journal import Journal

_lock = threading.Lock()
_shared: dict[tuple[Hashable, str, str | None], Journal] = {}


def share(
    target: Target,
    schema: str,
    checkpoint_schema: str | None,
    retry_for: float | None = None,
) -> Journal:
    """The journal of this database and these schemas; every call wants one ``release()``.

    ``retry_for``, where it is given, holds for all who share it.
    """
    schema_names(schema=schema, checkpoint_schema=checkpoint_schema)
    patience = None if retry_for is None else seconds("retry_for", retry_for)
    database = Database(target)
    where = database.conninfo if isinstance(target, str) else id(target)
    with _lock:
        # Whoever names no checkpoint schema joins whoever has found out.
        keys = [(where, schema, s) for s in _named(where, schema, checkpoint_schema)]
        journal = next((_shared[k] for k in keys if not _shared[k].closed), None)
        if journal is None:
            journal = Journal(database, schema, checkpoint_schema)
            _shared[where, schema, checkpoint_schema] = journal
        if patience is not None:
            journal.database.retry_for = patience
        journal.users += 1
        return journal


def _named(where: Hashable, schema: str, checkpoint_schema: str | None) -> list[str | None]:
    """The checkpoint schemas of the journals that this one would be the same as."""
    found = [key[2] for key in _shared if key[:2] == (where, schema)]
    return [s for s in found if s == checkpoint_schema or None in (s, checkpoint_schema)]


def release(journal: Journal) -> None:
    """Give up one use of a journal; the last one commits what is queued and closes it."""
    with _lock:
        journal.users -= 1
        last = journal.users == 0
        if last:
            for key in [k for k, v in _shared.items() if v is journal]:
                del _shared[key]
    if last:
        journal.close()
    else:
        journal.flush()
