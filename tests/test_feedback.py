"""What users think: of turns, plans and sessions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_persist import Persist, redact_personal
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.evaluations import pages as pages_module
from tests.checks import query


def chat(persist: Persist, thread: str, *said: str, **whose: Any) -> None:
    """A conversation: each is answered in capitals, and planned for."""

    def answer(state: MessagesState) -> Any:
        return {"messages": [("ai", state["messages"][-1].text.upper())]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    graph: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for text in said:
        graph.invoke({"messages": text}, persist.config(thread, **whose))


def test_feedback_is_about_a_turn(persist: Persist) -> None:
    chat(persist, "t", "one", "two")
    second, first = persist.history.workflows(thread="t")
    found = persist.feedback.record(
        "t",
        turn=1,
        rating=4,
        type="thumbs",
        comment="kind",
        context={"page": ["chat"]},
        user="ann",
    )
    assert (found.turn, found.workflow_id, found.plan_id) == (1, first.id, None)
    assert (found.rating, found.feedback_type, found.comment) == (4, "thumbs", "kind")
    assert (found.user, found.context) == ("ann", {"page": ["chat"]})
    for workflow in (second, second.id, str(second.id)):
        assert persist.feedback.record("t", workflow=workflow, comment="so so").turn == 2
    assert persist.feedback.record("t", workflow=second, turn=2, rating=1).turn == 2
    whole = persist.feedback.record("t", type="survey", rating=5)
    assert (whole.turn, whole.workflow_id, whole.user) == (None, None, None)
    assert persist.users.get("ann").role == "user"
    assert persist.sessions.get("t").status == "active"


def test_feedback_on_a_turn_is_about_its_plan(persist: Persist) -> None:
    chat(persist, "t", "one", "two")
    two, one = persist.history.workflows()
    plans = {}
    for place, made_at, workflow in (("", 1, one), ("", 2, one), ("sub:1", 3, one), ("", 4, two)):
        plans[place, made_at] = uuid4()
        query(
            persist.url,
            "INSERT INTO plans (thread_id, id, workflow_id, checkpoint_ns, created_at) VALUES"
            f" ('t', '{plans[place, made_at]}', '{workflow.id}', '{place}',"
            f" '2026-01-0{made_at}') RETURNING id",
        )
    assert persist.feedback.record("t", turn=1, rating=5).plan_id == plans["", 2]
    assert persist.feedback.record("t", workflow=two, rating=5).plan_id == plans["", 4]
    other = plans["sub:1", 3]
    assert persist.feedback.record("t", turn=1, plan=other, rating=5).plan_id == other
    assert persist.feedback.record("t", rating=5).plan_id is None


def test_feedback_is_about_a_plan_and_what_made_it(persist: Persist) -> None:
    chat(persist, "t", "one")
    (workflow,) = persist.history.workflows()
    plan = uuid4()
    query(
        persist.url,
        "INSERT INTO plans (thread_id, id, workflow_id) VALUES"
        f" ('t', '{plan}', '{workflow.id}') RETURNING id",
    )
    found = persist.feedback.record("t", plan=plan, rating=2)
    assert (found.plan_id, found.workflow_id, found.turn) == (plan, workflow.id, 1)
    assert persist.feedback.list(plan=str(plan)) == [found]


def test_feedback_can_be_changed_by_its_id(persist: Persist) -> None:
    chat(persist, "t", "one")
    first = persist.feedback.record("t", turn=1, rating=5, user="ann")
    again = persist.feedback.record("t", turn=1, rating=1, user="ann", id=first.id)
    assert (again.id, again.rating, again.created_at) == (first.id, 1, first.created_at)
    assert persist.feedback.list() == [again]
    own = UUID(int=7)
    persist.feedback.record("t", rating=3, id=str(own))
    assert {found.id for found in persist.feedback.list("t")} == {own, first.id}


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"rating": 0}, ConfigurationError, "a whole number from 1 to 5, not 0"),
        ({"rating": 6}, ConfigurationError, "not 6"),
        ({"rating": 4.0}, ConfigurationError, "not 4.0"),
        ({"rating": True}, ConfigurationError, "not True"),
        ({"rating": None}, ConfigurationError, "a rating, a type, a comment or a context"),
        ({"comment": ""}, ConfigurationError, "comment is a text that is not empty"),
        ({"type": 1}, ConfigurationError, "type is a text"),
        ({"user": " "}, ConfigurationError, "user is a text"),
        ({"context": {"a": object()}}, ConfigurationError, "context must be JSON"),
        ({"context": "page"}, ConfigurationError, "context is a mapping, not 'page'"),
        ({"turn": 3}, NotRecorded, "thread 't' has no turn 3"),
        ({"turn": -1}, ConfigurationError, "a whole number from 1"),
        ({"workflow": "w"}, ConfigurationError, "workflow is a UUID, not 'w'"),
        ({"workflow": UUID(int=1)}, NotRecorded, "thread 't' has no workflow 0000"),
        ({"plan": UUID(int=1)}, NotRecorded, "thread 't' has no plan 0000"),
        ({"id": 7}, ConfigurationError, "id is a UUID or a text, not 7"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(value),
)
def test_what_cannot_be_recorded_is_refused(
    persist: Persist, wrong: dict[str, Any], error: type[Exception], told: str
) -> None:
    chat(persist, "t", "one")
    with pytest.raises(error, match=told):
        persist.feedback.record("t", **{"rating": 3} | wrong)
    assert persist.feedback.list() == []
    assert query(persist.url, "SELECT username FROM users") == []


def test_what_it_is_about_must_be_of_the_session(persist: Persist) -> None:
    chat(persist, "t", "one", "two")
    chat(persist, "u", "other")
    other, second, first = persist.history.workflows()
    with pytest.raises(NotRecorded, match="no session of thread 'x'"):
        persist.feedback.record("x", rating=1)
    with pytest.raises(NotRecorded, match=f"thread 't' has no workflow {other.id}"):
        persist.feedback.record("t", workflow=other, rating=1)
    with pytest.raises(ConfigurationError, match=f"workflow {second.id} is turn 2, not 1"):
        persist.feedback.record("t", workflow=second, turn=1, rating=1)
    assert first.turn == 1


def test_a_list_is_of_what_is_asked_for(persist: Persist) -> None:
    chat(persist, "t", "one", "two")
    chat(persist, "u", "other")
    for thread, turn, rating, user in (
        ("t", 1, 1, "ann"),
        ("t", 2, 2, "bob"),
        ("u", 1, 3, "ann"),
        ("u", None, 4, None),
    ):
        persist.feedback.record(
            thread, turn=turn, rating=rating, user=user, type="survey" if rating > 2 else None
        )

    def ratings(*args: Any, **asked: Any) -> list[int | None]:
        return [found.rating for found in persist.feedback.list(*args, **asked)]

    assert ratings() == [4, 3, 2, 1]
    assert ratings("t") == [2, 1]
    assert ratings(turn=1) == [3, 1]
    assert ratings(user="ann") == [3, 1]
    assert ratings(type="survey") == [4, 3]
    assert ratings(min_rating=2, max_rating=3) == [3, 2]
    newest = persist.feedback.list()[0]
    assert ratings(since=newest.created_at) == [4]
    assert ratings(until=newest.created_at) == [3, 2, 1]
    assert ratings(before=newest, limit=2) == [3, 2]


def test_a_dataset_has_input_output_and_rating(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 2)
    chat(persist, "t", "one", "two", organization="acme")
    persist.feedback.record("t", turn=1, rating=2, comment="nul \x00 🦉", user="ann")
    persist.feedback.record("t", rating=5, context={"a": 1})
    persist.feedback.record("t", turn=2, type="flag")
    file = io.StringIO()
    assert persist.feedback.export(file) == 3
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(line["input"], line["output"], line["score"], line["turn"]) for line in lines] == [
        ("one", "ONE", 2, 1),
        ("one", "TWO", 5, None),
        ("two", "TWO", None, 2),
    ]
    assert (lines[0]["comment"], lines[0]["user"]) == ("nul \ufffd 🦉", "ann")
    assert (lines[1]["context"], lines[1]["workflow_id"]) == ({"a": 1}, None)
    assert (lines[2]["feedback_type"], lines[2]["organization"]) == ("flag", "acme")
    assert persist.feedback.export(io.BytesIO(), min_rating=5) == 1


@pytest.fixture
def opened(migrated: str) -> Iterator[Callable[..., Persist]]:
    """Opens with settings of the test's."""
    all_opened: list[Persist] = []

    def open_with(**settings: Any) -> Persist:
        all_opened.append(Persist(migrated, **settings).open())
        return all_opened[-1]

    yield open_with
    for persist in all_opened:
        persist.close()


def test_what_users_said_is_redacted(opened: Callable[..., Persist]) -> None:
    persist = opened(redact=redact_personal)
    chat(persist, "t", "one")
    found = persist.feedback.record(
        "t", rating=1, comment="mail ann@example.org", context={"from": "ann@example.org"}
    )
    assert (found.comment, found.context) == ("mail [email]", {"from": "[email]"})
    assert "example" not in str(query(persist.url, "SELECT * FROM feedback"))


def test_a_record_of_structure_holds_ratings_only(opened: Callable[..., Persist]) -> None:
    persist = opened(capture="structure")
    chat(persist, "t", "one")
    found = persist.feedback.record("t", rating=1, comment="secret", context={"a": "secret"})
    assert (found.rating, found.comment, found.context) == (1, None, None)
