"""What is recorded by hand, on its way to the journal."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from contextlib import suppress

from langgraph_persist.journal import Journal, Rows, Unit, Within, current_place


def send(journal: Journal, place: Within, rows: Rows) -> Future[None] | None:
    """Queue rows of what happens there; the commit to wait for, if there is one.

    The end of a workflow waits for what its own process recorded. A process that was forked in it
    may be gone by then, without any farewell, so it waits itself wherever it leaves what is its.
    """
    unit = Unit(place.workflow.run.thread_id, place.shown(rows))
    if place.is_inherited:
        return journal.commit(unit)
    journal.append(unit)
    return None


def wait(committed: Future[None] | None) -> None:
    """Wait for a commit, but never in an event loop, which may be needed for it."""
    if committed is not None and not _in_event_loop():
        committed.result()


def _before_fork() -> None:
    """The workflow must be there when the other process refers to it."""
    place = current_place.get()
    if place is None or place.workflow.ended:
        return
    journal = place.workflow.journal
    if isinstance(journal, Journal) and not journal.in_writer:
        with suppress(Exception):
            journal.drain()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
