"""What PostgreSQL refuses of the record costs neither the run nor its checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from langgraph.types import Command

from langgraph_persist import Persist
from langgraph_persist.database.connection import Database
from langgraph_persist.errors import DurabilityError
from langgraph_persist.journal import Journal, Unit
from langgraph_persist.journal import journal as journal_module
from langgraph_persist.journal.salvage import MARKED
from langgraph_persist.journal.write import statements, write_group
from tests import citus
from tests.graphs import approval_graph, chain_of, chat_graph, run

Rows = Callable[..., list[dict[str, Any]]]
TABLES = [*MARKED, "messages", "state_values"]
NAMED = "" if citus.ENABLED else " (mine)"
"""How the constraint is named, where the server tells it."""


@pytest.fixture
def url(migrated: str) -> Iterator[str]:
    """The database, which takes all rows again afterwards."""
    yield migrated
    with psycopg.connect(migrated, autocommit=True) as conn:
        for table in TABLES:
            sql = f"ALTER TABLE langgraph_persist.{table} DROP CONSTRAINT IF EXISTS mine"
            conn.execute(sql.encode())


@pytest.fixture(params=["one statement", "one each"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written to as plain PostgreSQL is, or as Citus is."""
    if request.param == "one each":

        def apart(*args: Any) -> Any:
            return statements(*args)._replace(combines=False)

        monkeypatch.setattr(journal_module, "statements", apart)


def refuse(url: str, table: str, condition: str) -> None:
    """From now on PostgreSQL takes only rows of which this is true."""
    with psycopg.connect(url, autocommit=True) as conn:
        sql = f"ALTER TABLE langgraph_persist.{table} ADD CONSTRAINT mine CHECK ({condition})"
        conn.execute(f"{sql} NOT VALID".encode())


def chat(persist: Persist, mode: str = "invoke") -> Any:
    graph = persist.attach(chat_graph("It is sunny").compile(checkpointer=persist.checkpointer))
    run(graph, mode, {"messages": [("human", "Weather?")]}, persist.config("t", user="ann"))
    return graph


CHECKPOINTS = "SELECT count(*)::integer AS n FROM checkpoints"
WHOLE = {"n": 4}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_a_refused_column_is_left_out_and_said_to_be(
    url: str, rows: Rows, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(url, "generations", "output <> 'It is sunny' AND total_tokens <> 10")
    with Persist(url) as persist:
        graph = chat(persist, mode)
        state = graph.get_state(persist.config("t"))
        counts = dict(persist.handler.failures.counts)
    assert state.values["messages"][-1].content == "It is sunny"
    assert rows(CHECKPOINTS) == [WHOLE]
    (row,) = rows("SELECT * FROM generations")
    why = f"refused by PostgreSQL: CheckViolation{NAMED}, "
    assert row["missing"] == {"output": why + "13 bytes", "total_tokens": why + "2 bytes"}
    assert (row["output"], row["total_tokens"]) == (None, None)
    assert (row["status"], row["completion_tokens"], row["user_prompt"]) == (
        "completed",
        3,
        "sunny in Oslo",
    )
    assert {node["status"] for node in rows("SELECT * FROM nodes")} == {"completed"}
    assert rows("SELECT status, missing FROM workflows") == [
        {"status": "completed", "missing": None}
    ]
    kinds = [f"{c} of a row of generations: CheckViolation" for c in ("output", "total_tokens")]
    assert counts == dict.fromkeys(kinds, 1)
    assert "It is sunny" not in caplog.text


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("sessions", "initial_input"),
        ("workflows", "result"),
        ("workflow_runs", "checkpoint_id"),
        ("nodes", "output_data"),
        ("tool_executions", "input_params"),
        ("generations", "prompt"),
    ],
)
def test_every_row_of_a_table_may_be_refused_a_column(
    url: str, rows: Rows, table: str, column: str
) -> None:
    refuse(url, table, f"{column} IS NULL")
    with Persist(url) as persist:
        chat(persist)
        assert persist.history.last().status == "completed"
    assert rows(CHECKPOINTS) == [WHOLE]
    marked = rows(f"SELECT missing FROM {table} WHERE missing IS NOT NULL")
    assert len(marked) == (2 if table == "nodes" else 1)
    assert all([*row["missing"]] == [column] for row in marked)


def test_a_request_to_a_human_that_is_refused_in_part_can_be_answered(url: str, rows: Rows) -> None:
    refuse(url, "hitl_events", "event_data IS NULL")
    with Persist(url) as persist:
        graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
        graph.invoke({"note": "draft"}, persist.config("t"))
        (event,) = persist.history.pending()
        assert [*rows("SELECT missing FROM hitl_events")[0]["missing"]] == ["event_data"]
        graph.invoke(Command(resume={event.interrupt_id: "approve"}), persist.config("t"))
    answered = {"status": "completed", "user_decision": "approve"}
    assert rows("SELECT status, user_decision FROM hitl_events") == [answered]


def test_every_table_with_a_mark_has_its_column(rows: Rows) -> None:
    having = rows(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'langgraph_persist' AND column_name = 'missing'"
    )
    assert {row["table_name"] for row in having} == MARKED


def test_a_refused_message_is_marked_where_it_is_said(url: str, rows: Rows) -> None:
    refuse(url, "messages", "text <> 'It is sunny'")
    with Persist(url) as persist:
        chat(persist)
        state = persist.history.last().state_after("ask")
    assert [*state["messages"][-1]["missing"]] == ["text"]
    assert [m["content"] for m in state["messages"][:2]] == ["Weather?", "sunny in Oslo"]
    assert rows(CHECKPOINTS) == [WHOLE]


def test_a_refused_value_of_a_state_is_marked_in_its_place(url: str, rows: Rows) -> None:
    refuse(url, "state_values", "value #>> '{}' NOT LIKE 'xxx%'")
    with Persist(url) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        graph.invoke({"note": "x" * 5_000, "log": ["y" * 900]}, persist.config("t"))
        state = persist.history.last().state_after("a")
    mark = f"refused by PostgreSQL: CheckViolation{NAMED}, 5,002 bytes"
    assert state["note"] == {"$left_out": mark}
    assert state["log"] == ["y" * 900, "a"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("table", ["nodes", "generations", "workflows", "sessions", "messages"])
def test_a_row_that_is_refused_as_a_whole_is_counted(
    url: str, rows: Rows, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(url, table, "false")
    with Persist(url) as persist:
        for _ in range(2):
            graph = chat(persist)
        assert len(graph.get_state(persist.config("t")).values["messages"]) == 6
        counts = persist.handler.failures.counts
        assert counts[f"a row of {table}: CheckViolation"] > 1
    assert rows(f"SELECT 1 FROM {table}") == []
    assert rows(CHECKPOINTS) == [{"n": 8}]
    logged = [r for r in caplog.records if f"a row of {table}:" in r.getMessage()]
    assert len(logged) == 1 and logged[0].levelno == logging.WARNING
    if table not in ("workflows", "sessions"):  # which all others belong to
        assert {row["status"] for row in rows("SELECT status FROM workflows")} == {"completed"}


def test_a_session_deleted_in_the_midst_costs_no_checkpoint(url: str, rows: Rows) -> None:
    with Persist(url) as persist:
        saver = persist.checkpointer

        def forget(state: Any) -> Any:
            saver.delete_thread("t", record="delete")
            return {"log": ["b"]}

        builder = chain_of(["a", "c"])
        builder.add_node("b", forget)
        builder.add_edge("a", "b")
        graph = persist.attach(builder.compile(checkpointer=saver))
        result = graph.invoke({"count": 0}, persist.config("t"))
        assert sorted(result["log"]) == ["a", "b", "c"]
        assert graph.get_state(persist.config("t")).values == result


@pytest.mark.usefixtures("way")
def test_what_others_write_at_the_same_time_is_whole(url: str, rows: Rows) -> None:
    refuse(url, "state_values", "thread_id <> 'b'")
    journal = Journal(Database(url))
    with psycopg.connect(url) as conn:
        conn.execute("LOCK TABLE langgraph_persist.sessions")
        receipts = [journal.commit(Unit(name, value_of(name))) for name in ("a", "b", "c")]
    for receipt in receipts:
        receipt.result(10)
    assert journal.committed_units == 3
    journal.close()
    assert rows("SELECT thread_id FROM state_values ORDER BY 1") == [
        {"thread_id": "a"},
        {"thread_id": "c"},
    ]


def value_of(thread_id: str) -> Any:
    value = {"thread_id": thread_id, "id": UUID(int=1), "value": orjson.Fragment(b"1")}
    return [("sessions", {"thread_id": thread_id}), ("state_values", value)]


@pytest.mark.usefixtures("way")
def test_what_was_refused_is_counted_as_used_once(url: str, rows: Rows) -> None:
    with Persist(url) as persist:
        for thread_id in ("whole", "refused"):
            if thread_id == "refused":
                refuse(url, "generations", "output IS NULL")
                refuse(url, "workflows", "result IS NULL")
            graph = chat_graph("It is sunny").compile(checkpointer=persist.checkpointer)
            persist.attach(graph).invoke(
                {"messages": [("human", "Weather?")]},
                persist.config(thread_id, user="ann", organization="acme"),
            )
    used = rows("SELECT metric_type, metric_value, metric_data FROM usage_metrics")
    counted = {row["metric_type"]: row for row in used if row["metric_type"] != "execution_time"}
    assert counted["daily_requests"]["metric_value"] == 2
    assert counted["success_rate"]["metric_data"]["completed"] == 2
    assert counted["api_calls"]["metric_value"] == 2


def test_a_lifetime_beyond_all_dates_is_no_reason_to_fail(url: str, rows: Rows) -> None:
    with Persist(url, session_ttl=timedelta.max) as persist:
        chat(persist)
    (session,) = rows("SELECT turns, expires_at, missing FROM sessions")
    assert (session["turns"], session["expires_at"]) == (1, None)
    assert [*session["missing"]] == ["seconds_to_live"]


def by_hand(persist: Persist) -> None:
    """A workflow of the recorder alone."""
    recorder = persist.recorder
    with recorder.start_workflow("nightly", thread_id="t", user="ann"):
        with recorder.node("ask") as node:
            recorder.record_generation("fast", prompt="Weather?", output="It is sunny")
            node.complete(state={"log": ["asked"]})
        recorder.complete_workflow({"sent": 1})


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("table", "condition", "left"),
    [
        ("generations", "output IS NULL", {"output"}),
        ("workflows", "result IS NULL", {"result"}),
        ("nodes", "state IS NULL", {"state"}),
        ("generations", "false", None),
        ("nodes", "status <> 'completed'", None),
    ],
)
def test_what_is_refused_of_a_workflow_recorded_by_hand_is_left_out(
    url: str, rows: Rows, table: str, condition: str, left: set[str] | None
) -> None:
    refuse(url, table, condition)
    with Persist(url) as persist:
        by_hand(persist)
        assert sum(persist.handler.failures.counts.values()) == 1
    whole = {"workflows": 1, "workflow_runs": 1, "nodes": 1, "generations": 1}
    for name in whole:
        found = rows(f"SELECT status, missing FROM {name}")
        if name == table:
            assert [{*row["missing"]} for row in found] == ([] if left is None else [left])
        else:
            assert found == [{"status": "completed", "missing": None}]


@pytest.fixture(params=["53100", "42501", "0A000"])
def unable(url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is wrong with the rows, but the server does not write them."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{request.param}'; END$$".encode()
        )
        conn.execute(
            "CREATE TRIGGER failing BEFORE INSERT ON langgraph_persist.generations"
            " FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    yield
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP FUNCTION fail CASCADE")


@pytest.mark.plain_postgres("Citus takes no triggers")
@pytest.mark.parametrize("record", [chat, by_hand], ids=lambda record: record.__name__)
@pytest.mark.usefixtures("unable")
def test_what_is_no_rows_fault_fails_the_run(
    url: str, rows: Rows, record: Callable[[Persist], Any]
) -> None:
    with Persist(url, retry_for=0.5) as persist:
        with pytest.raises(DurabilityError):
            record(persist)
        assert not persist.handler.failures.counts
    (workflow,) = rows("SELECT status, error_type, result FROM workflows")
    assert (workflow["status"], workflow["result"]) == ("failed", None)
    assert workflow["error_type"].endswith("DurabilityError")
    assert rows("SELECT status FROM workflow_runs") == [{"status": "failed"}]
    assert rows("SELECT 1 FROM nodes WHERE status = 'running'") == []


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each attempt to write a group was a careful one."""
    careful: list[bool] = []

    def noting(conn: Any, group: Any, sql: Any, attempt: Any, protect: Any) -> Any:
        careful.append(attempt.careful)
        return write_group(conn, group, sql, attempt, protect)

    monkeypatch.setattr(journal_module, "write_group", noting)
    yield careful


def test_only_what_was_refused_is_tried_carefully(
    url: str, rows: Rows, attempts: list[bool]
) -> None:
    with Persist(url) as persist:
        chat(persist)
        assert attempts and not any(attempts)
        refuse(url, "nodes", "node_name <> 'ask' OR output_data IS NULL")
        chat(persist)
        tried = len(attempts)
        assert sum(attempts) == 1
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("u"))
        assert not any(attempts[tried:])
