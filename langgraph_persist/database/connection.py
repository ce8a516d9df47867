"""Connections to one PostgreSQL database, made lazily and anew in every process.

A :class:`Database` is built from what the user has: a URL, a psycopg ``ConnectionPool`` or a single
``Connection``. A pool opened before a fork has no worker threads in the child and shares its
sockets with the parent, so the child gets a pool of its own.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from langgraph_persist.database.pool import Pool
from langgraph_persist.errors import (
    AuthenticationFailed,
    ConfigurationError,
    DatabaseMissing,
    DatabaseUnavailable,
    JournalClosed,
    ServerTooOld,
    TlsFailed,
)

Target: TypeAlias = "str | ConnectionPool[Any] | Connection[Any]"
T = TypeVar("T")

OLDEST_SERVER = 140000
CONNECT_TIMEOUT = 10
RETRY_FOR = 30.0

# What a lost server or connection looks like; a statement that is merely wrong is not among them.
# Class 08 is what PgBouncer says of a server that it lost.
CONNECTION_LOST = re.compile("08...|57P01|57P02|57P03|57P05|53300|25006")
TRANSIENT = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)

NEEDED = {"DateStyle": "ISO, MDY", "client_encoding": "UTF8"}
"""Settings that others may have made otherwise, for a role, a database or a pool."""

_AUTHENTICATION = re.compile(
    r"authentication failed|no password supplied|role \".*\" does not exist|no pg_hba.conf entry"
)
_NO_DATABASE = re.compile(r"database \".*\" does not exist|no such database")
_TLS = re.compile(r"certificate|does not support SSL|invalid sslmode")

_ENDED = (
    "the connection that was given has ended: {}. Give a URL or a pool instead, which connect again"
)
_NONE_FREE = (
    "the pool that was given has no connection to PostgreSQL at {}: {}. "
    "Check that the server runs, and that the pool's max_size suffices"
)

# A connection inherited through a fork is kept, not collected: it belongs to the parent.
_inherited: list[object] = []


def parse_url(url: str) -> dict[str, Any]:
    """libpq's parameters of a URL or key=value string, with this package's defaults.

    Raises:
        ConfigurationError: libpq cannot read it.
    """
    url = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url.strip())
    try:
        params = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ConfigurationError(
            f"not a PostgreSQL URL: {str(error).strip()}; expected "
            "postgresql://user:password@host:5432/database"
        ) from None
    if not params:
        raise ConfigurationError(
            "the PostgreSQL URL is empty; expected postgresql://user:password@host:5432/database"
        )
    params["client_encoding"] = "UTF8"
    params.setdefault("connect_timeout", CONNECT_TIMEOUT)
    params.setdefault("fallback_application_name", "langgraph_persist")
    # A server that vanished without a word is noticed within RETRY_FOR, when sending or waiting.
    params.setdefault("tcp_user_timeout", int(RETRY_FOR * 1000))
    params.setdefault("keepalives_idle", 10)
    params.setdefault("keepalives_interval", 5)
    params.setdefault("keepalives_count", 4)
    if "," in str(params.get("host", "")):
        params.setdefault("target_session_attrs", "read-write")
    return dict(params)


def display(params: dict[str, Any]) -> str:
    """The server and database of these parameters, for messages: no password."""
    shown = {k: params[k] for k in ("host", "port", "dbname", "user") if params.get(k)}
    return make_conninfo("", **shown) or "the default server"


def connection_error(error: psycopg.OperationalError, params: dict[str, Any]) -> Exception:
    """The error of this package that says what to do about a failed connection."""
    text, where = _words(error), display(params)
    if _AUTHENTICATION.search(text):
        return AuthenticationFailed(
            f"PostgreSQL at {where} refused the login: {text}. Correct user and password in the URL"
        )
    if _NO_DATABASE.search(text):
        return DatabaseMissing(
            f"{text}. Create it (CREATE DATABASE {params.get('dbname')}) or correct the URL"
        )
    if _TLS.search(text):
        return TlsFailed(
            f"no encrypted connection to PostgreSQL at {where}: {text}. "
            "Correct sslmode, sslrootcert or the host's name in the URL"
        )
    return DatabaseUnavailable(
        f"cannot connect to PostgreSQL at {where}: {text}. Check that the server runs and that the "
        "URL names its host and port (in a URL, write @ : / of a password as %40 %3A %2F)"
    )


def _words(error: BaseException) -> str:
    """An error's text on one line, for use in a sentence."""
    return " ".join(str(error).split()).rstrip("?.")


def is_connection_lost(error: BaseException) -> bool:
    """Whether a new connection may succeed where this error came from."""
    if not isinstance(error, psycopg.Error) or isinstance(error, PoolClosed):
        return False
    if error.sqlstate is not None:
        return CONNECTION_LOST.fullmatch(error.sqlstate) is not None
    # libpq reports a broken socket without an SQLSTATE; an answer that the connection's end cut
    # short is an internal error to psycopg.
    broken = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
    return isinstance(error, broken)


class Backoff:
    """Waits between tries, doubling from 20 ms to 1 s, until ``limit`` seconds have passed.

    They begin at ``since``, a value of ``time.monotonic``, or else now.
    """

    def __init__(self, limit: float, since: float | None = None) -> None:
        self._until = (time.monotonic() if since is None else since) + limit
        self._delay = 0.02

    def wait(self) -> bool:
        """Sleep before another try; False, at once, when the time is over."""
        left = self._until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, self._delay * random.uniform(0.75, 1.25)))
        self._delay = min(self._delay * 2, 1.0)
        return True


class Database:
    """One PostgreSQL database, reached through a URL, the user's pool or the user's connection."""

    def __init__(
        self, target: Target, *, max_connections: int = 10, retry_for: float = RETRY_FOR
    ) -> None:
        if not isinstance(target, (str, ConnectionPool, Connection)):
            kind = type(target).__name__
            both = ": these serve async graphs, too" if kind.startswith("Async") else ""
            raise ConfigurationError(
                "expected a PostgreSQL URL, a psycopg ConnectionPool or a psycopg Connection, "
                f"not {kind}{both}"
            )
        if isinstance(target, Connection):
            if target.closed:
                raise ConfigurationError(
                    "the connection that was given is closed; give an open one, or a URL or a pool"
                )
            _require_idle(target)
        self.target = target
        self.params = parse_url(_conninfo(target))
        self.retry_for = retry_for
        self._max_connections = max_connections
        self._lent = False
        """Whether the user's connection is in use here."""
        self._pool: Pool | ConnectionPool[Any] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._direct: bool | None = None
        self._closed = False
        self._reached = False
        """Whether it has ever been reached: then it is waited for while it is away."""

    @property
    def conninfo(self) -> str:
        """The connection string, password included."""
        return make_conninfo("", **self.params)

    def connect(self, *, autocommit: bool = True) -> Connection[Any]:
        """A new connection of its own, checked for the server's version.

        Raises:
            DatabaseUnavailable: or the subclass that says why.
            ServerTooOld: the server is older than PostgreSQL 14.
        """
        try:
            conn = psycopg.connect(self.conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise connection_error(error, self.params) from error
        try:
            self._configure(conn)
            conn.autocommit = autocommit
        except BaseException:
            conn.close()
            raise
        self._reached = True
        return conn

    def connection(self) -> AbstractContextManager[Connection[Any]]:
        """A connection for a few statements, given back afterwards."""
        if self._closed:
            raise JournalClosed
        if isinstance(self.target, Connection):
            if self._pid != os.getpid():
                raise ConfigurationError(
                    "this connection belongs to the process that was forked; "
                    "give a URL or a pool where processes are forked"
                )
            return self._single(self.target)
        return self._pooled()

    def run(self, work: Callable[[Connection[Any]], T]) -> T:
        """``work(connection)``, again on a new connection while the old one is lost.

        ``work`` must be idempotent. Past ``retry_for`` seconds the last error is raised, or at once
        if the server has never been reached.
        """
        return self.retry(lambda: self._once(work))

    def retry(self, work: Callable[[], T]) -> T:
        """``work()``, again while connections are lost or transactions collide."""
        backoff = Backoff(self.retry_for)
        while True:
            try:
                return work()
            except (psycopg.Error, DatabaseUnavailable) as error:
                if not (self.may_retry(error) and backoff.wait()):
                    raise

    def close(self) -> None:
        """Close what this object opened; the user's own pool or connection stays open."""
        self._closed = True
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and pool is not self.target and self._pid == os.getpid():
            pool.close()

    def _once(self, work: Callable[[Connection[Any]], T]) -> T:
        with self.connection() as conn:
            return work(conn)

    def may_retry(self, error: Exception) -> bool:
        """Whether the same work may succeed on another try."""
        if isinstance(error, TRANSIENT):
            return True
        if isinstance(self.target, Connection):
            return False
        permanent = (AuthenticationFailed, DatabaseMissing, ServerTooOld, TlsFailed)
        if isinstance(error, DatabaseUnavailable):
            return self._reached and not isinstance(error, permanent)
        return is_connection_lost(error)

    @contextmanager
    def _single(self, conn: Connection[Any]) -> Iterator[Connection[Any]]:
        with self._lock:
            if self._lent:
                yield conn
                return
            _require_idle(conn)
            self._lent = True
            try:
                with (
                    self._borrowed(conn),
                    nullcontext() if conn.autocommit else conn.transaction(),
                ):
                    yield conn
            except psycopg.Error as error:
                if conn.closed:
                    raise DatabaseUnavailable(_ENDED.format(_words(error))) from error
                raise
            finally:
                self._lent = False

    @contextmanager
    def _pooled(self) -> Iterator[Connection[Any]]:
        pool = self._current_pool()
        try:
            with pool.connection() as conn, self._lending(pool, conn):
                self._reached = True
                try:
                    yield conn
                except psycopg.errors.ReadOnlySqlTransaction:
                    conn.close()  # its server is no longer the primary
                    raise
        except psycopg.Error as error:
            if isinstance(error, PoolClosed):
                raise ConfigurationError(
                    f"the pool that was given must be open: {_words(error)}. "
                    "Call its open() first, and close it after what uses it"
                ) from error
            if isinstance(error, PoolTimeout):
                where = display(self.params)
                raise DatabaseUnavailable(_NONE_FREE.format(where, _words(error))) from error
            if is_connection_lost(error) and isinstance(pool, ConnectionPool):
                pool.check()
            raise

    def _lending(
        self, pool: Pool | ConnectionPool[Any], conn: Connection[Any]
    ) -> AbstractContextManager[None]:
        # One that was opened here is as it has to be.
        return nullcontext() if isinstance(pool, Pool) else self._borrowed(conn)

    @contextmanager
    def _borrowed(self, conn: Connection[Any]) -> Iterator[None]:
        """The user's connection stays as it was, and through a pooler nothing is prepared on it."""
        threshold = conn.prepare_threshold
        if not self._is_direct(conn):
            conn.prepare_threshold = None
        try:
            with conforming(conn):
                yield
        finally:
            conn.prepare_threshold = threshold

    def _current_pool(self) -> Pool | ConnectionPool[Any]:
        pool = self._pool
        if pool is not None and self._pid == os.getpid():
            return pool
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._renew_pool()
            assert self._pool is not None
            return self._pool

    def _renew_pool(self) -> None:
        forked = self._pid != os.getpid()
        if forked:
            _inherited.append(self._pool)
        if isinstance(self.target, ConnectionPool):
            self._pool = _copy_pool(self.target) if forked else self.target
        else:
            self._pool = Pool(self.connect, self._max_connections, self.retry_for)
        self._pid = os.getpid()

    def _configure(self, conn: Connection[Any]) -> None:
        if conn.info.server_version < OLDEST_SERVER:
            raise ServerTooOld(
                f"the server at {display(self.params)} is PostgreSQL "
                f"{conn.info.server_version // 10000}; langgraph-persist needs "
                f"{OLDEST_SERVER // 10000} or newer"
            )
        if not self._is_direct(conn):
            conn.prepare_threshold = None
        set_values(conn, odd_values(conn, NEEDED))

    def _is_direct(self, conn: Connection[Any]) -> bool:
        """Whether no pooler stands between: behind one, a prepared statement may be another's."""
        if self._direct is None:
            with conn.transaction(), conn.cursor(row_factory=tuple_row) as cur:
                row = cur.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchone()
            self._direct = row is not None and row[0] == conn.info.backend_pid
        return self._direct

    def after_fork(self) -> None:
        """In a forked child: new locks; the pool is renewed on first use."""
        self._lock = threading.RLock()


def odd_values(conn: Connection[Any], needed: Mapping[str, str]) -> dict[str, str]:
    """Those of these settings that a connection has otherwise."""
    status = conn.info.parameter_status
    return {k: v for k, v in needed.items() if not (status(k) or v).startswith(v.split(",")[0])}


def set_values(conn: Connection[Any], values: Mapping[str, str]) -> None:
    """Change settings for as long as the connection lasts; poolers know these, and follow."""
    idle = conn.info.transaction_status == TransactionStatus.IDLE
    for name, value in values.items():
        conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value], prepare=False)
    if values and idle and not conn.autocommit:
        conn.commit()


@contextmanager
def conforming(conn: Connection[Any]) -> Iterator[None]:
    """A connection within which text is UTF-8 and times are read as they are; then as it was."""
    if not (odd := odd_values(conn, NEEDED)):
        yield
        return
    before = {name: conn.info.parameter_status(name) or value for name, value in odd.items()}
    set_values(conn, odd)
    try:
        yield
    finally:
        if not conn.closed:
            if conn.info.transaction_status == TransactionStatus.INERROR:
                conn.rollback()
            set_values(conn, before)


def _require_idle(conn: Connection[Any]) -> None:
    if not conn.closed and conn.info.transaction_status != TransactionStatus.IDLE:
        raise ConfigurationError(
            "the connection is in a transaction of yours, so nothing would be durable before "
            "you commit it; give an idle connection, or one in autocommit"
        )


def _conninfo(target: Target) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, Connection):
        password = {"password": target.info.password} if target.info.password else {}
        return make_conninfo(target.info.dsn, **password)
    conninfo = target.conninfo
    if not isinstance(conninfo, str):
        raise ConfigurationError("a ConnectionPool needs a plain string as its conninfo here")
    return make_conninfo(conninfo, **_libpq_kwargs(target))


def _libpq_kwargs(pool: ConnectionPool[Any]) -> dict[str, Any]:
    kwargs = pool.kwargs if isinstance(pool.kwargs, dict) else {}
    ours = {"autocommit", "prepare_threshold", "row_factory", "cursor_factory", "context"}
    return {k: v for k, v in kwargs.items() if k not in ours}


def _copy_pool(pool: ConnectionPool[Any]) -> ConnectionPool[Any]:
    """A pool like this one, for a process forked from the one that opened it."""
    return ConnectionPool(
        pool.conninfo,
        connection_class=pool.connection_class,
        kwargs=pool.kwargs,
        min_size=min(1, pool.min_size),
        max_size=pool.max_size,
        timeout=pool.timeout,
        max_lifetime=pool.max_lifetime,
        max_idle=pool.max_idle,
        configure=pool._configure,
        check=pool._check,
        reset=pool._reset,
        open=True,
    )
