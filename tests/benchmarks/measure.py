"""What a round cost: time and CPU of this process, transactions, round trips, bytes, memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.proxy import Proxy

STORED = """
SELECT n.nspname, c.relname, array_agg(quote_ident(a.attname)) AS columns
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'langgraph_persist')
GROUP BY 1, 2 HAVING bool_or(a.attname = 'thread_id')
"""
ROW_OVERHEAD = 28
"""Bytes of a row's header and its line pointer."""

LATEST = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""


@dataclass
class Cost:
    """Of one round; of the server, what all its databases did."""

    seconds: float = 0
    cpu: float = 0
    wal: float = 0
    commits: float = 0
    round_trips: float = 0
    memory: float = 0
    stored: float = 0
    runs: int = 1

    @property
    def per_run(self) -> float:
        """Seconds."""
        return self.seconds / self.runs


class Meter:
    """Measures rounds on one server."""

    def __init__(self, url: str, proxy: Proxy | None) -> None:
        self._conn = psycopg.connect(url, autocommit=True)
        self._proxy = proxy

    def close(self) -> None:
        self._conn.close()

    @contextmanager
    def measuring(self, runs: int) -> Iterator[Cost]:
        """Fills in the cost of what the block does, but not what it stored."""
        cost = Cost(runs=runs)
        gc.collect()
        _forget_peak()
        memory, server, trips = resident(), self._server(), self._round_trips()
        cpu, started = time.process_time(), time.perf_counter()
        yield cost
        cost.seconds = time.perf_counter() - started
        cost.cpu = time.process_time() - cpu
        cost.round_trips = self._round_trips() - trips
        cost.memory = max(0.0, _memory("VmHWM") - memory)
        cost.wal, cost.commits = (
            after - before for after, before in zip(self._server(), server, strict=True)
        )

    def _server(self) -> tuple[float, float]:
        row = self._conn.execute(LATEST).fetchone()
        assert row is not None
        return float(row[0]), float(row[1])

    def _round_trips(self) -> int:
        return self._proxy.round_trips if self._proxy else 0


def stored(conn: psycopg.Connection[Any], prefix: str) -> int:
    """How many bytes the rows of threads with this prefix take, as they are compressed."""
    total = 0
    for schema, table, columns in conn.execute(STORED).fetchall():
        sizes = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in columns)
        found = conn.execute(
            f"SELECT coalesce(sum({ROW_OVERHEAD} + {sizes}), 0)::bigint"
            f" FROM {schema}.{table} WHERE starts_with(thread_id, %s)".encode(),
            [prefix],
        ).fetchone()
        assert found is not None
        total += int(found[0])
    return total


def _memory(key: str) -> float:
    """Bytes of this process, where Linux tells: resident now (VmRSS), or at the peak (VmHWM)."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def resident() -> float:
    """Bytes of memory that this process takes now."""
    return _memory("VmRSS")


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return
