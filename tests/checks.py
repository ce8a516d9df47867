"""What must hold in a database whatever happened to those who wrote it."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.rows import dict_row


def query(url: str, sql: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as conn:
        conn.execute("SET search_path = langgraph_persist, public")
        return conn.execute(sql.encode()).fetchall()


def wait_for_queries_to_end(url: str) -> None:
    """A killed client's last transaction may still be committing."""
    for _ in range(200):
        others = query(
            url,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND application_name = 'langgraph_persist'",
        )
        if not others:
            return
        time.sleep(0.05)
    raise AssertionError("the killed process's connections are still open")


def check_record_and_checkpoints_agree(url: str) -> None:
    orphans = query(
        url,
        "SELECT n.* FROM nodes n"
        " LEFT JOIN checkpoints c USING (thread_id, checkpoint_ns, checkpoint_id)"
        " WHERE n.status = 'completed' AND c.checkpoint_id IS NULL",
    )
    assert orphans == []
    unrecorded = query(
        url,
        # The step after an input only hands it to the first nodes.
        "SELECT c.thread_id, c.metadata FROM checkpoints c JOIN checkpoints p"
        " ON p.thread_id = c.thread_id AND p.checkpoint_id = c.parent_checkpoint_id"
        " WHERE c.metadata ->> 'source' = 'loop' AND p.metadata ->> 'source' <> 'input'"
        " AND NOT EXISTS (SELECT FROM nodes n WHERE n.thread_id = c.thread_id"
        " AND n.checkpoint_id = c.checkpoint_id AND n.status = 'completed')",
    )
    assert unrecorded == []
    gaps = query(
        url,
        "SELECT c.* FROM checkpoints c LEFT JOIN checkpoints p ON p.thread_id = c.thread_id"
        " AND p.checkpoint_id = c.parent_checkpoint_id"
        " WHERE c.parent_checkpoint_id IS NOT NULL AND p.checkpoint_id IS NULL",
    )
    assert gaps == []
