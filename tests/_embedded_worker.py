"""A process that uses the embedded server of a directory and does what its stdin says.

Each command is one line, each answer one line of JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
from typing import Any

import psycopg

from langgraph_persist.database import embedded
from langgraph_persist.database.embedded import tcp


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


def query(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(sql)
        return [list(row) for row in cursor.fetchall()] if cursor.description else []


def child_waits(server: embedded.EmbeddedServer, parent: int) -> None:
    """A forked child that outlives its parent, then queries, leaves, and reports to a file."""
    while os.getppid() == parent:
        signal.sigtimedwait([], 0.01)
    report = query(server.url, "SELECT 'alive'")
    (server.directory / "child").write_text(json.dumps(report))
    server.close()
    os._exit(0)


def crowd(directory: str, size: int) -> list[int]:
    """As many forked processes open a directory at once, each adds a row; their exit codes."""
    children = []
    for number in range(size):
        if (child := os.fork()) == 0:
            with embedded.start_embedded(directory) as server:
                query(server.url, f"CREATE TABLE seen_{number} ()")
            os._exit(0)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def obey(server: embedded.EmbeddedServer, command: str, argument: str) -> Any:
    match command:
        case "query":
            return query(server.url, argument)
        case "close":
            return server.close()
        case "fork-exit":  # a child that ends as programs do, atexit included
            if os.fork() == 0:
                sys.exit(0)
            return os.wait()[1]
        case "fork-wait":
            parent = os.getpid()
            if os.fork() == 0:
                child_waits(server, parent)
            return None
        case "die":
            return os._exit(1)
    raise ValueError(command)


def become(user: str) -> None:
    """Drops root's rights here, not at exec: the interpreter may lie where only root can go."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def main(directory: str, mode: str, user: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if user:
        become(user)
    if mode == "tcp":
        embedded.Server = tcp.TcpServer  # type: ignore[assignment, misc]
    answer("starting")
    if mode == "crowd":
        answer(crowd(directory, 8))
        return
    server = embedded.start_embedded(directory)
    answer(server.url)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        answer(obey(server, command, argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
