"""Servers, databases and roles set to anything: the record and the checkpoints are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist
from langgraph_persist.errors import DurabilityError
from tests.graphs import chat_graph

ODD = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "search_path": "",
    "quote_all_identifiers": "on",
    "extra_float_digits": "-3",
    "row_security": "off",
    "plan_cache_mode": "force_generic_plan",
    "synchronous_commit": "off",
    "jit": "on",
}
SAID = "Grüße ☃ \\ 'ähm' \U0001f600"


def alter(url: str, **settings: str) -> None:
    name = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as conn:
        for setting, value in settings.items():
            statement = psycopg.sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                psycopg.sql.Identifier(str(name)),
                psycopg.sql.SQL(setting),
                psycopg.sql.Literal(value),
            )
            conn.execute(statement)


@contextmanager
def target_of(kind: str, url: str) -> Iterator[Any]:
    if kind == "url":
        yield url
    elif kind == "pool":
        with ConnectionPool(url, min_size=1, max_size=4) as pool:
            yield pool
    else:
        with psycopg.connect(url, autocommit=True) as conn:
            yield conn


def lived(target: Any) -> Any:
    """What is read back of two turns, by every way of reading."""
    with Persist(target) as persist:
        saver = persist.checkpointer
        config = persist.config("t", user="änn", organization="acme")
        for _ in range(2):
            graph = persist.attach(chat_graph("Très ☃").compile(checkpointer=saver))
            graph.invoke({"messages": [HumanMessage(SAID, id="0")]}, config)
        workflow = persist.history.last()
        assert workflow.started_at.utcoffset() is not None
        assert workflow.completed_at is not None
        assert timedelta(0) <= workflow.completed_at - workflow.started_at < timedelta(minutes=1)
        saved = graph.get_state(config).values["messages"]
        return {
            "saved": [message.content for message in saved],
            "checkpoints": len([*saver.list(config)]),
            "state": [m["content"] for m in workflow.state_after("ask")["messages"]],
            "input": workflow.input["messages"][0]["content"],
            "workflow": (workflow.turn, workflow.status, workflow.node_count),
            "nodes": [(n.node_name, n.status, n.duration_ms is not None) for n in workflow.nodes],
            "calls": [(g.output, g.total_tokens, g.model_name) for g in workflow.generations],
            "tools": [(t.tool_name, t.output_data) for t in workflow.tool_executions],
            "lines": len(str(workflow.timeline()).splitlines()),
            "threads": [t.thread_id for t in persist.threads()],
            "failures": dict(persist.handler.failures.counts),
        }


@pytest.mark.parametrize("kind", ["url", "pool", "connection"])
def test_odd_settings_change_nothing(database: str, migrated: str, kind: str) -> None:
    expected = lived(migrated)
    assert expected["saved"][0] == expected["state"][0] == SAID
    alter(database, **ODD)
    with target_of(kind, database) as target:
        assert lived(target) == expected
        if kind != "url":
            with target.connection() if kind == "pool" else nullcontext(target) as conn:
                assert conn.info.parameter_status("DateStyle") == "SQL, DMY"
                assert conn.info.parameter_status("client_encoding") == "LATIN1"


def test_a_database_that_is_read_only_says_so(database: str) -> None:
    with Persist(database):
        pass
    alter(database, default_transaction_read_only="on")
    with Persist(database, retry_for=0.3) as persist:
        graph = persist.attach(chat_graph("no").compile(checkpointer=persist.checkpointer))
        with pytest.raises(DurabilityError, match="read-only transaction"):
            graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
        assert [*persist.history.workflows()] == []


def test_a_statement_that_takes_too_long_fails_its_run_and_no_other(database: str) -> None:
    with Persist(database) as persist:
        journal = persist.handler.journal
    alter(database, statement_timeout="300")
    with Persist(database, retry_for=0.3) as persist:
        graph = persist.attach(chat_graph("a", "b").compile(checkpointer=persist.checkpointer))
        with psycopg.connect(database) as conn:
            conn.execute("LOCK TABLE langgraph_persist.sessions")
            with pytest.raises(DurabilityError, match="statement timeout"):
                graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
        assert graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
        assert persist.history.last().status == "completed"
    assert journal.closed
