"""The one ordered, bounded queue of a database, and the thread that writes it.

Units are committed in the order they were appended, in groups: whatever is queued when the writer
is free becomes one transaction. A thread that waits for its unit writes the queue itself, if
nobody else does: that spares it two changes of threads. A full journal makes the producer wait; no
unit is dropped. On an event loop it waits where it is awaited, for ``has_room``: what the loop
queues in between may fill the journal twice, and only then holds the loop. A unit that cannot be
committed fails, and so does every later unit of its thread until one who waits for that thread has
been told: nothing becomes durable past a gap.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any
from weakref import WeakMethod

import psycopg
from psycopg import Connection

from langgraph_persist.database.connection import Backoff, Database, is_connection_lost
from langgraph_persist.database.queries import Schemas
from langgraph_persist.errors import DatabaseUnavailable, DurabilityError, JournalClosed
from langgraph_persist.journal.barriers import Barrier, Barriers
from langgraph_persist.journal.capture import Capture
from langgraph_persist.journal.company import Company
from langgraph_persist.journal.failures import Failures
from langgraph_persist.journal.forks import Forks
from langgraph_persist.journal.heartbeat import Heartbeat
from langgraph_persist.journal.privacy import Seal, concise, fitting, redacted, without_content
from langgraph_persist.journal.reaper import Reaper
from langgraph_persist.journal.remains import OUTLINE, Remains
from langgraph_persist.journal.restrictions import Restriction, Restrictions
from langgraph_persist.journal.runs import OpenNode, Runs
from langgraph_persist.journal.salvage import Refusal, is_refusal
from langgraph_persist.journal.starts import Start, Starts
from langgraph_persist.journal.unit import Group, Receipt, Rows, Unit, serialisable
from langgraph_persist.journal.write import Attempt, Sql, statements, write_group
from langgraph_persist.migrate import find_checkpoint_schema, upgrade

logger = logging.getLogger(__name__)

LINGER = 0.05
"""Seconds that an idle writer waits for company when nobody waits for it."""

MAX_ROWS = 50_000
MAX_BYTES = 64 << 20
GROUP_BYTES = 16 << 20

TABLES_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
CALL_SETUP = "the tables are missing or outdated: call setup() once, or open them with Persist"
ERROR_HANDLER = "__error_handler__"
"""What LangGraph puts before the name of a node to name what handles its errors."""
RESUME = "nothing after its last checkpoint is kept: invoke(None, config) resumes from there"

_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


class Journal:
    """Takes units from any thread and commits them in order."""

    def __init__(
        self,
        database: Database,
        schema: str = "langgraph_persist",
        checkpoint_schema: str | None = None,
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        linger: float = LINGER,
    ) -> None:
        self.database = database
        self._schema, self._checkpoint_schema = schema, checkpoint_schema
        self._schemas: Schemas | None = None
        self._statements: Sql | None = None
        self.runs = Runs()
        self.barriers = Barriers()
        self.forks = Forks()
        self.heartbeat = Heartbeat()
        self.reaper = Reaper(self)
        self.content = True
        """False where a saver encrypts: then the record holds nothing that was said."""
        self.seal: Seal | None = None
        """What encrypts all that was said, where that is wanted."""
        self.failures = Failures()
        self._restrictions = Restrictions(self.failures)
        self.committed_units = 0
        self.committed_groups = 0
        self.failed_units = 0
        self.sweepers: list[WeakMethod[Callable[[bool], None]]] = []
        """Called before all is to be committed, for ends that nobody has told yet; with True the
        last time, for all that has not ended."""
        self._max_rows, self._max_bytes, self._linger = max_rows, max_bytes, linger
        self.closed = False
        self.users = 0
        self._connection: Connection[Any] | None = None
        self._lost_since: float | None = None
        self._reset()
        _journals.add(self)
        # Hooks run last in, first out: drain before whatever was there ends the server.
        atexit.unregister(_drain_at_exit)
        atexit.register(_drain_at_exit)

    def _reset(self) -> None:
        # Reentrant: a signal handler or the garbage collector may come in anywhere.
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._room_soon: Future[None] | None = None
        self._queue: list[Unit] = []
        self._starts = Starts(self._lock)
        self._held: dict[str, list[Unit]] = {}
        self._rows = self._bytes = 0
        self._urgent = self._idle = False
        self._writing = threading.Lock()
        self._company = Company()
        self._writer: int | None = None
        # A Counter takes eight times as long to count.
        self._pending: dict[str, int] = defaultdict(int)
        self._saving: dict[str, int] = defaultdict(int)
        self._failed: dict[str, BaseException] = {}
        self._remains = Remains(self._max_bytes)
        self._thread: threading.Thread | None = None
        self._executor: ThreadPoolExecutor | None = None

    @property
    def schemas(self) -> Schemas:
        """Where the tables are; asks the database once where no checkpoint schema was named."""
        if self._schemas is None:
            checkpoints = self._checkpoint_schema or self.database.run(find_checkpoint_schema)
            self._schemas = Schemas(self._schema, checkpoints)
        return self._schemas

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for the reads of event loops."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(8, "langgraph-persist-read")
            return self._executor

    def setup(self) -> None:
        """Create or upgrade all tables; does nothing where they are up to date."""
        with self.database.connect() as conn:
            upgrade(conn, self.schemas)

    # --- producers ---

    def append(self, unit: Unit) -> None:
        """Queue a unit; waits while the journal is full, on an event loop while twice full.

        Raises:
            DurabilityError: an earlier unit of its thread could not be committed.
            JournalClosed: the journal was closed.
        """
        unit.rows = self._protect(unit.rows)
        try:
            unit.measure()
        except TypeError as error:
            self.failures.add("append", error)
            unit.rows = serialisable(unit.rows)
            unit.measure()
        if unit.size > self.capture.max_bytes and self.seal is None:
            unit.rows = fitting(unit.rows, self.capture.max_bytes)
            unit.measure()
        with self._lock:
            self._refuse(unit)
            if unit.count and self.full:
                self._await_room()
                self._refuse(unit)
            if unit.rows:
                self._learn(unit)
            self._release(unit.thread_id)
            self._enqueue(unit)
            # While it lingers it will see for itself.
            if self._idle or self.full:
                self._wake.notify()
            if self._thread is None:
                self._start()

    def begin(self, thread_id: str, content: Rows, rows: Rows) -> Start:
        """Something begins: its rows wait a while for its end, to be written along with it.

        ``content`` is what they refer to. It is written before anything else of the thread, all of
        which may refer to it from now on.

        Raises:
            JournalClosed: the journal was closed.
        """
        if self.closed:
            raise JournalClosed
        if content:
            self._hold(Unit(thread_id, self._protect(content)))
        return self._starts.add(thread_id, rows)

    def _hold(self, unit: Unit) -> None:
        """Let a unit wait for the next one of its thread."""
        unit.measure()
        with self._lock:
            self._learn(unit)
            self._held.setdefault(unit.thread_id, []).append(unit)
            self._rows += unit.count
            self._bytes += unit.size
            if self.full:
                self._await_room()

    def _release(self, thread_id: str) -> None:
        """Queue what was held of a thread."""
        for unit in self._held.pop(thread_id, ()):
            self._rows -= unit.count
            self._bytes -= unit.size
            self._enqueue(unit)

    def _release_all(self) -> None:
        for thread_id in [*self._held]:
            self._release(thread_id)

    def _enqueue(self, unit: Unit) -> None:
        unit.queued = time.monotonic()
        self._queue.append(unit)
        self._rows += unit.count
        self._bytes += unit.size
        self._pending[unit.thread_id] += 1
        if unit.saves:
            self._saving[unit.thread_id] += 1

    def _begun(self, at_once: bool = False) -> None:
        """Queue the beginnings that have waited long enough, or all."""
        for start in self._starts.due(at_once):
            with suppress(DurabilityError):  # its run will be told
                self.append(Unit(start.thread_id, start.rows))
        if at_once:
            with self._lock:
                self._release_all()

    def _await_room(self) -> None:
        self._release_all()
        if self._thread is None:
            self._start()
        times = 2 if _on_event_loop() else 1
        while self._is_full(times) and not (self.closed or self.in_writer):
            self._wake.notify()
            self._room.wait(1.0)

    async def has_room(self) -> None:
        """Returns once the journal is not full."""
        while self.full and (room := self._next_room()) is not None:
            await asyncio.wrap_future(room)

    def _next_room(self) -> Future[None] | None:
        """Done when there may be room; None if there is."""
        with self._lock:
            if self.closed or not self.full:
                return None
            self._release_all()
            if self._room_soon is None:
                self._room_soon = Future()
                # One who stops waiting must not cancel what others wait for too.
                self._room_soon.set_running_or_notify_cancel()
            self._wake.notify()
            return self._room_soon

    def _tell_of_room(self) -> None:
        with self._lock:
            room, self._room_soon = self._room_soon, None
            self._room.notify_all()
        if room is not None:
            room.set_result(None)

    def _protect(self, rows: Rows) -> Rows:
        """The rows as they may be stored."""
        if not self.keeps_content:
            rows = without_content(rows, labels=self.capture.content)
        if self.capture.redactors:
            rows = redacted(rows, self.capture)
        rows = concise(rows)
        if self.seal is None or not self.keeps_content:
            return rows
        # Encrypted it takes more, and cannot be cut any more.
        return self.seal.rows(fitting(rows, self.capture.max_bytes))

    @property
    def keeps_content(self) -> bool:
        """Whether anything that was said is kept."""
        return self.capture.content and (self.content or self.seal is not None)

    def is_private(self, node_name: str, above: OpenNode | None) -> bool:
        """Whether only structure is kept of a node of this name."""
        if above is not None and above.private:
            return True
        # What handles a node's error is given it.
        return node_name.removeprefix(ERROR_HANDLER) in self.capture.nodes

    @property
    def capture(self) -> Capture:
        """What may be kept."""
        return self._restrictions.capture

    def restrict(self, capture: Capture) -> Restriction:
        """Keep only what these settings, and those of others, allow while this is held."""
        return self._restrictions.add(capture)

    def _learn(self, unit: Unit) -> None:
        """Content that is queued need not be queued again."""
        if content := [row for row in unit.rows if row[0] in ("messages", "state_values")]:
            self.runs.known(unit.thread_id).learn(content)

    def commit(self, unit: Unit, ran: float = 0) -> Receipt:
        """Queue a unit; the receipt is done once it, and all before it, are committed.

        ``ran`` are the seconds that what ends with it took: one who blocks on the receipt waits
        for others a small part of it.
        """
        unit.done = Receipt(self._hasten, self._help, ran)
        self.append(unit)
        return unit.done

    def settled(self, thread_id: str, ran: float = 0) -> Receipt | None:
        """None when no checkpoint of the thread is queued, else a receipt for its commit."""
        with self._lock:
            if not self._saving.get(thread_id) and thread_id not in self._failed:
                return None
        return self.commit(Unit(thread_id), ran)

    def leave(self, barrier: Barrier) -> Receipt | None:
        """A loop ends; a receipt for what it saved, None when nothing of it is queued."""
        self.barriers.remove(barrier)
        return self.settled(barrier.thread_id, barrier.age)

    def check(self, barrier: Barrier) -> None:
        """Nothing, if what a loop saved is committed.

        Raises:
            DurabilityError: something could not be.
        """
        if barrier.failure is not None:
            raise _durability_error(barrier.thread_id, barrier.failure)

    @property
    def in_writer(self) -> bool:
        """Whether this thread is writing now, and so must not wait for itself."""
        return self._writer == threading.get_ident()

    def sweep(self, last: bool = False) -> None:
        """Queue the ends of what was abandoned, or whose process was."""
        for found in list(self.sweepers):
            if (sweeper := found()) is not None:
                sweeper(last)
            else:
                self.sweepers.remove(found)
        self.reaper.check()

    def drain(self) -> None:
        """Wait until all that is queued was tried; whose it is will be told of a failure."""
        self.sweep()
        self._begun(at_once=True)
        with self._lock:
            threads = sorted(self._pending)
        for receipt in [self.commit(Unit(thread_id)) for thread_id in threads]:
            self._hasten()
            receipt.exception()

    def flush(self, timeout: float | None = None) -> int:
        """Commit all that is queued; returns how many units were acknowledged so far.

        Every thread is waited for, though one has failed.

        Raises:
            DurabilityError: something could not be committed; its notes tell of further threads.
            TimeoutError: it took longer than ``timeout`` seconds in all; the rest stays queued.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self.sweep()
        self._begun(at_once=True)
        with self._lock:
            threads = sorted(set(self._pending) | set(self._failed))
        errors: list[Exception] = []
        for receipt in [self.commit(Unit(thread_id)) for thread_id in threads]:
            try:
                receipt.result(None if until is None else max(until - time.monotonic(), 0))
            except DurabilityError as error:
                errors.append(error)
            except TimeoutError:
                errors.append(TimeoutError(f"not all was committed within {timeout} s"))
                break
        for further in errors[1:]:
            errors[0].add_note(str(further))
        if errors:
            raise errors[0]
        return self.committed_units

    def close(self) -> None:
        """Commit all that is queued and end the writer; what is under way is recorded as cancelled.

        Raises:
            DurabilityError: something could not be committed.
        """
        try:
            if not self.closed:
                self.sweep(last=True)
                self.flush()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.closed = True
            thread, executor = self._thread, self._executor
            self._wake.notify_all()
        self._tell_of_room()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if executor is not None:
            executor.shutdown()
        with self._writing:
            self._disconnect()
        self.database.close()
        _journals.discard(self)

    @property
    def full(self) -> bool:
        """Whether a producer would have to wait now."""
        return self._is_full(1)

    def _is_full(self, times: int) -> bool:
        return self._rows >= times * self._max_rows or self._bytes >= times * self._max_bytes

    def _refuse(self, unit: Unit) -> None:
        if self.closed:
            raise JournalClosed
        if unit.done is None and (cause := self._failed.get(unit.thread_id)) is not None:
            self.runs.forget(unit.thread_id)
            self._remains.add(unit)
            raise _durability_error(unit.thread_id, cause)

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._work, name="langgraph-persist-writer", daemon=True
        )
        self._thread.start()

    # --- the writer ---

    def _hasten(self) -> None:
        """Let the writer start at once."""
        with self._lock:
            self._urgent = bool(self._queue)
            self._wake.notify()

    def _help(self, awaited: Future[None], ran: float) -> None:
        """Write what is queued, unless another thread does, which then goes on with the rest."""
        # Signal handlers run in the main thread, and may wait for the journal in their turn.
        if threading.current_thread() is not threading.main_thread():
            self._company.gather(awaited, ran)
            while not awaited.done() and self._writing.acquire(blocking=False):
                try:
                    self._write_next()
                finally:
                    self._writing.release()
        if self._urgent or not awaited.done():
            self._hasten()

    def _work(self) -> None:
        while self._is_due():
            with self._writing:
                self._write_next()

    def _is_due(self) -> bool:
        """Wait until something is to be written; False when the journal is closed and drained."""
        with self._lock:
            while (patience := self._patience()) > 0:
                self._idle = not self._queue
                self._wake.wait(None if patience == math.inf else patience)
                self._idle = False
            return bool(self._queue) or not self.closed

    def _patience(self) -> float:
        """Seconds that the writer may still linger."""
        if self.closed or (self._queue and (self._urgent or self.full)):
            return 0
        if not self._queue:
            beat = self.heartbeat.patience
            busy = beat if beat == math.inf else min(beat, self._starts.patience)
            return min(busy, self.reaper.patience)
        return self._queue[0].queued + self._linger - time.monotonic()

    def _write_next(self) -> None:
        """Write the next group, if anything is queued; whoever calls this holds ``_writing``."""
        self._writer = threading.get_ident()
        units: list[Unit] = []
        try:
            due = self.heartbeat.patience <= 0
            if due or self.reaper.patience <= 0:
                with self.failures.kept("sweep"):
                    self.sweep()
            self._begun()
            units = self._take()
            if units:
                self._write(units)
            elif due:
                self._beat()
        except BaseException:
            self._put_back(units)
            raise
        finally:
            self._writer = None

    def _beat(self) -> None:
        """Write the heartbeats where nothing else is to be written; a lost one is made up for."""
        try:
            if self.heartbeat.rows():
                self._commit(Group([]), Attempt())
        except Exception as error:
            logger.debug("no heartbeat: %s", error)
            if _is_hopeless(error):
                self._disconnect()
        self.heartbeat.beaten()

    def _take(self) -> list[Unit]:
        with self._lock:
            cut = _cut(self._queue)
            units, self._queue = self._queue[:cut], self._queue[cut:]
            self._urgent = any(unit.done is not None for unit in self._queue)
            return units

    def _put_back(self, units: list[Unit]) -> None:
        """Whatever ended this thread in the midst, the units will be written, if again."""
        with self._lock:
            self._queue[:0] = [u for u in units if u.done is None or not u.done.done()]
            self._disconnect()
            self._hasten()

    def _write(self, units: list[Unit]) -> None:
        """Commit the units, together if that works, else thread by thread; tell who waits."""
        failures = {u.thread_id: e for u in units if (e := self._failed.get(u.thread_id))}
        sound = [unit for unit in units if unit.thread_id not in failures]
        error = self._try(sound)
        if error is not None:
            failures |= self._isolate(sound, error)
        self._forget(units, failures)
        for unit in units:
            cause = failures.get(unit.thread_id)
            self.committed_units += cause is None and unit.count > 0
            if unit.done is not None and cause is None:
                unit.done.set_result(None)
            elif unit.done is not None and cause is not None:
                error = _durability_error(unit.thread_id, cause)
                self._write_remains(unit, error)
                unit.done.set_exception(error)
        with self._lock:
            for thread_id in failures.keys() - self._failed.keys():
                self._remains.take(thread_id)  # nobody else is to be told

    def _write_remains(self, unit: Unit, error: DurabilityError) -> None:
        """Record that a run has failed, and what it did, where nothing but that can be committed.

        Nothing is waited for, and nothing tried while the server is gone: the run is to be told.
        """
        if unit.otherwise is None or (error.__cause__ and _is_hopeless(error.__cause__)):
            return
        with self._lock:
            rows = self._remains.take(unit.thread_id)
        try:
            rows += self._protect(unit.otherwise(error))
            failure = self._try_once(unit.thread_id, rows)
            if failure is not None and not _is_hopeless(failure):
                outline = [row for row in rows if row[0] in OUTLINE]
                failure = self._try_once(unit.thread_id, outline)
        except Exception as own:
            failure = own
        if failure is not None:
            self.failures.add("remains", failure)

    def _try_once(self, thread_id: str, rows: Rows) -> Exception | None:
        """Commit as much of the record as is taken; the error if nothing can be."""
        try:
            self._tell(self._commit(Group([Unit(thread_id, rows)]), Attempt(careful=True)))
        except Exception as error:
            if _is_hopeless(error):
                self._disconnect()
            return error
        return None

    def _forget(self, units: list[Unit], failures: dict[str, BaseException]) -> None:
        """Make room; a thread stays failed while nobody who waits for it has been told."""
        with self._lock:
            for unit in units:
                self._rows -= unit.count
                self._bytes -= unit.size
                self._pending[unit.thread_id] -= 1
                self._saving[unit.thread_id] -= unit.saves
                if not self._pending[unit.thread_id]:
                    del self._pending[unit.thread_id]
                    del self._saving[unit.thread_id]
                if (cause := failures.get(unit.thread_id)) is None:
                    continue
                self.failed_units += 1
                self._remains.add(unit)
                self.runs.forget(unit.thread_id)
                self.runs.fail(unit.thread_id, cause)
                self.barriers.fail(unit.thread_id, cause)
                if unit.done is None or self._is_to_be_told(unit.thread_id):
                    self._failed[unit.thread_id] = cause
                else:
                    self._failed.pop(unit.thread_id, None)
        self._tell_of_room()

    def _is_to_be_told(self, thread_id: str) -> bool:
        """Whether a run under way has yet to hear that what it wrote is lost."""
        return self.runs.failing(thread_id) or self.barriers.failing(thread_id)

    def _isolate(self, units: list[Unit], error: BaseException) -> dict[str, BaseException]:
        """Commit thread by thread what failed together; the threads that fail alone."""
        threads: dict[str, list[Unit]] = {}
        for unit in units:
            threads.setdefault(unit.thread_id, []).append(unit)
        failures: dict[str, BaseException] = {}
        for thread_id, own in threads.items():
            alone = len(threads) == 1 or _is_hopeless(error)
            if (cause := error if alone else self._try(own)) is not None:
                failures[thread_id] = cause
                logger.error("could not commit thread %r: %s", thread_id, type(cause).__name__)
        return failures

    def _try(self, units: list[Unit]) -> BaseException | None:
        """Commit the units in one transaction; the error if that cannot be."""
        if not any(unit.count for unit in units):
            return None
        # An outage counts once, however many groups it holds up.
        since = max(self._lost_since, units[0].queued) if self._lost_since else None
        backoff = Backoff(self.database.retry_for, since)
        attempt = Attempt()
        while True:
            group: Group | None = None
            try:
                group = Group(units)
                refusals = [Refusal(table, None, "no key", None) for table in group.nameless]
                refusals += self._commit(group, attempt)
            except Exception as error:
                if self._may_retry(error) and backoff.wait():
                    attempt = attempt._replace(again=True)
                elif group and not attempt.careful and _is_partial(error, group):
                    attempt = attempt._replace(careful=True)
                else:
                    return error
                continue
            self._lost_since = None
            self.committed_groups += 1
            self._tell(refusals)
            return None

    def _tell(self, refusals: Sequence[Refusal]) -> None:
        """Count what is committed without, and do not believe that it is stored."""
        for refusal in refusals:
            self.failures.refused(refusal)
            if refusal.column is None and refusal.thread_id is not None:
                self.runs.forget(refusal.thread_id)

    def _commit(self, group: Group, attempt: Attempt) -> Sequence[Refusal]:
        schemas = self.schemas
        own = isinstance(self.database.target, str)
        with nullcontext(self._own_connection()) if own else self.database.connection() as conn:
            if self._statements is None:
                self._statements = statements(conn, schemas)
            if due := self.heartbeat.patience <= 0:
                group.add_rows(self.heartbeat.rows())
            refusals = write_group(conn, group, self._statements, attempt, self._protect)
        if due:
            self.heartbeat.beaten()
        return refusals

    def _own_connection(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self.database.connect()
        return self._connection

    def _may_retry(self, error: Exception) -> bool:
        if _is_hopeless(error):
            self._lost_since = self._lost_since or time.monotonic()
            self._disconnect()
        return self.database.may_retry(error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- processes ---

    def after_fork(self) -> None:
        """In a forked child: what is queued is the parent's to write; start with nothing."""
        _inherited.append(self._connection)
        self._connection = None
        self.runs.clear()
        self.barriers.clear()
        self.heartbeat.clear()
        self._reset()
        self.database.after_fork()


_inherited: list[object] = []


def _on_event_loop() -> bool:
    """Whether an event loop waits for this thread to go on."""
    return asyncio._get_running_loop() is not None


def _cut(queue: list[Unit]) -> int:
    """How many units of the queue make a group of bounded size; one at least."""
    size = 0
    for index, unit in enumerate(queue):
        size += unit.size
        if size > GROUP_BYTES:
            return max(index, 1)
    return len(queue)


def _is_hopeless(error: BaseException) -> bool:
    """Whether the server is gone, so that trying thread by thread is no use."""
    return isinstance(error, DatabaseUnavailable) or is_connection_lost(error)


def _is_partial(error: BaseException, group: Group) -> bool:
    """Whether the group may be written without what was refused of it."""
    if _is_hopeless(error):
        return False
    return group.lenient or (is_refusal(error) and any(group.rows.values()))


def _durability_error(thread_id: str, cause: BaseException) -> DurabilityError:
    remedy = CALL_SETUP if isinstance(cause, TABLES_MISSING) else RESUME
    told = " ".join(str(cause).split()).rstrip(".")
    error = DurabilityError(
        f"what thread {thread_id!r} wrote could not be committed: {told}; {remedy}"
    )
    error.__cause__ = cause
    return error


def _drain_at_exit() -> None:
    for journal in list(_journals):
        try:
            journal.close()
        except DurabilityError as error:
            logger.error("at exit: %s", error)


def _after_fork() -> None:
    for journal in list(_journals):
        journal.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
