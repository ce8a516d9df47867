"""Pages of a listing: each is a query of its own, so nothing is held open between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from psycopg.rows import DictRow

FIRST = 8
ASKED = 32
"""A limit up to this is one page: whoever gives it takes them all."""
GROWTH = 4
LARGEST = 500
BYTES = 4 << 20
"""About what a page may take."""

_KEY = ("checkpoint_id", "thread_id", "checkpoint_ns")
_ORDER = "checkpoint_id DESC, thread_id, checkpoint_ns"
_OUTER = "c.checkpoint_id DESC, c.thread_id, c.checkpoint_ns"


def pages(
    select: Callable[[str, Sequence[Any]], list[DictRow]],
    table: str,
    where: str,
    args: Sequence[Any],
    limit: int | None,
    thread_id: str | None,
) -> Iterator[list[DictRow]]:
    """The checkpoints that a WHERE clause finds, newest first; the same id by thread, namespace.

    ``thread_id`` is that of all of them, if the clause says so. ``select`` runs the query for whole
    checkpoints, ``c``, with this text after its FROM. A page begins after the last row of the one
    before, whatever was written or deleted meanwhile.
    """
    size, left = FIRST if limit is None or limit > ASKED else limit, limit
    last: DictRow | None = None
    while True:
        count = size if left is None else min(size, left)
        after, key = _after(last)
        clause = " AND ".join(part for part in (where.removeprefix("WHERE "), after) if part)
        text = _text(table, clause) if thread_id is None else _text_in_thread(clause)
        page = select(text, [*args, *key, count])
        if page:
            yield page
        if left is not None:
            left -= len(page)
        if len(page) < count or left == 0:
            return
        last = page[-1]
        size = _next_size(size, page)


def _after(last: DictRow | None) -> tuple[str, list[str]]:
    if last is None:
        return "", []
    id, thread_id, ns = (last[column] for column in _KEY)
    later = "(checkpoint_id < %s OR (thread_id, checkpoint_ns) > (%s, %s))"
    return f"checkpoint_id <= %s AND {later}", [id, id, thread_id, ns]


def _text(table: str, clause: str) -> str:
    found = f"SELECT {', '.join(_KEY)} FROM {table}{clause and ' WHERE '}{clause}"
    same = " AND ".join(f"page.{column} = c.{column}" for column in _KEY)
    return f"JOIN ({found} ORDER BY {_ORDER} LIMIT %s) AS page ON {same} ORDER BY {_OUTER}"


def _text_in_thread(clause: str) -> str:
    return f"WHERE {clause} ORDER BY {_OUTER} LIMIT %s"


def _next_size(size: int, page: list[DictRow]) -> int:
    """More rows in the next page, as long as they are small."""
    fitting = BYTES * len(page) // max(sum(map(_bytes, page)), 1)
    return max(1, min(size * GROWTH, fitting, LARGEST))


def _bytes(row: DictRow) -> int:
    """About what a checkpoint takes."""
    parts = [part for parts in row["channel_values"] or () for part in parts]
    parts += [part for parts in row["pending_writes"] or () for part in parts]
    inline = (row["checkpoint"].get("channel_values") or {}).values()
    parts += [value for value in inline if isinstance(value, str)]
    return 1000 + sum(len(part) for part in parts if part)
