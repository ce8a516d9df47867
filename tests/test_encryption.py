"""With an encrypting serde nothing that a state held can be read anywhere in the database."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_persist import Persist
from langgraph_persist.journal.privacy import CONTENT, CONTENT_TABLES
from langgraph_persist.journal.unit import KEYS
from tests.graphs import Chat, fake_model, weather
from tests.servers import running_cluster

SECRET = "s3cr3t-Oslo"


class Xor(CipherProtocol):
    """A cipher good enough for a grep."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "xor", self._apply(plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "xor"
        return self._apply(ciphertext)

    def _apply(self, data: bytes) -> bytes:
        stream = b"".join(
            hashlib.sha256(index.to_bytes(8, "big")).digest()
            for index in range(len(data) // 32 + 1)
        )
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def dump(url: str) -> str:
    """Every row of every table, as text, bytes in hexadecimal."""
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = [
            row
            for (table,) in tables
            for (row,) in conn.execute(f"SELECT t::text FROM {table} AS t".encode())
        ]
    return "\n".join(rows)


def secrets_of(url: str) -> list[str]:
    text = dump(url).lower()
    forms = [SECRET.lower(), SECRET.encode().hex(), SECRET.encode("utf-16-le").hex()]
    return [form for form in forms if form in text]


def files_that_tell(folder: Path) -> set[str]:
    """The parts of a server's folder with files that the secret can be read in."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {f.relative_to(folder).parts[1] for f in files if SECRET.encode() in f.read_bytes()}


class Talk(Chat):
    note: str
    number: int


def talk() -> StateGraph[Any, Any, Any, Any]:
    model = fake_model(f"the word is {SECRET}", f"again {SECRET}")

    def ask(state: Talk) -> dict[str, Any]:
        found = weather.invoke({"city": SECRET})
        answered = model.invoke([SystemMessage(SECRET), HumanMessage(found)])
        return {"messages": [answered], "note": SECRET, "number": 3}

    def approve(state: Talk) -> dict[str, Any]:
        return {"note": str(interrupt({"secret": SECRET}))}

    def fail(state: Talk) -> dict[str, Any]:
        raise ValueError(SECRET)

    builder = StateGraph(Talk)
    builder.add_node("ask", ask)
    builder.add_node("approve", approve)
    builder.add_node("fail", fail)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "approve")
    builder.add_edge("approve", "fail")
    return builder


def drive(persist: Persist) -> Any:
    graph = persist.attach(talk().compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="alice")
    graph.invoke({"messages": [HumanMessage(SECRET)], "note": SECRET}, config)
    with pytest.raises(ValueError, match=SECRET):
        graph.invoke(Command(resume=SECRET), config)
    return graph.get_state(config)


def test_no_secret_is_readable(migrated: str) -> None:
    with Persist(migrated, serde=EncryptedSerializer(Xor())) as persist:
        state = drive(persist)
        assert state.values["note"] == SECRET
        assert state.values["number"] == 3
        assert state.values["messages"][0].content == SECRET
    assert secrets_of(migrated) == []


def test_without_encryption_the_grep_finds_it(migrated: str) -> None:
    with Persist(migrated) as persist:
        drive(persist)
    assert len(secrets_of(migrated)) == 2


@pytest.mark.unpooled
def test_no_file_of_the_server_tells_it() -> None:
    """Tables, indexes, temporary files and the write-ahead log, which backups and standbys get."""
    with running_cluster() as server:
        with Persist(server.url, serde=EncryptedSerializer(Xor()), record_cipher=Xor()) as persist:
            assert drive(persist).values["note"] == SECRET
            persist.checkpointer.copy_thread("t", "u", record=True)
            persist.retain(keep_last=1)
        server.stop()
        assert files_that_tell(server.home) == set()
        server.start()
        with Persist(server.url) as persist:
            persist.checkpointer.delete_thread("t", record="delete")
            drive(persist)
        server.stop()
        assert files_that_tell(server.home) >= {"base", "pg_wal"}


def test_structure_timings_and_counts_are_kept(migrated: str) -> None:
    with Persist(migrated, serde=EncryptedSerializer(Xor())) as persist:
        drive(persist)
        workflow = persist.history.last()
        assert workflow.status == "failed"
        assert workflow.error_type == "ValueError"
        assert workflow.total_tokens > 0
        assert [(n.node_name, n.status) for n in workflow.nodes][:2] == [
            ("ask", "completed"),
            ("approve", "interrupted"),
        ]
        (generation,) = workflow.generations
        assert generation.model_name == "fake-1"
        assert generation.latency_ms
        (call,) = workflow.tool_executions
        assert call.tool_name == "weather"


def test_a_serde_may_say_that_it_encrypts(migrated: str) -> None:
    class Own:
        encrypts = True

        def __init__(self) -> None:
            self.inner = EncryptedSerializer(Xor())

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return self.inner.dumps_typed(obj)

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return self.inner.loads_typed(data)

    with Persist(migrated, serde=Own()) as persist:
        drive(persist)
    assert secrets_of(migrated) == []


@pytest.mark.plain_postgres("Citus lists the columns of shards too")
def test_every_column_of_text_or_json_is_known_to_be_content_or_not(migrated: str) -> None:
    """A new column must be put on one of the two lists, so that none is forgotten."""
    harmless = {
        *("thread_id", "name", "status", "input_type", "metadata", "tags", "error_type", "slug"),
        *("kind", "instance_id", "checkpoint_id", "node_name", "node_type", "task_id", "role"),
        *("checkpoint_ns", "triggers", "input_checkpoint_id", "model_name", "model_provider"),
        *("price_source", "finish_reason", "prompt_name", "prompt_version", "tool_name"),
        *("tool_call_id", "username", "email", "password_hash", "api_key_hash", "preferences"),
        *("language", "retry_of", "copied_from", "settings", "projection", "timezone"),
        *("event_type", "user_decision", "interrupt_id", "requested_model"),
        *("checkpoint_thread_id", "missing"),
        # Of a tool, what nobody but its users fill in.
        *("display_name", "type", "layer", "output_schema", "executor_class", "tags"),
        *("version", "dependencies"),
    }
    with psycopg.connect(migrated) as conn:
        columns = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'langgraph_persist' AND table_name = ANY(%s)"
            " AND data_type IN ('text', 'jsonb', 'ARRAY', 'bytea')",
            [[t for t in KEYS if t not in CONTENT_TABLES]],
        ).fetchall()
    assert columns
    unknown = [
        (table, column)
        for table, column in columns
        if column not in harmless and column not in CONTENT.get(table, ())
    ]
    assert unknown == []


def test_why_a_node_was_skipped_is_encrypted(migrated: str) -> None:
    with Persist(migrated, record_cipher=Xor()) as persist:
        with persist.recorder.start_workflow(), persist.recorder.node("n") as node:
            node.skip(SECRET)
        (found,) = persist.history.last().nodes
    assert found.metadata == {"reason": SECRET}
    with psycopg.connect(migrated) as conn:
        (stored,) = conn.execute("SELECT metadata FROM langgraph_persist.nodes").fetchone() or ()
    assert SECRET not in str(stored) and stored["reason"].keys() == {"cipher", "data"}


def test_a_record_cipher_keeps_everything_for_who_has_it(migrated: str) -> None:
    with Persist(migrated, serde=EncryptedSerializer(Xor()), record_cipher=Xor()) as persist:
        drive(persist)
        workflow = persist.history.last()
        assert workflow.result["note"] == SECRET
        (event,) = workflow.hitl_events
        assert (event.event_data, event.user_input) == ({"secret": SECRET}, SECRET)
        assert workflow.error_message == SECRET
        assert workflow.input["note"] == SECRET
        assert workflow.state_after("ask")["note"] == SECRET
        assert workflow.state_after("ask")["messages"][-1]["content"] == f"the word is {SECRET}"
        (generation,) = workflow.generations
        assert generation.output == f"the word is {SECRET}"
        assert [m["content"] for m in generation.prompt] == [SECRET, f"sunny in {SECRET}"]
        (call,) = workflow.tool_executions
        assert call.input_params == {"city": SECRET}
        said = [SECRET, f"the word is {SECRET}"]
        assert [line.text for line in persist.history.transcript("t")] == said
        assert [line.text for line in persist.reports.transcript("t")] == said
    assert secrets_of(migrated) == []
    with Persist(migrated) as persist:
        assert SECRET not in repr(persist.history.last().input)
