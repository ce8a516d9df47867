"""The copy of a thread: the whole of it, to a thread where nothing is, by one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import ConfigurationError


class Copy:
    """Copies a thread in one transaction, whatever number of times it is called.

    Called again, as on a lost connection, it knows what it has committed; what another copied
    meanwhile to the same thread is a history in the way.
    """

    def __init__(self, schemas: Schemas, source: str, target: str, *, record: bool) -> None:
        self._checkpoints = queries("checkpoints", schemas)
        self._threads = queries("threads", schemas)
        self._source, self._target, self._record = source, target, record
        self._key = f"{schemas.checkpoints}:copy:{target}"
        self._attempts: list[int] = []

    def __call__(self, conn: Connection[Any]) -> None:
        with conn.transaction():
            (attempt,) = self._ask(conn, "claim_thread", {"key": self._key})
            if any(self._is_committed(conn, earlier) for earlier in self._attempts):
                return
            self._attempts.append(attempt)
            self._require_copyable(conn)
            self._copy(conn)

    def _copy(self, conn: Connection[Any]) -> None:
        params = {
            "source": self._source,
            "target": self._target,
            "record": self._record,
            "at": datetime.now(UTC),
        }
        for name in ("copy_checkpoints", "copy_blobs", "copy_writes"):
            conn.execute(self._checkpoints[name].encode(), params)
        if self._record:
            thread = params | {"thread": Jsonb({"thread_id": self._target})}
            for name, sql in self._threads.items():
                if name.startswith("copy_"):
                    conn.execute(sql.encode(), thread)

    def _is_committed(self, conn: Connection[Any], attempt: int) -> bool:
        (committed,) = self._ask(conn, "is_committed", {"transaction": attempt})
        return bool(committed)

    def _require_copyable(self, conn: Connection[Any]) -> None:
        """Refuse to copy nothing, or into a history that is there."""
        source, target, record = self._source, self._target, self._record
        has_checkpoints, has_record = self._ask(conn, "thread_exists", {"thread_id": source})
        if not (has_checkpoints or (record and has_record)):
            what = "checkpoints or record" if record else "checkpoints"
            raise ConfigurationError(f"thread {source!r} has no {what} that could be copied")
        has_checkpoints, has_record = self._ask(conn, "thread_exists", {"thread_id": target})
        has_record = has_record and record
        if has_checkpoints or has_record:
            what = "checkpoints" if has_checkpoints else "a record"
            erase = ', record="delete"' if has_record else ""
            raise ConfigurationError(
                f"thread {target!r} has {what} of its own, and two histories do not make one: copy "
                f"to a new thread, or delete_thread({target!r}{erase}) first"
            )

    def _ask(
        self, conn: Connection[Any], name: str, params: Mapping[str, object]
    ) -> tuple[Any, ...]:
        """The one row that a statement gives."""
        sql = self._threads[name].encode()
        found = conn.cursor(row_factory=tuple_row).execute(sql, params).fetchone()
        assert found is not None
        return found
