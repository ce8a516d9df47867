"""Turns spans into rows and hands them to the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from langchain_core.utils.uuid import uuid7
from langgraph.types import Command

from langgraph_persist.errors import DurabilityError, PersistError
from langgraph_persist.extract import Keep, error_fields, keep_for, state_input
from langgraph_persist.handler.outcome import Status, blame_timeout
from langgraph_persist.handler.spans import Root, Span
from langgraph_persist.journal import (
    Fields,
    Journal,
    Loaded,
    OpenNode,
    Progress,
    Rows,
    Run,
    Unit,
    current_run,
    instance_id,
    superseded,
)
from langgraph_persist.usage import total

TABLES = {
    "generation": "generations",
    "tool": "tool_executions",
    "retriever": "retrievals",
}


class Recording:
    """The writing half of the handler: everything here ends in the journal."""

    def __init__(self, journal: Journal, session_ttl: timedelta | None = None) -> None:
        self.journal = journal
        self._failures = journal.failures
        self._session_ttl = session_ttl

    def start(self, root: Root, saves: bool) -> None:
        """Open the run; its first rows wait until it is known which workflow they belong to.

        ``saves`` tells whether there may be checkpoints of it: not of a bare model's or tool's.
        """
        root.outer = current_run.get()
        current_run.set(root.run)
        if root.within is not None:
            root.started = True
            root.run.on_loaded = lambda loaded: self._loaded_by_hand(root, loaded)
        elif root.kind == "start" and not root.commands:
            self.begin(root)
        else:
            root.run.on_loaded = lambda loaded: self._loaded(root, loaded)
        if saves:
            self.journal.runs.open(root.run)

    def _loaded_by_hand(self, root: Root, loaded: Loaded | None) -> None:
        """The same, in a workflow that is recorded by hand: it may go on with what that began."""
        root.loaded = loaded
        if root.kind == "resume" and loaded and loaded.workflow_id == root.run.workflow_id:
            progress = self._progress(root)
            root.attempts.update(progress.attempts if progress else {})

    def _loaded(self, root: Root, loaded: Loaded | None) -> None:
        """The checkpoint is known that the run starts from, if there is one."""
        root.loaded = loaded
        if root.kind == "fork" and root.answers and loaded is not None:
            # LangGraph looks next whether that is the thread's newest one: then it is no fork.
            root.run.on_loaded = lambda newest: self._place(root, newest)
        else:
            self.begin(root)

    def _place(self, root: Root, newest: Loaded | None) -> None:
        if newest and root.loaded and newest.checkpoint_id == root.loaded.checkpoint_id:
            root.kind = "resume"
        self.begin(root)

    def begin(self, root: Root) -> None:
        """Record the start of a root run, unless that is done."""
        with root.lock:
            if root.started:
                return
            root.started = True
            try:
                self._begin(root)
            except Exception:
                raise
            except BaseException:
                root.started = False  # it was interrupted: its end says how it began
                raise

    def _begin(self, root: Root) -> None:
        root.run.workflow_id = root.run.id
        try:
            rows = self._beginning(root)
        except Exception as failure:
            self._failures.add("begin", failure)
            rows = [("sessions", {"thread_id": root.run.thread_id})]
            rows += self._bare(root, {"status": "running"}, "begin", failure)
        self.journal.heartbeat.open(root.run.id, root.run.thread_id)
        self.send(root, rows)

    def _beginning(self, root: Root) -> Rows:
        run, loaded = root.run, root.loaded
        rows: Rows = []
        if root.kind == "resume" or root.commands:
            self._continue(root)
        else:
            if root.kind != "start":
                root.workflow["replay_of"] = loaded.workflow_id if loaded else None
                if root.workflow["input_type"] == "none":
                    run.on_state = partial(self._repeats, root)
            if self._leaves_behind(root):
                rows = superseded(run.thread_id, run.id, loaded)
        return self._opening_rows(root) + rows

    def _repeats(self, root: Root, values: Mapping[str, Any]) -> None:
        """Given nothing, a replay answers what its state asks."""
        run, keep = root.run, self.keep(root.run)
        # It has no input that would keep a long text whole.
        if (said := keep.text(state_input(values, keep.capture.channels))) is not None:
            told = {"thread_id": run.thread_id, "id": run.workflow_id, "user_input": said}
            self.send(root, [("workflow_promotions", told)])

    def _leaves_behind(self, root: Root) -> bool:
        """Whether it may leave something unfinished that no checkpoint of ours is going to tell."""
        if root.kind != "start":
            # LangGraph marks with a checkpoint where it leaves the thread's course, but for these.
            return root.loaded is not None and root.loaded.source in ("update", "fork")
        unfinished = root.is_graph and self.journal.runs.unfinished(root.run.thread_id)
        return root.saves_elsewhere or bool(unfinished)

    def _continue(self, root: Root) -> None:
        """Go on with the thread's last workflow, counting on where it stopped."""
        run, loaded = root.run, root.loaded
        progress = self._progress(root)
        if root.commands and (progress is None or progress.status == "completed"):
            return
        root.kind = "resume"
        if progress is not None:
            run.workflow_id = progress.workflow_id
            root.run.order = progress.execution_order
            root.attempts.update(progress.attempts)
        elif loaded is not None:
            run.workflow_id = loaded.workflow_id or run.id
        if run.workflow_id != run.id:
            # It has an input; what this run is given are answers, recorded as such.
            root.workflow["input"], root.content = None, []

    def _progress(self, root: Root) -> Progress | None:
        if root.loaded is None:
            return self.journal.runs.unfinished(root.run.thread_id)
        try:
            return root.loaded.progress()
        except (psycopg.Error, PersistError) as error:
            self._failures.add("resume", error)
            return None

    def _opening_rows(self, root: Root) -> Rows:
        run = root.run
        rows: Rows = []
        if root.organization:
            slug = root.organization
            rows.append(("organizations", {"id": uuid7(), "name": slug, "slug": slug}))
        if root.user:
            fields = {"id": uuid7(), "username": root.user, "organization": root.organization}
            rows.append(("users", fields))
        workflow = self._workflow_fields(root) | root.workflow | {"status": "running"}
        workflow |= {"is_new": root.kind != "resume", "admitted": root.admitted}
        session = {
            "thread_id": run.thread_id,
            "user": root.user,
            "organization": root.organization,
            "language": root.language,
            "initial_input": None if root.kind == "resume" else workflow.get("user_input"),
            **self.journal.reaper.lifetime(self._session_ttl),
        }
        workflow["user_input"] = self.keep(run).excerpt(workflow["user_input"])
        rows += [
            ("sessions", session),
            ("workflows", workflow),
            ("workflow_runs", self._run_fields(root) | {"status": "running"}),
        ]
        return rows + self.owned(root, root.content)

    def _workflow_fields(self, root: Root) -> Fields:
        return {
            "thread_id": root.run.thread_id,
            "id": root.run.workflow_id,
            "name": root.name,
            "user": root.user,
            "organization": root.organization,
            "started_at": root.clock.at,
        }

    def _run_fields(self, root: Root) -> Fields:
        return {
            "thread_id": root.run.thread_id,
            "id": root.run.id,
            "workflow_id": root.run.workflow_id,
            "kind": root.kind,
            "user": root.user,
            "started_at": root.clock.at,
            "instance_id": instance_id(),
        }

    def identity(self, span: Span) -> Fields:
        """The columns that every row below a run has."""
        root = span.root
        if not root.started:
            self.begin(root)
        return {
            "thread_id": root.run.thread_id,
            "id": span.id,
            "workflow_id": root.run.workflow_id,
            "run_id": root.run.id,
            "started_at": span.clock.at,
        }

    def send(self, root: Root, rows: Rows, node: OpenNode | None = None) -> None:
        """Queue rows of a run, or of a node in it."""
        rows = (root.run if node is None else node).shown(rows)
        self.journal.append(Unit(root.run.thread_id, rows))

    def begin_node(self, root: Root, node: OpenNode, content: Rows, fields: Fields) -> None:
        """A node has begun."""
        fields["status"] = "running"
        content, rows = self.owned(root, content), [("nodes", fields)]
        if node.private:
            content, rows = node.shown(content), node.shown(rows)
        node.starts.append(self.journal.begin(root.run.thread_id, content, rows))

    def begin_call(self, span: Span, content: Rows, fields: Fields, also: Rows) -> None:
        """A call has begun; ``also`` is written along."""
        root, node = span.root, span.node
        fields["status"] = "running"
        content = self.owned(root, content)
        rows: Rows = [*also, (TABLES[span.kind], fields)]
        whose = root.run if node is None else node
        if whose.private:
            content, rows = whose.shown(content), whose.shown(rows)
        span.start = self.journal.begin(root.run.thread_id, content, rows)

    def keep(self, run: Run, node: OpenNode | None = None) -> Keep:
        """What keeps content of a run, or of a node in it, as far as it may be kept."""
        private = run.private or (node is not None and node.private)
        return keep_for(self.journal, run.thread_id, private=private)

    def owned(self, root: Root, rows: Rows) -> Rows:
        """Rows of stored content with the columns that say whose it is."""
        if not rows:
            return rows
        owner = {"thread_id": root.run.thread_id, "workflow_id": root.run.workflow_id}
        return [(table, owner | fields) for table, fields in rows]

    def record(self, span: Span, fields: Fields, content: Rows | None = None) -> None:
        """A finished call: with its node if it has one that is still under way, else at once.

        ``content`` is what its columns refer to.
        """
        rows = [*self.owned(span.root, content or []), (TABLES[span.kind], fields)]
        node, start = span.node, span.start
        if node is not None and not node.ended:
            node.rows += rows
            if start is not None:
                node.starts.append(start)
        else:
            begun = [] if start is None else start.take()
            self.send(span.root, [*begun, *rows], node)

    def finish_node(self, span: Span, fields: Fields, outputs: Any) -> None:
        """A node has ended; a completed one waits for its checkpoint."""
        node = span.node
        assert node is not None
        node.fields.update(fields)
        keep = self.keep(span.root.run, node)
        node.fields["output_data"] = keep.document(outputs)
        written = outputs.update if isinstance(outputs, Command) else outputs
        node.channels = tuple(written) if isinstance(written, dict) else ()
        node.rows += self.owned(span.root, keep.rows)
        node.ended = True
        completed = fields["status"] == "completed"
        if not completed:
            span.root.run.unplaced.append(node)
        if not (completed and span.root.run.hold(node)):
            self.send(span.root, [*node.collect({})])

    def finish(
        self,
        root: Root,
        status: Status,
        outputs: Any,
        error: BaseException | None,
        cut_off: Sequence[Span] = (),
    ) -> Future[None]:
        """Record the end of a root run; the future is done once all of it is committed.

        ``cut_off`` is what was still open below it and does not go on.
        """
        if not root.started:
            self.begin(root)
        run = root.run
        if current_run.get() is run:
            current_run.set(root.outer)
        going_on = {span.id: span.call.token for span in root.spans.values() if span.call}
        self.journal.runs.close(run, [*going_on.values()])
        if root.within is None:
            self.journal.heartbeat.close(run.id)
        if root.is_graph and status != "completed" and not run.is_saved and root.within is None:
            self._remember(root, status)
        rows: Rows = []
        try:
            rows += self._close_open_nodes(root, cut_off) + run.release_all(going_on)
            if error is not None:
                blame_timeout(run, None, error)
            rows += run.place_rest()
            if root.within is None:
                rows += self._closing_rows(root, status, outputs, error)
        except Exception as failure:
            # Whatever the record lacks, the checkpoints are waited for.
            self._failures.add("finish", failure)
            if root.within is None:
                ended = {"completed_at": root.clock.now, "duration_ms": root.clock.elapsed_ms}
                rows += self._bare(root, {"status": status, **ended}, "finish", failure)
        lost = partial(self._lost, root, status, error)
        return self._commit(run, rows, lost, root.clock.elapsed_ms / 1000)

    def _lost(
        self,
        root: Root,
        status: Status,
        error: BaseException | None,
        failure: DurabilityError,
    ) -> Rows:
        """The rows that end a run of which something could not be committed."""
        if root.within is not None:
            return []
        root.run.promoted, root.run.checkpoint_id = {}, None
        if status not in ("failed", "refused"):
            status, error = "failed", failure
        return self._closing_rows(root, status, None, error)

    def _bare(self, root: Root, told: Fields, name: str, failure: Exception) -> Rows:
        """The rows of a run of which no more can be said, and say so."""
        run = root.run
        told = told | {"thread_id": run.thread_id, "started_at": root.clock.at}
        told["missing"] = run.missing | {name: f"failed: {type(failure).__name__}"}
        return [
            ("workflows", told | {"id": run.workflow_id, "name": root.name}),
            (
                "workflow_runs",
                told | {"id": run.id, "workflow_id": run.workflow_id, "kind": root.kind},
            ),
        ]

    def settle(self, root: Root) -> Future[None]:
        """Something has ended that outlived its root; done once all of it is committed."""
        run = root.run
        rows = [] if root.spans else run.release_all() + run.place_rest()
        if root.within is None or root.within.workflow.ended:
            rows += _sums(root)
        return self._commit(run, rows)

    def _commit(
        self,
        run: Run,
        rows: Rows,
        otherwise: Callable[[DurabilityError], Rows] | None = None,
        ran: float = 0,
    ) -> Future[None]:
        """Done once these rows are committed, and all that graphs saved on other threads."""
        others = [self.journal.commit(Unit(t)) for t in run.threads if t != run.thread_id]
        own = self.journal.commit(Unit(run.thread_id, rows, otherwise=otherwise), ran)
        return own if not others else _together(others, own)

    def _remember(self, root: Root, status: Status) -> None:
        """Without checkpoints of ours nothing but this process tells what a resume continues."""
        assert root.run.workflow_id is not None
        progress = Progress(root.run.workflow_id, status, root.run.order, dict(root.attempts))
        self.journal.runs.remember(root.run.thread_id, progress)

    def _close_open_nodes(self, root: Root, cut_off: Sequence[Span]) -> Rows:
        """Rows for the nodes that never told their end: the end of their run cancelled them."""
        rows: Rows = []
        for span in cut_off:
            if span.kind != "node" or span.node is None or span.node.ended:
                continue
            span.node.ended = True
            span.node.fields |= {
                "status": "cancelled",
                "completed_at": span.clock.now,
                "duration_ms": span.clock.elapsed_ms,
            }
            root.run.unplaced.append(span.node)
            rows += span.node.collect({})
        return rows

    def _closing_rows(
        self, root: Root, status: Status, outputs: Any, error: BaseException | None
    ) -> Rows:
        failure = {}
        if error is not None and status in ("failed", "refused"):
            failure = error_fields(error)
        ended: Fields = {
            "status": status,
            "completed_at": root.clock.now,
            "duration_ms": root.clock.elapsed_ms,
            **failure,
        }
        run_fields = self._run_fields(root) | ended
        run_fields["checkpoint_id"] = root.run.checkpoint_id
        workflow = self._workflow_fields(root) | ended
        workflow["missing"] = root.run.missing or None
        keep = self.keep(root.run)
        workflow["result"] = keep.document(outputs)
        workflow |= root.run.promoted
        if (promoted := root.run.promoted.get("result")) is not None:
            workflow["result"] = keep.json(promoted)
        workflow |= {"active_ms": ended["duration_ms"], "node_count": root.run.nodes}
        workflow |= root.totals | {"cost_usd": total(root.costs)}
        rows = self.owned(root, keep.rows)
        rows += [("workflows", workflow), ("workflow_runs", run_fields)]
        if lifetime := self.journal.reaper.lifetime(self._session_ttl):
            rows.append(("session_updates", {"thread_id": root.run.thread_id, **lifetime}))
        if root.kind == "resume" or root.forked or root.run.by_hand is not None:
            rows += _sums(root)
        return rows


def _sums(root: Root) -> Rows:
    """The rows that have the database look at all that is recorded of the workflow."""
    key = {"thread_id": root.run.thread_id, "id": root.run.workflow_id}
    tables = ["workflow_totals", "run_numbers", "node_numbers"]
    if root.branches:
        tables.append("skipped_nodes")
    return [(table, dict(key)) for table in tables]


def _together(others: Sequence[Future[None]], last: Future[None]) -> Future[None]:
    """Done, or failed, as all of them are; the last one is done last."""
    combined: Future[None] = Future()

    def done(own: Future[None]) -> None:
        errors = (future.exception() for future in (*others, own))
        if (error := next(filter(None, errors), None)) is not None:
            combined.set_exception(error)
        else:
            combined.set_result(None)

    last.add_done_callback(done)
    return combined
