"""The statements for Citus write what the others do; on a cluster, a thread is on one node.

``LANGGRAPH_PERSIST_TEST_CITUS=1`` says that ``LANGGRAPH_PERSIST_TEST_URL`` is a coordinator's. Then
all tests run on distributed tables, but for those marked ``plain_postgres`` and those of servers of
their own; and only then those marked ``citus``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from langgraph.types import Command

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas, queries, sql_folder
from langgraph_persist.errors import ConfigurationError, DurabilityError
from langgraph_persist.journal import Journal, Rows, Unit
from langgraph_persist.journal.write import Sql
from langgraph_persist.migrate import downgrade
from tests import citus
from tests.checks import check_record_and_checkpoints_agree, query
from tests.graphs import approval_graph, chat_graph

AREAS = ("checkpoints", "record", "runs", "interventions", "plans", "usage", "periods")
FORMS = ["citus"] if citus.ENABLED else ["shared", "citus"]


@pytest.fixture(params=FORMS)
def persist(request: pytest.FixtureRequest, migrated: str) -> Iterator[Persist]:
    """Writes by the statements for Citus, whatever the engine is, or by those for any other."""
    with Persist(migrated) as opened:
        journal = opened.checkpointer.journal
        texts = {
            name: sql
            for area in (*AREAS, request.param.replace("shared", "record"))
            for name, sql in queries(area, Schemas()).items()
        }
        journal._statements = Sql(texts, combines=request.param == "shared")
        yield opened


def workflow(thread_id: str, number: int, **fields: Any) -> Rows:
    """What opens a workflow, or changes it."""
    row = {"thread_id": thread_id, "id": UUID(int=number), "name": "n", "status": "running"}
    row |= {"started_at": f"2026-01-01T00:00:{number % 60:02}Z"} | fields
    return [("sessions", {"thread_id": thread_id}), ("workflows", row)]


def test_turns_are_counted(persist: Persist, migrated: str) -> None:
    journal = persist.checkpointer.journal
    groups: list[list[Rows]] = [
        [workflow("a", 1), workflow("b", 2)],
        [workflow("a", 1, status="completed"), workflow("a", 4), workflow("a", 3)],
        [workflow("b", 2), workflow("b", 6), workflow("a", 5), workflow("b", 7)],
        [workflow("a", 1), workflow("a", 3, status="failed")],
    ]
    for group in groups:
        rows = [row for rows in group for row in rows]
        journal.commit(Unit("a", rows)).result(60)
    found = query(migrated, "SELECT thread_id, id, turn FROM workflows ORDER BY 1, 3")
    turns = {t: [r["id"].int for r in found if r["thread_id"] == t] for t in ("a", "b")}
    assert turns == {"a": [1, 3, 4, 5], "b": [2, 6, 7]}
    assert [row["turn"] for row in found] == [1, 2, 3, 4, 1, 2, 3]
    sessions = query(migrated, "SELECT thread_id, turns FROM sessions ORDER BY 1")
    assert [row["turns"] for row in sessions] == [4, 3]


def test_a_resumed_workflow_is_summed_up(persist: Persist, migrated: str) -> None:
    graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="alice", organization="acme")
    graph.invoke({"count": 0}, config)
    graph.invoke(Command(resume="yes"), config)
    (found,) = query(
        migrated,
        "SELECT w.turn, w.status, w.node_count, w.active_ms, u.username, o.slug FROM workflows w"
        " JOIN users u ON u.id = w.user_id JOIN organizations o ON o.id = w.organization_id",
    )
    runs = query(migrated, "SELECT kind, attempt, duration_ms FROM workflow_runs ORDER BY attempt")
    assert [(run["kind"], run["attempt"]) for run in runs] == [("start", 1), ("resume", 2)]
    assert found.pop("active_ms") == pytest.approx(sum(run["duration_ms"] for run in runs))
    # draft, ask until it was interrupted, ask again, publish
    expected = {"turn": 1, "status": "completed", "node_count": 4}
    assert found == expected | {"username": "alice", "slug": "acme"}
    check_record_and_checkpoints_agree(migrated)


def test_messages_tell_their_turn(persist: Persist, migrated: str) -> None:
    graph = persist.attach(chat_graph("fine", "rain").compile(checkpointer=persist.checkpointer))
    for text in ("how is it?", "and now?"):
        graph.invoke({"messages": [("human", text)]}, persist.config("t"))
    found = query(migrated, "SELECT turn, role, text FROM messages")
    assert {(row["turn"], row["text"]) for row in found if row["role"] == "ai"} == {
        (1, "fine"),
        (2, "rain"),
    }
    assert len(persist.history.last().generations[0].prompt) == 5


def test_a_group_is_written_whole_or_not_at_all(persist: Persist, migrated: str) -> None:
    journal = persist.checkpointer.journal
    ids = {"workflow_id": UUID(int=1), "run_id": UUID(int=1), "id": UUID(int=1)}
    node = {"thread_id": "a", "node_name": "n", "status": "completed", "node_type": "node"}
    rows = [*workflow("a", 1), ("nodes", ids | node | {"started_at": "2026-01-01T00:00:00Z"})]
    journal.commit(Unit("a", rows)).result(60)
    nameless = {"thread_id": "a", "checkpoint_ns": "", "checkpoint_id": None}
    totals = [("workflow_totals", {"thread_id": "a", "id": UUID(int=1)})]
    with pytest.raises(DurabilityError):
        journal.commit(Unit("a", totals, checkpoint=nameless)).result(60)
    assert query(migrated, "SELECT node_count FROM workflows") == [{"node_count": 0}]
    journal.commit(Unit("a", totals)).result(60)
    assert query(migrated, "SELECT node_count FROM workflows") == [{"node_count": 1}]


def test_every_table_of_a_session_would_be_spread(migrated: str) -> None:
    found = query(
        migrated,
        "SELECT DISTINCT table_name AS name FROM information_schema.columns JOIN"
        " information_schema.tables USING (table_schema, table_name)"
        " WHERE column_name = 'thread_id' AND table_type = 'BASE TABLE'"
        " AND table_schema IN ('langgraph_persist', 'public')",
    )
    script = (sql_folder() / "citus.sql").read_text("utf-8")
    assert len(found) > 15
    assert [row["name"] for row in found if f".{row['name']}$name$" not in script] == []


@pytest.mark.plain_postgres("there is a cluster")
def test_plain_postgres_distributes_nothing(migrated: str) -> None:
    with Persist(migrated) as persist, pytest.raises(ConfigurationError, match="no Citus cluster"):
        persist.distribute()


@pytest.mark.citus
def test_every_table_of_a_session_is_spread_by_thread(migrated: str) -> None:
    found = query(
        migrated,
        "SELECT c.relname AS name, p.partmethod, p.colocationid"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid"
        " WHERE a.attname = 'thread_id' AND c.relkind = 'r'"
        " AND c.relnamespace IN ('langgraph_persist'::regnamespace, 'public'::regnamespace)",
    )
    assert len(found) > 15
    assert {row["partmethod"] for row in found} == {"h"}
    assert len({row["colocationid"] for row in found}) == 1


@pytest.mark.citus
def test_distributing_again_does_nothing(migrated_anew: str) -> None:
    with Persist(migrated_anew) as persist:
        graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        persist.distribute()
    assert query(migrated_anew, "SELECT turns FROM sessions") == [{"turns": 1}]


@pytest.mark.citus
def test_a_cluster_is_migrated(migrated_anew: str) -> None:
    """Migrations run on tables that are spread already."""
    with Persist(migrated_anew) as persist:
        persist.distribute()
    downgrade(migrated_anew, Schemas(), "0017")
    with Persist(migrated_anew) as persist:
        graph = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        assert len(persist.history.pending()) == 1
    check_record_and_checkpoints_agree(migrated_anew)


@pytest.mark.citus
def test_the_engine_is_detected(migrated: str) -> None:
    journal = Journal(Database(migrated))
    journal.commit(Unit("t", workflow("t", 1))).result(60)
    assert journal._statements is not None
    assert journal._statements.texts["workflows"] == queries("citus", Schemas())["workflows"]
    journal.close()


@pytest.mark.citus
def test_reads_of_a_thread_ask_one_node(migrated: str) -> None:
    asked: list[str] = []
    with psycopg.connect(migrated, autocommit=True) as conn:
        saver = PersistSaver(conn)
        graph = approval_graph().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        graph.invoke({"count": 0}, config)
        conn.add_notice_handler(lambda notice: asked.append(notice.message_detail or ""))
        conn.execute("SET citus.log_remote_commands TO on")
        assert saver.get_tuple(config) is not None
        assert len(asked) == 1
        assert len([*saver.list(config, limit=2)]) == 2
        assert len(asked) == 2
        saver.close()
