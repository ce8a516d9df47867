"""Writes a group as one transaction, in one round trip where libpq has pipelines."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import orjson
from psycopg import Capabilities, Connection, Cursor
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.journal.unit import KEYS, Blob, Fields, Group, Late, Write

_PIPELINE = Capabilities().has_pipeline()


def statements(conn: Connection[Any], schemas: Schemas) -> Mapping[str, str]:
    """The statements that write a group on this engine, by name."""
    own = queries("citus", schemas)
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cur:
        found = cur.execute(own["is_citus"].encode()).fetchone()
    shared = {**queries("checkpoints", schemas), **queries("record", schemas)}
    return {**shared, **own} if found == (True,) else shared


def write_group(conn: Connection[Any], group: Group, sql: Mapping[str, str], again: bool) -> None:
    """Commit the whole group, or nothing of it.

    ``again`` tells that it was tried before, so it may be committed here but on no standby yet.
    """
    with (
        conn.pipeline() if _PIPELINE else nullcontext(),
        conn.transaction(),
        conn.cursor() as cur,
    ):
        if again:
            cur.execute(sql["replicate"].encode())
        _write_record(cur, group, sql)
        _write_checkpoints(cur, group, sql)


def _write_record(cur: Cursor[Any], group: Group, sql: Mapping[str, str]) -> None:
    for table in KEYS:
        if rows := group.rows.get(table):
            threads = list({fields.get("thread_id"): None for fields in rows.values()})
            params = {"rows": _json(rows.values()), "threads": threads}
            cur.execute(sql[table].encode(), params)


def _write_checkpoints(cur: Cursor[Any], group: Group, sql: Mapping[str, str]) -> None:
    if group.blobs:
        cur.execute(sql["put_blobs"].encode(), _columns(Blob, group.blobs.values()))
    if group.checkpoints:
        cur.execute(sql["put_checkpoints"].encode(), {"rows": _json(group.checkpoints.values())})
    if group.inserts:
        cur.execute(sql["insert_writes"].encode(), _columns(Write, group.inserts.values()))
    if group.upserts:
        cur.execute(sql["upsert_writes"].encode(), _columns(Write, group.upserts.values()))


def _json(rows: Iterable[Fields]) -> Jsonb:
    return Jsonb(list(rows), dumps=functools.partial(orjson.dumps, default=Late.value))


def _columns(kind: type[NamedTuple], rows: Iterable[NamedTuple]) -> dict[str, list[Any]]:
    return dict(zip(kind._fields, map(list, zip(*rows, strict=True)), strict=True))
