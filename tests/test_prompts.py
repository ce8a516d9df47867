"""Versions of a prompt side by side: what they cost, take and are worth."""

from __future__ import annotations

import sys
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from scipy import stats

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.prompts import significance
from tests.checks import query
from tests.models import Scripted, said


def ask(persist: Persist, thread: str, *versions: str | None, name: str | None = "greet") -> None:
    """A turn that calls a model once with each of these versions."""
    model = Scripted(answers=[said("hi", "scripted-1", usage=(10, 5))])

    def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        for version in versions:
            named = {"prompt_name": name, "prompt_version": version}
            metadata = {key: value for key, value in named.items() if value is not None}
            model.invoke("hello", {"metadata": metadata})
        return {"messages": [AIMessage("hi")]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    graph: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
    graph.invoke({"messages": "hello"}, persist.config(thread))


def vars_of(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def score(persist: Persist, thread: str, turn: int, score: float) -> None:
    persist.evaluations.record(thread, turn=turn, score=score, analysis="as told")


def test_versions_have_what_they_cost_and_are_worth(migrated: str) -> None:
    with Persist(migrated, prices={"scripted-*": {"input": 1, "output": 2}}) as persist:
        ask(persist, "t", "1", "1", "1")
        ask(persist, "t", "1")
        ask(persist, "t", "2")
        ask(persist, "t", "2")
        ask(persist, "t", "other", name="else")
        score(persist, "t", 1, 60)
        score(persist, "t", 2, 90)
        score(persist, "t", 3, 50)
        for rating in (1, 4):
            persist.feedback.record("t", turn=1, rating=rating)
        persist.feedback.record("t", turn=2, rating=5)
        persist.feedback.record("t", turn=3, comment="no rating")
        persist.feedback.record("t", rating=1)
        persist.evaluations.record("t", score=1, analysis="of no version")
        old, new = persist.prompts.versions("greet")
    assert (old.prompt_version, old.calls, old.turns, old.mixed_turns) == ("1", 4, 2, 0)
    assert (old.scores, old.avg_score) == (2, 75)
    assert (old.ratings, old.avg_rating) == (2, 3.75)
    assert (old.cost_usd, old.avg_cost_usd) == (Decimal("0.00008"), Decimal("0.00002"))
    assert (old.avg_prompt_tokens, old.avg_completion_tokens, old.failed) == (10, 5, 0)
    assert old.p50_latency_ms is not None
    assert old.p95_latency_ms is not None
    assert 0 < old.p50_latency_ms <= old.p95_latency_ms
    assert (new.prompt_version, new.calls, new.turns) == ("2", 2, 2)
    assert (new.scores, new.avg_score) == (1, 50)
    assert (new.ratings, new.avg_rating) == (0, None)
    assert old.first_used_at < old.last_used_at < new.first_used_at


def test_an_answer_from_a_cache_takes_nothing_away_from_averages(persist: Persist) -> None:
    model: Any = GenericFakeChatModel(
        messages=iter([said("hi", "scripted-1", usage=(10, 5))]), cache=InMemoryCache()
    )
    recorded: Any = {
        "callbacks": [persist.handler],
        "metadata": {"prompt_name": "greet", "prompt_version": "1"},
    }
    for _ in range(4):
        model.invoke("hello", recorded)
    (version,) = persist.prompts.versions("greet")
    (reported,) = persist.reports.prompt_versions()
    (shown,) = query(persist.url, "SELECT * FROM prompt_versions")
    for found in (vars_of(version), vars_of(reported), shown):
        took = (found["calls"], found["avg_prompt_tokens"], found["avg_completion_tokens"])
        assert took == (4, 10, 5)


def test_the_view_counts_each_turn_once(persist: Persist) -> None:
    ask(persist, "t", *"111")
    ask(persist, "t", "1")
    score(persist, "t", 1, 60)
    score(persist, "t", 2, 90)
    for rating in (1, 4):
        persist.feedback.record("t", turn=1, rating=rating)
    (version,) = persist.prompts.versions("greet")
    (shown,) = query(persist.url, "SELECT * FROM prompt_versions")
    assert (shown["calls"], shown["scores"], shown["ratings"]) == (4, 2, 1)
    assert (version.calls, version.scores, version.ratings) == (4, 2, 1)
    assert (shown["avg_score"], shown["avg_rating"]) == (75, Decimal("2.5"))
    assert (version.avg_score, version.avg_rating) == (75, 2.5)


def test_what_is_not_known_is_none(persist: Persist) -> None:
    ask(persist, "t", "1", None)
    ask(persist, "t", None)
    with_version, without = sorted(
        persist.prompts.versions("greet"), key=lambda found: found.prompt_version or "z"
    )
    assert (with_version.prompt_version, without.prompt_version) == ("1", None)
    assert (with_version.cost_usd, with_version.avg_cost_usd) == (None, None)
    assert (with_version.avg_score, with_version.avg_rating) == (None, None)
    assert (with_version.scores, with_version.ratings) == (0, 0)
    assert (without.calls, without.turns, without.mixed_turns) == (2, 2, 1)
    compared = persist.prompts.compare("greet")
    for found in compared.differences:
        assert (found.difference, found.effect_size, found.p_value) == (None, None, None)
        assert not found.is_significant()
    assert "0.0" not in str(compared).replace("0.0 ms", "").split("rating")[1].split("(0)")[-1]


def test_a_turn_of_two_versions_tells_of_neither(persist: Persist) -> None:
    ask(persist, "t", "1", "2")
    ask(persist, "t", "1")
    ask(persist, "t", "1", None)
    ask(persist, "t", None)
    for turn, value in enumerate((10, 80, 20, 40), 1):
        score(persist, "t", turn, value)
        persist.feedback.record("t", turn=turn, rating=turn)
    found = {one.prompt_version: one for one in persist.prompts.versions("greet")}
    assert {v: (one.turns, one.mixed_turns) for v, one in found.items()} == {
        "1": (3, 2),
        "2": (1, 1),
        None: (2, 1),
    }
    assert {v: (one.scores, one.avg_score) for v, one in found.items()} == {
        "1": (1, 80),
        "2": (0, None),
        None: (1, 40),
    }
    assert {v: (one.ratings, one.avg_rating) for v, one in found.items()} == {
        "1": (1, 2),
        "2": (0, None),
        None: (1, 4),
    }


def test_only_calls_of_a_time_count(persist: Persist) -> None:
    ask(persist, "t", "1")
    ask(persist, "t", "1")
    score(persist, "t", 1, 10)
    score(persist, "t", 2, 90)
    (both,) = persist.prompts.versions("greet")
    (later,) = persist.prompts.versions("greet", since=both.last_used_at)
    (earlier,) = persist.prompts.versions("greet", until=both.last_used_at)
    assert (both.avg_score, later.avg_score, earlier.avg_score) == (50, 90, 10)
    assert (both.calls, later.calls, earlier.calls) == (2, 1, 1)
    with pytest.raises(NotRecorded, match="no model call with a prompt 'x'"):
        persist.prompts.compare("x")


def test_differences_are_tested(persist: Persist) -> None:
    scores = {"1": [10, 20, 20, 30, 55], "2": [50, 60, 70, 70, 80, 90], "3": [20, 60]}
    turn = 0
    for version, values in scores.items():
        for value in values:
            turn += 1
            ask(persist, "t", version)
            score(persist, "t", turn, value)
    compared = persist.prompts.compare("greet")
    assert [one.prompt_version for one in compared.versions] == ["1", "2", "3"]
    found = {(one.a, one.b): one for one in compared.differences if one.metric == "score"}
    assert found.keys() == {("1", "2"), ("1", "3"), ("2", "3")}
    first = found["1", "2"]
    # One of 30 pairs is the other way round.
    assert first.effect_size == pytest.approx(28 / 30)
    assert first.difference == pytest.approx(70 - 27)
    assert (first.n_a, first.n_b) == (5, 6)
    # All 462 arrangements of the eleven scores, of which four are as far apart.
    assert first.p_value == pytest.approx(4 / 462)
    assert first.p_adjusted == pytest.approx(3 * 4 / 462)
    assert first.is_significant()
    assert not found["1", "3"].is_significant()
    shown = str(compared)
    assert "score 1 -> 2: +43.0, effect +0.93, p 0.026" in shown
    assert shown.splitlines()[0].split() == [
        *("version", "calls", "failed", "cost", "USD", "p50", "ms", "p95", "ms", "score"),
        "rating",
    ]


def test_many_judgements_are_tested_by_their_ranks() -> None:
    a = {float(value): 20 + value for value in range(10)}
    b = {float(value): 30 - value for value in range(12)}
    p, effect = significance.difference(a, b)
    expected = stats.mannwhitneyu(
        [value for value, times in b.items() for _ in range(times)],
        [value for value, times in a.items() for _ in range(times)],
        method="asymptotic",
    )
    assert p == pytest.approx(expected.pvalue)
    assert effect == pytest.approx(2 * expected.statistic / (245 * 294) - 1)


def test_samples_too_small_to_tell_have_no_p_value() -> None:
    assert significance.difference({}, {1.0: 5}) == (None, None)
    assert significance.difference({1.0: 1}, {2.0: 5}) == (None, 1)
    assert significance.difference({3.0: 4}, {3.0: 2}) == (1, 0)
    assert significance.difference({3.0: 400}, {3.0: 200}) == (1, 0)
    assert significance.adjusted([None, None]) == [None, None]
    assert significance.adjusted([0.01, None, 0.5]) == [pytest.approx(0.02), None, 0.5]


def test_versions_can_be_read_without_scipy(
    persist: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(persist, "t", "1")
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert len(persist.prompts.versions("greet")) == 1
    with pytest.raises(ConfigurationError, match=r"pip install 'langgraph-persist\[stats\]'"):
        persist.prompts.compare("greet")
