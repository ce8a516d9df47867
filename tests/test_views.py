from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from langgraph_persist.history.said import text_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def uid(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


class Rows:
    """Writes rows of the thread ``t`` and reads views."""

    def __init__(self, conn: psycopg.Connection[dict[str, Any]]) -> None:
        self.conn = conn

    def add(self, table: str, **values: Any) -> None:
        columns = ", ".join(values)
        holders = ", ".join(f"%({name})s" for name in values)
        params = {k: Jsonb(v) if isinstance(v, (dict, list)) else v for k, v in values.items()}
        sql = f"INSERT INTO langgraph_persist.{table} ({columns}) VALUES ({holders})"
        self.conn.execute(sql.encode(), params)

    def session(self, thread: str = "t") -> None:
        self.add("sessions", thread_id=thread)

    def workflow(self, name: str, turn: int = 1, **values: Any) -> None:
        row: dict[str, Any] = {"thread_id": "t", "id": uid(name), "turn": turn, "name": "graph"}
        self.add("workflows", **{**row, "started_at": NOW, **values})

    def child(self, table: str, name: str, workflow: str = "w", **values: Any) -> None:
        row: dict[str, Any] = {"thread_id": "t", "id": uid(name), "workflow_id": uid(workflow)}
        if table != "workflow_runs":
            row["run_id"] = uid("r")
        self.add(table, **{**row, "started_at": NOW, **values})

    def node(self, name: str, workflow: str = "w", **values: Any) -> None:
        self.child("nodes", name, workflow, **{"node_name": name, **values})

    def message(self, key: str, turn: int = 1, thread: str = "t", **values: Any) -> None:
        row: dict[str, Any] = {"thread_id": thread, "id": uid(key), "turn": turn, "role": "human"}
        self.add("messages", **{**row, "message_id": key, "text": key, **values})

    def list_of(self, name: str, *messages: str, base: str | None = None) -> None:
        ids = [str(uid(message)) for message in messages]
        base_id = uid(base) if base else None
        row = {"id": uid(name), "kind": "messages", "value": ids, "base_id": base_id}
        self.add("state_values", thread_id="t", **row)

    def ref(self, name: str) -> dict[str, str]:
        return {"$stored": str(uid(name))}

    def read(self, view: str, more: str = "") -> list[dict[str, Any]]:
        sql = f"SELECT * FROM langgraph_persist.{view} {more}"
        return self.conn.execute(sql.encode()).fetchall()

    def one(self, view: str, more: str = "") -> dict[str, Any]:
        (row,) = self.read(view, more)
        return row


@pytest.fixture
def rows(migrated: str) -> Iterator[Rows]:
    with psycopg.connect(migrated, autocommit=True, row_factory=dict_row) as conn:
        rows = Rows(conn)
        rows.session()
        rows.workflow("w")
        yield rows


# --- state and prompts ---


def test_a_state_comes_back_whole(rows: Rows) -> None:
    big = {"ref": 1, "v": [None, {"deep": None}]}
    rows.add("state_values", thread_id="t", id=uid("big"), value=Jsonb(big))
    rows.add("state_values", thread_id="t", id=uid("null"), value=Jsonb(None))
    state = {
        "big": rows.ref("big"),
        "null": rows.ref("null"),
        "n": 1,
        "none": None,
        "nested": {"ref": "x"},
        "pruned": rows.ref("gone"),
    }
    rows.node("n", state=state)
    assert rows.one("node_states")["state_data"] == {
        "big": big,
        "null": None,
        "n": 1,
        "none": None,
        "nested": {"ref": "x"},
        "pruned": None,
    }


def test_no_state_is_null_and_an_empty_one_is_empty(rows: Rows) -> None:
    rows.node("none")
    rows.node("empty", state={})
    states = {row["node_name"]: row["state_data"] for row in rows.read("node_states")}
    assert states == {"none": None, "empty": {}}


def test_messages_come_in_the_order_of_their_chain(rows: Rows) -> None:
    for n in range(6):
        rows.message(f"m{n}")
    rows.list_of("a", "m0", "m1")
    rows.list_of("b", "m2", base="a")
    rows.list_of("c", "m4", "m3", "m0", base="b")
    rows.list_of("empty")
    rows.node("n", state={"messages": rows.ref("c"), "none": rows.ref("empty")})
    rows.node("before", state={"messages": rows.ref("b")})
    states = {row["node_name"]: row["state_data"] for row in rows.read("node_states")}
    ids = [message["id"] for message in states["n"]["messages"]]
    assert ids == ["m0", "m1", "m2", "m4", "m3", "m0"]
    assert [message["id"] for message in states["before"]["messages"]] == ["m0", "m1", "m2"]
    assert states["n"]["none"] == []


def test_a_message_shows_all_it_has_and_no_more(rows: Rows) -> None:
    calls = [{"name": "search", "args": {"near": None}, "id": "1", "type": "tool_call"}]
    content = [{"type": "text", "text": "hi", "cache": None}]
    extra = {"usage_metadata": {"input_tokens": 1, "details": None}}
    rows.message("full", role="ai", name="bot", content=content, tool_calls=calls, extra=extra)
    rows.message("tool", role="tool", tool_call_id="1", content=Jsonb("found"), message_id=None)
    rows.message("plain")
    rows.message("bare", text=None, message_id=None)
    rows.list_of("list", "full", "tool", "plain", "bare")
    rows.node("n", state={"messages": rows.ref("list")})
    assert rows.one("node_states")["state_data"]["messages"] == [
        {
            "type": "ai",
            "id": "full",
            "name": "bot",
            "content": content,
            "tool_calls": calls,
            **extra,
        },
        {"type": "tool", "tool_call_id": "1", "content": "found"},
        {"type": "human", "id": "plain", "content": "plain"},
        {"type": "human", "content": ""},
    ]


def test_a_session_sees_its_own_messages_only(rows: Rows) -> None:
    rows.session("other")
    rows.message("m", thread="other", text="theirs")
    rows.message("m", text="ours")
    rows.list_of("list", "m")
    rows.node("n", state={"messages": rows.ref("list")})
    assert rows.one("node_states")["state_data"]["messages"][0]["content"] == "ours"


def test_a_prompt_comes_back_whole(rows: Rows) -> None:
    rows.message("m")
    rows.list_of("list", "m")
    rows.child("generations", "by reference", prompt=rows.ref("list"))
    rows.child("generations", "inline", prompt=["plain"])
    rows.child("generations", "none")
    prompts = {row["generation_id"]: row["messages"] for row in rows.read("generation_prompts")}
    assert prompts == {
        uid("by reference"): [{"type": "human", "id": "m", "content": "m"}],
        uid("inline"): ["plain"],
        uid("none"): None,
    }


@pytest.mark.plain_postgres("Citus follows no chain of messages")
def test_a_long_chain_is_resolved_fast(rows: Rows) -> None:
    rows.conn.execute(
        """
        INSERT INTO langgraph_persist.messages (thread_id, id, role, text)
        SELECT 't', md5('m' || n)::uuid, 'human', n::text FROM generate_series(1, 2000) n
        """
    )
    rows.conn.execute(
        """
        INSERT INTO langgraph_persist.state_values (thread_id, id, kind, value, base_id)
        SELECT 't', md5('l' || n)::uuid, 'messages', jsonb_build_array(md5('m' || n)::uuid),
            CASE WHEN n > 1 THEN md5('l' || n - 1)::uuid END
        FROM generate_series(1, 2000) n
        """
    )
    rows.conn.execute("SET statement_timeout = '3s'")
    ref = rows.conn.execute("SELECT md5('l2000')::uuid AS id").fetchone()
    assert ref is not None
    rows.node("n", state={"messages": {"$stored": str(ref["id"])}})
    messages = rows.one("node_states")["state_data"]["messages"]
    assert [int(message["content"]) for message in messages] == list(range(1, 2001))


# --- transcript and timeline ---


def test_a_transcript_has_each_turns_new_messages(rows: Rows) -> None:
    rows.workflow("w2", turn=2, user_input="again")
    for name, turn in (("q1", 1), ("a1", 1), ("q2", 2), ("a2", 2)):
        rows.message(name, turn, role="human" if name[0] == "q" else "ai")
    rows.list_of("one", "q1")
    rows.list_of("two", "a1", base="one")
    rows.list_of("three", "q2", "a2", base="two")
    rows.node("first", checkpoint_id="1", state={"messages": rows.ref("one")})
    rows.node("last", checkpoint_id="2", state={"messages": rows.ref("two")})
    rows.node("later", "w2", checkpoint_id="3", state={"messages": rows.ref("three")})
    lines = rows.read("session_transcript", "WHERE thread_id = 't' ORDER BY turn, position")
    said = [(line["turn"], line["position"], line["role"], line["text"]) for line in lines]
    assert said == [
        (1, 1, "human", "q1"),
        (1, 2, "ai", "a1"),
        (2, 1, "human", "q2"),
        (2, 2, "ai", "a2"),
    ]


def test_a_transcript_takes_the_channel_called_messages(rows: Rows) -> None:
    rows.message("said")
    rows.message("thought")
    rows.list_of("a", "thought")
    rows.list_of("b", "said")
    rows.node("n", state={"a_scratchpad": rows.ref("a"), "messages": rows.ref("b")})
    assert rows.one("session_transcript")["text"] == "said"


def test_a_transcript_without_messages_is_what_was_asked_and_given(rows: Rows) -> None:
    rows.workflow("w2", turn=2, user_input="cats", input={"topic": "cats"}, result=Jsonb("meow"))
    rows.node("n", "w2", state={"topic": "cats"})
    lines = rows.read("session_transcript", "ORDER BY position")
    assert [(line["role"], line["text"], line["content"]) for line in lines] == [
        ("human", "cats", {"topic": "cats"}),
        ("ai", "meow", "meow"),
    ]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("meow", "meow"),
        (5, "5"),
        ({}, "{}"),
        ([1], "[1]"),
        ({"type": "ai", "content": [{"type": "text", "text": "me"}, "ow"]}, "meow"),
        ({"type": "LLMResult", "generations": [[{"text": "meow"}]]}, "meow"),
        ({"n": 1, "text": "purr", "answer": "meow"}, "meow"),
        ([{"type": "ai", "content": "meow"}, {"type": "human", "content": "why"}], "meow"),
        ({"messages": [{"type": "ai", "content": "m"}, {"type": "ai", "content": "meow"}]}, "meow"),
        ({"messages": [{"type": "human", "content": "why"}]}, None),
    ],
)
def test_a_result_says_in_sql_what_it_says_in_python(rows: Rows, result: Any, text: Any) -> None:
    rows.workflow("w2", turn=2, result=Jsonb(result))
    line = rows.one("session_transcript", "WHERE role = 'ai'")
    assert (line["text"], line["content"]) == (text, result)
    assert text_of(result) == text


def test_a_transcript_leaves_out_what_was_said_in_turns_that_are_gone(rows: Rows) -> None:
    for turn in (2, 3):
        rows.workflow(f"w{turn}", turn=turn)
    for name, turn in (("q1", 1), ("yes", 1), ("q2", 2), ("a2", 2), ("q3", 3)):
        rows.message(name, turn, role="human" if name[0] == "q" else "ai")
    # What was said before under another name is said anew.
    again = [str(uid("q3")), [str(uid("yes")), "yes again"]]
    rows.list_of("old", "q1", "yes", "q2", "a2")
    new = {"id": uid("new"), "kind": "messages", "base_id": uid("old")}
    rows.add("state_values", thread_id="t", value=Jsonb(again), **new)
    rows.node("n", "w3", state={"messages": rows.ref("new")})
    rows.conn.execute("DELETE FROM langgraph_persist.workflows WHERE turn < 3")
    lines = rows.read("session_transcript", "ORDER BY position")
    assert [(line["turn"], line["position"], line["text"]) for line in lines] == [
        (3, 1, "q3"),
        (3, 2, "yes"),
    ]


def test_a_summary_is_nobodys_line(rows: Rows) -> None:
    mark = {"additional_kwargs": {"lc_source": "summarization"}}
    rows.message("summary", extra=mark)
    rows.message("said", extra={"additional_kwargs": {"lc_source": "web"}})
    rows.list_of("list", "summary", "said")
    rows.node("n", state={"messages": rows.ref("list")})
    line = rows.one("session_transcript")
    assert (line["position"], line["text"]) == (1, "said")


def test_a_timeline_has_all_that_happened_in_order(rows: Rows) -> None:
    def at(seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    rows.child("workflow_runs", "r", status="completed", duration_ms=1000)
    rows.node("n", started_at=at(1), status="completed", node_type="task")
    rows.child("generations", "g", started_at=at(2), node_id=uid("n"), model_name="gpt",
               total_tokens=7, cost_usd=Decimal("0.1"), latency_ms=5)  # fmt: skip
    rows.child("tool_executions", "t", started_at=at(3), tool_name="search", status="failed",
               error_message="no")  # fmt: skip
    rows.child("retrievals", "v", started_at=at(4), query="cats", error_type="E")
    event: dict[str, Any] = {"event_type": "input_request", "requested_at": at(5)}
    rows.add("hitl_events", thread_id="t", id=uid("h"), workflow_id=uid("w"), **event,
             responded_at=at(7), status="completed")  # fmt: skip
    timeline = rows.read("workflow_timeline", "WHERE thread_id = 't' ORDER BY started_at, id")
    shown = [(e["kind"], e["name"], e["status"], e["offset_ms"]) for e in timeline]
    assert shown == [
        ("run", "start", "completed", 0),
        ("task", "n", "completed", 1000),
        ("generation", "gpt", "running", 2000),
        ("tool", "search", "failed", 3000),
        ("retrieval", "cats", "failed", 4000),
        ("hitl", "input_request", "completed", 5000),
    ]
    generation, tool, hitl = timeline[2], timeline[3], timeline[5]
    assert (generation["node_id"], generation["total_tokens"]) == (uid("n"), 7)
    assert (generation["cost_usd"], generation["duration_ms"]) == (Decimal("0.1"), 5)
    assert (tool["error_message"], hitl["duration_ms"], hitl["turn"]) == ("no", 2000, 1)


# --- reports ---


def test_success_is_of_what_was_decided(rows: Rows) -> None:
    rows.add("users", id=uid("alice"), username="alice")
    statuses = ["completed", "completed", "completed", "failed", "running", "interrupted"]
    for n, status in enumerate([*statuses, "cancelled"]):
        rows.workflow(f"a{n}", turn=n + 2, status=status, user_id=uid("alice"), duration_ms=n,
                      total_tokens=10, cost_usd=Decimal("0.5"))  # fmt: skip
    alice = rows.one("user_success_rates", "WHERE username = 'alice'")
    counts = ("workflows", "completed", "failed", "running", "interrupted", "cancelled")
    assert [alice[count] for count in counts] == [7, 3, 1, 1, 1, 1]
    assert (alice["success_rate"], alice["avg_duration_ms"]) == (0.75, 3)
    assert (alice["total_tokens"], alice["cost_usd"]) == (70, Decimal("3.5"))
    nobody = rows.one("user_success_rates", "WHERE username IS NULL")
    assert (nobody["workflows"], nobody["success_rate"]) == (1, None)


def test_node_performance_leaves_out_what_did_not_run(rows: Rows) -> None:
    for n in range(1, 101):
        rows.node(f"n{n}", node_name="n", status="completed", duration_ms=n)
    rows.node("failed", node_name="n", status="failed", duration_ms=101)
    rows.node("waiting", node_name="n", status="interrupted")
    rows.node("skipped", node_name="n", status="skipped")
    report = rows.one("node_performance")
    assert (report["workflow_name"], report["node_name"]) == ("graph", "n")
    assert (report["executions"], report["completed"], report["failed"]) == (102, 100, 1)
    assert report["failure_rate"] == pytest.approx(1 / 101)
    assert (report["avg_ms"], report["p50_ms"], report["p95_ms"]) == (51, 51, 96)
    assert report["max_ms"] == 101


def test_a_cached_answer_counts_as_a_call_but_not_as_usage(rows: Rows) -> None:
    used: dict[str, Any] = {
        "model_name": "gpt", "model_provider": "openai", "status": "completed",
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost_usd": Decimal("0.1"),
        "latency_ms": 100, "time_to_first_token_ms": 10,
    }  # fmt: skip
    rows.child("generations", "a", **used)
    rows.child("generations", "b", **{**used, "latency_ms": 300, "cache_read_tokens": 4})
    rows.child("generations", "hit", **{**used, "latency_ms": 1}, cache_hit=True)
    rows.child("generations", "bad", model_name="gpt", model_provider="openai", status="failed")
    usage = rows.one("model_usage")
    assert (usage["calls"], usage["failed"], usage["cache_hits"]) == (4, 1, 1)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (20, 10)
    assert (usage["total_tokens"], usage["cache_read_tokens"]) == (30, 4)
    assert usage["cost_usd"] == Decimal("0.2")
    assert (usage["avg_latency_ms"], usage["p95_latency_ms"]) == (200, 290)
    assert usage["avg_time_to_first_token_ms"] == 10


def test_costs_are_by_day_in_utc_and_who_ran_it(rows: Rows) -> None:
    rows.conn.execute("SET timezone = 'Asia/Shanghai'")
    rows.add("organizations", id=uid("acme"), name="Acme", slug="acme")
    rows.add("users", id=uid("alice"), username="alice")
    rows.workflow("hers", turn=2, user_id=uid("alice"), organization_id=uid("acme"))
    cost: dict[str, Any] = {"model_name": "gpt", "cost_usd": Decimal("0.1"), "total_tokens": 5}
    late = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)
    rows.child("generations", "a", "hers", **cost)
    rows.child("generations", "b", "hers", **{**cost, "started_at": late})
    rows.child("generations", "c", "hers", **{**cost, "started_at": late + timedelta(minutes=1)})
    rows.child("generations", "d", **cost)
    hers = rows.read("daily_costs", "WHERE username = 'alice' ORDER BY day")
    assert [(row["day"], row["calls"], row["cost_usd"]) for row in hers] == [
        (date(2026, 1, 2), 2, Decimal("0.2")),
        (date(2026, 1, 3), 1, Decimal("0.1")),
    ]
    assert {row["organization"] for row in hers} == {"acme"}
    assert rows.one("daily_costs", "WHERE user_id IS NULL")["total_tokens"] == 5


def test_prompt_versions_are_compared_by_what_they_led_to(rows: Rows) -> None:
    rows.workflow("w2", turn=2)
    for turn, score in ((1, 60), (2, 90)):
        rows.add("evaluations", thread_id="t", turn=turn, evaluation_type="TURN_EVAL",
                 details={"score": score, "analysis": "…"})  # fmt: skip
    for rating in (2, 4):
        rows.add("feedback", thread_id="t", workflow_id=uid("w"), rating=rating)
    named = {"prompt_name": "plan", "status": "completed"}
    # Used three times in one turn: that turn's score counts once.
    for n in range(3):
        rows.child("generations", f"a{n}", **named, prompt_version="1", latency_ms=n)
    rows.child("generations", "b", "w2", **named, prompt_version="1")
    rows.child("generations", "c", "w2", **{**named, "status": "failed"}, prompt_version="2")
    rows.child("generations", "d", **named)
    rows.child("generations", "unnamed")
    versions = {row["prompt_version"]: row for row in rows.read("prompt_versions")}
    assert {v: row["calls"] for v, row in versions.items()} == {"1": 4, "2": 1, None: 1}
    assert (versions["1"]["avg_score"], versions["1"]["avg_rating"]) == (75, 3)
    assert (versions["2"]["avg_score"], versions["2"]["failure_rate"]) == (90, 1)
    assert (versions["1"]["avg_latency_ms"], versions["1"]["failure_rate"]) == (1, 0)
    assert (versions["1"]["p50_latency_ms"], versions["1"]["p95_latency_ms"]) == (1, 1.9)
    counts = {v: (row["scores"], row["ratings"]) for v, row in versions.items()}
    assert counts == {"1": (2, 1), "2": (1, 0), None: (1, 1)}


# --- constraints ---


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"score": 50},
        {"analysis": "good"},
        {"score": "50", "analysis": "good"},
        {"score": None, "analysis": "good"},
        {"score": 100.5, "analysis": "good"},
        {"score": -1, "analysis": "good"},
        {"score": 50, "analysis": None},
        [],
    ],
    ids=json.dumps,
)
def test_an_evaluation_needs_a_score_and_an_analysis(rows: Rows, details: Any) -> None:
    kind = {"evaluation_type": "HOLISTIC_FLOW"}
    with pytest.raises(psycopg.errors.CheckViolation, match="evaluations_details"):
        rows.add("evaluations", thread_id="t", **kind, details=details)
    rows.add("evaluations", thread_id="t", **kind, details={"score": 100, "analysis": "good"})


def test_evaluations_are_one_per_turn_and_one_per_session(rows: Rows) -> None:
    good = {"thread_id": "t", "details": {"score": 0, "analysis": "poor"}}
    rows.add("evaluations", **good, evaluation_type="TURN_EVAL", turn=1)
    rows.add("evaluations", **good, evaluation_type="HOLISTIC_FLOW")
    for kind, turn, refusal in [
        ("TURN_EVAL", 1, psycopg.errors.UniqueViolation),
        ("HOLISTIC_FLOW", None, psycopg.errors.UniqueViolation),
        ("TURN_EVAL", None, psycopg.errors.CheckViolation),
        ("HOLISTIC_FLOW", 1, psycopg.errors.CheckViolation),
        ("TURN_EVAL", 2, psycopg.errors.ForeignKeyViolation),
    ]:
        with pytest.raises(refusal):
            rows.add("evaluations", **good, evaluation_type=kind, turn=turn)


def test_cached_tokens_are_a_part_of_the_prompts(rows: Rows) -> None:
    cached: dict[str, Any] = {"cache_read_tokens": 6, "cache_creation_tokens": 4}
    rows.child("generations", "a", prompt_tokens=10, **cached)
    rows.child("generations", "b", **cached)
    with pytest.raises(psycopg.errors.CheckViolation, match="generations_prompt_tokens_check"):
        rows.child("generations", "c", prompt_tokens=9, **cached)


def test_usage_is_one_row_per_bucket_whoever_is_missing(rows: Rows) -> None:
    bucket = {"metric_type": "api_calls", "period_start": NOW, "period_end": NOW + timedelta(1)}
    rows.add("usage_metrics", **bucket)
    rows.add("usage_metrics", **bucket, model_name="gpt")
    rows.add("usage_metrics", **bucket, model_name="gpt", user_id=uid("alice"))
    for more in ({}, {"model_name": "gpt"}, {"model_name": "gpt", "user_id": uid("alice")}):
        with pytest.raises(psycopg.errors.UniqueViolation):
            rows.add("usage_metrics", **bucket, **more)
