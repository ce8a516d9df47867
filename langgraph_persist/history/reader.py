"""The queries behind ``persist.history``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from psycopg import Connection
from psycopg.rows import dict_row

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.history.contents import Row
from langgraph_persist.history.records import Workflow, read_workflow
from langgraph_persist.history.threads import NOT_RECORDED, Thread

Runner: TypeAlias = "Callable[[Callable[[Connection[Any]], list[Row]]], list[Row]]"
STATUSES = ("running", "completed", "failed", "cancelled", "interrupted", "refused")
SESSION_STATUSES = ("active", "completed", "expired", "error")


class History:
    """Reads what was recorded, one's own writes included.

    Args:
        run: calls a function of a connection, again on another where the first is lost.
        schemas: where the tables are.
        flush: called before each query, so that what was recorded so far is seen.
        decrypt: gives a column's value in the clear, where the record is encrypted.
    """

    def __init__(
        self,
        run: Runner,
        schemas: Schemas,
        *,
        flush: Callable[[], object] | None = None,
        decrypt: Callable[[Any], Any] | None = None,
    ) -> None:
        self._run = run
        self._statements = {**queries("history", schemas), **queries("listing", schemas)}
        self._flush = flush
        self._decrypt = decrypt

    def last(self) -> Workflow:
        """The workflow that started last.

        Raises:
            NotRecorded: nothing is recorded yet.
        """
        for workflow in self.workflows(limit=1):
            return workflow
        raise NotRecorded("no workflow is recorded in this database yet; run a graph first")

    def workflow(self, id: UUID | str) -> Workflow:
        """The workflow with this id, which is the run id of its first run.

        Raises:
            NotRecorded: there is none.
        """
        for workflow in self._page(id=_uuid(id), limit=1):
            return workflow
        raise NotRecorded(f"no workflow {id} is recorded in this database")

    def workflows(
        self,
        *,
        user: str | None = None,
        status: str | None = None,
        thread: str | None = None,
        limit: int = 50,
        before: Workflow | UUID | str | datetime | None = None,
    ) -> list[Workflow]:
        """A page of workflows, newest first.

        Args:
            user: only those of this username.
            status: only those running, completed, failed, cancelled, interrupted or refused.
            thread: only those of this thread.
            limit: the page's size.
            before: only those older than this time or workflow (or its id); the last of a page
                gives the next page.

        Raises:
            NotRecorded: ``before`` is the id of no workflow.
        """
        if limit < 1:
            raise ConfigurationError(f"limit must be at least 1, not {limit}")
        if status is not None and status not in STATUSES:
            raise ConfigurationError(f"no status {status!r}; there are {', '.join(STATUSES)}")
        if isinstance(before, (UUID, str)):
            before = self.workflow(before)
        started, id = (
            (before.started_at, before.id) if isinstance(before, Workflow) else (before, None)
        )
        return self._page(
            user=user, status=status, thread_id=thread, before=started, before_id=id, limit=limit
        )

    def threads(
        self,
        *,
        user: str | None = None,
        status: str | None = None,
        recorded: bool | None = None,
        limit: int = 50,
        before: Thread | datetime | None = None,
    ) -> list[Thread]:
        """A page of the threads there are, newest activity first.

        Threads with checkpoints that no run was recorded of, as stock saves them, are among them
        unless ``user``, ``status`` or ``recorded`` leaves them out. To find them the keys of all
        checkpoints are read: say ``recorded=True`` where there are many millions.

        Args:
            user: only those of this username.
            status: only those active, completed, expired or error.
            recorded: True for only those with a recorded run, False for only those without.
            limit: the page's size.
            before: only those whose last activity was before this time, or this thread's: the
                last one of a page gives the next page.
        """
        if limit < 1:
            raise ConfigurationError(f"limit must be at least 1, not {limit}")
        if status is not None and status not in SESSION_STATUSES:
            known = ", ".join(SESSION_STATUSES)
            raise ConfigurationError(f"no status {status!r} of a thread; there are {known}")
        time, id = (
            (before.updated_at, before.thread_id) if isinstance(before, Thread) else (before, None)
        )
        page: dict[str, object] = {"limit": limit, "before": time, "before_id": id}
        filters = page | {"user": user, "status": status}
        rows = [] if recorded is False else self.rows("recorded_threads", filters)
        if not recorded and (user, status) == (None, None):
            rows += [NOT_RECORDED | row for row in self.rows("other_threads", page)]
            rows = sorted(rows, key=lambda row: (row["updated_at"], row["thread_id"]))
            rows = rows[::-1][:limit]
        ids = [row["thread_id"] for row in rows]
        counted = self.rows("checkpoint_counts", {"thread_ids": ids})
        counts = {row["thread_id"]: row["count"] for row in counted}
        return [Thread(**row, checkpoints=counts.get(row["thread_id"], 0)) for row in rows]

    def rows(self, statement: str, params: Mapping[str, object]) -> list[Row]:
        """What a named statement of ``sql/queries/history.sql`` gives."""
        if self._flush is not None:
            self._flush()
        query = self._statements[statement].encode()

        def read(conn: Connection[Any]) -> list[Row]:
            with conn.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query, params).fetchall()

        rows = self._run(read)
        if (decrypt := self._decrypt) is not None:
            return [{name: decrypt(value) for name, value in row.items()} for row in rows]
        return rows

    def _page(self, **filters: object) -> list[Workflow]:
        unset = dict.fromkeys(("id", "thread_id", "user", "status", "before", "before_id"))
        return [read_workflow(self, row) for row in self.rows("workflows", unset | filters)]


def _uuid(text: UUID | str) -> UUID:
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no workflow id; ids are UUIDs") from None
