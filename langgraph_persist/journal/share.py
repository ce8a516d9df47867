"""One journal for each database of a process, however many savers and handlers use it."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from langgraph_persist.database.connection import Database, Target
from langgraph_persist.journal.journal import Journal

_lock = threading.Lock()
_shared: dict[Hashable, Journal] = {}


def share(target: Target, schema: str, checkpoint_schema: str | None) -> Journal:
    """The journal of this database and these schemas; every call wants one ``release()``."""
    database = Database(target)
    where = database.conninfo if isinstance(target, str) else id(target)
    key = (where, schema, checkpoint_schema)
    with _lock:
        journal = _shared.get(key)
        if journal is None or journal.closed:
            journal = _shared[key] = Journal(database, schema, checkpoint_schema)
        journal.users += 1
        return journal


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
