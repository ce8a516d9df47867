"""Writes a group as one transaction: in one round trip, with as few statements as the engine takes.

Rows that depend on nothing of the same group are one statement on plain PostgreSQL, however many
tables they are for: so a group of checkpoints alone is one statement in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg import Capabilities, Connection, RawCursor
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.journal.counting import counted_along, counted_first
from langgraph_persist.journal.project import write_carefully
from langgraph_persist.journal.reopening import reopened
from langgraph_persist.journal.salvage import Refusal, Salvage
from langgraph_persist.journal.unit import KEYS, Fields, Group, Late, Rows

_PLACEHOLDER = re.compile(rb"%(?:%|\(([^)]+)\)[sbt])")
_PIPELINE = Capabilities().has_pipeline()

LEAVES = frozenset(
    {"messages", "state_values", "nodes", "generations", "tool_executions", "retrievals"}
)
"""Tables whose rows depend on nothing that the same group writes after their parents."""

REFERENCES = ("organizations", "users", "tools")
"""Tables that no thread owns, which a cluster has on every server."""

SEQUENCES = {
    "lost_runs": ("lost_runs", "count_lost"),
    "todo_lists": (
        "continue_plan",
        "abandon_todos",
        "abandon_plan",
        "open_plan",
        "write_plan_version",
        "drop_todos",
        "write_todos",
        "count_plans",
        "link_todos",
        "claim_tool_executions",
        "write_execution_results",
        "sum_plan",
    ),
}
"""What is written row by row, each by several statements."""

LARGEST_DATA = 512 << 20
"""Bytes of values in one statement, unless a single value is larger; a message takes 1 GiB."""

LARGEST_JSON = 32 << 20
"""Bytes of JSON in one statement, unless a single row is larger; as jsonb, which ends at 256 MiB,
it may take some times as much."""

Params = dict[str, Any]


class Sql(NamedTuple):
    """The statements that write a group on one engine, by name."""

    texts: Mapping[str, str]
    combines: bool
    """Whether one statement may write to several tables, and one pipeline is a transaction.

    Neither holds on Citus, where tables are spread over servers.
    """
    splits: bool = False
    """Whether many rows are written by several statements."""


def statements(conn: Connection[Any], schemas: Schemas) -> Sql:
    """The statements for this server."""
    own = queries("citus", schemas)
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cur:
        found = cur.execute(own["is_citus"].encode()).fetchone()
    areas = ("checkpoints", "record", "runs", "interventions", "plans", "usage", "periods")
    shared = {name: text for area in areas for name, text in queries(area, schemas).items()}
    is_citus = found == (True,)
    return Sql({**shared, **own} if is_citus else shared, combines=not is_citus)


class Attempt(NamedTuple):
    """How a group is tried."""

    again: bool = False
    """It was tried before, so it may be committed here but on no standby yet."""
    careful: bool = False
    """What the database refuses of the record is left out, of lenient projections recorded."""


def write_group(
    conn: Connection[Any],
    group: Group,
    sql: Sql,
    attempt: Attempt,
    protect: Callable[[Rows], Rows],
) -> list[Refusal]:
    """Commit the whole group, or nothing of it; ``protect`` hides what no record may tell.

    Returns what a careful attempt had to leave out of the record.
    """
    if attempt.again and (group.projected or "todo_lists" in group.rows):
        _leave_saved(conn, group, sql)
    if not attempt.careful:
        _write_references(conn, group, sql)
    if attempt.careful:
        with conn.transaction():
            refused = write_carefully(conn, group.projected)
            group.projected = []
            group.add_rows(protect(refused))
            return _write_what_fits(conn, group, sql, attempt.again)
    steps = [*_steps(group, sql, attempt.again), *_reopening(group, sql)]
    try:
        with _atomic(conn, sql) if len(steps) > 1 else nullcontext():
            _execute(conn, steps)
    except psycopg.Error:
        _forget_prepared(conn)
        raise
    return []


def _forget_prepared(conn: Connection[Any]) -> None:
    """Let psycopg forget what it prepared in a pipeline that the server rolled back by itself.

    It does so for any rollback of its own, and would go on to use statements that were never made.
    """
    with suppress(psycopg.Error), conn.transaction(force_rollback=True):
        pass


def _write_references(conn: Connection[Any], group: Group, sql: Sql) -> None:
    """Write what is new of the tables that no thread owns where that is to be a transaction.

    On Citus it locks the table, and those that it refers to, for all servers: in the group's
    transaction all processes would wait for each other, some of them in a circle.
    """
    for table in REFERENCES:
        find, rows = sql.texts.get(f"new_{table}"), group.rows.get(table, {})
        if find is None or not rows:
            continue
        cursor = conn.cursor(row_factory=tuple_row)
        cursor.execute(_statement(find), _params([*rows.values()]))
        if new := [rows[key] for key in cursor.fetchall()]:
            cursor.execute(_statement(sql.texts[table]), _params(new))
        del group.rows[table]


def _write_what_fits(conn: Connection[Any], group: Group, sql: Sql, again: bool) -> list[Refusal]:
    """Write the record table by table and as far as it is taken, and all that is not the record."""

    def execute(table: str, rows: Sequence[Fields], counted: bool) -> None:
        group.rows[table] = {(index,): row for index, row in enumerate(rows)}
        _execute(conn, [*_table_steps(group, sql, table, counted)])

    salvage = Salvage(conn, execute)
    reopening = [*_reopening(group, sql)]
    for table in KEYS:
        salvage.write(table, [*group.rows.get(table, {}).values()])
    group.rows = {}
    _execute(conn, [*_steps(group, sql, again), *reopening])
    return salvage.refusals


def _table_steps(
    group: Group, sql: Sql, table: str, counted: bool
) -> Iterator[tuple[bytes, Params]]:
    """The statements for one table, each by itself."""
    rows = [*group.rows[table].values()]
    counts = counted_first(table, group) | counted_along(table, group) if counted else {}
    alone = sql._replace(combines=False, splits=True)
    yield from _together(alone, counts)
    if table in SEQUENCES:
        yield from _in_sequence(sql, table, rows)
    elif rows:
        yield from _together(alone, {table: rows})
        yield from _counting_turns(group, sql, table)


def _leave_saved(conn: Connection[Any], group: Group, sql: Sql) -> None:
    """Leave out what is written once for a checkpoint, where the checkpoint is there."""
    lists = group.rows.pop("todo_lists", {})
    keys = {row.checkpoint for row in group.projected} | {*map(_checkpoint, lists.values())}
    names = ("thread_ids", "checkpoint_ns", "checkpoint_ids")
    params = dict(zip(names, map(list, zip(*keys, strict=True)), strict=True))
    cursor = conn.cursor(row_factory=tuple_row)
    saved = {*cursor.execute(_statement(sql.texts["find_checkpoints"]), params).fetchall()}
    group.projected = [row for row in group.projected if row.checkpoint not in saved]
    group.add_rows([("todo_lists", r) for r in lists.values() if _checkpoint(r) not in saved])


def _checkpoint(row: Fields) -> tuple[str, str, str]:
    return row["checkpoint_thread_id"], row["checkpoint_ns"], row["checkpoint_id"]


def _execute(conn: Connection[Any], steps: Sequence[tuple[bytes, Params]]) -> None:
    cursor = RawCursor(conn, row_factory=tuple_row)
    for text, params in steps:
        native, names = _native(text)
        cursor.execute(native, [params[name] for name in names])


@lru_cache(512)
def _native(text: bytes) -> tuple[bytes, Sequence[str]]:
    """A statement with numbers for names, and the names: psycopg reads long ones every time."""
    names: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        name = found[1]
        return names.setdefault(name, b"$%d" % (len(names) + 1)) if name else b"%"

    native = _PLACEHOLDER.sub(number, text)
    return native, [name.decode() for name in names]


@contextmanager
def _atomic(conn: Connection[Any], sql: Sql) -> Iterator[None]:
    # What is sent in one pipeline is one transaction, without the cost of beginning it; but the
    # workers of a Citus cluster would commit each statement for themselves.
    begun = nullcontext() if _PIPELINE and sql.combines else conn.transaction()
    with conn.pipeline() if _PIPELINE else nullcontext(), begun:
        yield


def _steps(group: Group, sql: Sql, again: bool) -> Iterator[tuple[bytes, Params]]:
    if again:
        yield sql.texts["replicate"].encode(), {}
    for row in group.projected:
        yield row.statement.sql, row.params
    if group.size > LARGEST_JSON:
        sql = sql._replace(combines=False, splits=True)
    batch = yield from _record_steps(group, sql)
    if group.checkpoints:
        batch["put_checkpoints"] = [*group.checkpoints.values()]
    for values in _values(group):
        yield from _together(sql, batch | values.rows, values.data)
        batch = {}


def _record_steps(
    group: Group, sql: Sql
) -> Generator[tuple[bytes, Params], None, dict[str, Sequence[Any]]]:
    """What is written before the checkpoints; returns what may be written along with them."""
    batch: dict[str, Sequence[Any]] = {}
    for table in KEYS:
        if counts := counted_first(table, group):
            yield from _together(sql, counts)
        if not (found := group.rows.get(table)):
            continue
        rows = [*found.values()]
        if table in LEAVES:
            batch |= counted_along(table, group)
            batch[table] = rows
            continue
        yield from _together(sql, batch)
        batch = {}
        if table in SEQUENCES:
            yield from _in_sequence(sql, table, rows)
        else:
            yield from _together(sql, {table: rows})
            yield from _counting_turns(group, sql, table)
    return batch


def _reopening(group: Group, sql: Sql) -> Iterator[tuple[bytes, Params]]:
    """To be the last: who makes sums waits for it, and others for them, when it locks no more."""
    if periods := reopened(group):
        yield _statement(sql.texts["reopen_periods"]), {"rows": _json(periods)}


def _counting_turns(group: Group, sql: Sql, table: str) -> Iterator[tuple[bytes, Params]]:
    """Counts the turns of sessions that may have more now, where that takes its own statement.

    On Citus that locks all sessions near them, as opening them has; other groups must not do so
    after they wrote to workflows, or two processes would wait for each other.
    """
    if table != "workflows" or "count_turns" not in sql.texts:
        return
    opened = {row["thread_id"] for row in group.rows.get("sessions", {}).values()}
    workflows = group.rows["workflows"].values()
    if rows := [row for row in workflows if row["thread_id"] in opened or row.get("is_new")]:
        yield _statement(sql.texts["count_turns"]), _params(rows)


def _together(
    sql: Sql, rows: Mapping[str, Sequence[Any]], data: bytes = b""
) -> Iterator[tuple[bytes, Params]]:
    """Statements without an order among them: one, if the engine takes that."""
    binary = {"data": data}
    if sql.combines and len(rows) > 1:
        parts = tuple((name, sql.texts[name]) for name in rows)
        yield _combined(parts), {name: _json(rows[name]) for name in rows} | binary
        return
    for name in rows:
        for part in _parts(rows[name]) if sql.splits else [rows[name]]:
            yield _statement(sql.texts[name]), _params(part) | binary


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The rows in parts of which each is no more than one statement takes."""
    part: list[Any] = []
    size = 0
    for row in rows:
        own = len(_dumps(row))
        if part and size + own > LARGEST_JSON:
            yield part
            part, size = [], 0
        part.append(row)
        size += own
    if part:
        yield part


def _in_sequence(sql: Sql, table: str, rows: Sequence[Any]) -> Iterator[tuple[bytes, Params]]:
    for row in rows:
        params = {"thread_id": row["thread_id"], "rows": _json([row])}
        for name in SEQUENCES[table]:
            yield _statement(sql.texts[name]), params


def _params(rows: Sequence[Any]) -> Params:
    threads = {row["thread_id"]: None for row in rows if "thread_id" in row}
    return {"rows": _json(rows), "threads": [*threads]}


@cache
def _statement(text: str) -> bytes:
    return text.encode()


@cache
def _combined(parts: tuple[tuple[str, str], ...]) -> bytes:
    """One statement that does what these do, its parameters named as they are."""
    named = [f"{name} AS (\n{text.replace('%(rows)s', f'%({name})s')}\n)" for name, text in parts]
    return f"WITH {', '.join(named)}\nSELECT".encode()


class _Values(NamedTuple):
    """Rows whose values lie in ``data``: each row says where its own begins and how long it is."""

    rows: dict[str, list[dict[str, Any]]]
    data: bytes


def _values(group: Group) -> Iterator[_Values]:
    """The values of channels and writes, once at least; more often if they are very large."""
    rows: dict[str, list[dict[str, Any]]] = {}
    chunks: list[bytes] = []
    size = 0
    for name, row in _with_values(group):
        value = row.pop("blob")
        if value is not None:
            if chunks and size + len(value) > LARGEST_DATA:
                yield _Values(rows, b"".join(chunks))
                rows, chunks, size = {}, [], 0
            row |= {"start": size + 1, "size": len(value)}
            chunks.append(value)
            size += len(value)
        rows.setdefault(name, []).append(row)
    yield _Values(rows, b"".join(chunks))


def _with_values(group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, rows in (
        ("put_blobs", group.blobs),
        ("insert_writes", group.inserts),
        ("upsert_writes", group.upserts),
    ):
        for row in rows.values():
            yield name, row._asdict()


def _json(value: Any) -> Jsonb:
    return Jsonb(value, dumps=_dumps)


_dumps = partial(orjson.dumps, default=Late.value)
