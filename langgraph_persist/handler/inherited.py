"""Whose a run is that starts from an earlier checkpoint and names nobody.

``update_state`` hands back no metadata: who goes on with its config names neither user nor
organization. Such a run is of those of the workflow that it repeats, whose checkpoint says which
that is; so it counts for their limits, and costs them what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from langgraph_persist.database.queries import queries
from langgraph_persist.errors import PersistError
from langgraph_persist.handler.calls import GraphCall
from langgraph_persist.journal import Journal


class Inherited(dict[str, Any]):
    """Metadata whose user and organization are another workflow's: who runs this is not known."""


class Origin(NamedTuple):
    """The checkpoint that a run starts from."""

    thread_id: str
    checkpoint_id: str


def origin_of(call: GraphCall | None, metadata: Mapping[str, Any]) -> Origin | None:
    """The earlier checkpoint that a graph's run starts from, if it names nobody."""
    if call is None or {metadata.get("user"), metadata.get("organization")} != {None}:
        return None
    given = call.configurable
    # For a node in a subgraph these are the checkpoints around it.
    around = given.get("checkpoint_map") or {}
    checkpoint_id = around.get("") or given.get("checkpoint_id")
    thread_id = given.get("thread_id")
    if not checkpoint_id or thread_id is None:
        return None
    return Origin(str(thread_id), str(checkpoint_id))


def inherit(origin: Origin, metadata: Mapping[str, Any], journal: Journal) -> Mapping[str, Any]:
    """The metadata with the names of who ran the graph there; as it is where nobody is known."""
    try:
        names = _owner(origin, journal)
    except (psycopg.Error, PersistError) as error:
        journal.failures.add("inherit", error)
        return metadata
    return Inherited(metadata, **names) if names else metadata


def _owner(origin: Origin, journal: Journal) -> dict[str, str]:
    sql = queries("inheritance", journal.schemas)
    with journal.database.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
        found: tuple[UUID, str] | None
        found = cursor.execute(sql["repeated_workflow"].encode(), origin._asdict()).fetchone()
        if found is None:
            return {}
        params = {"thread_id": found[1], "workflow_id": found[0]}
        owner = cursor.execute(sql["workflow_owner"].encode(), params).fetchone()
    named = zip(("user", "organization"), owner or (), strict=False)
    return {name: value for name, value in named if value is not None}
