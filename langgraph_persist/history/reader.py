"""The queries behind ``persist.history``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, get_args
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from langgraph_persist.arguments import Count, Moment, TurnNumber, checked, uuid_of
from langgraph_persist.database.statements import Statements
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.history.compare import Comparison, Diff
from langgraph_persist.history.contents import Row
from langgraph_persist.history.humans import HitlEvent
from langgraph_persist.history.records import Node, Workflow, read_workflow
from langgraph_persist.history.replay import Replay, gone, root_config
from langgraph_persist.history.threads import NOT_RECORDED, Thread, TranscriptLine
from langgraph_persist.journal import Fork, Forks
from langgraph_persist.kinds import SessionStatus, WorkflowStatus

STATUSES = get_args(WorkflowStatus)
SESSION_STATUSES = get_args(SessionStatus)


@checked
class History:
    """Reads what was recorded, one's own writes included.

    Args:
        statements: those of :attr:`AREAS`.
        forks: where copies of checkpoints are announced, which the saver makes.
        load: gives the state that a checkpoint holds, as JSON.
    """

    AREAS: ClassVar = ("history", "listing", "replay")

    def __init__(
        self,
        statements: Statements,
        *,
        forks: Forks,
        load: Callable[[RunnableConfig], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self._statements, self._load, self._forks = statements, load, forks

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
        for workflow in self._page(id=uuid_of("id", id), limit=1):
            return workflow
        raise NotRecorded(f"no workflow {id} is recorded in this database")

    def workflows(
        self,
        *,
        user: str | None = None,
        status: str | None = None,
        thread: str | None = None,
        limit: Count = 50,
        before: Workflow | UUID | str | Moment | None = None,
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

    def replay_config(self, node: Node) -> RunnableConfig:
        """The config that runs the graph again from just before a node, its step as a whole.

        Give it to ``invoke(None, …)``; or to ``update_state`` first, to change the state there.
        An interrupt that had been answered asks again. The new workflow is a ``replay_of`` the
        old one, which stays as it is, and of the same user and organization, unless others are
        named. For a node in a subgraph it is the
        subgraph's config, known to this process alone, and to be used before the thread goes on in
        another way.

        Raises:
            NotRecorded: its checkpoint is not known or gone, or it was no node of a graph.
        """
        if node.input_checkpoint_id is None:
            raise NotRecorded(f"it is not recorded which checkpoint {node!r} ran from")
        workflow = self.workflow(node.workflow_id)
        if not node.checkpoint_ns:
            config = root_config(node)
            if not self.rows("checkpoint_is_there", **config["configurable"]):
                raise gone(node)
        else:
            replay = Replay(_path(node, workflow.nodes))
            transaction = self._statements.transaction
            transaction(replay.check)
            self._forks.add(Fork(replay.origins, lambda: transaction(replay.write)))
            config = replay.config
        whose = {"user": workflow.user, "organization": workflow.organization}
        metadata = {name: value for name, value in whose.items() if value is not None}
        return {"metadata": metadata, **config}

    def transcript(self, thread: str, turn: TurnNumber | None = None) -> list[TranscriptLine]:
        """What was said in a thread, turn by turn, or in one turn of it."""
        rows = self.rows("transcript", thread_id=thread, turn=turn)
        return [TranscriptLine.of(**row) for row in rows]

    def diff(self, node: Node) -> Diff:
        """What a node changed in the state, along with those of the same step.

        Of a node recorded by hand it is what changed since the last one that was over by then.

        Raises:
            NotRecorded: the state before it or after it is not known.
        """
        if node.status != "completed":
            return Diff.of({}, {})
        after = node.state
        return Diff.of(self._state_before(node), after)

    def compare(self, a: Workflow, b: Workflow) -> Comparison:
        """How two workflows differ, node by node."""
        return Comparison.of(a, b)

    def _state_before(self, node: Node) -> Mapping[str, Any]:
        by_id = {one.id: one for one in self.workflow(node.workflow_id).nodes}
        key = {"thread_id": node.thread_id, "id": node.id}
        for row in self.rows("nodes_before", **key) or self.rows("told_before", **key):
            before = by_id.get(row["id"]) or self.workflow(row["workflow_id"])._find(row["id"])
            return before.state
        config = root_config(node)
        config["configurable"]["checkpoint_ns"] = node.checkpoint_ns or ""
        if self._load is not None and node.input_checkpoint_id is not None:
            loaded = self._load(config)
            if loaded is not None:
                return loaded
        raise NotRecorded(f"the state before {node!r} is not known any more")

    def threads(
        self,
        *,
        user: str | None = None,
        status: str | None = None,
        recorded: bool | None = None,
        limit: Count = 50,
        before: Thread | Moment | None = None,
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
        if status is not None and status not in SESSION_STATUSES:
            known = ", ".join(SESSION_STATUSES)
            raise ConfigurationError(f"no status {status!r} of a thread; there are {known}")
        time, id = (
            (before.updated_at, before.thread_id) if isinstance(before, Thread) else (before, None)
        )
        page: dict[str, object] = {"limit": limit, "before": time, "before_id": id}
        filters = page | {"user": user, "status": status}
        rows = [] if recorded is False else self.rows("recorded_threads", **filters)
        if not recorded and (user, status) == (None, None):
            rows += [NOT_RECORDED | row for row in self.rows("other_threads", **page)]
            rows = sorted(rows, key=lambda row: (row["updated_at"], row["thread_id"]))
            rows = rows[::-1][:limit]
        ids = [row["thread_id"] for row in rows]
        counted = self.rows("checkpoint_counts", thread_ids=ids)
        counts = {row["thread_id"]: row["count"] for row in counted}
        return [Thread(**row, checkpoints=counts.get(row["thread_id"], 0)) for row in rows]

    def pending(
        self,
        *,
        user: str | None = None,
        thread: str | None = None,
        limit: Count = 50,
        after: HitlEvent | None = None,
    ) -> list[HitlEvent]:
        """A page of what waits for a human, longest waiting first.

        Resume its thread with ``Command(resume={event.interrupt_id: answer})``; what has no
        ``interrupt_id`` is a pause, which ``invoke(None, …)`` ends.

        Args:
            user: only in workflows that this username started.
            thread: only on this thread.
            limit: the page's size.
            after: the last one of a page gives the next page.
        """
        at, id = (after.requested_at, after.id) if after else (None, None)
        whose = {"user": user, "thread_id": thread}
        rows = self.rows("pending_events", **whose, limit=limit, after=at, after_id=id)
        return [HitlEvent(**row) for row in rows]

    def rows(self, statement: str, /, **params: object) -> list[Row]:
        """What one of the named statements gives."""
        return self._statements.rows(statement, **params)

    def _page(self, **filters: object) -> list[Workflow]:
        unset = dict.fromkeys(("id", "thread_id", "user", "status", "before", "before_id"))
        return [read_workflow(self, row) for row in self.rows("workflows", **unset | filters)]


def _path(node: Node, nodes: Sequence[Node]) -> list[Node]:
    """A node and those around it, the outermost one first."""
    by_id = {one.id: one for one in nodes}
    path = [node]
    while path[0].checkpoint_ns:
        above = by_id.get(path[0].parent_node_id) if path[0].parent_node_id else None
        if above is None:
            raise NotRecorded(f"the node around {path[0]!r} is not recorded")
        path.insert(0, above)
    return path
