"""Ids of callback runs as the record has them: UUIDs, each for one run only.

LangChain passes a ``run_id`` given by the user on unchecked: it may be no UUID, or that of a run
before or beside this one. The events of such a run, and of all below it, are told apart by their
context, which LangChain copies to wherever a run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import NoneType
from typing import Any
from uuid import UUID

from xxhash import xxh3_128_digest

_PLAIN = (UUID, NoneType)
_renamed: ContextVar[Mapping[UUID, UUID] | None] = ContextVar(
    "langgraph_persist_renamed_runs", default=None
)


def as_uuid(given: Any) -> UUID:
    """The id itself if it is a UUID, also as text; else one made from it."""
    if isinstance(given, UUID):
        return given
    try:
        return UUID(str(given))
    except ValueError:
        return UUID(bytes=xxh3_128_digest(str(given).encode(errors="replace")))


def rename(run_id: UUID, to: UUID) -> None:
    """From here on in this context, events of ``run_id`` are those of another run."""
    _renamed.set({**(_renamed.get() or {}), run_id: to})


def given_for(run_id: UUID) -> UUID | None:
    """The id that was given for this run, where it is recorded by another one."""
    names = _renamed.get() or {}
    return next((given for given, to in names.items() if to == run_id), None)


def forget(run_id: UUID) -> None:
    """The run recorded under this id has ended: its given id is free in this context."""
    if names := _renamed.get():
        _renamed.set({given: to for given, to in names.items() if to != run_id} or None)


def known_as(given: Any) -> UUID:
    """The id under which a run is recorded that has started in this context."""
    run_id = given if type(given) is UUID else as_uuid(given)
    names = _renamed.get()
    return run_id if names is None else names.get(run_id, run_id)


def resolve(event: dict[str, Any], starts: bool) -> None:
    """Replace the ids in an event's arguments by those that the record has."""
    given, parent = event["run_id"], event.get("parent_run_id")
    if type(given) is UUID and type(parent) in _PLAIN and _renamed.get() is None:
        return
    if parent is not None:
        event["parent_run_id"] = known_as(parent)
    if not starts:
        event["run_id"] = known_as(given)
    elif type(given) is not UUID and given is not None:
        event["run_id"] = as_uuid(given)
        event["metadata"] = {**(event.get("metadata") or {}), "run_id": str(given)}
