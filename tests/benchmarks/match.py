"""One workload in one setting: the contenders take turns, round by round."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from langgraph_persist.database.queries import quote
from tests.benchmarks.contenders import CONTENDERS, Contender, Expected, Surroundings
from tests.benchmarks.conversations import aconverse, aread, converse, read, reference, shape
from tests.benchmarks.measure import Cost, Meter
from tests.benchmarks.proxy import Proxy
from tests.benchmarks.workloads import Workload

FILLED = "filled"


@dataclass(frozen=True)
class Setting:
    """How many conversations go on at once, on threads or on one event loop."""

    concurrency: int
    tasks: bool

    def __str__(self) -> str:
        what = "ainvoke" if self.tasks else "thread"
        return f"{self.concurrency} {what}{'s' if self.concurrency > 1 else ''}"


@dataclass
class Player:
    """A contender with its compiled graph, and what its rounds cost."""

    title: str
    contender: Contender
    graph: Any
    jobs: int
    rounds: list[Cost] = field(default_factory=list)


class Match:
    """Plays the rounds, and sees to it that nothing was lost in any."""

    def __init__(
        self, url: str, proxy: Proxy | None, workload: Workload, setting: Setting, keys: list[str]
    ) -> None:
        self._url, self._proxy = url, proxy
        self._workload, self._setting = workload, setting
        self._keys = [key for key in keys if not (workload.read and key == "none")]
        self._shape, checkpoints, writes = reference(workload)
        self._expected = Expected(checkpoints, writes, workload)

    def play(self, rounds: int, seconds: float) -> dict[str, list[Cost]]:
        """The costs of the rounds, by contender."""
        with ExitStack() as stack:
            self._runner = stack.enter_context(asyncio.Runner())
            self._pool = stack.enter_context(ThreadPoolExecutor(self._setting.concurrency))
            self._meter = Meter(self._url, self._proxy)
            stack.callback(self._meter.close)
            players = {key: self._open(key, stack) for key in self._keys}
            for player in players.values():
                self._warm_up(player, seconds)
            for _ in range(rounds):
                for player in players.values():
                    player.rounds.append(self._round(player))
        return {key: player.rounds for key, player in players.items()}

    def _open(self, key: str, stack: ExitStack) -> Player:
        direct = self._new_database(key, stack)
        at = Surroundings(
            url=self._proxy.url(direct) if self._proxy else direct,
            direct_url=direct,
            concurrency=self._setting.concurrency,
            stack=stack,
            runner=self._runner if self._setting.tasks else None,
        )
        title, opener = CONTENDERS[key]
        contender = opener(at)
        graph = contender.compile(self._workload)
        return Player(title, contender, graph, self._setting.concurrency)

    def _new_database(self, key: str, stack: ExitStack) -> str:
        name = f"bench_{key}_{uuid.uuid4().hex[:8]}"

        def execute(sql: str) -> None:
            with psycopg.connect(self._url, autocommit=True) as conn:
                conn.execute(sql.encode())

        execute(f"CREATE DATABASE {quote(name)}")
        stack.callback(execute, f"DROP DATABASE {quote(name)} WITH (FORCE)")
        return make_conninfo("", **{**conninfo_to_dict(self._url), "dbname": name})

    def _warm_up(self, player: Player, seconds: float) -> None:
        """Play a round, or two of them if they are short, and find out how many take so long."""
        if self._workload.read:
            self._run(player, [FILLED], filling=True)
            self._require_all(player, FILLED, 1)
        cost = self._round(player)
        if cost.seconds < seconds:
            cost = self._round(player)
        player.jobs = max(player.jobs, int(player.jobs * seconds / cost.seconds))

    def _round(self, player: Player) -> Cost:
        prefix = uuid.uuid4().hex
        threads = [f"{prefix}-{number}" for number in range(player.jobs)]
        turns = player.jobs * self._workload.turns
        with self._meter.measuring(turns) as cost:
            self._run(player, [FILLED] * player.jobs if self._workload.read else threads)
            player.contender.finish()
        if not self._workload.read:
            self._require_all(player, prefix, player.jobs)
            cost.stored = player.contender.stored(prefix)
        return cost

    def _require_all(self, player: Player, prefix: str, jobs: int) -> None:
        if lost := player.contender.lost(prefix, jobs, self._expected):
            raise SystemExit(f"{player.title} lost something: {lost}")

    def _run(self, player: Player, threads: list[str], *, filling: bool = False) -> None:
        """Every conversation, or read, in the setting's way."""
        reads = self._workload.read and not filling
        if self._setting.tasks:
            job = aread if reads else aconverse
            results = self._runner.run(self._gather(job, player, threads))
        else:
            job = read if reads else converse
            results = [
                *self._pool.map(lambda thread: job(player.graph, self._workload, thread), threads)
            ]
        if wrong := [found for result in results if (found := shape(result)) != self._shape]:
            raise SystemExit(f"{player.title}: {wrong[0]} instead of {self._shape}")

    async def _gather(self, job: Any, player: Player, threads: list[str]) -> list[Any]:
        left = iter(threads)
        results = []

        async def work() -> None:
            for thread in left:
                results.append(await job(player.graph, self._workload, thread))

        await asyncio.gather(*[work() for _ in range(self._setting.concurrency)])
        return results
