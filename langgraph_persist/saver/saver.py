"""The checkpointer: stock tables and semantics, written through the journal."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Literal, NoReturn, Self, TypeAlias, TypeVar, cast, get_args
from uuid import UUID

import orjson
import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    EXCLUDED_METADATA_KEYS,
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import INTERRUPT, _DeltaSnapshot
from langgraph.types import Interrupt
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.types.json import Jsonb

from langgraph_persist.checks import count, identifiers, instance, thread_name
from langgraph_persist.database.connection import Target
from langgraph_persist.database.queries import Schemas, queries, quote
from langgraph_persist.errors import (
    ConfigurationError,
    DurabilityError,
    JournalClosed,
    PersistError,
    SchemaOutdated,
    UnserializableValue,
)
from langgraph_persist.extract import clean_text, error_fields, keep_for, to_json
from langgraph_persist.extract.todos import CHANNEL
from langgraph_persist.journal import (
    ERROR_HANDLER,
    DeltaWrite,
    Fork,
    Graph,
    Journal,
    Loaded,
    Progress,
    Projector,
    Restriction,
    Run,
    Unit,
    release,
    share,
)
from langgraph_persist.journal.journal import CALL_SETUP, TABLES_MISSING
from langgraph_persist.journal.unit import Blob, Fields, Rows, Write
from langgraph_persist.saver.barrier import wait_at_end
from langgraph_persist.saver.cached import follow
from langgraph_persist.saver.callers import StateEdit, is_editing, opening_loop, state_edit
from langgraph_persist.saver.copies import Copy
from langgraph_persist.saver.deltas import DeltaStates, Opening, edited
from langgraph_persist.saver.exact import CONSTRUCTORS, dumps
from langgraph_persist.saver.jsonb import JsonbLoader
from langgraph_persist.saver.large import TOO_LARGE, select_apart
from langgraph_persist.saver.pages import pages
from langgraph_persist.saver.place import Place, checkpoint_in, configurable_of, place_of
from langgraph_persist.saver.plans import Plans
from langgraph_persist.saver.stock import StockCursor
from langgraph_persist.saver.unreadable import unreadable
from langgraph_persist.saver.unseen import Edit, update_rows
from langgraph_persist.saver.unserializable import unserializable
from langgraph_persist.saver.values import (
    checked_serde,
    encrypts,
    may_be_inline_elsewhere,
    odd_items,
    split,
)
from langgraph_persist.saver.watch import INTERNAL_CHANNELS, Watch

T = TypeVar("T")
Record: TypeAlias = Literal["keep", "delete"]
DictRows: TypeAlias = "list[DictRow]"

_EXACT = "langgraph_persist_exact"
"""The key of metadata under which what JSON cannot hold is kept."""

_RECORDED_ON = "langgraph_persist_recorded_on"
"""The key of metadata for the thread that a run is recorded on, where it saves on another one."""

# The sources of checkpoints that leave behind what was pending on their thread.
_NEW = ("input", "fork")

LARGEST_VALUE = 1_000_000_000
"""Bytes; a PostgreSQL field takes 1 GiB with its overhead."""


class PersistSaver(PostgresSaver):
    """Saves checkpoints so that stock ``PostgresSaver`` can read them, and reads what it wrote.

    One object serves ``invoke`` and ``ainvoke``, any thread and any event loop. Give it a
    PostgreSQL URL, a psycopg ``ConnectionPool`` or a ``Connection``; or use
    ``Persist(...).checkpointer``. Call :meth:`setup` once for a new database.

    A server that cannot be reached at first is an error at once; one that is lost later is waited
    for, ``retry_for`` seconds: 30 by default, for all who share the database in this process.

    During a run of a graph ``put`` and ``put_writes`` return once queued, and the run ends only
    after everything of it is committed. With ``durability="sync"``, and outside of a run, each of
    them returns after its commit.

    With an ``EncryptedSerializer``, or any serde that has a true attribute ``encrypts``, no state
    value is stored in the clear, and a record on the same database keeps structure, timings and
    counts only.

    Raises:
        DurabilityError: what was put could not be committed.
        UnserializableValue: a state value cannot be stored; nothing of it was.
    """

    restriction: Restriction | None = None
    """What may be kept of what it saves, where somebody said."""

    def __init__(
        self,
        conn: Target,
        *,
        serde: SerializerProtocol | None = None,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        retry_for: float | None = None,
        journal: Journal | None = None,
        projector: Projector | None = None,
    ) -> None:
        super().__init__(cast(Any, conn), serde=checked_serde(serde))
        self._watch = Watch(projector)
        self._owns_journal = journal is None
        self.journal = journal or share(conn, schema, checkpoint_schema, retry_for)
        self._plans = Plans(self.journal)
        self._deltas = DeltaStates(self.journal.failures)
        if isinstance(self.serde, (JsonPlusSerializer, EncryptedSerializer)):
            self.serde = self.with_allowlist(CONSTRUCTORS).serde
        self._encrypts = encrypts(self.serde)
        if self._encrypts:
            self.journal.content = False

    @classmethod
    @contextmanager
    def from_conn_string(
        cls, conn_string: str, *, pipeline: bool = False, **options: Any
    ) -> Iterator[PersistSaver]:
        """A saver on this URL, closed at the end of the ``with`` block.

        ``pipeline`` is accepted as upstream has it; writes are always sent as one pipeline.
        """
        saver = cls(conn_string, **options)
        try:
            yield saver
        finally:
            saver.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def setup(self) -> None:
        """Create or upgrade all tables; does nothing where they are up to date."""
        self.journal.setup()

    def close(self) -> None:
        """Commit what is queued and close the connections this saver opened."""
        if self._owns_journal:
            self._owns_journal = False
            release(self.journal)

    @property
    def schemas(self) -> Schemas:
        """Where the tables are."""
        return self.journal.schemas

    # --- writing ---

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint; returns the config that names it."""
        edit = self._edit(config, found) if (found := _edit(config)) else None
        unit, saved = self._checkpoint_unit(config, checkpoint, metadata, new_versions, edit)
        if (future := self._submit(config, unit)) is not None:
            future.result()
        return saved

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Like :meth:`put`; waits without blocking the event loop."""
        put = (config, checkpoint, metadata, new_versions)
        if found := _edit(config):
            edit = await self._in_executor(self._edit, config, found)
            unit, saved = await self._in_executor(self._checkpoint_unit, *put, edit)
        elif self._watch.takes_time or CHANNEL in new_versions:
            unit, saved = await self._in_executor(self._checkpoint_unit, *put)
        else:
            unit, saved = self._checkpoint_unit(*put)
        await self._asubmit(config, unit)
        return saved

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task wrote, linked to the checkpoint it ran from."""
        unit = self._writes_unit(config, writes, task_id, task_path)
        if (future := self._submit(config, unit)) is not None:
            future.result()

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Like :meth:`put_writes`; waits without blocking the event loop."""
        await self._asubmit(config, self._writes_unit(config, writes, task_id, task_path))

    def _submit(self, config: RunnableConfig, unit: Unit) -> Future[None] | None:
        """Queue a unit; a future to wait for where the run's end is not going to wait."""
        durability = config["configurable"].get("__pregel_durability")
        # update_state has no runtime: no run's end would wait for it.
        in_run = "__pregel_runtime" in config["configurable"]
        if in_run and durability != "sync" and self._is_awaited(config, unit):
            self.journal.append(unit)
            return None
        return self.journal.commit(unit)

    def _is_awaited(self, config: RunnableConfig, unit: Unit) -> bool:
        """Whether the end of a run will wait for what is saved with this config."""
        graph = unit.thread_id, config["configurable"].get("checkpoint_ns", "")
        return unit.in_run or graph in self.journal.barriers

    async def _asubmit(self, config: RunnableConfig, unit: Unit) -> None:
        await self.journal.has_room()
        if (future := self._submit(config, unit)) is not None:
            await asyncio.wrap_future(future)

    def _checkpoint_unit(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
        edit: Edit | None = None,
    ) -> tuple[Unit, RunnableConfig]:
        thread_id, ns, parent = place_of(config)
        inline, rich = split(checkpoint["channel_values"], inline=not self._encrypts)
        versions = self._blob_versions(thread_id, ns, rich, checkpoint, new_versions)
        run, graph = self.journal.runs.find(config, thread_id, ns)
        whose = run or edit
        recorded_on = run.recorded_on(graph) if run else edit and edit.recorded_on
        row: Fields = {
            "thread_id": thread_id,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint["id"],
            "parent_checkpoint_id": parent,
            "checkpoint": to_json({**checkpoint, "channel_values": inline}),
            "metadata": self._dump_metadata(thread_id, config, metadata, recorded_on),
            "workflow_id": whose.workflow_id if whose else None,
        }
        try:
            blobs = [
                Blob(thread_id, ns, k, version, *self._dumps(thread_id, None, k, rich[k]))
                for k, version in versions.items()
            ]
        except UnserializableValue as error:
            self.journal.runs.forget(thread_id)  # what was to be stored
            if run is not None:
                run.refuse(graph, error.channel, None, _failed(error))
            raise
        # First, since it may refuse the checkpoint that nodes wait for.
        whole = checkpoint
        with self.journal.failures.kept("put", run.missing if run else None):
            whole = self._deltas.saved(run, graph, parent, checkpoint)
            if edit is not None:
                whole = edited(checkpoint, edit.edit.channels)
        derived = self._watch.derive(run, graph, config, whole, metadata, self.get_tuple)
        plans: Rows = []
        # Before the nodes are released, by which it is known what may be told.
        with self.journal.failures.kept("plans", run.missing if run else None):
            plans = self._plans.rows(run, graph, config, whole, metadata, self.get_tuple)
        rows = self._recorded(run, graph, row, whole, metadata) if run else []
        with self.journal.failures.kept("update_state"):
            if edit is not None and edit.recorded:
                owner = {"thread_id": thread_id, "workflow_id": edit.workflow_id}
                state, rows = self._owned_state(owner, ns, whole)
                rows += update_rows(self.journal, edit, row, config, metadata, state)
        saved: RunnableConfig = {
            "configurable": {
                "thread_id": thread_id,
                "checkpoint_ns": ns,
                "checkpoint_id": checkpoint["id"],
            }
        }
        rows += derived.rows + plans
        projected, in_run = derived.projected, run is not None and not run.ended
        return Unit(thread_id, rows, row, blobs, projected=projected, in_run=in_run), saved

    def _blob_versions(
        self,
        thread_id: str,
        ns: str,
        rich: Mapping[str, Any],
        checkpoint: Checkpoint,
        new_versions: ChannelVersions,
    ) -> dict[str, str]:
        """The values to be stored, by channel, with their versions.

        An old one that is not known to be a blob is among them: it may be inline so far, in a
        checkpoint that stock made, say, and would be lost with this one.
        """
        versions = {k: str(v) for k, v in new_versions.items() if k in rich}
        if suspects := [k for k, value in rich.items() if may_be_inline_elsewhere(value)]:
            known = self.journal.runs.known(thread_id)
            for channel in suspects:
                version = checkpoint["channel_versions"].get(channel)
                if version is not None and known.stores(ns, channel, str(version)):
                    versions[channel] = str(version)
        return versions

    def _recorded(
        self,
        run: Run,
        graph: Graph,
        row: Fields,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
    ) -> Rows:
        """The rows of ``_record_rows``; where that fails the nodes without state, which say so."""
        try:
            return self._record_rows(run, graph, row, checkpoint, metadata)
        except (DurabilityError, JournalClosed):
            raise
        except Exception as error:
            self.journal.failures.add("put", error)
            missing = {"missing": {"state": f"failed: {type(error).__name__}"}}
            result = _place(row, run.foreign(graph)) | missing
            return run.release(graph, metadata.get("step", -1), result)

    def _record_rows(
        self,
        run: Run,
        graph: Graph,
        row: Fields,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
    ) -> Rows:
        """The record rows that were waiting for this checkpoint, with the state it holds."""
        step = metadata.get("step", -1)
        run.saves(graph, step, checkpoint["id"])
        is_new = metadata.get("source") in _NEW and not graph.checkpoint_ns
        rows = run.supersede(graph.thread_id) if is_new else []
        if not run.awaits(graph, step):
            return rows
        foreign = run.foreign(graph)
        place = f"{foreign}\x00{graph.checkpoint_ns}" if foreign else graph.checkpoint_ns
        owner = {"thread_id": run.thread_id, "workflow_id": run.workflow_id}
        state: Any = None
        if run.shows(graph, step):
            state, content = self._owned_state(owner, place, checkpoint)
            rows += content
        result = _place(row, foreign) | {"state": state}
        if run.goes_on(graph):
            where = {"checkpoint_ns": graph.checkpoint_ns, "step": step}
            hidden = [p + name for name in self.journal.capture.nodes for p in ("", ERROR_HANDLER)]
            rows.append(("pending_results", owner | where | result | {"hidden": hidden}))
        return rows + run.release(graph, step, result)

    def _owned_state(self, owner: Fields, place: str, checkpoint: Checkpoint) -> tuple[Any, Rows]:
        """The state as it may be recorded, with rows that say whose they are."""
        if not self.journal.keeps_content:
            return None, []
        state, content = self._state(owner["thread_id"], place, checkpoint)
        return state, [(table, owner | fields) for table, fields in content]

    def _edit(self, config: RunnableConfig, edit: StateEdit) -> Edit:
        """Whose state is edited: that of the workflow which left the checkpoint edited."""
        params = place_of(config)._asdict()
        sql = queries("threads", self.schemas)["workflow_of_checkpoint"].encode()
        found = self._read(
            "update_state",
            params["thread_id"],
            lambda conn: conn.cursor(row_factory=tuple_row).execute(sql, params).fetchone(),
        )
        return Edit(edit, *(found or (None, False, None, False)))

    def _state(self, thread_id: str, ns: str, checkpoint: Checkpoint) -> tuple[Any, Rows]:
        """The ``nodes.state`` of a checkpoint, and the rows of values not stored before."""
        known = self.journal.runs.known(thread_id)
        keep = keep_for(self.journal, thread_id)
        versions = checkpoint["channel_versions"]
        state: dict[str, Any] = {}
        for channel, value in checkpoint["channel_values"].items():
            if channel.startswith(INTERNAL_CHANNELS):
                continue
            version = str(versions.get(channel))
            last = known.entries.get((ns, channel))
            if last is not None and last[0] == version:
                state[clean_text(channel)] = last[1]
                continue
            if isinstance(value, _DeltaSnapshot):
                value = value.value
            entry = keep.channel(channel, value)
            known.keep(ns, channel, version, entry)
            state[clean_text(channel)] = entry
        return orjson.Fragment(orjson.dumps(state)), keep.rows

    def _writes_unit(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Unit:
        thread_id, ns, at = place_of(config)
        if at is None:
            raise ConfigurationError("the config names no checkpoint_id, which writes belong to")
        run, graph = self.journal.runs.find(config, thread_id, ns)
        try:
            rows = [
                Write(
                    thread_id,
                    ns,
                    at,
                    task_id,
                    task_path,
                    WRITES_IDX_MAP.get(channel, index),
                    channel,
                    *self._dumps(thread_id, task_path, channel, value),
                )
                for index, (channel, value) in enumerate(writes)
            ]
        except UnserializableValue as error:
            if run is not None:
                run.refuse(graph, error.channel, task_id, _failed(error))
            raise
        record: Rows = []
        if run is not None:
            run.wrote(task_id)
            record += run.take_requests(_interrupt_ids(writes))
            with self.journal.failures.kept("put_writes", run.missing):
                self._deltas.wrote(run, graph, at, _delta_writes(rows, writes))
        replace = all(c in WRITES_IDX_MAP for c, _ in writes)
        in_run = run is not None and not run.ended
        return Unit(thread_id, record, writes=rows, replace_writes=replace, in_run=in_run)

    def _dump_metadata(
        self,
        thread_id: str,
        config: RunnableConfig,
        metadata: CheckpointMetadata,
        recorded_on: str | None,
    ) -> orjson.Fragment:
        """Metadata as JSON; what JSON would change is there a second time, exactly."""
        # As LangGraph's helper does, which drops NUL from strings.
        found: dict[str, Any] = {**metadata}
        for source in (config.get("metadata") or {}, config["configurable"]):
            for name, value in source.items():
                known = name in found or name in EXCLUDED_METADATA_KEYS
                if not known and isinstance(value, (str, int, float)) and name[:2] != "__":
                    found[name] = value
        found.pop("writes", None)
        if odd := odd_items(found):
            type_, data = self._dumps(thread_id, None, "metadata", odd)
            found[_EXACT] = [type_, base64.b64encode(data).decode()]
        if recorded_on is not None:
            found[_RECORDED_ON] = recorded_on
        return to_json(found)

    def _load_checkpoint_tuple(self, value: DictRow) -> CheckpointTuple:
        try:
            return self._load(value)
        except Exception as error:
            raise unreadable(self.serde, value, error) from error

    def _load(self, value: DictRow) -> CheckpointTuple:
        metadata = value["metadata"]
        metadata.pop(_RECORDED_ON, None)
        if exact := metadata.pop(_EXACT, None):
            odd = self.serde.loads_typed((exact[0], base64.b64decode(exact[1])))
            kept = {k: v for k, v in metadata.items() if k not in map(clean_text, odd)}
            value = {**value, "metadata": kept | odd}
        return super()._load_checkpoint_tuple(value)

    def _dumps(
        self, thread_id: str, task_path: str | None, channel: str, value: Any
    ) -> tuple[str, bytes]:
        try:
            type_, data = dumps(self.serde, value)
        except Exception as error:
            args = (self.serde, channel, value, thread_id, task_path, error)
            raise unserializable(*args) from error
        if len(data) > LARGEST_VALUE:
            raise UnserializableValue(
                f"channel {channel!r} of thread {thread_id!r} takes {len(data):,} bytes; "
                f"PostgreSQL holds {LARGEST_VALUE:,} in one value. Store it elsewhere and keep "
                "its address in the state",
                channel=channel,
            )
        return type_, data

    # --- reading ---

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the thread's latest; None if there is none."""
        # Frames are walked for the forks ahead only.
        editing = bool(self.journal.forks) and is_editing()
        return self._get_tuple(config, opening_loop(), editing=editing)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Like :meth:`get_tuple`, on a thread of its own."""
        loop, editing = opening_loop(), bool(self.journal.forks) and is_editing()
        return await self._in_executor(partial(self._get_tuple, config, loop, editing=editing))

    def _get_tuple(
        self, config: RunnableConfig, loop: Any, *, editing: bool
    ) -> CheckpointTuple | None:
        asked = place = place_of(config)
        if place.checkpoint_id and (fork := self.journal.forks.find(place.checkpoint_id)):
            place = self._forked(place, fork, starts=editing or loop is not None)
        thread_id, ns, checkpoint_id = place
        self._settle(thread_id)
        where = " WHERE c.thread_id = %s AND c.checkpoint_ns = %s"
        args = [thread_id, ns]
        if checkpoint_id:
            where += " AND c.checkpoint_id = %s"
            args.append(checkpoint_id)
        else:
            where += " ORDER BY c.checkpoint_id DESC LIMIT 1"
        rows = self._select("get_tuple", thread_id, where, args)
        run, graph = self._begin(config, asked, loop)
        if run is None and loop is not None:
            wait_at_end(self.journal, thread_id, ns, loop)
        return self._open(run, graph, loop, rows[0] if rows else None)

    def _forked(self, place: Place, fork: Fork, *, starts: bool) -> Place:
        """Where a copy is to be read; who only looks sees what it will be a copy of."""
        if not starts:
            ns, checkpoint_id = fork.origins[place.checkpoint_id or ""]
            return place._replace(checkpoint_ns=ns, checkpoint_id=checkpoint_id)
        fork.make()
        self.journal.forks.remove(fork)
        return place

    def _begin(self, config: RunnableConfig, place: Place, loop: Any) -> tuple[Run | None, Graph]:
        """The run and the graph in it that reads with this config, by this loop if it begins."""
        run, graph = self.journal.runs.find(config, place.thread_id, place.checkpoint_ns)
        if run is not None and loop is not None:
            run.saves(graph)
            with self.journal.failures.kept("load", run.missing):
                follow(self.journal, run, graph, loop)
        return run, graph

    def _open(
        self, run: Run | None, graph: Graph, loop: Any, row: DictRow | None
    ) -> CheckpointTuple | None:
        """The checkpoint of a row, of which the run is told that goes on from it."""
        if run is not None:
            with self.journal.failures.kept("load", run.missing):
                self._announce(run, graph, row)
        found = self._load_checkpoint_tuple(row) if row is not None else None
        if run is not None:
            pending = row["pending_writes"] if row is not None else None
            with self.journal.failures.kept("load", run.missing):
                self._opened(run, graph, Opening(loop, found, pending, self.serde))
        return found

    def _opened(self, run: Run, graph: Graph, opening: Opening) -> None:
        """A run has loaded a checkpoint, or found none."""
        found = opening.found
        checkpoint = self._deltas.loaded(
            run, graph, opening, lambda names: self._histories(found.config, names) if found else {}
        )
        if found is None or checkpoint is None:
            return
        run.starts_from(graph, checkpoint["channel_values"])
        self._watch.loaded(run, graph, checkpoint)
        self._plans.loaded(run, graph, found._replace(checkpoint=checkpoint))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first, read a few at a time: no connection is held in between."""
        load = self._loader(config, opening_loop())
        for page in self._pages(config, filter, before, limit):
            yield from map(load, page)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Like :meth:`list`, each page on a thread of its own."""
        pages = self._pages(config, filter, before, limit)
        load = self._loader(config, opening_loop())
        while page := await self._in_executor(lambda: [*map(load, next(pages, ()))]):
            for item in page:
                yield item

    def _loader(
        self, config: RunnableConfig | None, loop: Any
    ) -> Callable[[DictRow], CheckpointTuple]:
        """What makes a checkpoint of a row; a loop that replays a subgraph goes on from it."""
        if config is None or loop is None:
            return self._load_checkpoint_tuple
        run, graph = self._begin(config, place_of(config), loop)
        return lambda row: cast(CheckpointTuple, self._open(run, graph, loop, row))

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[DictRows]:
        """What is queued is waited for when the first page is asked for."""
        thread_id = None
        if not config:
            self.journal.flush()
        else:
            place = place_of(config)
            thread_id = place.thread_id
            self._settle(thread_id)
            named = config["configurable"].get("checkpoint_ns") is not None
            config = {"configurable": place._asdict() if named else _without_namespace(place)}
        if before is not None:
            before = {"configurable": {"checkpoint_id": checkpoint_in(before)}}
        where, args = self._search_where(config, _as_filter(filter), before)
        table = f"{quote(self.schemas.checkpoints)}.checkpoints"
        # A thread's pages are found by the key, whatever is asked; the best way to others varies.
        prepare = None if thread_id is not None and not filter else False
        select = partial(self._select, "list", thread_id, prepare=prepare)
        most = None if limit is None else count("limit", limit)
        yield from pages(select, table, where, args, most, thread_id)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """The writes of delta channels since their last snapshot."""
        read = self._deltas.history(opening_loop(), checkpoint_in(config), channels)
        return read or self._histories(config, channels)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Like :meth:`get_delta_channel_history`, on a thread of its own."""
        read = self._deltas.history(opening_loop(), checkpoint_in(config), channels)
        return read or await self._in_executor(self._histories, config, channels)

    def _histories(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        place = place_of(config)
        self._settle(place.thread_id)
        where: RunnableConfig = {"configurable": place._asdict()}
        try:
            return self.journal.database.retry(
                lambda: super(PersistSaver, self).get_delta_channel_history(
                    config=where, channels=channels
                )
            )
        except (psycopg.Error, PersistError):
            raise
        except Exception as error:
            raise unreadable(self.serde, place._asdict(), error) from error

    def _settle(self, thread_id: str) -> None:
        """Wait for what is queued of the thread, so that it is read."""
        if (future := self.journal.settled(thread_id)) is not None:
            future.result()

    def _read(
        self, operation: str, thread_id: str | None, work: Callable[[Connection[Any]], T]
    ) -> T:
        try:
            return self.journal.database.run(work)
        except (psycopg.Error, PersistError) as error:
            _annotate(error, operation, thread_id)

    def _select(
        self,
        operation: str,
        thread_id: str | None,
        where: str,
        args: Sequence[Any],
        *,
        prepare: bool | None = None,
    ) -> DictRows:
        sql = queries("checkpoints", self.schemas)
        query = _selecting(sql["select_checkpoints"], where, in_thread=thread_id is not None)
        whole = args if thread_id is None else [thread_id, thread_id, *args]

        def work(conn: Connection[Any]) -> DictRows:
            with conn.cursor(binary=True, row_factory=dict_row) as cur:
                cur.adapters.register_loader("jsonb", JsonbLoader)
                rows = cur.execute(query, whole, prepare=prepare).fetchall()
            return self._with_pending_sends(conn, rows)

        try:
            return self._read(operation, thread_id, work)
        except TOO_LARGE:
            return self._read(
                operation,
                thread_id,
                lambda conn: self._with_pending_sends(conn, select_apart(conn, sql, where, args)),
            )

    def _with_pending_sends(self, conn: Connection[Any], rows: DictRows) -> DictRows:
        """Give checkpoints before version 4 the sends that their parents hold."""
        by_thread: dict[str, DictRows] = defaultdict(list)
        for row in rows:
            if row["checkpoint"]["v"] < 4 and row["parent_checkpoint_id"]:
                by_thread[row["thread_id"]].append(row)
        sql = queries("checkpoints", self.schemas)["select_pending_sends"].encode()
        for thread_id, old in by_thread.items():
            parents = [row["parent_checkpoint_id"] for row in old]
            params = {"thread_id": thread_id, "checkpoint_ids": parents}
            with conn.cursor(binary=True, row_factory=dict_row) as cur:
                found = cur.execute(sql, params).fetchall()
            sends = {row["checkpoint_id"]: row["sends"] for row in found}
            for row in old:
                row["channel_values"] = row["channel_values"] or []
                self._migrate_pending_sends(
                    sends.get(row["parent_checkpoint_id"], []),
                    row["checkpoint"],
                    row["channel_values"],
                )
        return rows

    def _announce(self, run: Run, graph: Graph, row: DictRow | None) -> None:
        """Tell the run that loads this checkpoint where it starts from."""
        if row is None:
            run.saves(graph)
        else:
            run.saves(graph, row["metadata"].get("step", -1), row["checkpoint_id"])
        if graph.checkpoint_ns == "":
            if row is None:
                self.journal.runs.forget(graph.thread_id)
            elif graph.thread_id == run.home and not run.continues:
                self.journal.reaper.suspect(run.home)
            run.loaded(graph.thread_id, self._loaded(row) if row else None)

    def _loaded(self, row: DictRow) -> Loaded:
        """What a run is told of the checkpoint that it starts from."""
        workflow_id = cast("UUID | None", row["workflow_id"])
        look_up = partial(self._progress, row["thread_id"], workflow_id)
        metadata = row["metadata"]
        source, recorded_on = metadata.get("source"), metadata.get(_RECORDED_ON)
        return Loaded(row["checkpoint_id"], workflow_id, source, look_up, recorded_on)

    def _progress(self, thread_id: str, workflow_id: UUID | None) -> Progress | None:
        if workflow_id is None:
            return None
        sql = queries("interventions", self.schemas)["progress"].encode()
        params = {"thread_id": thread_id, "workflow_id": workflow_id}

        def work(conn: Connection[Any]) -> tuple[Any, ...] | None:
            return conn.cursor(row_factory=tuple_row).execute(sql, params).fetchone()

        found = self._read("progress", thread_id, work)
        return Progress(workflow_id, *found) if found and found[0] else None

    # --- threads ---

    def delete_thread(self, thread_id: str, *, record: Record = "keep") -> None:
        """Delete all checkpoints and writes of a thread, in one transaction.

        Its record is kept, the session marked in its ``metadata`` and what waits in it for a human
        cancelled; or deleted along with it.

        Raises:
            ConfigurationError: ``record`` is neither ``"keep"`` nor ``"delete"``.
        """
        if record not in get_args(Record):
            raise ConfigurationError(f'record is "keep" or "delete", not {record!r}')
        thread_id = thread_name(thread_id)
        self._settle(thread_id)
        names = ["delete_checkpoints", "delete_blobs", "delete_writes"]
        kept = ["mark_session", "cancel_workflows", "cancel_requests"]
        deleted = ["inherit_workflows", "delete_session"]
        names += kept if record == "keep" else deleted
        names += ["cancel_requests_elsewhere", "reopen_periods"]
        periods = Jsonb(self._recorded_periods(thread_id), dumps=orjson.dumps)
        self._transact(names, {"thread_id": thread_id, "rows": periods})
        self.journal.runs.forget(thread_id)

    async def adelete_thread(self, thread_id: str, *, record: Record = "keep") -> None:
        """Like :meth:`delete_thread`, on a thread of its own."""
        await self._in_executor(lambda: self.delete_thread(thread_id, record=record))

    def _recorded_periods(self, thread_id: str) -> DictRows:
        """When anything of a thread happened that reports tell of."""
        sql = queries("periods", self.schemas)["recorded_periods"].encode()
        params = {"thread_id": thread_id, "ids": None}
        return self._read(
            "delete_thread",
            thread_id,
            lambda conn: conn.cursor(row_factory=dict_row).execute(sql, params).fetchall(),
        )

    def copy_thread(
        self, source_thread_id: str, target_thread_id: str, *, record: bool = False
    ) -> None:
        """Copy all checkpoints, values and writes to another thread, in one transaction.

        With ``record=True`` the record is copied too, its ids unchanged; what it tells of is
        counted once, where it happened. Of several who copy to one thread at once, one does.

        Raises:
            ConfigurationError: there is nothing to copy, or the target has checkpoints already, or
                a record where the record is copied. Nothing is written then.
        """
        source, target = thread_name(source_thread_id), thread_name(target_thread_id)
        if source == target:
            raise ConfigurationError(f"thread {source!r} cannot be copied to itself")
        self._settle(source)
        self._settle(target)
        self._read("copy_thread", target, Copy(self.schemas, source, target, record=record))

    async def acopy_thread(
        self, source_thread_id: str, target_thread_id: str, *, record: bool = False
    ) -> None:
        """Like :meth:`copy_thread`, on a thread of its own."""
        await self._in_executor(
            lambda: self.copy_thread(source_thread_id, target_thread_id, record=record)
        )

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints, with their writes, whose metadata has one of these run ids."""
        ids = identifiers("run_ids", run_ids)
        self.journal.flush()
        self._transact(["delete_runs"], {"run_ids": ids})

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Like :meth:`delete_for_runs`, on a thread of its own."""
        await self._in_executor(self.delete_for_runs, run_ids)

    def _transact(self, names: Sequence[str], params: Mapping[str, Any]) -> None:
        """Run named statements in one transaction."""
        areas = ("checkpoints", "threads", "periods")
        sql = {name: text for area in areas for name, text in queries(area, self.schemas).items()}

        def work(conn: Connection[Any]) -> None:
            with conn.transaction():
                for name in names:
                    conn.execute(sql[name].encode(), params)

        self._read(", ".join(names), None, work)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only the latest checkpoint of each namespace, or nothing (``"delete"``).

        ``"keep_latest"`` keeps what the latest checkpoint is rebuilt from, too, where a graph has
        a ``DeltaChannel``; such an older checkpoint may no longer be whole itself.
        """
        ids = identifiers("thread_ids", thread_ids)
        for thread_id in ids:
            self._settle(thread_id)
        if strategy != "keep_latest":
            self.journal.database.retry(
                lambda: super(PersistSaver, self).prune(ids, strategy=strategy)
            )
            return
        from langgraph_persist.retention import Retention

        retention = Retention(self.journal.database, self.schemas)
        for thread_id in ids:
            try:
                retention.keep_latest(thread_id)
            except (psycopg.Error, PersistError) as error:
                _annotate(error, "prune", thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Like :meth:`prune`, on a thread of its own."""
        await self._in_executor(lambda: self.prune(thread_ids, strategy=strategy))

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        """A cursor for the inherited statements, on a connection of the pool."""
        schema = self.schemas.checkpoints
        with self.journal.database.connection() as conn, StockCursor(conn, schema) as cur:
            if pipeline:
                with conn.transaction():
                    yield cur
            else:
                yield cur

    async def _in_executor(self, work: Callable[..., T], *args: Any) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self.journal.executor, lambda: context.run(work, *args)
        )


@cache
def _selecting(select: str, where: str, *, in_thread: bool) -> bytes:
    """The query for the checkpoints that a clause finds, of one thread or of any."""
    if in_thread:
        # Citus asks one node instead of all of them only if every table is told the thread.
        select = select.replace(".thread_id = c.thread_id", ".thread_id = %s")
    return f"{select} {where}".encode()


def _edit(config: RunnableConfig) -> StateEdit | None:
    """What ``update_state`` is saving with this config; nothing in a run."""
    return None if "__pregel_runtime" in configurable_of(config) else state_edit()


def _without_namespace(place: Place) -> dict[str, Any]:
    return {"thread_id": place.thread_id, "checkpoint_id": place.checkpoint_id}


def _failed(error: UnserializableValue) -> Fields:
    """The end of a node that wrote what cannot be stored."""
    return {"status": "failed", **error_fields(error)}


def _as_filter(filter: Any) -> dict[str, Any] | None:
    """What metadata must contain, which is JSON."""
    if filter is None:
        return None
    instance("filter", filter, dict, "a dict of metadata")
    try:
        json.dumps(filter)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"filter holds what metadata cannot: {error}") from None
    return cast("dict[str, Any]", filter)


def _place(checkpoint: Fields, foreign: str | None) -> Fields:
    """Which checkpoint nodes ran from, and which holds what they made."""
    return {
        "checkpoint_id": checkpoint["checkpoint_id"],
        "input_checkpoint_id": checkpoint["parent_checkpoint_id"],
        "checkpoint_thread_id": foreign,
    }


def _delta_writes(rows: Sequence[Write], writes: Sequence[tuple[str, Any]]) -> Iterator[DeltaWrite]:
    for row, (channel, value) in zip(rows, writes, strict=True):
        yield DeltaWrite(channel, value, row.task_id, row.task_path, row.idx)


def _interrupt_ids(writes: Sequence[tuple[str, Any]]) -> list[str]:
    """The ids of the interrupts that a task has raised."""
    raised = [value for channel, value in writes if channel == INTERRUPT]
    raised = [i for v in raised for i in (v if isinstance(v, (list, tuple)) else [v])]
    return [interrupt.id for interrupt in raised if isinstance(interrupt, Interrupt)]


def _annotate(error: Exception, operation: str, thread_id: str | None) -> NoReturn:
    where = "" if thread_id is None else f" of thread {thread_id!r}"
    error.add_note(f"in {operation}{where}")
    if isinstance(error, TABLES_MISSING):
        raise SchemaOutdated(f"{error.diag.message_primary}; {CALL_SETUP}") from error
    raise error
