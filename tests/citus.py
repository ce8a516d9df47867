"""Databases of a Citus cluster, which ``LANGGRAPH_PERSIST_TEST_CITUS=1`` says the server leads."""

from __future__ import annotations

import os
import re
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from langgraph_persist import migrate
from langgraph_persist.database.queries import Schemas, quote

ENABLED = os.environ.get("LANGGRAPH_PERSIST_TEST_CITUS") == "1"


def leads(server_url: str) -> bool:
    """Whether a server is the coordinator, and not one that a test has started."""
    return ENABLED and server_url == os.environ.get("LANGGRAPH_PERSIST_TEST_URL")


# What is gathered is kept to the end of the statement, which may ask for it for every row.
_GATHERED = """
CREATE FUNCTION langgraph_persist.gathered_{name}() RETURNS SETOF langgraph_persist.{name}
LANGUAGE plpgsql AS $$
DECLARE
    kept CONSTANT text := format('{name} %s', statement_timestamp());
BEGIN
    IF to_regclass(format('pg_temp.%I', kept)) IS NULL THEN
        EXECUTE format('CREATE TEMPORARY TABLE %I ON COMMIT DROP AS %s', kept, $q$ {query} $q$);
    END IF;
    RETURN QUERY EXECUTE format('SELECT * FROM pg_temp.%I', kept);
END $$
"""


def distribute(url: str, *, views: bool = True) -> None:
    """Spread the tables of a migrated database, with views that the tests can look at."""
    migrate.distribute(url, Schemas())
    if views:
        _gather_views(url)


def _gather_views(url: str) -> None:
    """Let the views of full states read whole tables to the coordinator, for the tests to look.

    They follow chains of messages, which Citus plans only for a thread that it is told.
    """
    views = (
        "state_contents",
        "node_states",
        "workflow_contents",
        "tool_contents",
        "generation_prompts",
        "session_transcript",
    )
    tables = ("state_values", "messages", "nodes", "generations", "workflows", "tool_executions")
    source = re.compile(rf'"?langgraph_persist"?\.({"|".join([*tables, *views])})\b')
    with psycopg.connect(url) as conn:
        conn.execute("SET citus.enable_ddl_propagation TO off")
        for name in tables:
            query = f"SELECT * FROM langgraph_persist.{name}"
            conn.execute(_GATHERED.format(name=name, query=query).encode())
        for name in views:
            view = f"langgraph_persist.{name}"
            (text,) = conn.execute("SELECT pg_get_viewdef(%s::regclass)", [view]).fetchone() or (
                "",
            )
            query = source.sub(r"langgraph_persist.gathered_\1()", text).rstrip().rstrip(";")
            conn.execute(_GATHERED.format(name=name, query=query).encode())
            text = f"SELECT * FROM langgraph_persist.gathered_{name}() OFFSET 0"
            conn.execute(f"CREATE OR REPLACE VIEW {view} AS {text}".encode())
        whole = "SELECT pg_get_functiondef('langgraph_persist.whole'::regproc)"
        (text,) = conn.execute(whole.encode()).fetchone() or ("",)
        conn.execute(source.sub(r"langgraph_persist.gathered_\1()", text).encode())


def join_cluster(server_url: str, url: str) -> None:
    """Make a new database of the coordinator one of the workers too."""
    database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    workers = _workers(server_url)
    for host, port in workers:
        worker = make_conninfo(server_url, host=host, port=port)
        _execute(worker, f"CREATE DATABASE {quote(str(database))} TEMPLATE template0")
        _execute(make_conninfo(worker, dbname=database), "CREATE EXTENSION citus")
    _execute(url, "CREATE EXTENSION citus")
    for (host, port), add in [
        (_coordinator(server_url), "citus_set_coordinator_host"),
        *[(worker, "citus_add_node") for worker in workers],
    ]:
        _execute(url, f"SELECT {add}('{host}', {port})")


def leave_cluster(server_url: str, database: str) -> None:
    """Drop the workers' part of a database."""
    for host, port in _workers(server_url):
        worker = make_conninfo(server_url, host=host, port=port)
        _execute(worker, f"DROP DATABASE IF EXISTS {quote(database)} WITH (FORCE)")


def _workers(server_url: str) -> list[tuple[Any, ...]]:
    return _nodes(server_url, "groupid <> 0")


def _coordinator(server_url: str) -> tuple[Any, ...]:
    return _nodes(server_url, "groupid = 0")[0]


def _nodes(server_url: str, which: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server_url) as conn:
        sql = f"SELECT nodename, nodeport FROM pg_dist_node WHERE {which} ORDER BY 2"
        return conn.execute(sql.encode()).fetchall()


def _execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.encode())
