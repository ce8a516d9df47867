"""Indexes that only some applications want."""

from __future__ import annotations

from langgraph_persist.database.queries import Schemas, quote, sql_folder
from langgraph_persist.migrate.stock import ConcurrentIndex


def metadata_index(schemas: Schemas) -> ConcurrentIndex:
    """The index for filters on checkpoint metadata."""
    sql = (sql_folder() / "optional" / "index_checkpoint_metadata.sql").read_text("utf-8")
    table = f"{quote(schemas.checkpoints)}.checkpoints"
    return ConcurrentIndex("checkpoints_metadata_idx", table, schemas.render(sql))
