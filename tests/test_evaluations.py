"""Evaluations of turns and sessions: recorded, made by evaluators, resumed, exported."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import psycopg
import pytest
from langchain_classic.evaluation import ExactMatchStringEvaluator, JsonEqualityEvaluator
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from langgraph_persist import Persist, redact_personal
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.evaluations import Conversation, Evaluation, Turn
from langgraph_persist.evaluations import pages as pages_module
from langgraph_persist.evaluations import session as session_module
from tests.checks import query
from tests.graphs import approval_graph, chain_of, fake_model
from tests.models import Scripted, said
from tests.servers import poolers

ROOT = Path(__file__).parent.parent


def chat(persist: Persist, thread: str, *said: str, **whose: Any) -> None:
    """A conversation: each is answered in capitals."""
    builder = StateGraph(MessagesState)
    builder.add_node("shout", lambda s: {"messages": [AIMessage(s["messages"][-1].text.upper())]})
    builder.add_edge(START, "shout")
    graph: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    for text in said:
        graph.invoke({"messages": text}, persist.config(thread, **whose))


def judged(persist: Persist, thread: str = "t") -> dict[int | None, float]:
    return {found.turn: found.score for found in persist.evaluations.list(thread, limit=10_000)}


def length(turn: Turn) -> tuple[float, str]:
    return len(turn.output or ""), f"{turn.input} became {turn.output}"


class Count(TypedDict):
    count: int


# --- one by one ---


def test_a_turn_and_a_session_have_one_evaluation_each(persist: Persist) -> None:
    chat(persist, "t", "hello")
    first = persist.evaluations.record("t", turn=1, score=70, analysis="fine", evaluator="me")
    whole = persist.evaluations.record(
        "t", score=Decimal("81.5"), analysis="well done", details={"tone": ["kind", None]}
    )
    assert (first.evaluation_type, first.turn, first.score) == ("TURN_EVAL", 1, 70)
    assert (first.analysis, first.evaluator, first.details) == ("fine", "me", {})
    assert (whole.evaluation_type, whole.turn, whole.score) == ("HOLISTIC_FLOW", None, 81.5)
    assert whole.details == {"tone": ["kind", None]}

    again = persist.evaluations.record("t", turn=1, score=30, analysis="not so fine")
    assert (again.id, again.created_at) == (first.id, first.created_at)
    assert again.updated_at > first.updated_at
    assert (again.score, again.analysis, again.evaluator) == (30, "not so fine", None)
    assert persist.evaluations.record("t", score=0, analysis="no").id == whole.id
    assert persist.evaluations.get("t", turn=1) == again
    assert persist.evaluations.get("t").score == 0
    assert judged(persist) == {1: 30, None: 0}


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"score": 101}, ConfigurationError, "a number from 0 to 100, not 101"),
        ({"score": -0.5}, ConfigurationError, "not -0.5"),
        ({"score": float("nan")}, ConfigurationError, "not nan"),
        ({"score": float("inf")}, ConfigurationError, "not inf"),
        ({"score": "50"}, ConfigurationError, "score is a number, not '50'"),
        ({"score": True}, ConfigurationError, "not True"),
        ({"score": None}, ConfigurationError, "not None"),
        ({"analysis": ""}, ConfigurationError, "not empty"),
        ({"analysis": " \n"}, ConfigurationError, "not empty"),
        ({"analysis": None}, ConfigurationError, "a text"),
        ({"details": {"a": {1, 2}}}, ConfigurationError, "details must be JSON"),
        ({"details": {"a": float("nan")}}, ConfigurationError, "details must be JSON"),
        ({"details": ["a"]}, ConfigurationError, "details is a mapping, not a list"),
        ({"details": {"score": 1}}, ConfigurationError, "score is an argument of its own"),
        ({"turn": 0}, ConfigurationError, "a whole number from 1, not 0"),
        ({"turn": True}, ConfigurationError, "not True"),
        ({"turn": 1.0}, ConfigurationError, "not 1.0"),
        ({"turn": 2**31}, ConfigurationError, "not 2147483648"),
        ({"turn": 2}, NotRecorded, "'t' has no turn 2; its last one is 1"),
        ({"evaluator": " "}, ConfigurationError, "name is a text"),
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_refused(
    persist: Persist, wrong: dict[str, Any], error: type[Exception], told: str
) -> None:
    chat(persist, "t", "hello")
    given: dict[str, Any] = {"turn": 1, "score": 50, "analysis": "fine"} | wrong
    with pytest.raises(error, match=told):
        persist.evaluations.record("t", **given)
    assert persist.evaluations.list() == []


def test_an_unknown_session_has_no_evaluations(persist: Persist) -> None:
    for turn in (None, 1):
        with pytest.raises(NotRecorded, match="no session of thread 'x' is recorded"):
            persist.evaluations.record("x", turn=turn, score=1, analysis="a")
        with pytest.raises(NotRecorded, match="no evaluation of thread 'x'"):
            persist.evaluations.get("x", turn)
    with pytest.raises(NotRecorded, match="no turn of thread 'x' is recorded"):
        persist.evaluations.evaluate_turns("x", length)
    with pytest.raises(NotRecorded, match="no turn of thread 'x' is recorded"):
        persist.evaluations.evaluate_session("x", length)


def test_odd_text_is_kept_as_far_as_postgres_can(persist: Persist) -> None:
    chat(persist, "t", "hello")
    found = persist.evaluations.record(
        "t",
        turn=1,
        score=1,
        analysis="nul \x00, lone \ud800, 🦉",
        details={"n": 2**70, "nul\x00": "\udfff", "deep": {"list": [1.5, None]}},
        evaluator="nul \x00",
    )
    assert found.analysis == "nul \ufffd, lone \ufffd, 🦉"
    assert found.evaluator == "nul \ufffd"
    assert found.details == {"n": 2**70, "nul\ufffd": "\ufffd", "deep": {"list": [1.5, None]}}


def test_what_is_queued_can_be_evaluated(persist: Persist) -> None:
    with persist.recorder.start_workflow("w", thread_id="t", user_input="hi"):
        found = persist.evaluations.record("t", turn=1, score=1, analysis="while it runs")
    assert found.turn == 1
    assert query(persist.url, "SELECT status FROM workflows") == [{"status": "completed"}]


def test_evaluations_go_with_their_session(persist: Persist) -> None:
    chat(persist, "t", "hello")
    persist.evaluations.record("t", turn=1, score=1, analysis="a")
    persist.checkpointer.delete_thread("t", record="delete")
    assert persist.evaluations.list() == []


def test_two_processes_record_one_evaluation(persist: Persist) -> None:
    chat(persist, "t", "hello")
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests._evaluation_worker", persist.url, "record", "40", score],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for score in ("10", "20")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    found = judged(persist)
    assert found.keys() == {1, None}
    assert set(found.values()) <= {10, 20}


def test_a_list_is_of_what_is_asked_for(persist: Persist) -> None:
    chat(persist, "t", "a", "bb", user="ann")
    chat(persist, "u", "ccc", user="bob")
    for thread in ("t", "u"):
        persist.evaluations.evaluate_turns(thread, length)
    persist.evaluations.record("u", score=50, analysis="whole", evaluator="me")

    def scores(**asked: Any) -> list[float]:
        return [found.score for found in persist.evaluations.list(**asked)]

    assert scores() == [50, 3, 2, 1]
    assert scores(thread="t") == [2, 1]
    assert scores(type="HOLISTIC_FLOW") == [50]
    assert scores(type="TURN_EVAL", user="bob") == [3]
    assert scores(evaluator="length", min_score=2) == [3, 2]
    assert scores(max_score=1.5) == [1]
    assert scores(thread="t\x00") == scores(evaluator="\ud800") == []
    newest, *rest = persist.evaluations.list()
    assert scores(since=newest.created_at) == [50]
    assert scores(until=rest[-1].created_at) == []
    assert scores(limit=2, before=newest) == [3, 2]
    with pytest.raises(ConfigurationError, match="or 'HOLISTIC_FLOW', not 'TURN'"):
        persist.evaluations.list(type="TURN")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="limit"):
        persist.evaluations.list(limit=0)


# --- evaluators ---


def test_an_evaluator_sees_the_turn(persist: Persist) -> None:
    chat(persist, "t", "one", "two", user="ann", channel="web")
    seen: list[Turn] = []

    def look(turn: Turn) -> float:
        seen.append(turn)
        assert [(line.role, line.text) for line in turn.messages] == [
            ("human", turn.input),
            ("ai", turn.output),
        ]
        assert [node.node_name for node in turn.workflow.nodes] == ["shout"]
        return 100

    report = persist.evaluations.evaluate_turns("t", look, references={2: "TWO!"})
    assert [(turn.number, turn.input, turn.output) for turn in seen] == [
        (1, "one", "ONE"),
        (2, "two", "TWO"),
    ]
    assert [turn.reference for turn in seen] == [None, "TWO!"]
    assert (seen[1].user, seen[1].status, seen[1].metadata["channel"]) == (
        "ann",
        "completed",
        "web",
    )
    assert seen[1].transcript == "user: two\nai: TWO"
    assert [found.turn for found in report.evaluations] == [1, 2]
    assert report.evaluations[0].analysis == "look gave 100 of 100"
    assert report.average == 100


def test_what_is_evaluated_is_not_evaluated_again(persist: Persist) -> None:
    chat(persist, "t", "a", "bb", "ccc")
    asked: list[int] = []

    def judge(turn: Turn) -> tuple[float, str]:
        asked.append(turn.number)
        if turn.number == 2 and asked.count(2) == 1:
            raise RuntimeError("no answer")
        return turn.number, "as it is"

    first = persist.evaluations.evaluate_turns("t", judge)
    assert asked == [1, 2, 3]
    assert judged(persist) == {1: 1, 3: 3}
    assert [str(error) for error in first.failed.values()] == ["no answer"]
    assert str(first) == (
        "t: 2 turns evaluated by judge, 2.0 on average; 1 failed\n"
        "    turn 2: RuntimeError: no answer"
    )
    second = persist.evaluations.evaluate_turns("t", judge)
    assert asked == [1, 2, 3, 2]
    assert (second.failed, list(second.kept)) == ({}, [1, 3])
    assert str(second) == "t: 1 turn evaluated by judge, 2.0 on average; 2 evaluated before"
    chat(persist, "t", "dddd")
    persist.evaluations.evaluate_turns("t", judge)
    assert asked == [1, 2, 3, 2, 4]
    persist.evaluations.evaluate_turns("t", judge, again=True, turns=[3, 1])
    assert asked[5:] == [1, 3]

    def other(turn: Turn) -> float:
        return 9

    persist.evaluations.evaluate_turns("t", other)
    assert judged(persist) == dict.fromkeys((1, 2, 3, 4), 9)
    assert persist.sessions.get("t").status == "active"


def test_a_bad_score_of_one_turn_loses_no_other(persist: Persist) -> None:
    chat(persist, "t", "a", "b", "c", "d")
    scores = iter([float("nan"), 250, {"analysis": "no score"}, 5])
    report = persist.evaluations.evaluate_turns("t", lambda turn: next(scores), name="odd")
    assert judged(persist) == {4: 5}
    told = [str(error) for _, error in sorted(report.failed.items())]
    assert [text.rpartition(", ")[2] for text in told] == ["not nan", "not 250", "missing"]


def test_only_turns_that_completed_are_evaluated(persist: Persist) -> None:
    def fail(state: Any) -> Any:
        raise ValueError("broken")

    builder = StateGraph(MessagesState)
    builder.add_node("fail", fail)
    builder.add_edge(START, "fail")
    broken: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    chat(persist, "t", "fine")
    with pytest.raises(ValueError, match="broken"):
        broken.invoke({"messages": "oh"}, persist.config("t"))
    asking = persist.attach(approval_graph().compile(checkpointer=persist.checkpointer))
    asking.invoke({"count": 1}, persist.config("u"))

    report = persist.evaluations.evaluate_turns("t", length)
    assert (judged(persist), report.left_out) == ({1: 4}, {2: "failed"})
    assert str(report).endswith("; 1 left out (1 failed)")
    both = persist.evaluations.evaluate_turns("t", length, statuses=["completed", "failed"])
    assert persist.evaluations.evaluate_turns("t", length, statuses="failed").kept == [2]
    assert (judged(persist), list(both.kept)) == ({1: 4, 2: 0}, [1])
    assert persist.evaluations.evaluate_turns("u", length).left_out == {1: "interrupted"}
    with pytest.raises(NotRecorded, match="no turn of thread 'u' has completed"):
        persist.evaluations.evaluate_session("u", length)
    with pytest.raises(NotRecorded, match="has no turn 7; its last one is 2"):
        persist.evaluations.evaluate_turns("t", length, turns=[1, 7])
    with pytest.raises(ConfigurationError, match="no status 'done'"):
        persist.evaluations.evaluate_turns("t", length, statuses=["done"])


def test_what_evaluates_can_be_many_things(persist: Persist) -> None:
    chat(persist, "t", "a")

    class Found(BaseModel):
        score: float
        reasoning: str
        tone: str

    class Judge:
        def __call__(self, turn: Turn) -> Found:
            return Found(score=40, reasoning="modelled", tone="dry")

    prompt = ChatPromptTemplate.from_template("{input}: {output}; {reference}; {transcript}")
    reply = '```json\n{"score": 30, "comment": "chained", "more": [1]}\n```'

    def evaluated(judge: Any, **how: Any) -> tuple[Any, ...]:
        report = persist.evaluations.evaluate_turns("t", judge, again=True, **how)
        assert report.failed == {}
        (found,) = report.evaluations
        return found.evaluator, found.score, found.analysis, found.details

    assert evaluated(Judge()) == ("Judge", 40, "modelled", {"tone": "dry"})
    assert evaluated(prompt | fake_model(reply), name="chain") == (
        "chain",
        30,
        "chained",
        {"more": [1]},
    )
    scale: Any = RunnableLambda(lambda given: {"score": len(given["output"]), "value": "Y"})
    assert evaluated(scale, name="ten", scale=10) == ("ten", 10, "Y", {})
    exact = ExactMatchStringEvaluator()
    assert evaluated(exact, references={1: "A"}) == (
        "exact_match",
        100,
        "exact_match gave 1 of 1",
        {},
    )
    assert evaluated(exact, references={1: "B"})[1] == 0
    assert evaluated(partial(length), name="part")[0] == "part"
    assert evaluated(partial(length))[0] == "length"
    chat(persist, "u", "1")
    equal = persist.evaluations.evaluate_turns("u", JsonEqualityEvaluator(), references={1: "1.0"})
    assert [found.score for found in equal.evaluations] == [100]


def test_evaluators_that_cannot_evaluate_are_refused(persist: Persist) -> None:
    chat(persist, "t", "a")

    async def later(turn: Turn) -> float:
        return 1

    evaluate = persist.evaluations.evaluate_turns
    with pytest.raises(ConfigurationError, match="not str"):
        evaluate("t", "polite")
    with pytest.raises(ConfigurationError, match="give one by name="):
        evaluate("t", lambda turn: 1)
    with pytest.raises(ConfigurationError, match="scale"):
        evaluate("t", length, scale=0)
    with pytest.raises(ConfigurationError, match="name is a text"):
        evaluate("t", length, name="")
    assert "use aevaluate_turns()" in str(evaluate("t", later))
    ten = evaluate("t", ExactMatchStringEvaluator(), references={1: "A"}, scale=0.5)
    assert "say what the best score is by scale=" in str(ten)
    text = evaluate("t", RunnableLambda(lambda given: AIMessage("good")), name="text")
    assert "JSON is wanted" in str(text)


def test_a_killed_evaluation_goes_on_where_it_was(persist: Persist) -> None:
    chat(persist, "t", "a", "b", "c", "d")
    worker = subprocess.run(
        [sys.executable, "-m", "tests._evaluation_worker", persist.url, "evaluate", "3"],
        cwd=ROOT,
        timeout=120,
    )
    assert worker.returncode == -signal.SIGKILL
    assert judged(persist) == {1: 10, 2: 10}
    asked: list[int] = []

    def judge(turn: Turn) -> tuple[float, str]:
        asked.append(turn.number)
        return 20, "after the end"

    report = persist.evaluations.evaluate_turns("t", judge)
    assert (asked, list(report.kept)) == ([3, 4], [1, 2])
    assert judged(persist) == {1: 10, 2: 10, 3: 20, 4: 20}
    assert persist.sessions.get("t").status == "active"


def test_an_interrupted_evaluation_keeps_what_it_had(persist: Persist) -> None:
    chat(persist, "t", "a", "b", "c")

    def judge(turn: Turn) -> float:
        if turn.number == 2:
            raise KeyboardInterrupt
        return 1

    with pytest.raises(KeyboardInterrupt):
        persist.evaluations.evaluate_turns("t", judge)
    assert judged(persist) == {1: 1}


def test_what_the_database_refuses_ends_the_evaluation(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat(persist, "t", "a", "b")
    asked: list[int] = []

    def judge(turn: Turn) -> float:
        asked.append(turn.number)
        persist.checkpointer.delete_thread("t", record="delete")
        return 1

    with pytest.raises(NotRecorded, match="no session of thread 't'"):
        persist.evaluations.evaluate_turns("t", judge)
    assert asked == [1]


# --- on an event loop ---


async def test_so_many_turns_are_evaluated_at_a_time(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", *"abcdefg")
    running, most = 0, 0
    three = asyncio.Event()

    async def judge(turn: Turn) -> tuple[float, str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            three.set()
        await three.wait()
        await asyncio.to_thread(lambda: turn.messages)
        running -= 1
        if turn.number == 5:
            raise OSError("no answer")
        return turn.number, "slow"

    evaluations = persist.evaluations
    report = await evaluations.aevaluate_turns("t", judge, concurrency=3)
    assert most == 3
    assert [found.turn for found in report.evaluations] == [1, 2, 3, 4, 6, 7]
    assert [*report.failed] == [5]
    with pytest.raises(ConfigurationError, match="concurrency"):
        await evaluations.aevaluate_turns("t", judge, concurrency=0)


async def test_what_is_not_async_does_not_hold_up_the_loop(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "a")
    loop, free = asyncio.get_running_loop(), threading.Event()

    def judge(turn: Turn) -> float:
        loop.call_soon_threadsafe(free.set)
        assert free.wait(60)
        return 1

    report = await persist.evaluations.aevaluate_turns("t", judge)
    assert report.failed == {}
    free.clear()
    assert (await persist.evaluations.aevaluate_session("t", judge)).score == 1


async def test_evaluators_are_asked_by_their_async_methods(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "a")

    class Later:
        async def __call__(self, turn: Turn) -> float:
            return 3

    class Strings:
        evaluation_name = "strings"

        def evaluate_strings(self, *, prediction: str, input: str | None) -> dict[str, Any]:
            return {"score": 0.5, "reasoning": f"{input} {prediction}"}

    exact = ExactMatchStringEvaluator()
    chain = ChatPromptTemplate.from_template("{input}") | fake_model('{"score": 7}')
    for judge, how, score in (
        (Later(), {}, 3),
        (partial(Later()), {}, 3),
        (Strings(), {}, 50),
        (exact, {"references": {1: "A"}}, 100),
        (chain, {"name": "chain"}, 7),
    ):
        report = await persist.evaluations.aevaluate_turns("t", judge, again=True, **how)
        assert [found.score for found in report.evaluations] == [score], report


async def test_a_cancelled_evaluation_keeps_what_it_had(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "a", "b")
    second = asyncio.Event()

    async def judge(turn: Turn) -> float:
        if turn.number == 2:
            second.set()
            await asyncio.Event().wait()
        return 1

    task = asyncio.create_task(persist.evaluations.aevaluate_turns("t", judge, concurrency=1))
    await second.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert judged(persist) == {1: 1}


class Strings:
    """An evaluator of LangChain's kind, without async methods."""

    evaluation_name = "strings"

    def evaluate_strings(self, **strings: Any) -> Any:
        return next(iter([]))


async def gives_up(turn: Turn) -> float:
    """Awaits what it has cancelled."""
    if turn.number < 3:
        inner = asyncio.ensure_future(asyncio.sleep(60))
        inner.cancel()
        await inner
    return 50


def runs_dry(turn: Turn) -> float:
    """Has answers for the later turns only."""
    return next(iter([] if turn.number < 3 else [50]))


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (gives_up, "gives_up was cancelled from within"),
        (runs_dry, "runs_dry raised StopIteration"),
    ],
)
async def test_an_evaluator_that_stops_itself_stops_nothing_else(
    persist: Persist, judge: Any, why: str
) -> None:
    await asyncio.to_thread(chat, persist, "t", "a", "b", "c", "d")
    evaluating = persist.evaluations.aevaluate_turns("t", judge, concurrency=2)
    report = await asyncio.wait_for(evaluating, 30)
    assert [evaluation.turn for evaluation in report.evaluations] == [3, 4]
    assert {turn: str(error) for turn, error in report.failed.items()} == {1: why, 2: why}


async def test_an_evaluator_of_a_session_that_stops_itself_is_told(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "a")

    async def gives_up(conversation: Conversation) -> float:
        raise asyncio.CancelledError

    judges: list[Any] = [gives_up, lambda conversation: next(iter([])), Strings()]
    for judge in judges:
        evaluating = persist.evaluations.aevaluate_session("t", judge, name="j")
        with pytest.raises(RuntimeError, match=r"cancelled from within|raised StopIteration"):
            await asyncio.wait_for(evaluating, 30)


async def test_what_the_database_refuses_is_raised_on_the_loop(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "a", "b")

    def judge(turn: Turn) -> float:
        persist.checkpointer.delete_thread("t", record="delete")
        return 1

    with pytest.raises(NotRecorded, match="no session of thread 't'"):
        await persist.evaluations.aevaluate_turns("t", judge, concurrency=1)


# --- sessions as a whole ---


def test_a_session_is_evaluated_as_a_whole(persist: Persist) -> None:
    chat(persist, "t", "one", "two", user="ann")
    asked: list[Conversation] = []

    def judge(conversation: Conversation) -> dict[str, Any]:
        asked.append(conversation)
        assert [line.text for line in conversation.messages] == ["one", "ONE", "two", "TWO"]
        assert (conversation.input, conversation.output) == ("one", "TWO")
        return {"score": 90, "analysis": "both answered", "tone": "loud"}

    found = persist.evaluations.evaluate_session("t", judge)
    assert (found.evaluation_type, found.turn, found.score) == ("HOLISTIC_FLOW", None, 90)
    assert found.details == {"tone": "loud", "turns": 2}
    assert (asked[0].user, len(asked[0].turns)) == ("ann", 2)
    assert asked[0].transcript == "user: one\nai: ONE\nuser: two\nai: TWO"
    assert persist.evaluations.evaluate_session("t", judge) == found
    assert len(asked) == 1

    chat(persist, "t", "three")
    with pytest.raises(AssertionError):
        persist.evaluations.evaluate_session("t", judge)
    assert persist.evaluations.get("t") == found
    exact = ExactMatchStringEvaluator()
    whole = asked[1].transcript
    assert whole.endswith("user: three\nai: THREE")
    assert persist.evaluations.evaluate_session("t", exact, reference=whole).score == 100
    assert persist.sessions.get("t").status == "active"


async def test_a_session_is_evaluated_on_the_loop(persist: Persist) -> None:
    await asyncio.to_thread(chat, persist, "t", "one")
    asked: list[str] = []

    async def judge(conversation: Conversation) -> float:
        asked.append(conversation.transcript)
        return 12

    for _ in range(2):
        assert (await persist.evaluations.aevaluate_session("t", judge)).score == 12
    assert asked == ["user: one\nai: ONE"]
    again = await persist.evaluations.aevaluate_session("t", judge, again=True)
    assert (len(asked), again.details) == (2, {"turns": 1})


# --- what the record holds of it ---


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_evaluators_calls_are_no_part_of_the_session(persist: Persist, way: str) -> None:
    chat(persist, "t", "one")
    model = fake_model('{"score": 1}', '{"score": 2}')
    judge = ChatPromptTemplate.from_template("{output}") | model

    def evaluate(state: Any) -> Any:
        evaluations = persist.evaluations
        if way == "sync":
            report = evaluations.evaluate_turns("t", judge, name="judge")
            evaluations.evaluate_session("t", judge, name="judge")
        else:
            report = asyncio.run(evaluations.aevaluate_turns("t", judge, name="judge"))
            asyncio.run(evaluations.aevaluate_session("t", judge, name="judge"))
        assert report.failed == {}
        return {"count": 1}

    builder = StateGraph(Count)
    builder.add_node("evaluate", evaluate)
    builder.add_edge(START, "evaluate")
    persist.install()
    with persist.recorder.start_workflow("outer", thread_id="outer"):
        builder.compile().invoke({"count": 0}, persist.config("t"))
    persist.uninstall()
    found = query(persist.url, "SELECT DISTINCT thread_id, model_name FROM generations")
    assert len(found) == 2
    assert not {row["thread_id"] for row in found} & {"t", "outer"}


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


class Reversed(CipherProtocol):
    """Not a cipher to rely on."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "reversed", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "reversed"
        return ciphertext[::-1]


def stored(persist: Persist) -> str:
    return str(query(persist.url, "SELECT details FROM evaluations"))


def test_an_encrypted_record_hides_what_evaluators_said(
    opened: Callable[..., Persist], tmp_path: Path
) -> None:
    persist = opened(record_cipher=Reversed())
    chat(persist, "t", "hello")
    found = persist.evaluations.record(
        "t", turn=1, score=7, analysis="whispered", details={"quote": "hello"}
    )
    assert (found.analysis, found.details) == ("whispered", {"quote": "hello"})
    assert persist.evaluations.get("t", 1) == found
    shown = stored(persist)
    assert "'score': 7" in shown
    assert not {"whispered", "hello", "quote"} & set(shown.replace("'", " ").split())
    assert "whispered" not in shown
    persist.evaluations.export(tmp_path / "set.jsonl")
    (line,) = (tmp_path / "set.jsonl").read_text().splitlines()
    written = json.loads(line)
    assert (written["input"], written["output"], written["analysis"]) == (
        "hello",
        "HELLO",
        "whispered",
    )


def test_a_record_of_structure_holds_scores_only(opened: Callable[..., Persist]) -> None:
    persist = opened(capture="structure")
    chat(persist, "t", "hello")
    found = persist.evaluations.record("t", turn=1, score=7, analysis="whispered", details={"a": 1})
    assert (found.score, found.analysis, found.details) == (7, "<not recorded>", {})
    assert "whispered" not in stored(persist)
    lines = io.StringIO()
    persist.evaluations.export(lines)
    assert json.loads(lines.getvalue())["output"] is None


def test_what_evaluators_said_is_redacted_and_limited(opened: Callable[..., Persist]) -> None:
    persist = opened(redact=redact_personal, max_payload_bytes=1000)
    chat(persist, "t", "i am ann@example.org")
    found = persist.evaluations.record(
        "t",
        turn=1,
        score=7,
        analysis="she said ann@example.org",
        details={"who": "ann@example.org", "n": 1},
    )
    assert found.analysis == "she said [email]"
    assert found.details == {"who": "[email]", "n": 1}
    assert "example" not in stored(persist)
    long = persist.evaluations.record(
        "t", score=7, analysis="x" * 5000, details={"long": "y" * 5000}
    )
    assert len(long.analysis) < 1100
    assert long.details["$left_out"] == "5,011 bytes"
    lines = io.StringIO()
    persist.evaluations.export(lines)
    assert "ann@" not in lines.getvalue().lower()


# --- export ---


def exported(persist: Persist, **how: Any) -> list[dict[str, Any]]:
    file = io.BytesIO()
    count = persist.evaluations.export(file, **how)
    lines = file.getvalue().decode().splitlines()
    assert len(lines) == count
    return [json.loads(line) for line in lines]


def test_a_dataset_has_input_output_and_score(persist: Persist, tmp_path: Path) -> None:
    chat(persist, "t", "one", "zwei 🦉\u2028", user="ann", organization="acme", channel="web")
    persist.evaluations.evaluate_turns("t", length)
    persist.evaluations.record("t", score=60, analysis="both", details={"tone": "loud"})
    path = tmp_path / "set.jsonl"
    path.write_text("old")
    path.chmod(0o640)
    assert persist.evaluations.export(path) == 3
    lines = [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
    assert [p.name for p in tmp_path.iterdir()] == ["set.jsonl"]
    assert path.stat().st_mode & 0o777 == 0o640
    workflows = persist.history.workflows(thread="t")
    assert [(line["input"], line["output"], line["score"]) for line in lines] == [
        ("one", "ONE", 3),
        ("zwei 🦉\u2028", "ZWEI 🦉\u2028", 7),
        ("one", "ZWEI 🦉\u2028", 60),
    ]
    turn, _, whole = lines
    assert turn["analysis"] == "one became ONE"
    assert turn["workflow_id"] == str(workflows[-1].id)
    assert (turn["thread_id"], turn["turn"], turn["evaluation_type"]) == ("t", 1, "TURN_EVAL")
    assert (turn["user"], turn["organization"], turn["evaluator"]) == ("ann", "acme", "length")
    assert turn["metadata"]["channel"] == "web"
    assert (whole["turn"], whole["workflow_id"], whole["details"]) == (None, None, {"tone": "loud"})
    assert [line["score"] for line in exported(persist, type="TURN_EVAL", min_score=4)] == [7]
    assert exported(persist, user="bob") == []


def test_a_dataset_of_many_pages_has_every_row_once(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 2)
    monkeypatch.setattr(session_module, "PAGE", 2)
    for thread in ("t", "u", "v"):
        chat(persist, thread, "a", "b", "c")
        assert len(persist.evaluations.evaluate_turns(thread, length).evaluations) == 3
    found = [(line["thread_id"], line["turn"]) for line in exported(persist)]
    assert found == [(thread, turn) for thread in "tuv" for turn in (1, 2, 3)]


def test_a_dataset_that_fails_leaves_the_old_file(
    persist: Persist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 1)
    chat(persist, "t", "a", "b")
    persist.evaluations.evaluate_turns("t", length)
    path = tmp_path / "set.jsonl"
    path.write_text("old")
    rows = type(persist.evaluations._statements).rows
    asked: list[str] = []

    def broken(self: Any, name: str, /, **params: Any) -> Any:
        asked.append(name)
        if asked.count("dataset") == 2:
            raise psycopg.OperationalError("gone")
        return rows(self, name, **params)

    monkeypatch.setattr(type(persist.evaluations._statements), "rows", broken)
    with pytest.raises(psycopg.OperationalError, match="gone"):
        persist.evaluations.export(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["set.jsonl"]


def test_a_dataset_goes_where_it_is_told(persist: Persist, tmp_path: Path) -> None:
    chat(persist, "t", "a")
    persist.evaluations.evaluate_turns("t", length)
    target = tmp_path / "real.jsonl"
    link = tmp_path / "link.jsonl"
    link.symlink_to(target)
    persist.evaluations.export(str(link))
    assert link.is_symlink()
    assert json.loads(target.read_text())["output"] == "A"
    with (tmp_path / "text.jsonl").open("w") as file:
        assert persist.evaluations.export(file) == 1
    assert (tmp_path / "text.jsonl").read_text() == target.read_text()
    assert persist.evaluations.export("/dev/null") == 1
    assert Path("/dev/null").is_char_device()
    with pytest.raises(FileNotFoundError):
        persist.evaluations.export(tmp_path / "no" / "folder.jsonl")
    with pytest.raises(ConfigurationError, match="a path or an open file"):
        persist.evaluations.export(1)  # type: ignore[arg-type]


def test_all_of_it_works_behind_poolers(
    _pooler: Callable[[str, str], str], migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 1)
    for kind in poolers():
        with Persist(_pooler(kind, migrated)) as persist:
            chat(persist, kind, "a", "b", "c")
            for _ in range(4):
                persist.evaluations.evaluate_turns(kind, length, again=True)
                persist.feedback.record(kind, turn=1, rating=3)
            assert [line["turn"] for line in exported(persist, thread=kind)] == [1, 2, 3]
            assert persist.feedback.export(io.StringIO(), thread=kind) == 4


class Note(TypedDict):
    note: str


def test_inputs_and_outputs_are_whole_whatever_they_were(persist: Persist) -> None:
    long = "so long a question " * 100
    chat(persist, "long", long)
    model = Scripted(answers=[said("spoken")])
    chain = chain_of(["a"]).compile()
    twice: Any = RunnableLambda(lambda text: text * 2)
    runs: list[tuple[Any, str, Any]] = [
        (model, "m", [SystemMessage("be kind"), HumanMessage(long)]),
        (chain, "dict", {"count": 1}),
        (twice, "text", "ab"),
    ]
    for runnable, thread, given in runs:
        persist.attach(runnable).invoke(given, persist.config(thread))
    with persist.recorder.start_workflow("w", thread_id="none", input={"a": 1}):
        pass
    builder = StateGraph(Note)
    builder.add_node("n", lambda state: {"note": "n" * 3000})
    builder.add_edge(START, "n")
    persist.attach(builder.compile()).invoke({"note": "x"}, persist.config("note"))
    threads = ("long", "m", "dict", "text", "none", "note")
    seen: dict[str, tuple[str | None, str | None]] = {}

    def look(turn: Turn) -> float:
        seen[turn.thread_id] = turn.input, turn.output
        return 1

    for thread in threads:
        persist.evaluations.evaluate_turns(thread, look)
    assert seen["long"] == (long, long.upper())
    assert seen["m"] == (long, "spoken")
    assert seen["dict"] == ('{"count":1}', '{"log":["a"],"count":2}')
    assert seen["text"] == ("ab", "abab")
    assert seen["none"] == ('{"a":1}', None)
    assert seen["note"][1] == '{"note":"' + "n" * 3000 + '"}'
    lines = {line["thread_id"]: (line["input"], line["output"]) for line in exported(persist)}
    assert lines == seen


def test_an_answer_is_what_was_said_last(persist: Persist) -> None:
    def reply(state: Any) -> Any:
        call = {"name": "weather", "args": {}, "id": "1"}
        blocks: list[Any] = [{"type": "text", "text": part} for part in ("sun", "ny")]
        return {
            "messages": [
                AIMessage("", tool_calls=[call]),
                {"role": "tool", "content": "20 degrees", "tool_call_id": "1"},
                AIMessage(blocks),
                HumanMessage("thanks"),
            ]
        }

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    graph: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    history: Sequence[BaseMessage] = [
        SystemMessage("be kind"),
        *(HumanMessage(f"question {number}") for number in range(60)),
    ]
    graph.invoke({"messages": history}, persist.config("t"))
    outputs: list[str | None] = []

    def look(turn: Turn) -> float:
        outputs.append(turn.output)
        assert turn.input == "question 59"
        return 1

    persist.evaluations.evaluate_turns("t", look)
    assert outputs == ["sunny"]


# --- progress ---


def test_a_bar_is_shown_where_it_is_wanted(
    persist: Persist, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat(persist, "t", "a", "b")
    persist.evaluations.evaluate_turns("t", length, again=True)
    assert capsys.readouterr() == ("", "")
    persist.evaluations.evaluate_turns("t", length, again=True, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "evaluating t" in shown.err
    assert "2/2" in shown.err
    monkeypatch.setattr("langgraph_persist.evaluations.progress.find_spec", lambda name: None)
    persist.evaluations.evaluate_turns("t", length, again=True)
    with pytest.raises(ConfigurationError, match=r"pip install 'langgraph-persist\[progress\]'"):
        persist.evaluations.evaluate_turns("t", length, again=True, progress=True)


def test_many_turns_are_read_in_pages(persist: Persist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "PAGE", 2)
    chat(persist, "t", *"abcde")
    read: list[int] = []
    page = session_module.SessionTurns._page

    def counted(self: Any, turns: Any, references: Any) -> Any:
        read.append(len(turns))
        return page(self, turns, references)

    monkeypatch.setattr(session_module.SessionTurns, "_page", counted)
    report = persist.evaluations.evaluate_turns("t", length)
    assert read == [2, 2, 1]
    assert all(isinstance(found, Evaluation) for found in report.evaluations)
    assert len(report.evaluations) == 5
