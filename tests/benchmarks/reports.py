"""Times every report of a month, and the lists of a dashboard, on a database of any size.

    python -m tests.benchmarks.reports --generations 10000000
    python -m tests.benchmarks.reports --generations 1000000 --plans

The rows are made by the server, evenly over a year: for every four model calls a workflow with six
nodes and two calls of tools, half a session. It takes about 3 GB and some minutes for a million
model calls. With ``--database`` one that was made before is used, and kept.

Shown are medians: what a caller waits, and the CPU time of server process and caller, which a busy
machine changes less. ``--plans`` prints what the server did, by ``auto_explain``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist
from langgraph_persist.database.queries import Schemas
from langgraph_persist.migrate import upgrade
from tests.benchmarks.traffic import generate

EXPLAIN = (
    "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0"
    " -c auto_explain.log_analyze=on -c auto_explain.log_buffers=on -c client_min_messages=log"
)
ALONE = "-c max_parallel_workers_per_gather=0 "
"""So that all CPU time is that of processes which are still there to be asked."""

TICKS = os.sysconf("SC_CLK_TCK")
Question = Callable[[], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one took, in milliseconds."""

    waited: float
    cpu: float
    rows: int


def main() -> None:
    options = _options()
    with _database(options) as url:
        plans: list[str] = []
        with (
            ConnectionPool(
                make_conninfo(url, options=ALONE + (EXPLAIN if options.plans else "")),
                min_size=1,
                max_size=4,
                configure=lambda conn: conn.add_notice_handler(
                    lambda notice: plans.append(notice.message_primary or "")
                ),
            ) as pool,
            Persist(pool) as persist,
        ):
            began = time.perf_counter()
            until = datetime.now(UTC)
            since = until - timedelta(days=30)
            periods = persist.reports.refresh(since, until)
            print(f"sums of {periods} periods made in {time.perf_counter() - began:.0f} s")
            print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
            print("| of a month | waited ms | CPU ms | rows |\n| --- | ---: | ---: | ---: |")
            for name, ask in _questions(persist, since, until).items():
                plans.clear()
                found = _median([_timed(url, ask) for _ in range(options.rounds)])
                print(f"| {name} | {found.waited:.0f} | {found.cpu:.0f} | {found.rows} |")
                if options.plans:
                    ask()
                    print("\n```text", *plans[-6:], "```\n", sep="\n")


def _questions(persist: Persist, since: datetime, until: datetime) -> dict[str, Question]:
    reports, history = persist.reports, persist.history
    (last,) = history.workflows(limit=1)
    when: dict[str, Any] = {"since": since, "until": until}
    berlin: dict[str, Any] = {"timezone": "Europe/Berlin"}
    kolkata: dict[str, Any] = {"timezone": "Asia/Kolkata"}
    return {
        "`user_success()`": lambda: reports.user_success(**when),
        "`node_performance()`": lambda: reports.node_performance(**when),
        "`node_performance()` of an organization": lambda: reports.node_performance(
            **when, organization="org-3"
        ),
        "`model_usage()`": lambda: reports.model_usage(**when),
        "`model_usage()` of an organization": lambda: reports.model_usage(
            **when, organization="org-3"
        ),
        "`model_usage()` of a user": lambda: reports.model_usage(**when, user="user-7"),
        "`costs('day')` in Berlin": lambda: reports.costs("day", **when, **berlin),
        "`costs('day')` in Kolkata": lambda: reports.costs("day", **when, **kolkata),
        "`costs('organization')`": lambda: reports.costs("organization", **when),
        "`costs('model')`": lambda: reports.costs("model", **when),
        "`costs('user')`": lambda: reports.costs("user", **when),
        "`costs(['day', 'organization'])`": lambda: reports.costs(["day", "organization"], **when),
        "`prompt_versions()`": lambda: reports.prompt_versions(**when),
        "`timeline()`": lambda: reports.timeline(last),
        "`transcript()`": lambda: reports.transcript(last.thread_id),
        "threads": lambda: history.threads(recorded=True),
        "threads of a user": lambda: history.threads(user="user-7"),
        "workflows of a user": lambda: history.workflows(user="user-7"),
        "running workflows": lambda: history.workflows(status="running"),
        "recent failures": lambda: history.workflows(status="failed"),
        "pending interventions": lambda: history.pending(),
    }


def _timed(url: str, ask: Question) -> Timing:
    servers, own, began = _server_cpu(url), time.process_time(), time.perf_counter()
    rows = ask()
    waited = time.perf_counter() - began
    own = time.process_time() - own
    after = _server_cpu(url)
    served = sum(after[pid] - servers.get(pid, 0) for pid in after)
    return Timing(waited * 1000, (own + served) * 1000, len(rows))


def _server_cpu(url: str) -> dict[int, float]:
    """Seconds that our server processes have computed, where they are on this machine."""
    with psycopg.connect(url) as conn:
        pids = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ).fetchall()
    found: dict[int, float] = {}
    for (pid,) in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            fields = stat.read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def _median(timings: Sequence[Timing]) -> Timing:
    return Timing(
        statistics.median(t.waited for t in timings),
        statistics.median(t.cpu for t in timings),
        timings[-1].rows,
    )


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[str]:
    """A database with its rows, dropped afterwards unless it was there."""
    if options.database:
        yield make_conninfo(options.url, dbname=options.database)
        return
    name = f"reports_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(options.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
        try:
            url = make_conninfo(options.url, dbname=name)
            upgrade(url, Schemas())
            now = datetime.now(UTC)
            generate(url, options.generations, now - timedelta(days=365), now)
            yield url
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reports")
    parser.add_argument("--url", default=os.environ.get("LANGGRAPH_PERSIST_TEST_URL"))
    parser.add_argument("--generations", type=int, default=1_000_000)
    parser.add_argument("--database", help="one that was made before")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plans", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
