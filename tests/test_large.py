"""Payloads of any size: the record is written in parts, or says how much was left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist
from langgraph_persist.database.connection import Database
from langgraph_persist.journal import Journal, Unit
from tests.graphs import Steps, chain_of

Rows = Callable[..., list[dict[str, Any]]]
MIB = 1 << 20


def values(thread_id: str, sizes: list[int]) -> Any:
    """A session with values of these sizes."""
    return [
        ("sessions", {"thread_id": thread_id}),
        *(
            (
                "state_values",
                {
                    "thread_id": thread_id,
                    "id": UUID(int=number),
                    "value": orjson.Fragment(b'"%s"' % (b"x" * size)),
                },
            )
            for number, size in enumerate(sizes)
        ),
    ]


def test_rows_too_large_for_one_statement_take_several(
    migrated: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.journal.write.LARGEST_JSON", 1_000)
    journal = Journal(Database(migrated))
    sizes = [10, 2_000, 700, 700, 20, 5_000, 1]
    journal.commit(Unit("t", values("t", sizes))).result(10)
    assert (journal.committed_groups, not journal.failures.counts) == (1, True)
    journal.close()
    found = rows(
        "SELECT length(value #>> '{}') AS n, xmin::text AS x FROM state_values ORDER BY id"
    )
    assert [row["n"] for row in found] == sizes
    assert len({row["x"] for row in found}) == 1


def test_a_run_is_recorded_whole_however_small_the_statements(
    persist: Persist, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.journal.write.LARGEST_JSON", 1)
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    config = persist.config("t", user="ann", organization="acme")
    for _ in range(2):
        graph.invoke({"count": 0, "note": "x" * 500}, config)
    workflow = persist.history.last()
    assert (workflow.turn, workflow.status, workflow.node_count) == (2, "completed", 2)
    assert workflow.state_after("b")["note"] == "x" * 500
    assert rows("SELECT turns, missing FROM sessions") == [{"turns": 2, "missing": None}]
    assert not persist.handler.failures.counts


def test_a_payload_beyond_any_limit_is_told_by_its_size(migrated: str, rows: Rows) -> None:
    with Persist(migrated, max_payload_bytes=1 << 40) as persist:
        graph = persist.attach(chain_of(["a"]).compile())
        result = graph.invoke({"count": 0, "note": "x" * (140 * MIB)}, persist.config("t"))
        assert len(result["note"]) == 140 * MIB
        assert not persist.handler.failures.counts
    (node,) = rows(
        "SELECT s.input_data AS input, n.status FROM nodes n"
        " JOIN node_states s ON s.thread_id = n.thread_id AND s.node_id = n.id"
    )
    assert node["status"] == "completed"
    assert node["input"]["note"]["bytes"] == 140 * MIB + 2
    assert node["input"]["note"]["$left_out"] == f"{140 * MIB + 2:,} bytes"


def test_numbers_that_jsonb_makes_too_large_are_left_out(migrated: str, rows: Rows) -> None:
    value = orjson.Fragment(b"[" + b"1," * (17 * MIB) + b"1]")
    journal = Journal(Database(migrated))
    restriction = journal.restrict(Persist(migrated, max_payload_bytes=1 << 40)._capture)
    row = {"thread_id": "t", "id": UUID(int=1), "value": value}
    journal.commit(Unit("t", [("sessions", {"thread_id": "t"}), ("state_values", row)])).result(60)
    counts = dict(journal.failures.counts)
    journal.close()
    assert restriction.capture.max_bytes == journal.capture.max_bytes
    assert [*counts] == ["value of a row of state_values: InternalError_"]
    (found,) = rows("SELECT value FROM state_values")
    assert found["value"]["$left_out"].endswith(f", {34 * MIB + 3:,} bytes")


class Archive(BaseRetriever):
    """Finds one long text."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document("x" * 5_000)]


@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_stored_in_its_column_is_limited_too(
    migrated: str, rows: Rows, sealed: bool
) -> None:
    class Plain:
        """A cipher that hides nothing."""

        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "none", plaintext

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext

    def look(state: Steps) -> Steps:
        return {"note": Archive().invoke("cats")[0].page_content[:3]}

    builder = StateGraph(Steps)
    builder.add_node("look", look)
    builder.add_edge(START, "look")
    cipher = Plain() if sealed else None
    with Persist(migrated, max_payload_bytes=1_000, record_cipher=cipher) as persist:
        persist.attach(builder.compile()).invoke({"count": 0}, persist.config("t"))
        (retrieval,) = persist.history.last().retrievals
    assert retrieval.documents["bytes"] > 5_000
    assert (retrieval.query, retrieval.document_count) == ("cats", 1)
