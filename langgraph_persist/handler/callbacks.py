"""The callback handler: LangChain's and LangGraph's events as spans, spans as rows."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID
from weakref import WeakMethod

from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent
from langgraph.constants import START
from langgraph.errors import ParentCommand
from langgraph.types import Command

from langgraph_persist.checks import durations
from langgraph_persist.database.connection import Target
from langgraph_persist.errors import DurabilityError, JournalClosed, QuotaExceeded
from langgraph_persist.extract import (
    NAME_LENGTH,
    NodeIdentity,
    error_fields,
    hide,
    is_a,
    is_resume,
    node_identity,
    retriever_end,
    retriever_start,
    root_input,
    runnable_name,
    safe_str,
    to_json,
    without,
)
from langgraph_persist.handler import attempts, ids
from langgraph_persist.handler.abandoned import Abandoned
from langgraph_persist.handler.admission import needs_admission, take_answer
from langgraph_persist.handler.calls import (
    GraphCall,
    configurable,
    graph_call,
    hear,
    is_closed_early,
    is_state_edit,
    streamed_input,
    teller,
    tries_alternatives,
)
from langgraph_persist.handler.ending import awaits_commit
from langgraph_persist.handler.generations import Generations
from langgraph_persist.handler.guard import guarded
from langgraph_persist.handler.hook import install, uninstall
from langgraph_persist.handler.humans import Humans
from langgraph_persist.handler.inherited import Inherited, Origin, inherit, origin_of
from langgraph_persist.handler.missed import Missed, how_ended
from langgraph_persist.handler.outcome import (
    Status,
    blame_retry,
    blame_timeout,
    node_outcome,
    outcome,
    sent_up,
    status_of,
)
from langgraph_persist.handler.parsed import Parsed
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.reused import Doubt, settle
from langgraph_persist.handler.skipped import Skipped, course_of, is_router
from langgraph_persist.handler.spans import Kind, Root, RunKind, Span, spans_of
from langgraph_persist.handler.strange import recall, saves_elsewhere
from langgraph_persist.handler.tools import Tools
from langgraph_persist.handler.tracing import trace_policy, traced_input, traced_output
from langgraph_persist.journal import (
    Capture,
    Clock,
    Fields,
    Graph,
    Journal,
    Mode,
    OpenNode,
    Redactor,
    Restriction,
    Run,
    place_in,
    release,
    share,
)
from langgraph_persist.quotas import Quotas, Request
from langgraph_persist.usage import Costs, Price, Prices

# Only LangGraph tells callbacks the thread_id; any other runnable has it in its metadata.
_THREAD_KEYS = ("thread_id", "session_id")
_CHAINS: tuple[Kind, ...] = ("chain", "node")
# A tool whose start could not be read is like a step.
_TOOLS: tuple[Kind, ...] = ("tool", "chain")


class PersistCallbackHandler(GraphCallbackHandler):
    """Records every run it is attached to: the run, its nodes, generations and tool calls.

    One handler serves any number of sync and async runs at a time. It does no I/O of its own; a
    run's end waits until everything of the run is committed, without blocking an event loop.
    Attach it with ``config={"callbacks": [handler]}``, ``runnable.with_config(callbacks=[…])``
    or ``Persist.attach``. Give it a URL, a psycopg ``ConnectionPool`` or a ``Connection``. With
    ``session_ttl`` a session expires so long after the last start or end of a run. ``prices``
    are the user's own by model, before those of genai-prices; see :class:`Price`. With
    ``enforce_quotas=False`` what organizations use is counted, and nothing refused. ``capture``,
    ``exclude``, ``redact`` and ``max_payload_bytes`` are those of :class:`Persist`: of several on
    one database, open in one process, each keeps only what all of them allow.

    It never raises into a run, but for three things:

    Raises:
        DurabilityError: at the run's end, when something of it could not be committed.
        QuotaExceeded: at the run's start, when its organization has reached a limit.
        JournalClosed: the handler was closed.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self,
        target: Target | None = None,
        *,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        journal: Journal | None = None,
        retry_for: float | None = None,
        session_ttl: timedelta | None = None,
        hitl_timeout: timedelta | None = None,
        prices: Mapping[str, Price] | None = None,
        enforce_quotas: bool = True,
        capture: Mode = "full",
        exclude: Mapping[str, Iterable[str]] | None = None,
        redact: Redactor | Iterable[Redactor] | None = None,
        max_payload_bytes: int | None = None,
    ) -> None:
        durations(session_ttl=session_ttl, hitl_timeout=hitl_timeout)
        own_prices = Prices.of(prices)
        allowed = Capture.of(capture, exclude, redact, max_payload_bytes)
        if journal is None and target is None:
            raise TypeError("PersistCallbackHandler needs a URL, a ConnectionPool or a Connection")
        self._owns_journal = journal is None
        if journal is None:
            assert target is not None
            journal = share(target, schema, checkpoint_schema, retry_for)
        self.restriction: Restriction | None = journal.restrict(allowed)
        self.journal = journal
        self.failures = journal.failures
        self.quotas = Quotas(journal) if enforce_quotas else None
        self._recording = Recording(journal, session_ttl)
        self._humans = Humans(self._recording, hitl_timeout)
        self._tools = Tools(self._recording)
        costs = Costs(own_prices, self.failures.add)
        self._parsed = Parsed(self._recording)
        self._generations = Generations(self._recording, self._tools, self._parsed, costs)
        self._spans = spans_of(journal)
        self._abandoned = Abandoned()
        journal.sweepers.append(WeakMethod(self._sweep))
        self._skipped = Skipped(self._recording)
        self.missed = Missed(self._recording, self._spans)

    def __copy__(self) -> Self:
        """The same: configs and models are copied with their handlers, and runs told of once."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def setup(self) -> None:
        """Create or upgrade all tables; does nothing where they are up to date."""
        self.journal.setup()

    def flush(self, timeout: float | None = None) -> int:
        """Commit what is queued; returns how many units were committed so far."""
        return self.journal.flush(timeout)

    def install(self) -> None:
        """Record every run that starts in this process from now on, wherever it is called.

        Nothing has to be attached; what this handler, or another one of its database, is attached
        to is recorded once all the same. Two things are out of reach: a graph that is given a
        ``CallbackManager`` object, of which LangChain asks no hook, and the rest of runs that
        started before: model and tool calls in them are runs of their own.
        """
        install(self)

    def uninstall(self) -> None:
        """Record only what this handler is attached to."""
        uninstall(self)

    def close(self) -> None:
        """Commit what is queued and close the connections this handler opened."""
        uninstall(self)
        if self._owns_journal:
            self._owns_journal = False
            try:
                release(self.journal)
            finally:
                self.restriction = None

    # --- chains: roots, graphs, nodes and everything between ---

    @needs_admission
    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A root run, a node, or a step between them starts."""
        if (admitted := self._spans.admit(run_id, parent_run_id)) is None:
            return
        run_id = admitted
        name = _name_of(kwargs.get("name")) or runnable_name(serialized)
        parent = attempts.parent(self._spans, parent_run_id, metadata)
        if parent is None:
            self._open_chain(run_id, name, inputs, tags, metadata)
            return
        enclosing = parent.node.fields["task_id"] if parent.node else None
        identity = node_identity(name, tags, metadata, enclosing_task_id=enclosing)
        if identity is not None:
            self._open_node(run_id, parent, identity, inputs, metadata)
            return
        span = Span(run_id, "chain", parent.root, parent, parent.node, call=graph_call())
        span.routes = is_router(parent, tags)
        if tries_alternatives():
            span.falls_back = span.root.falls_back = True
        attempts.mark(span, tags)
        span.parses = (inputs,) if kwargs.get("run_type") == "parser" else None
        self._spans.add(span)
        self._enter_graph(span)
        self._humans.called(span, inputs)
        if metadata and metadata.get("langgraph_node") == name == START:
            self._skipped.starts(span, name, metadata.get("langgraph_step"), _namespace(metadata))

    @awaits_commit
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        """A root run, a node or a step has ended well, or was interrupted."""
        if (span := self._spans.pop(run_id, *_CHAINS)) is None:
            return None
        if span.kind == "node":
            self._tools.refused(span, outputs)
            self._parsed.by_node(span, outputs)
            self._close_node(span, {"status": "completed"}, outputs)
        elif span.parses is not None:
            self._parsed.by_parser(span, kwargs.get("inputs", span.parses[0]), outputs)
        elif span.call is not None and not span.ends_root:
            self._humans.proceed_in(span)
            self.journal.runs.unbind(span.root.run, span.call.token)
        self._follow(span, outputs)
        return self._complete_root(span, outputs)

    @awaits_commit
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        """A root run, a node or a step has failed, was cancelled or asks for a human."""
        if (span := self._spans.pop(run_id, *_CHAINS)) is None:
            return None
        if status_of(error) == "cancelled":
            self._spans.ignore(run_id)
        if span.node is not None and span.node.private:
            hide(error)
        if span.kind == "node":
            blame_timeout(span.root.run, span.node, error)
            self._humans.failed(span, error)
            self._close_node(span, node_outcome(error, span.cancelled), sent_up(error))
        self._follow(span, error)
        return self._fail_root(span, error)

    # --- generations ---

    @needs_admission
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model is called."""
        name = kwargs.get("name")
        span = self._call(run_id, parent_run_id, "generation", serialized, messages, metadata, name)
        payload = kwargs | {"tags": tags, "metadata": metadata, "messages": messages}
        if span is not None:
            self._generations.open(span, serialized, payload)

    @needs_admission
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A text model is called."""
        name = kwargs.get("name")
        span = self._call(run_id, parent_run_id, "generation", serialized, prompts, metadata, name)
        payload = kwargs | {"tags": tags, "metadata": metadata, "prompts": prompts}
        if span is not None:
            self._generations.open(span, serialized, payload)

    @guarded
    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A streamed token has come."""
        if (span := self._spans.get(run_id)) is not None:
            self._generations.streamed(span, "token", token, kwargs.get("chunk"))

    @guarded
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A part of a streamed answer has come, as ``stream_events`` tells it."""
        if (span := self._spans.get(run_id)) is not None:
            self._generations.streamed(span, "event", event)

    @awaits_commit
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Any:
        """A model has answered."""
        if (span := self._spans.pop(run_id, "generation")) is None:
            return None
        self._generations.end(span, response)
        return self._complete_root(span, response)

    @awaits_commit
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        """A model call has failed; what it streamed before is kept."""
        if (span := self._spans.pop(run_id, "generation")) is None:
            return None
        self._generations.fail(span, outcome(error), kwargs.get("response"))
        return self._fail_root(span, error)

    # --- tools ---

    @needs_admission
    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool is called."""
        given = inputs if inputs is not None else input_str
        name = kwargs.get("name")
        span = self._call(run_id, parent_run_id, "tool", serialized, given, metadata, name)
        if span is None:
            return
        span.fields["tool_name"] = runnable_name(serialized)
        event = {"serialized": serialized, "input_str": input_str, "inputs": inputs}
        self._tools.open(span, **event, metadata=metadata, **kwargs)

    @awaits_commit
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        """A tool has returned."""
        if (span := self._spans.pop(run_id, *_TOOLS)) is None:
            return None
        if span.kind == "tool":
            self._tools.end(span, output)
        return self._complete_root(span, output)

    @awaits_commit
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        """A tool has failed, or asks for a human."""
        if (span := self._spans.pop(run_id, *_TOOLS)) is None:
            return None
        if span.kind == "tool":
            self._tools.fail(span, outcome(error), sent_up(error))
        return self._fail_root(span, error)

    # --- retrievers ---

    @needs_admission
    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever is asked."""
        name = kwargs.get("name")
        span = self._call(run_id, parent_run_id, "retriever", serialized, query, metadata, name)
        if span is None:
            return
        span.fields |= retriever_start(query)

    @awaits_commit
    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **kwargs: Any) -> Any:
        """A retriever has found documents."""
        if (span := self._spans.pop(run_id, "retriever")) is None:
            return None
        self._close_retrieval(span, retriever_end(documents))
        return self._complete_root(span, documents)

    @awaits_commit
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        """A retriever has failed."""
        if (span := self._spans.pop(run_id, "retriever")) is None:
            return None
        self._close_retrieval(span, error_fields(error))
        return self._fail_root(span, error)

    # --- LangGraph's own events ---

    @guarded
    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """A graph pauses for a human."""
        if event.run_id is None:
            return
        if (span := self._spans.get(ids.known_as(event.run_id))) is not None:
            self._humans.interrupted(span, event)

    # --- admission ---

    def is_inside(self, event: Mapping[str, Any]) -> bool:
        """Whether a start event is surely of something below what is under way."""
        parent = event.get("parent_run_id")
        return type(parent) is UUID and self._spans.get(parent) is not None

    @guarded
    def doubt(self, event: Mapping[str, Any]) -> Doubt | None:
        """The id of a starting run that an earlier one of the thread may have, and the thread."""
        run_id = ids.as_uuid(event["run_id"])
        if self.journal.closed or self._spans.took(run_id):
            return None
        given, call = event.get("metadata") or {}, graph_call()
        return Doubt(_thread_of(call, given) or str(run_id), run_id)

    def settle(self, doubt: Doubt) -> None:
        """Ask the database whether the id is another run's."""
        settle(doubt, self.journal, self._spans)

    @guarded
    def strange_thread(self, event: Mapping[str, Any]) -> str | None:
        """The thread that a run goes on with, if its checkpoints are not ours and it is unknown."""
        call = graph_call()
        if call is None or self.journal.closed or not saves_elsewhere(call, self.journal):
            return None
        thread_id = _thread(call.configurable)
        is_known = thread_id is None or self.journal.runs.remembers(thread_id)
        return None if is_known else thread_id

    def recall(self, thread_id: str) -> None:
        """Ask the database how far the thread's last workflow has come."""
        recall(thread_id, self.journal)

    @guarded
    def origin(self, event: Mapping[str, Any]) -> Origin | None:
        """The checkpoint whose workflow tells whose a starting run is, as it names nobody."""
        call = graph_call()
        if call is None or self.journal.closed or saves_elsewhere(call, self.journal):
            return None
        if place_in(self.journal) is not None:
            return None
        return origin_of(call, event.get("metadata") or {})

    def inherit(self, origin: Origin, event: MutableMapping[str, Any]) -> None:
        """Ask the database whose a starting run is."""
        event["metadata"] = inherit(origin, event.get("metadata") or {}, self.journal)

    @guarded
    def request(self, inputs: Any, event: Mapping[str, Any]) -> Request | None:
        """Who asks for a new workflow, if this event is to start one that a limit may refuse."""
        given = event.get("metadata") or {}
        user, organization = _name_of(given.get("user")), _name_of(given.get("organization"))
        if (user is None and organization is None) or self.journal.closed:
            return None
        if not self._spans.is_root(event["run_id"], event.get("parent_run_id")):
            return None
        if place_in(self.journal) is not None:
            return None
        if (call := graph_call()) is None and is_state_edit():
            return None
        continues = _run_kind(inputs, call.configurable if call else given) == "resume"
        if (call or "ls_integration" in given) and (continues or is_a(inputs, Command)):
            return None
        return Request(user, organization, datetime.now(UTC))

    @guarded
    def refuse(self, run_id: Any, refusal: QuotaExceeded) -> Future[None] | None:
        """A workflow that has just started is not admitted; the commit of its record."""
        span = self._spans.pop(ids.known_as(run_id))
        return None if span is None else self._finish(span, "refused", None, refusal)

    # --- failures of our own ---

    def make_up(
        self,
        name: str,
        error: Exception,
        span: Span | None,
        args: tuple[Any, ...],
        event: Mapping[str, Any],
    ) -> Future[None] | None:
        """An event has failed: its row is closed without what it brought, and says so."""
        try:
            if (span := span or self.missed.concerned(args, event)) is None:
                if not name.endswith("_start"):
                    return None
                span = self.missed.began(name, event)
            self.missed.mark(span, name, error)
            if name == "_close_cancelled" or name.endswith(("_end", "_error")):
                return self._make_up_end(span, name, args[0])
        except (JournalClosed, DurabilityError):
            return None
        except Exception as again:
            self.failures.add(f"{name}, making up for it", again)
        return None

    def cut_short(self, span: Span | None) -> None:
        """An event was interrupted: a run is over with it, what is below ends with its run."""
        if span is None:
            return
        with self.failures.kept("interrupted"):
            if not span.ends_root:
                if span.kind in _CHAINS or span.fields:
                    self._spans.put_back(span)
                else:  # nothing is recorded of it yet
                    self._spans.pop(span.id)
                return
            self._spans.pop(span.id)
            self._finish(span, "cancelled", None, None)

    def _make_up_end(self, span: Span, name: str, told: Any) -> Future[None] | None:
        """The commit to wait for, if a root has ended, come what may."""
        self._spans.pop(span.id)
        error = told if is_a(told, BaseException) else None
        how = how_ended(name, told)
        with self.failures.kept(f"{name}, making up for it"):
            self.missed.close(span, how)
        if name == "_close_cancelled":
            return None
        if how["status"] == "completed" and span.root.interrupted:
            how["status"] = "interrupted"
        return self._finish(span, how["status"], None, error)

    # --- spans ---

    def _sweep(self, last: bool = False) -> None:
        """Close what was cancelled, which nobody told; the last time, all that is under way."""
        over = self._spans.left() if last else self._spans.over()
        for span in [*self._abandoned.take(), *over]:
            if self._spans.get(span.id) is span:
                self._cancel(span)

    @guarded
    def _cancel(self, span: Span) -> None:
        self._spans.pop(span.id)
        if span.kind == "node":
            self._close_node(span, {"status": "cancelled"}, None)
        self._close_cancelled(span)
        self._finish(span, "cancelled", None, None)

    @guarded
    def _close_cancelled(self, span: Span) -> None:
        """Record the end of a call that has none."""
        span.clock.stop()
        if span.kind == "generation":
            self._generations.fail(span, {"status": "cancelled"}, None)
        elif span.kind == "tool":
            self._tools.fail(span, {"status": "cancelled"})
        elif span.kind == "retriever":
            self._close_retrieval(span, error_fields(CancelledError()))

    def _open_root(
        self,
        run_id: UUID,
        name: str,
        inputs: Any,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
        kind: Kind,
        call: GraphCall | None = None,
    ) -> Span:
        if self.journal.closed or self.restriction is None:
            raise JournalClosed
        given = dict(metadata or {})
        if (asked := ids.given_for(run_id)) is not None:
            given["run_id"] = str(asked)
        called = call.configurable if call else given
        within = place_in(self.journal)
        if within is None:
            run = Run(run_id, _thread_of(call, given) or str(run_id), None)
        else:
            run = within.workflow.run.part(_thread_of(call, given))
            run.private = within.private
        run.restriction = self.restriction
        keep = self._recording.keep(run)
        told = root_input(without(_asked(inputs, kind), keep.capture.channels))
        is_graph = call is not None or "ls_integration" in given
        answer = take_answer()
        root = Root(
            run=run,
            kind=_run_kind(inputs, called) if is_graph else "start",
            is_graph=is_graph,
            saves_elsewhere=saves_elsewhere(call, self.journal),
            name=name,
            workflow=told
            | {
                "input": keep.document(inputs),
                "user_input": keep.text(told["user_input"]),
                "metadata": to_json(_own_metadata(given)),
                "tags": [safe_str(tag) for tag in tags or ()],
            },
            content=keep.rows,
            user=None if answer and answer.is_stranger else _name_of(given.get("user")),
            organization=_name_of(given.get("organization")),
            is_named=not isinstance(metadata, Inherited),
            within=within,
            language=_name_of(given.get("language")),
            clock=Clock(answer.at if answer else None),
            admitted=answer is not None and answer.settled,
        )
        root.commands = is_graph and root.kind == "start" and is_a(inputs, Command)
        if is_resume(inputs) or root.commands:
            self._humans.told(root, inputs)
        span = Span(run_id, kind, root, None, None, clock=root.clock, ends_root=True)
        if tries_alternatives():
            span.falls_back = span.root.falls_back = True
        span.call, span.told_by = call, teller()
        self._spans.add(span)
        self._recording.start(root, saves=kind == "chain")
        self._enter_graph(span)
        return span

    def _call(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        kind: Kind,
        serialized: Mapping[str, Any] | None,
        inputs: Any,
        metadata: Mapping[str, Any] | None,
        name: Any,
    ) -> Span | None:
        """The span of a generation, tool or retrieval; a root of its own without a parent."""
        if (admitted := self._spans.admit(run_id, parent_run_id)) is None:
            return None
        run_id = admitted
        parent = attempts.parent(self._spans, parent_run_id, metadata)
        if parent is None:
            name = _name_of(name) or runnable_name(serialized)
            span = self._open_root(run_id, name, inputs, None, metadata, kind)
        else:
            span = Span(run_id, kind, parent.root, parent, parent.node)
            if not self._spans.add(span):
                return None
        span.fields = self._recording.identity(span)
        node = span.node.fields if span.node else span.root.node
        span.fields["node_id"] = node["id"] if node else None
        self._abandoned.watch(span)
        return span

    def _complete_root(self, span: Span, outputs: Any) -> Future[None] | None:
        if not span.ends_root:
            return self._outlive(span) or self._saved_apart(span)
        if span.root.interrupted:
            returned = span.call is not None and span.call.returns
            return self._finish(span, "interrupted", None if returned else outputs, None)
        if span.call is None and is_closed_early():
            return self._finish(span, "cancelled", None, None)
        return self._finish(span, "completed", outputs, None)

    def _fail_root(self, span: Span, error: BaseException) -> Future[None] | None:
        if not span.ends_root:
            return self._outlive(span) or self._saved_apart(span)
        status = status_of(error)
        if is_a(error, GeneratorExit) and (span.root.requests or span.root.interrupted):
            status = "interrupted"  # whoever reads the stream has seen enough
        return self._finish(span, status, None, error)

    def _saved_apart(self, span: Span) -> Future[None] | None:
        """The commit to wait for of what a graph saved on a thread of its own, if it did."""
        thread_id = span.thread_id if span.call is not None else None
        if thread_id is None or thread_id in (span.root.run.thread_id, span.root.run.home):
            return None
        return self.journal.settled(thread_id, span.clock.elapsed_ms / 1000)

    def _finish(
        self, span: Span, status: Status, outputs: Any, error: BaseException | None
    ) -> Future[None] | None:
        """The commit to wait for, if this was a root."""
        if not span.ends_root:
            return self._outlive(span)
        with self.failures.kept("answers", span.root.run.missing):
            if status != "failed":
                self._humans.proceed(span.root)
        cut_off = self._spans.end(span.root, status in ("completed", "interrupted"))
        for below in cut_off:
            self._close_cancelled(below)
        return self._recording.finish(span.root, status, outputs, error, cut_off)

    def _outlive(self, span: Span) -> Future[None] | None:
        """The commit to wait for, if this goes on after its root and nothing around it does."""
        if not span.root.ended or span.parent is None:
            return None
        if span.call is not None:
            self.journal.runs.unbind(span.root.run, span.call.token)
        if self._spans.get(span.parent.id) is span.parent:
            return None
        return self._recording.settle(span.root)

    def _open_chain(
        self,
        run_id: UUID,
        name: str,
        inputs: Any,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        """A chain without a parent: a root run, unless it is ``update_state`` that calls it."""
        if (call := graph_call()) is None and is_state_edit():
            self._spans.ignore(run_id)
        else:
            given = inputs if call else streamed_input(inputs)
            span = self._open_root(run_id, name, given, tags, metadata, "chain", call)
            self._abandoned.watch(span)

    def _follow(self, span: Span, result: Any) -> None:
        """Where a node, a router or a graph that has ended led to."""
        failed = is_a(result, BaseException)
        try:
            if span.routes and not failed and span.parent is not None and span.parent.choice:
                span.parent.choice.routed.append(result)
            elif span.choice is not None and (not failed or is_a(result, ParentCommand)):
                self._skipped.ended(span, result.args[0] if failed else result)
            elif span.course is not None:
                self._skipped.finish(span, well=not (failed or span.root.interrupted))
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            # Graphs may be built in ways not known here; the run's end must be told all the same.
            self.failures.add("skipped", error)

    def _enter_graph(self, span: Span) -> None:
        """A graph has been called: it may save on a thread of its own."""
        if span.call is None:
            return
        hear(span.call, self)
        span.course = course_of(span.call.graph)
        span.root.branches = span.root.branches or span.course is not None
        run, thread_id = span.root.run, span.thread_id
        if thread_id is not None and thread_id not in run.threads:
            self._open_thread(run, thread_id)
        self.journal.runs.bind(run, span.id, span.call.token)

    def _graph(self, span: Span, checkpoint_ns: str, metadata: Mapping[str, Any] | None) -> Graph:
        """The graph that a node in this span belongs to."""
        root = span.root
        if (graph := span.graph) is not None and graph.call is not None:
            return Graph(graph.thread_id or root.run.thread_id, checkpoint_ns, graph.id)
        thread_id = _thread(metadata or {}) or root.run.thread_id
        if thread_id not in root.run.threads:
            self._open_thread(root.run, thread_id)
        return Graph(thread_id, checkpoint_ns)

    def _open_thread(self, run: Run, thread_id: str) -> None:
        """A run goes on to another thread; one that has ended already is not to be told there."""
        if run.ended:
            run.threads.add(thread_id)
        else:
            self.journal.runs.open(run, thread_id)

    def _open_node(
        self,
        run_id: UUID,
        parent: Span,
        identity: NodeIdentity,
        inputs: Any,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        root = parent.root
        span = Span(run_id, "node", root, parent, None)
        above = parent.node
        outer = above.fields if above else root.node
        fields = self._recording.identity(span) | identity.fields()
        fields |= {
            "parent_node_id": outer["id"] if outer else None,
            "execution_order": root.run.next_order(),
            "attempt": root.attempt(identity.task_id),
        }
        if outer is not None and identity.node_type == "node":
            outer["node_type"] = "subgraph"
        graph = self._graph(parent, identity.checkpoint_ns, metadata)
        span.policy = trace_policy(parent.graph, identity.node_name)
        private = root.run.private or self.journal.is_private(identity.node_name, above)
        span.node = OpenNode(fields, graph, identity.step or 0, above, private=private)
        if not self._spans.add(span):
            return
        if fields["attempt"] > 1 or identity.node_type == "error_handler":
            blame_retry(root.run, span.node)
        root.run.begin(identity.task_id, span.node)
        self._skipped.starts(span, identity.node_name, identity.step, identity.checkpoint_ns)
        if root.answers:
            self._humans.proceed(root)
        self._humans.proceed_in(parent.graph)
        keep = self._recording.keep(root.run, span.node)
        given = keep.document(traced_input(span, inputs, self.failures))
        self._recording.begin_node(root, span.node, keep.rows, fields | {"input_data": given})

    def _close_node(self, span: Span, fields: Fields, outputs: Any) -> None:
        now, elapsed = span.clock.reading
        ended = {"completed_at": now, "duration_ms": elapsed}
        outputs = traced_output(span, outputs, self.failures)
        self._recording.finish_node(span, fields | ended, outputs)

    def _close_retrieval(self, span: Span, fields: Fields) -> None:
        latency = {"latency_ms": span.clock.elapsed_ms}
        self._recording.record(span, span.fields | fields | latency)


def _run_kind(inputs: Any, metadata: Mapping[str, Any]) -> RunKind:
    if metadata.get("checkpoint_id"):
        return "replay" if inputs is None else "fork"
    return "resume" if is_resume(inputs) else "start"


def _asked(inputs: Any, kind: Kind) -> Any:
    """What a run is given: of the prompts of a model's call, the first."""
    return inputs[0] if kind == "generation" and type(inputs) is list and inputs else inputs


def _namespace(metadata: Mapping[str, Any]) -> str:
    """The namespace of the graph that a node of it is in."""
    return str(metadata.get("langgraph_checkpoint_ns", "")).rpartition("|")[0]


def _own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The user's metadata, without what LangGraph added or other columns hold."""
    hidden = (*_THREAD_KEYS, "checkpoint_id", "checkpoint_ns", "ls_integration")
    return {k: v for k, v in metadata.items() if k not in hidden}


def _thread_of(call: GraphCall | None, metadata: Mapping[str, Any]) -> str | None:
    """The thread that a root is on: the one configured, or else the one that its metadata names."""
    return _thread(call.configurable if call else configurable()) or _thread(metadata)


def _thread(metadata: Mapping[str, Any]) -> str | None:
    return next((_text(v) for key in _THREAD_KEYS if (v := metadata.get(key)) is not None), None)


def _name_of(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else text[:NAME_LENGTH]


def _text(value: Any) -> str | None:
    return None if value is None else safe_str(value)
