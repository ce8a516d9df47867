"""``history`` over rows written by plain SQL: what it reads is what the tables say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas
from langgraph_persist.database.statements import Statements
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.history import History, Node
from langgraph_persist.journal import Forks

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def at(ms: float) -> datetime:
    return NOON + timedelta(milliseconds=ms)


class Record:
    """Writes rows of the business schema, with what a test does not name filled in."""

    def __init__(self, conn: Connection[Any]) -> None:
        self._conn = conn

    def insert(self, table: str, **row: object) -> UUID:
        id = uuid4()
        self._write(table, {"id": id} | row)
        return id

    def user(self, name: str) -> UUID:
        return self.insert("users", username=name)

    def session(self, thread_id: str, **row: object) -> None:
        self._write("sessions", {"thread_id": thread_id} | row)

    def workflow(self, thread_id: str, turn: int = 1, **row: object) -> UUID:
        defaults: dict[str, object] = {
            "name": "writer",
            "status": "completed",
            "started_at": NOON,
        }
        return self.insert("workflows", thread_id=thread_id, turn=turn, **(defaults | row))

    def node(self, thread_id: str, workflow_id: UUID, order: int, **row: object) -> UUID:
        defaults: dict[str, object] = {
            "run_id": workflow_id,
            "node_name": f"node{order}",
            "node_type": "node",
            "status": "completed",
            "started_at": at(order),
        }
        return self.insert(
            "nodes",
            thread_id=thread_id,
            workflow_id=workflow_id,
            execution_order=order,
            **(defaults | row),
        )

    def generation(self, thread_id: str, workflow_id: UUID, **row: object) -> UUID:
        return self._call("generations", thread_id, workflow_id, **row)

    def tool(self, thread_id: str, workflow_id: UUID, **row: object) -> UUID:
        return self._call("tool_executions", thread_id, workflow_id, **row)

    def retrieval(self, thread_id: str, workflow_id: UUID, **row: object) -> UUID:
        own: dict[str, object] = {"run_id": workflow_id, "started_at": NOON, "latency_ms": 2.5}
        where = {"thread_id": thread_id, "workflow_id": workflow_id}
        return self.insert("retrievals", **where, **(own | row))

    def _call(self, table: str, thread_id: str, workflow_id: UUID, **row: object) -> UUID:
        defaults: dict[str, object] = {
            "run_id": workflow_id,
            "status": "completed",
            "started_at": NOON,
        }
        return self.insert(table, thread_id=thread_id, workflow_id=workflow_id, **(defaults | row))

    def _write(self, table: str, row: dict[str, object]) -> None:
        values = {k: Jsonb(v) if isinstance(v, dict) else v for k, v in row.items()}
        self._conn.execute(
            sql.SQL("INSERT INTO langgraph_persist.{} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
            ),
            values,
        )


@pytest.fixture
def conn(migrated: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(migrated, autocommit=True) as conn:
        yield conn


@pytest.fixture
def record(conn: Connection[Any]) -> Record:
    return Record(conn)


Reading = Callable[..., History]


@pytest.fixture
def reading(migrated: str) -> Iterator[Reading]:
    database = Database(migrated)

    def made(flush: Callable[[], object] = lambda: None) -> History:
        statements = Statements(database, Schemas(), *History.AREAS, flush=flush)
        return History(statements, forks=Forks())

    yield made
    database.close()


@pytest.fixture
def history(reading: Reading) -> History:
    return reading()


def names(nodes: Any) -> list[str]:
    return [node.node_name for node in nodes]


def test_an_empty_record_says_so(history: History) -> None:
    assert history.workflows() == []
    with pytest.raises(NotRecorded, match="run a graph first"):
        history.last()
    with pytest.raises(NotRecorded, match="no workflow"):
        history.workflow(uuid4())
    with pytest.raises(ConfigurationError, match="id is a UUID"):
        history.workflow("thread-1")


def test_a_workflow_carries_its_columns_typed(history: History, record: Record) -> None:
    organization = record.insert("organizations", name="Acme", slug="acme")
    user = record.user("alice")
    record.session("t", organization_id=organization, user_id=user)
    id = record.workflow(
        "t",
        user_id=user,
        user_input="cats",
        input={"topic": "cats"},
        settings={"radius": 3},
        result={"text": "meow"},
        tags=["a", "b"],
        completed_at=at(12),
        duration_ms=12.0,
        node_count=2,
        prompt_tokens=5,
        completion_tokens=7,
        total_tokens=12,
        cost_usd=Decimal("0.00012"),
    )

    workflow = history.workflow(str(id))

    assert workflow == history.last()
    assert (workflow.thread_id, workflow.id, workflow.turn) == ("t", id, 1)
    assert (workflow.user, workflow.organization) == ("alice", "acme")
    assert (workflow.started_at, workflow.completed_at) == (NOON, at(12))
    assert (workflow.input, workflow.result) == ({"topic": "cats"}, {"text": "meow"})
    assert (workflow.settings, workflow.tags) == ({"radius": 3}, ["a", "b"])
    assert (workflow.total_tokens, workflow.cost_usd) == (12, Decimal("0.00012"))
    assert repr(workflow) == "<Workflow 'writer', t turn 1, completed, 12.0 ms>"
    with pytest.raises(FrozenInstanceError):
        workflow.status = "failed"  # type: ignore[misc]


def test_workflows_filter(history: History, record: Record) -> None:
    alice, bob = record.user("alice"), record.user("bob")
    record.session("a")
    record.session("b")
    first = record.workflow("a", user_id=alice, started_at=at(1))
    second = record.workflow("a", 2, user_id=alice, status="failed", started_at=at(2))
    third = record.workflow("b", user_id=bob, status="failed", started_at=at(3))

    def ids(**filters: Any) -> list[UUID]:
        return [workflow.id for workflow in history.workflows(**filters)]

    assert ids() == [third, second, first]
    assert ids(user="alice") == [second, first]
    assert ids(status="failed") == [third, second]
    assert ids(thread="a", status="failed") == [second]
    assert ids(user="nobody") == []
    assert history.last().id == third


def test_pages_meet_without_gap_or_overlap(history: History, record: Record) -> None:
    record.session("t")
    # Several start at the same moment, so the id has to decide.
    for turn in range(1, 8):
        record.workflow("t", turn, started_at=at(turn // 3))
    whole = history.workflows()

    pages, before = [], None
    while page := history.workflows(limit=2, before=before):
        pages.append(page)
        before = page[-1]

    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [workflow for page in pages for workflow in page] == whole
    assert history.workflows(before=whole[2].id) == whole[3:]
    assert history.workflows(before=str(whole[2].id)) == whole[3:]
    assert history.workflows(before=at(1)) == [w for w in whole if w.started_at < at(1)]


def test_a_page_cannot_be_empty_or_start_nowhere(history: History) -> None:
    with pytest.raises(ConfigurationError, match="limit is a whole number from 1, not 0"):
        history.workflows(limit=0)
    with pytest.raises(NotRecorded):
        history.workflows(before=uuid4())


def test_parts_belong_to_their_workflow_in_order(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t")
    other = record.workflow("t", 2, started_at=at(-1))
    second = record.node("t", id, 2, node_name="write", triggers=["branch:to:write"], step=2)
    record.node("t", id, 1, node_name="read", step=1, duration_ms=1.5)
    record.node("t", other, 1, node_name="elsewhere")
    for attempt, kind in ((2, "resume"), (1, "start")):
        record.insert(
            "workflow_runs",
            thread_id="t",
            workflow_id=id,
            attempt=attempt,
            kind=kind,
            status="completed",
            started_at=at(attempt),
        )
    record.generation("t", id, node_id=second, model_name="m", total_tokens=3, latency_ms=2.0)
    record.generation("t", id, started_at=at(-5), model_name="loose")
    record.generation("t", other, model_name="elsewhere")
    record.tool("t", id, node_id=second, tool_name="search", input_params={"q": "cats"})

    workflow = history.last()

    assert names(workflow.nodes) == ["read", "write"]
    assert [run.kind for run in workflow.runs] == ["start", "resume"]
    assert [g.model_name for g in workflow.generations] == ["loose", "m"]
    read, write = workflow.nodes
    assert [g.model_name for g in write.generations] == ["m"]
    assert [t.input_params for t in write.tool_executions] == [{"q": "cats"}]
    assert (read.generations, read.tool_executions) == ((), ())
    assert (write.triggers, write.step) == (["branch:to:write"], 2)
    assert repr(read) == "<Node #1 'read', completed, 1.5 ms>"
    assert repr(write.tool_executions[0]) == "<ToolExecution 'search', completed>"
    assert repr(workflow.runs[1]) == "<WorkflowRun #2 resume, completed>"


def test_nodes_of_a_resume_come_after_those_before_it(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t")
    for attempt, kind in ((1, "start"), (2, "resume")):
        run = record.insert(
            "workflow_runs",
            thread_id="t",
            workflow_id=id,
            attempt=attempt,
            kind=kind,
            status="completed",
            started_at=at(attempt),
        )
        for order in (1, 2):
            record.node("t", id, order, run_id=run, node_name=f"{kind}{order}")

    workflow = history.last()

    assert names(workflow.nodes) == ["start1", "start2", "resume1", "resume2"]
    assert [row.position for row in workflow.timeline().rows] == [1, 2, 3, 4]


def test_parts_are_read_once(reading: Reading, record: Record) -> None:
    flushes: list[int] = []
    record.session("t")
    id = record.workflow("t")
    record.node("t", id, 1)
    workflow = reading(flush=lambda: flushes.append(1)).last()

    assert len(workflow.nodes) == 1
    record.node("t", id, 2)

    assert len(workflow.nodes) == 1
    assert len(flushes) == 2


def test_reading_sees_what_flush_writes(reading: Reading, record: Record) -> None:
    record.session("t")
    history = reading(flush=lambda: record.workflow("t"))
    assert history.last().turn == 1


def test_state_after_a_node(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t")
    value = record.insert("state_values", thread_id="t", value={"long": "text"})
    first = record.node(
        "t", id, 1, node_name="write", state={"n": 1, "doc": {"$stored": str(value)}}
    )
    record.node("t", id, 2, node_name="write", state={"n": 2})
    record.node("t", id, 3, node_name="crash", status="failed", error_type="ValueError")
    workflow = history.last()

    assert workflow.state_after("write") == {"n": 2}
    assert workflow.state_after(first) == {"n": 1, "doc": {"long": "text"}}
    assert workflow.state_after(workflow.nodes[0]) == workflow.nodes[0].state
    with pytest.raises(NotRecorded, match="no state was recorded after <Node #3 'crash'"):
        workflow.state_after("crash")
    with pytest.raises(NotRecorded, match="no node publish; recorded are: write, crash"):
        workflow.state_after("publish")


def test_a_generation_gives_its_prompt_whole(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t")
    system = record.insert("messages", thread_id="t", role="system", content=Jsonb("Be brief."))
    human = record.insert(
        "messages", thread_id="t", role="human", content=Jsonb("Hi"), message_id="m1"
    )
    base = record.insert("state_values", thread_id="t", kind="messages", value=Jsonb([str(system)]))
    whole = record.insert(
        "state_values",
        thread_id="t",
        kind="messages",
        value=Jsonb([str(human)]),
        base_id=base,
    )
    record.generation(
        "t",
        id,
        prompt={"$stored": str(whole)},
        model_name="m",
        prompt_tokens=4,
        completion_tokens=2,
        total_tokens=6,
        latency_ms=1234.5,
        started_at=at(1),
    )
    record.generation("t", id, started_at=at(2))

    referring, empty = history.last().generations

    assert [(m["type"], m["content"]) for m in referring.prompt] == [
        ("system", "Be brief."),
        ("human", "Hi"),
    ]
    assert referring.prompt[1]["id"] == "m1"
    assert empty.prompt == []
    assert repr(referring) == "<Generation 'm', completed, 4+2 tokens, 1,234.5 ms>"
    assert repr(empty) == "<Generation 'unknown model', completed>"


def test_rows_are_values(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t", metadata={"a": 1})
    record.node("t", id, 1)
    one, same = history.last(), history.last()
    assert len({one, same}) == 1
    assert len({*one.nodes, *same.nodes}) == 1
    assert one != one.nodes[0]


def test_the_timeline_is_a_table(history: History, record: Record) -> None:
    record.session("t", user_id=(user := record.user("alice")))
    id = record.workflow(
        "t",
        user_id=user,
        status="failed",
        duration_ms=12.34,
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=15,
        cost_usd=Decimal("0.0021"),
        error_type="ValueError",
        error_message="no\nfood",
    )
    for attempt, kind in enumerate(("start", "resume", "resume"), 1):
        record.insert(
            "workflow_runs",
            thread_id="t",
            workflow_id=id,
            attempt=attempt,
            kind=kind,
            status="completed",
            started_at=at(attempt),
        )
    team = record.node("t", id, 1, node_name="team", node_type="subgraph", step=1, duration_ms=9.0)
    write = record.node(
        "t", id, 2, node_name="write", parent_node_id=team, step=1, duration_ms=4.26
    )
    record.node(
        "t",
        id,
        3,
        node_name="eat",
        attempt=2,
        step=2,
        status="failed",
        error_type="ValueError",
        error_message="no food " + "left " * 20,
    )
    tokens = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    priced = {"cost_usd": Decimal("0.00210"), "price_source": "prices: m"}
    record.generation("t", id, node_id=write, model_name="m", **tokens, **priced)
    record.generation(
        "t",
        id,
        node_id=write,
        model_name="n",
        started_at=at(1),
        status="failed",
        error_type="RateLimit",
    )
    record.generation("t", id, node_id=write, model_name="o", started_at=at(2), attempt=2, **tokens)
    record.generation("t", id, node_id=write, model_name="m", started_at=at(3), cache_hit=True)
    record.generation("t", id, model_name="loose", status="running")
    record.tool("t", id, node_id=write, tool_name="search")
    record.tool("t", id, node_id=write, tool_name="fetch", status="failed", started_at=at(1))
    record.retrieval("t", id, node_id=write, query="food", document_count=3)
    record.retrieval("t", id, query="more", error_type="OSError")

    timeline = history.last().timeline()

    assert [re.sub(" {2,}", " | ", line.strip()) for line in str(timeline).splitlines()] == [
        "writer: failed, 12.3 ms, 15 tokens (10 in, 5 out), 0.0021 USD and 1 of unknown cost",
        "thread t, turn 1, user alice, runs: start, 2 resumes",
        "ValueError: no food",
        "",
        "# | step | node | status | ms | generations (tokens in+out) | tools | retrievals | error",
        f"- | ---- | {'-' * 18} | --------- | --- | {'-' * 63} | {'-' * 20} | {'-' * 14}"
        f" | {'-' * 60}",
        "1 | 1 | team | completed | 9.0",
        "2 | 1 | write | completed | 4.3"
        " | m (10+5, 0.0021 USD), n RateLimit, o attempt 2 (10+5), m cached"
        " | search, fetch failed | food (3)",
        f"3 | 2 | eat (attempt 2) | failed | ValueError: no food {'left ' * 7}le...",
        "(outside of nodes) | loose running | more (OSError)",
    ]
    assert repr(timeline) == str(timeline)
    assert [(row.position, row.depth) for row in timeline.rows] == [
        (1, 0),
        (2, 1),
        (3, 0),
        (None, 0),
    ]


def test_a_timeline_shows_nodes_beneath_the_one_they_are_in(
    history: History, record: Record
) -> None:
    record.session("t")
    id = record.workflow("t")
    teams = [record.node("t", id, order, node_name=f"team{order}") for order in (1, 2)]
    for order, team in ((3, 0), (4, 1), (5, 0)):
        record.node("t", id, order, parent_node_id=teams[team])
    record.node("t", id, 6, parent_node_id=uuid4())
    rows = history.last().timeline().rows
    assert [(row.position, row.depth, row.node and row.node.node_name) for row in rows] == [
        (1, 0, "team1"),
        (3, 1, "node3"),
        (5, 1, "node5"),
        (2, 0, "team2"),
        (4, 1, "node4"),
        (6, 0, "node6"),
    ]


def test_columns_without_content_are_left_out(history: History, record: Record) -> None:
    record.session("t")
    record.node("t", record.workflow("t"), 1, duration_ms=2.0)
    assert str(history.last().timeline()).splitlines() == [
        "writer: completed",
        "thread t, turn 1, runs: none",
        "",
        "#  step  node   status      ms",
        "-  ----  -----  ---------  ---",
        "1        node1  completed  2.0",
    ]


def test_every_object_says_what_it_lacks(history: History, record: Record) -> None:
    def lacks(name: str) -> dict[str, str]:
        return {name: "failed: ValueError"}

    record.session("t", missing=lacks("language"))
    id = record.workflow("t", missing=lacks("result"))
    run = {"thread_id": "t", "workflow_id": id, "status": "completed", "started_at": NOON}
    record.insert("workflow_runs", **run, kind="start", missing=lacks("instance_id"))
    node = record.node("t", id, 1, missing=lacks("state"))
    record.node("t", id, 2)
    record.generation("t", id, node_id=node, missing=lacks("on_llm_end"))
    record.tool("t", id, node_id=node, tool_name="look", missing=lacks("output_data"))
    record.retrieval("t", id, node_id=node, missing=lacks("documents"))
    asked = {"node_id": node, "event_type": "input_request", "status": "pending"}
    own = {"thread_id": "t", "workflow_id": id, "requested_at": NOON}
    record.insert("hitl_events", **own, **asked, missing=lacks("event_data"))

    workflow = history.last()

    assert workflow.missing == lacks("result")
    assert [run.missing for run in workflow.runs] == [lacks("instance_id")]
    assert [node.missing for node in workflow.nodes] == [lacks("state"), None]
    assert [call.missing for call in workflow.generations] == [lacks("on_llm_end")]
    assert [call.missing for call in workflow.tool_executions] == [lacks("output_data")]
    assert [search.missing for search in workflow.retrievals] == [lacks("documents")]
    assert [event.missing for event in workflow.hitl_events] == [lacks("event_data")]
    assert [event.missing for event in history.pending()] == [lacks("event_data")]
    assert [thread.missing for thread in history.threads()] == [lacks("language")]
    assert (
        "not recorded: documents, event_data, instance_id, on_llm_end, output_data, result, state"
        in str(workflow.timeline()).splitlines()
    )


def test_names_and_ids_are_not_mixed_up(history: History, record: Record) -> None:
    record.session("t")
    id = record.workflow("t")
    record.node("t", id, 1, node_name="write", state={"n": 1})
    node = history.last().nodes[0]
    assert isinstance(node, Node)
    with pytest.raises(NotRecorded):
        history.last().state_after(str(node.id))
