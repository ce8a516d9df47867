"""A TCP proxy in a process of its own that delays what it passes on, and counts round trips."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

CHUNK = 1 << 16


@dataclass
class Proxy:
    """Where it listens, and how often a client has waited for the server so far."""

    port: int
    _count: Synchronized[int]

    @property
    def round_trips(self) -> int:
        return self._count.value

    def url(self, url: str) -> str:
        """The URL of the same database, through the proxy."""
        params = conninfo_to_dict(url)
        user, database = quote(str(params.get("user", "postgres"))), quote(str(params["dbname"]))
        # The server behind it may be reached by a socket, and so speak no TLS.
        options = "sslmode=disable&gssencmode=disable"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{options}"


@contextmanager
def running_proxy(url: str, latency_ms: float) -> Iterator[Proxy]:
    """A proxy to the server of a URL that makes each round trip take so much longer."""
    context = multiprocessing.get_context("spawn")
    count: Any = context.Value("q", 0)
    ours, theirs = context.Pipe()
    params = conninfo_to_dict(url)
    host, port = str(params["host"]), int(params.get("port") or 5432)
    process = context.Process(
        target=_main, args=(host, port, latency_ms / 2000, count, theirs), daemon=True
    )
    process.start()
    try:
        yield Proxy(ours.recv(), count)
    finally:
        process.terminate()
        process.join()


def _main(host: str, port: int, delay: float, count: Synchronized[int], told: Connection) -> None:
    asyncio.run(_serve(host, port, delay, count, told))


async def _serve(
    host: str, port: int, delay: float, count: Synchronized[int], told: Connection
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        link = _Link(count)
        await asyncio.gather(
            _pass_on(reader, upstream[1], delay, link.asks),
            _pass_on(upstream[0], writer, delay, link.answers),
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Link:
    """Counts a round trip where the client speaks after the server did."""

    def __init__(self, count: Synchronized[int]) -> None:
        self._count, self._answered = count, True

    def asks(self) -> None:
        if self._answered:
            self._answered = False
            with self._count.get_lock():
                self._count.value += 1

    def answers(self) -> None:
        self._answered = True


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, seen: Any
) -> None:
    """Pass on everything, in order, each piece so many seconds after it came."""
    loop = asyncio.get_running_loop()
    waiting: deque[bytes] = deque()
    while data := await _read(reader):
        seen()
        waiting.append(data)
        loop.call_later(delay, lambda: writer.write(waiting.popleft()))
    loop.call_later(delay, writer.close)


async def _read(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.read(CHUNK)
    return b""
