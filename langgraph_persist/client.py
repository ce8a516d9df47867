"""``Persist``: opens one database, wires the parts together, closes them."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import orjson
import psycopg
from langchain_core.callbacks import BaseCallbackManager, Callbacks
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol

from langgraph_persist.checks import durations, instance, schema_names, seconds, thread_name
from langgraph_persist.database.connection import RETRY_FOR, Database, Target
from langgraph_persist.database.queries import Schemas
from langgraph_persist.database.statements import Statements
from langgraph_persist.errors import ConfigurationError, JournalClosed, PersistError
from langgraph_persist.extract import to_json_bytes
from langgraph_persist.handler import PersistCallbackHandler
from langgraph_persist.journal import (
    LOST_AFTER,
    Capture,
    Journal,
    Mode,
    Reaped,
    Redactor,
    Seal,
    release,
    share,
)
from langgraph_persist.journal.heartbeat import INTERVAL
from langgraph_persist.migrate import check, find_checkpoint_schema
from langgraph_persist.projections import (
    OnError,
    ProjectionFunction,
    Projections,
    Promote,
    Promotion,
)
from langgraph_persist.saver import PersistSaver, checked_serde, state_of
from langgraph_persist.usage import Price, Prices

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

    from langgraph_persist.database.embedded import EmbeddedServer
    from langgraph_persist.evaluations import Evaluations, Feedback
    from langgraph_persist.history import History, Thread
    from langgraph_persist.projections.tables import Target as ProjectionTarget
    from langgraph_persist.prompts import Prompts
    from langgraph_persist.quotas import Organizations, Users
    from langgraph_persist.recorder import Recorder
    from langgraph_persist.reports import Reports
    from langgraph_persist.retention import RetentionReport, Sessions
    from langgraph_persist.sessions import Sessions as SessionsApi
    from langgraph_persist.usage import Usage

logger = logging.getLogger(__name__)

URL_VARIABLE = "LANGGRAPH_PERSIST_URL"
DIRECTORY = ".langgraph_persist"

G = TypeVar("G", bound=Runnable[Any, Any])
P = TypeVar("P", bound=ProjectionFunction)


class Persist:
    """One database for the checkpoints and the record of LangGraph applications.

    Opens on entering a ``with`` or ``async with`` block, or on first use; a new or outdated
    database is migrated then.

    Args:
        url: a PostgreSQL URL, a psycopg ``ConnectionPool`` or a ``Connection``. Without one,
            ``$LANGGRAPH_PERSIST_URL``; else a PostgreSQL of its own in ``directory``.
        schema: the PostgreSQL schema of the record.
        checkpoint_schema: the schema of the stock checkpoint tables; by default the one where
            stock would find or create them.
        migrate: False to refuse a database that is not up to date.
        serde: the serializer of checkpoint values, as in upstream's savers. With an encrypting
            one the record keeps structure, timings and counts only, unless it is encrypted too.
        record_cipher: encrypts what users, models, tools and nodes said in the record; whoever
            reads it through this class with the same cipher sees it in the clear.
        directory: where the embedded server keeps its data, shared by all processes that name it.
        retry_for: seconds for which reads and writes are repeated while the server is away; what
            opens fails at once.
        session_ttl: a session expires so long after the last start or end of a run in it, and
            :meth:`retain` can then delete its checkpoints.
        prices: US dollars for a million tokens by model, ``{"my-model": {"input": "0.5",
            "output": 2}}``, before those of genai-prices; see ``langgraph_persist.usage.Price``.
        hitl_timeout: how long a request to a human waits before :meth:`reap` ends it, unless its
            payload says otherwise (``timeout_seconds`` or ``timeout_at``). The graph can still be
            resumed then.
        capture: ``"structure"`` to record no content: names, timings, counts and costs only.
        exclude: what no content is recorded of: ``{"channels": […], "nodes": […]}``. Channels are
            left out of states, inputs and outputs, where these have them and not deeper within
            their values; of nodes, all that happens in them.
        redact: a callable, or several, that give JSON values as they may be recorded; they run
            before anything leaves the process. See ``langgraph_persist.redact``.
        max_payload_bytes: a value that takes more is recorded as its size and beginning; 10 MiB
            by default, 128 MiB at most. This, ``capture``, ``exclude`` and ``redact`` hold for all
            that this process records in the same schema of the same database, together with what
            others open there say, until this is closed.
        promote: which state channels, unless excluded, fill columns of ``workflows``:
            ``settings`` (a list of channels), ``result`` (a channel, or a list) and
            ``user_input`` (a channel); and ``current_context`` of ``sessions`` (a list).
        enforce_quotas: False to only count what organizations use: else a run whose organization
            has reached a limit raises ``QuotaExceeded``.

    Raises:
        PersistError: one of its subclasses, saying what to do.
    """

    def __init__(
        self,
        url: Target | None = None,
        *,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        migrate: bool = True,
        serde: SerializerProtocol | None = None,
        record_cipher: CipherProtocol | None = None,
        directory: str | Path = DIRECTORY,
        retry_for: float = RETRY_FOR,
        session_ttl: timedelta | None = None,
        hitl_timeout: timedelta | None = None,
        prices: Mapping[str, Price] | None = None,
        promote: Promote | None = None,
        enforce_quotas: bool = True,
        capture: Mode = "full",
        exclude: Mapping[str, Iterable[str]] | None = None,
        redact: Redactor | Iterable[Redactor] | None = None,
        max_payload_bytes: int | None = None,
    ) -> None:
        self._capture = Capture.of(capture, exclude, redact, max_payload_bytes)
        Prices.of(prices)  # refuses wrong ones at once
        if schema == checkpoint_schema:
            raise ConfigurationError("the record and the checkpoints need schemas of their own")
        durations(session_ttl=session_ttl, hitl_timeout=hitl_timeout)
        seconds("retry_for", retry_for)
        instance("directory", directory, (str, Path), "a path")
        schema_names(schema=schema, checkpoint_schema=checkpoint_schema)
        checked_serde(serde)
        self._target = url if url is not None else os.environ.get(URL_VARIABLE) or None
        self._schema, self._checkpoint_schema = schema, checkpoint_schema
        self._migrate, self._serde, self._retry_for = migrate, serde, retry_for
        self._directory = Path(directory).expanduser().absolute()
        self._seal = None if record_cipher is None else Seal(record_cipher)
        self._session_ttl, self._prices = session_ttl, prices
        self._hitl_timeout = hitl_timeout
        promotion = None if promote is None else Promotion(promote, self._capture.channels)
        self._projections = Projections(promotion, self._reflect)
        self._enforce_quotas = enforce_quotas
        self._lock = threading.Lock()
        self._server: EmbeddedServer | None = None
        self._journal: Journal | None = None
        self._handler: PersistCallbackHandler | None = None
        self._saver: PersistSaver | None = None
        self._engine: Engine | None = None
        self._closed = False

    # --- opening and closing ---

    def open(self) -> Persist:
        """Connect, and migrate if need be; does nothing when open already."""
        with self._lock:
            if self._closed:
                raise JournalClosed
            if self._journal is None:
                self._open()
        return self

    def _open(self) -> None:
        try:
            target = self._target if self._target is not None else self._start_server()
            schemas = self._prepare(Database(target))
            journal = share(target, schemas.record, schemas.checkpoints, self._retry_for)
        except BaseException:
            self._stop_server()
            raise
        if self._seal is not None:
            journal.seal = self._seal
        restriction = journal.restrict(self._capture)
        self._handler = PersistCallbackHandler(
            journal=journal,
            session_ttl=self._session_ttl,
            hitl_timeout=self._hitl_timeout,
            prices=self._prices,
            enforce_quotas=self._enforce_quotas,
        )
        self._saver = PersistSaver(
            target, serde=self._serde, journal=journal, projector=self._projections
        )
        self._handler.restriction = self._saver.restriction = restriction
        self._journal = journal
        journal.reaper.expect(0)
        try:
            journal.reaper.close_lost()
        except (psycopg.Error, PersistError) as error:
            logger.warning("could not look for lost runs: %s", error)

    def _start_server(self) -> str:
        from langgraph_persist.database.embedded import start_embedded

        self._server = start_embedded(self._directory)
        return self._server.url

    def _stop_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _prepare(self, database: Database) -> Schemas:
        """Make sure that the tables are there and current."""
        with database.connect() as conn:
            checkpoints = self._checkpoint_schema or find_checkpoint_schema(conn)
            schemas = Schemas(self._schema, checkpoints)
            status = check(conn, schemas)
        status.require_known()
        if not self._migrate:
            status.require()
        if status.missing:
            from langgraph_persist.migrate import upgrade

            upgrade(database.conninfo, schemas)
        return schemas

    def close(self) -> None:
        """Commit what is queued, and close all that was opened here.

        Raises:
            DurabilityError: something could not be committed.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._handler is not None:
            self._handler.uninstall()
        try:
            if self._journal is not None:
                release(self._journal)
        finally:
            # What may be kept holds on for whoever still uses them.
            self._handler = self._saver = None
            self.__dict__.pop("recorder", None)
            if self._engine is not None:
                self._engine.dispose()
            self._stop_server()

    def __enter__(self) -> Persist:
        return self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Persist:
        return await asyncio.to_thread(self.open)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    # --- parts ---

    @property
    def checkpointer(self) -> PersistSaver:
        """For ``builder.compile(checkpointer=…)``; serves ``invoke`` and ``ainvoke``."""
        self.open()
        assert self._saver is not None
        return self._saver

    @property
    def handler(self) -> PersistCallbackHandler:
        """For ``config={"callbacks": […]}``, on any runnable."""
        self.open()
        assert self._handler is not None
        return self._handler

    @property
    def history(self) -> History:
        """What was recorded."""
        from langgraph_persist.history import History

        statements = self._statements(*History.AREAS)
        return History(statements, forks=self._opened().forks, load=self._load_state)

    def _load_state(self, config: RunnableConfig) -> Mapping[str, Any] | None:
        found = self.checkpointer.get_tuple(config)
        if found is None:
            return None
        state: dict[str, Any] = orjson.loads(to_json_bytes(state_of(found.checkpoint)))
        return state

    @cached_property
    def recorder(self) -> Recorder:
        """Records by hand what runs outside of LangChain."""
        from langgraph_persist.recorder import Recorder

        prices = Prices.of(self._prices)
        return Recorder(
            self._opened(),
            users=self.users,
            quotas=self.handler.quotas,
            session_ttl=self._session_ttl,
            prices=prices,
            restriction=self.handler.restriction,
        )

    @cached_property
    def sessions(self) -> SessionsApi:
        """Ends and retries sessions."""
        from langgraph_persist.sessions import Sessions as SessionsApi

        return SessionsApi(self._statements("sessions"), self._opened().reaper.expire)

    @cached_property
    def organizations(self) -> Organizations:
        """Tenants with their limits."""
        from langgraph_persist.quotas import Organizations

        return Organizations(self._statements("quotas", "zones"), changed=self._forget_quotas)

    @cached_property
    def users(self) -> Users:
        """On whose behalf workflows run."""
        from langgraph_persist.quotas import Users

        enforce = self._enforce_quotas
        return Users(self._statements("quotas"), enforce=enforce, changed=self._forget_quotas)

    @cached_property
    def usage(self) -> Usage:
        """What users and organizations used, day by day."""
        from langgraph_persist.usage import Usage

        return Usage(self._statements("usage"))

    @cached_property
    def evaluations(self) -> Evaluations:
        """What turns and sessions are worth, by evaluators."""
        from langgraph_persist.evaluations import Content, Evaluations

        content = Content(self._opened())
        return Evaluations(self._statements("evaluations"), content, lambda: self.history)

    @cached_property
    def feedback(self) -> Feedback:
        """What users thought of turns, plans and sessions."""
        from langgraph_persist.evaluations import Content, Feedback

        content = Content(self._opened())
        return Feedback(self._statements("feedback"), content, lambda: self.history)

    @cached_property
    def prompts(self) -> Prompts:
        """Versions of a prompt compared."""
        from langgraph_persist.prompts import Prompts

        return Prompts(self._statements("prompts"))

    @cached_property
    def reports(self) -> Reports:
        """What users, nodes and models did in a time, and what it cost."""
        from langgraph_persist.reports import Reports

        return Reports(self._statements("reports", "periods", "zones"))

    @property
    def url(self) -> str:
        """The connection string of the open database, with its password: for psql and others."""
        return self._opened().database.conninfo

    @property
    def engine(self) -> Engine:
        """An SQLAlchemy engine on this database, for ``langgraph_persist.models`` and your own.

        A table of yours without a schema is where the search path has it, as for projections.
        Where ``checkpoint_schema`` is given, the schema ``public`` stands for that.
        """
        journal = self._opened()
        with self._lock:
            if self._engine is None:
                self._engine = _engine(journal)
            return self._engine

    def attach(self, graph: G) -> G:
        """The compiled graph, or any runnable, with the handler on every run of it.

        A model stays a model, and what is made of it (by ``bind_tools``, ``with_structured_output``
        or ``create_agent``) is recorded, too. Of other runnables only what this returns is.
        Attach the outermost graph: of one within a graph that is not attached, a resume is recorded
        as a new workflow, and what it asked stays pending.

        Raises:
            ConfigurationError: it is neither.
        """
        if not isinstance(graph, Runnable):
            compile = " that is not compiled: give builder.compile(checkpointer=…)"
            told = compile if hasattr(graph, "compile") else ": give a compiled graph or a runnable"
            raise ConfigurationError(f"cannot attach to a {type(graph).__name__}{told}")
        # Whoever has a model has it imported already; who has none need not.
        from langchain_core.language_models import BaseLanguageModel

        if isinstance(graph, BaseLanguageModel):
            return graph.model_copy(update={"callbacks": self._callbacks(graph.callbacks)})
        return graph.with_config(callbacks=[self.handler])  # type: ignore[return-value]

    def _callbacks(self, others: Callbacks) -> Callbacks:
        """These and the handler."""
        if isinstance(others, BaseCallbackManager):
            others = others.copy()
            others.add_handler(self.handler)
            return others
        return [*(other for other in others or () if other is not self.handler), self.handler]

    def project(
        self,
        target: ProjectionTarget,
        *,
        keys: str | Sequence[str] | None = None,
        on_error: OnError = "fail",
        subgraphs: bool = False,
    ) -> Callable[[P], P]:
        """A decorator: the function's rows go to a table of yours, along with each checkpoint.

        It is called as ``function(old, new, context)`` with the state before and after, once for
        every checkpoint that becomes durable, and returns nothing, a row, or several: mappings by
        column, or instances of your model. They are committed in the checkpoint's transaction.
        The states are copies, of which each value is made once: what a function changes in one is
        changed for other projections and as the state before, but not in the graph.

        Args:
            target: an SQLAlchemy model or ``Table``, or a table's name.
            keys: the columns that tell rows apart, of a unique index: a row with the same ones is
                updated. By default the primary key; without a value for it the row is added.
            on_error: ``"fail"`` to fail the step, and not save its checkpoint, when the function
                raises or the database refuses a row; ``"record"`` to go on without the row, and
                tell in the table ``projection_errors``.
            subgraphs: also call it for the checkpoints of subgraphs.
        """
        return self._projections.add(target, keys=keys, on_error=on_error, subgraphs=subgraphs)

    def _reflect(self, name: str) -> Table:
        from langgraph_persist.projections.tables import reflect

        database = self._opened().database
        return database.retry(lambda: reflect(name, lambda: database.connect(autocommit=False)))

    def install(self) -> None:
        """Record every run that starts in this process from now on, until :meth:`close`.

        Nothing in the application has to be changed; see ``PersistCallbackHandler.install``.
        """
        self.handler.install()

    def uninstall(self) -> None:
        """Record only what the handler is attached to."""
        self.handler.uninstall()

    @staticmethod
    def config(
        thread_id: str,
        *,
        user: str | None = None,
        organization: str | None = None,
        **given: Any,
    ) -> RunnableConfig:
        """A config for a run on this thread, by this user.

        What else is given is its metadata, recorded with it, but for the keys of any config:
        ``tags``, ``run_name``, ``run_id``, ``recursion_limit``, ``max_concurrency``, ``callbacks``,
        and ``configurable`` and ``metadata``, which are added to.

        Raises:
            ConfigurationError: there is no thread_id, or it or a name is empty.
        """
        thread_name(thread_id)
        for name in ("metadata", "configurable"):
            instance(name, given.get(name), (Mapping, type(None)), "a mapping")
        whose = {"session_id": thread_id, "user": user, "organization": organization}
        for name in ("user", "organization"):
            if isinstance(value := whose[name], str) and not value.strip():
                raise ConfigurationError(f"{name} is a text that is not empty, not {value!r}")
        metadata = {key: value for key, value in whose.items() if value is not None}
        metadata |= given.pop("metadata", None) or {}
        configurable = (given.pop("configurable", None) or {}) | {"thread_id": thread_id}
        keys = RunnableConfig.__annotations__
        metadata |= {key: value for key, value in given.items() if key not in keys}
        rest = {key: value for key, value in given.items() if key in keys}
        return cast(RunnableConfig, {"configurable": configurable, "metadata": metadata, **rest})

    def flush(self, timeout: float | None = None) -> int:
        """Commit all that is queued; returns how many units were committed so far.

        Raises:
            DurabilityError: something could not be committed; its notes tell of further threads.
            TimeoutError: it took longer than ``timeout`` seconds in all; the rest stays queued.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        return self._opened().flush(timeout)

    def threads(
        self,
        *,
        user: str | None = None,
        status: str | None = None,
        recorded: bool | None = None,
        limit: int = 50,
        before: Thread | datetime | None = None,
    ) -> list[Thread]:
        """A page of the threads there are, newest activity first; see ``History.threads``."""
        return self.history.threads(
            user=user, status=status, recorded=recorded, limit=limit, before=before
        )

    def retain(
        self,
        *,
        keep_last: int | None = None,
        older_than: timedelta | None = None,
        sessions: Sessions | None = None,
        record_older_than: timedelta | None = None,
        grace: timedelta | None = None,
        dry_run: bool = False,
    ) -> RetentionReport:
        """Delete what is no longer wanted of checkpoints and record, while graphs run on.

        A checkpoint goes if it is both beyond ``keep_last`` and older than ``older_than``, as far
        as they are given, with its writes, its values that no other one has, and the calls of
        subgraphs that started from it. What stays can be resumed as before: the older checkpoints
        that a ``DeltaChannel`` is rebuilt from stay, too, though they may not be whole themselves.
        Besides, what crashes left behind is deleted; without any argument, only that.

        The work is done thread by thread in small transactions; after an interruption call it
        again for the rest. Checkpoints and record do not depend on each other. Only replaying or
        forking a checkpoint that goes at that moment is not safe.

        Args:
            keep_last: so many of the newest checkpoints of each namespace of a thread stay,
                whatever their age; 0 for none. By default 1, but 0 for expired sessions.
            older_than: only checkpoints created before so long ago go.
            sessions: only these threads: ``"expired"`` or ``"completed"`` sessions, or thread ids.
                Expired ones lose all their checkpoints if nothing else is said.
            record_older_than: what is recorded of turns that ended so long ago goes, and sessions
                as a whole in which nothing happened since.
            grace: what is younger may be in use by a run that nothing is known of, and stays: the
                ends of branches (so the newest checkpoint, even with ``keep_last=0``), writes whose
                checkpoint is missing, a session's content. The report says how many were
                ``spared`` so. By default an hour; ``timedelta(0)`` where no graph runs.
            dry_run: count what would go, and delete nothing.

        Raises:
            ConfigurationError: an argument makes no sense.
        """
        from langgraph_persist.retention import GRACE, Policy, Retention

        policy = Policy(
            keep_last=keep_last,
            older_than=older_than,
            sessions=sessions,
            record_older_than=record_older_than,
            grace=GRACE if grace is None else grace,
            dry_run=dry_run,
        )
        journal = self._opened()
        journal.flush()
        forget = journal.runs.forget
        return Retention(journal.database, journal.schemas, forget=forget).retain(policy)

    def distribute(self) -> None:
        """Spread the tables over the Citus cluster that this database leads, by thread; once.

        All of a thread is on one node then. The views of full states, prompts and transcripts
        cannot be queried any more, as Citus runs a recursive query for one known thread only:
        read those by :attr:`history`. A run that commits alone takes about ten times as long as on
        plain PostgreSQL; runs that commit together, as many at once do, share most of that.

        Raises:
            ConfigurationError: the database leads no cluster.
        """
        from langgraph_persist.migrate import distribute

        journal = self._opened()
        distribute(journal.database.conninfo, journal.schemas)

    def reap(self, lost_after: timedelta = timedelta(seconds=LOST_AFTER)) -> Reaped:
        """Close the runs of lost processes, requests to humans that waited too long, and sessions.

        A run is lost when its process was on this machine and has ended, or has not been heard of
        for ``lost_after``, wherever it was. It is closed as failed (``ProcessLost``), with all that
        it left open, and its thread can be resumed. A process that was only slow takes its runs up
        again. Opening does the same, and so does a run for its own thread; call this now and then
        where processes live long. Sessions expire without it, too, while something is recorded.

        Raises:
            ConfigurationError: ``lost_after`` is too short for heartbeats every 10 seconds.
        """
        durations(lost_after=instance("lost_after", lost_after, timedelta, "a timedelta"))
        if lost_after < timedelta(seconds=2 * INTERVAL):
            raise ConfigurationError(
                f"runs are heard of every {INTERVAL:.0f} seconds: lost_after must be at least twice"
                " that"
            )
        patience = min(lost_after, timedelta(days=36_500))
        return self._opened().reaper.reap(patience.total_seconds())

    def index_metadata(self) -> None:
        """Build an index for filters on checkpoint metadata, as in ``list(filter=…)``.

        Writers go on meanwhile; needs a direct connection. Every checkpoint written costs a little
        more afterwards: drop the index ``checkpoints_metadata_idx`` to be rid of it.
        """
        from langgraph_persist.migrate import index_metadata

        journal = self._opened()
        index_metadata(journal.database.conninfo, journal.schemas)

    @overload
    @staticmethod
    def migrate(
        url: str | None = None,
        *,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        sql: Literal[False] = False,
    ) -> None: ...

    @overload
    @staticmethod
    def migrate(
        url: str | None = None,
        *,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        sql: Literal[True],
    ) -> str: ...

    @staticmethod
    def migrate(
        url: str | None = None,
        *,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        sql: bool = False,
    ) -> str | None:
        """Bring a database up to date, or with ``sql=True`` return the DDL that would, for a DBA.

        With a URL the DDL is what that database lacks; without one it is that of a new database
        and needs no connection.
        """
        if sql:
            return _ddl(url, schema, checkpoint_schema)
        with Persist(url, schema=schema, checkpoint_schema=checkpoint_schema):
            return None

    def _statements(self, *areas: str) -> Statements:
        """Named statements that see what is queued."""
        journal = self._opened()
        return Statements(
            journal.database,
            journal.schemas,
            *areas,
            flush=journal.drain,
            decrypt=self._seal.open if self._seal else None,
        )

    def _forget_quotas(self) -> None:
        if self.handler.quotas is not None:
            self.handler.quotas.forget()

    def _opened(self) -> Journal:
        self.open()
        assert self._journal is not None
        return self._journal


def _ddl(url: str | None, schema: str, checkpoint_schema: str | None) -> str:
    from langgraph_persist.migrate import current, ddl

    schema_names(schema=schema, checkpoint_schema=checkpoint_schema)
    if url is None:
        return ddl(Schemas(schema, checkpoint_schema or "public"))
    with Database(url).connect() as conn:
        schemas = Schemas(schema, checkpoint_schema or find_checkpoint_schema(conn))
        return ddl(schemas, after=current(conn, schemas))


def _engine(journal: Journal) -> Engine:
    from sqlalchemy import create_engine

    from langgraph_persist.models.base import SCHEMA
    from langgraph_persist.models.stock import SCHEMA as STOCK

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: journal.database.connect(autocommit=False),
        pool_pre_ping=True,
    )
    # Tables without a schema are the user's own: they are found by the search path, as elsewhere.
    places = {SCHEMA: journal.schemas.record, STOCK: journal.schemas.checkpoints}
    return engine.execution_options(
        schema_translate_map={told: real for told, real in places.items() if told != real}
    )
