"""What model calls cost: by genai-prices, by the user's own prices, or unknown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_persist import Persist
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.extract import billing, generation_end
from langgraph_persist.journal import Late
from langgraph_persist.usage import Cost, Costs, ModelCall, Price, Prices, total
from tests.graphs import MODES, Chat, Steps, run
from tests.models import Scripted, Streaming, said

AT = datetime(2026, 1, 2, tzinfo=UTC)
FLEX = datetime(2026, 11, 1, tzinfo=UTC)


def call(model: str, provider: Any = None, **tokens: Any) -> ModelCall:
    known = {name: n for name, n in tokens.items() if name.endswith("_tokens")}
    return ModelCall(
        models=(model,),
        provider=provider,
        endpoint=tokens.get("endpoint"),
        tokens=known,
        details=tokens.get("details", {}),
        service_tier=tokens.get("tier"),
        at=tokens.get("at", AT),
    )


def unfailed(event: str, error: BaseException) -> None:
    raise AssertionError(event) from error


def cost(asked: ModelCall, prices: dict[str, Price] | None = None) -> Cost:
    return Costs(Prices.of(prices), unfailed).of(asked, cache_hit=False)


THOUSAND = {"prompt_tokens": 1_000, "completion_tokens": 100}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # Input 2.50, cached 1.25, output 10 dollars a million.
        (call("gpt-4o-2024-08-06", "openai", **THOUSAND), "0.0035"),
        (call("gpt-4o", "openai", **THOUSAND, cache_read_tokens=400), "0.003"),
        # Input 3, read 0.30, written 3.75 or for an hour 6, output 15.
        (call("claude-sonnet-4-5-20250929", "anthropic", **THOUSAND), "0.0045"),
        (
            call(
                "claude-sonnet-4-5",
                "anthropic",
                **THOUSAND,
                cache_read_tokens=500,
                cache_creation_tokens=100,
            ),
            "0.003225",
        ),
        (
            call(
                "claude-sonnet-4-5",
                "anthropic",
                **THOUSAND,
                cache_creation_tokens=100,
                details={"cache_write_1h_tokens": 100},
            ),
            "0.0048",
        ),
        # Input 2, output 8, reasoning 3.
        (
            call("sonar-deep-research", "perplexity", **THOUSAND, reasoning_tokens=60),
            "0.0025",
        ),
        # A prefix that says where the model lies is no part of its name.
        (call("models/gemini-2.5-pro", "google_genai", **THOUSAND), "0.00225"),
        # Bedrock and Azure have prices of their own.
        (
            call("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon_bedrock", **THOUSAND),
            "0.00495",
        ),
    ],
)
def test_list_prices(asked: ModelCall, expected: str) -> None:
    found = cost(asked)
    assert found.usd == Decimal(expected)
    assert found.source is not None
    assert found.source.startswith("genai-prices 0.2")


def test_the_source_names_the_price() -> None:
    found = cost(call("claude-sonnet-4-5-20250929", "anthropic", **THOUSAND))
    assert found.usd is not None
    assert str(found.source).endswith(": anthropic/claude-sonnet-4-5")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # Text 2.50, sound 32, output 10.
        (
            call("gpt-audio", "openai", **THOUSAND, details={"input_audio_tokens": 100}),
            "0.00645",
        ),
        # Which part of the sound was cached is not told, so all input costs as text.
        (
            call(
                "gemini-2.5-flash",
                "google_genai",
                **THOUSAND,
                cache_read_tokens=200,
                details={"input_audio_tokens": 100},
            ),
            "0.000496",
        ),
        # Half price for who can wait.
        (call("o3", "openai", **THOUSAND, tier="flex", at=FLEX), "0.0014"),
        (call("o3", "openai", **THOUSAND, tier="default", at=FLEX), "0.0028"),
    ],
)
def test_kinds_of_tokens_and_tiers(asked: ModelCall, expected: str) -> None:
    assert cost(asked).usd == Decimal(expected)


@pytest.mark.parametrize(
    "asked",
    [
        call("fake-1", "fake", **THOUSAND),
        call("fake-1", **THOUSAND),
        call("gpt-99-imagined", "openai", **THOUSAND),
        call("", "openai", **THOUSAND),
        # Anybody may run these: the price of one who sells them is no price of the caller's own.
        call("llama-3.3-70b-versatile", "ollama", **THOUSAND),
        call("deepseek-chat", "mine", **THOUSAND),
        # It is paid for by the hour.
        call("whisper-large-v3", "groq", **THOUSAND),
        # Nothing is known of what it took.
        call("gpt-4o", "openai"),
    ],
)
def test_an_unknown_price_is_none(asked: ModelCall) -> None:
    found = cost(asked)
    assert (found.usd, found.source) == (None, None)
    assert cost(asked).usd is None


def test_a_makers_price_holds_behind_any_gateway() -> None:
    assert cost(call("gpt-4o", "gateway", **THOUSAND)).usd == Decimal("0.0035")
    assert cost(call("gpt-4o", **THOUSAND)).usd == Decimal("0.0035")
    proxied = call("claude-sonnet-4-5", "openai", **THOUSAND, endpoint="http://localhost:4000")
    assert cost(proxied).usd == Decimal("0.0045")


def test_the_endpoint_tells_whose_price_it_is() -> None:
    asked = call("deepseek-chat", "openai", **THOUSAND, endpoint="https://api.deepseek.com/v1")
    found = cost(asked)
    assert found.usd is not None
    assert str(found.source).endswith(": deepseek/deepseek-chat")


def test_the_price_is_that_of_the_time_of_the_call() -> None:
    then = call("o3", "openai", **THOUSAND, at=datetime(2025, 5, 1, tzinfo=UTC))
    assert cost(then).usd == Decimal("0.014")
    assert cost(call("o3", "openai", **THOUSAND)).usd == Decimal("0.0028")


def test_the_first_known_name_of_a_model_counts() -> None:
    asked = call("deployment-7", "openai", **THOUSAND)._replace(models=("deployment-7", "gpt-4o"))
    assert cost(asked).usd == Decimal("0.0035")


OWN: dict[str, Price] = {
    "Fake-1": {"input": "0.1", "output": Decimal("0.3"), "version": "2026-01"},
    "fake-*": {"input": 1, "output": 2, "cache_read": 0, "cache_creation": 3, "reasoning": 4},
    "local/*": {"input": 0, "output": 0},
    "openai/gpt-4o": {"input": 1, "output": 1},
}


@pytest.mark.parametrize(
    ("asked", "expected", "source"),
    [
        (call("fake-1", "fake", **THOUSAND), "0.00013", "prices: Fake-1 (2026-01)"),
        (call("fake-2", "fake", **THOUSAND), "0.0012", "prices: fake-*"),
        (
            call("FAKE-2", **THOUSAND, cache_read_tokens=500, cache_creation_tokens=100)._replace(
                tokens={
                    **THOUSAND,
                    "cache_read_tokens": 500,
                    "cache_creation_tokens": 100,
                    "reasoning_tokens": 50,
                }
            ),
            # 400 at 1, 500 at 0, 100 at 3, 50 at 2, 50 at 4.
            "0.001",
            "prices: fake-*",
        ),
        (call("llama", "local", **THOUSAND), "0", "prices: local/*"),
        # The user's own price goes before the list's, where it is meant.
        (call("gpt-4o", "openai", **THOUSAND), "0.0011", "prices: openai/gpt-4o"),
    ],
)
def test_own_prices(asked: ModelCall, expected: str, source: str) -> None:
    found = cost(asked, OWN)
    assert (found.usd, found.source) == (Decimal(expected), source)


def test_parts_without_a_price_cost_like_the_rest() -> None:
    tokens = {**THOUSAND, "cache_read_tokens": 900, "reasoning_tokens": 100}
    assert cost(call("m", **tokens), {"m": {"input": 1, "output": 2}}).usd == Decimal("0.0012")


@pytest.mark.parametrize(
    "price",
    [
        {},
        {"input": 1},
        {"output": 1},
        {"input": 1, "output": -1},
        {"input": 1, "output": float("nan")},
        {"input": 1, "output": "a lot"},
        {"input": 1, "output": None},
        {"input": 1, "output": 1, "cached": 1},
        3,
    ],
)
def test_what_is_no_price_is_refused(price: Any) -> None:
    with pytest.raises(ConfigurationError, match="price of 'm'"):
        Persist("postgresql://nowhere", prices={"m": price})


RATE = st.decimals(0, 1000, places=6)
COUNT = st.integers(0, 2**63 - 1)


@given(RATE, RATE, COUNT, COUNT)
def test_own_costs_are_exact(given_in: Decimal, out: Decimal, prompt: int, completion: int) -> None:
    asked = call("m", prompt_tokens=prompt, completion_tokens=completion)
    found = cost(asked, {"m": {"input": given_in, "output": out}}).usd
    assert found is not None
    exact = prompt * Fraction(given_in) + completion * Fraction(out)
    assert Fraction(found) == exact / 1_000_000


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([], None),
        ([Cost(None, None)], None),
        ([Cost(Decimal("0.1"), "a"), Cost(None, None), Cost(Decimal("0.2"), "b")], 0.3),
        ([Cost(Decimal(0), "cache", free=True)], 0),
        # What the cache gave for nothing does not make the unknown known.
        ([Cost(Decimal(0), "cache", free=True), Cost(None, None)], None),
        ([Cost(Decimal(0), "prices: local/*")], 0),
    ],
)
def test_totals(costs: list[Cost], expected: float | None) -> None:
    assert orjson.loads(orjson.dumps(total(costs), default=Late.value)) == expected


def test_only_late_columns_are_written_late() -> None:
    for default in (Late.value, Late.placeholder):
        with pytest.raises(TypeError, match="object"):
            orjson.dumps({"column": object()}, default=default)


def test_what_an_answer_says_of_its_tokens() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_token_details": {"audio": 3, "ephemeral_1h_input_tokens": 2, "odd": -1},
        "output_token_details": {"audio": -2},
    }
    message = said("hi", "m", usage=usage)
    message.response_metadata["service_tier"] = "flex"
    result = Scripted(answers=[message]).generate([[HumanMessage("x")]])
    found = billing(result)
    assert found.details == {"input_audio_tokens": 3, "cache_write_1h_tokens": 2}
    assert found.service_tier == "flex"
    assert generation_end(result)["cache_creation_tokens"] == 2


# --- in graphs ---


def asking(model: Any) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(Chat)
    builder.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "ask")
    return builder


@pytest.fixture
def priced(migrated: str) -> Iterator[Persist]:
    with Persist(migrated, prices={"own-1": {"input": 10, "output": "20"}}) as opened:
        yield opened


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Scripted, Streaming])
def test_the_cost_is_there_when_the_run_returns(
    priced: Persist, rows: Any, mode: str, kind: Any
) -> None:
    details = {"cache_read": 400}
    usage = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
    answer = said("x", "gpt-4o-2024-08-06", usage=usage | {"input_token_details": details})
    model = kind(answers=[answer], model="gpt-4o", provider="openai")
    graph = priced.attach(asking(model).compile(checkpointer=priced.checkpointer))
    run(graph, mode, {"messages": [HumanMessage("hi")]}, priced.config("t"))
    (generation,) = rows("SELECT * FROM generations")
    assert generation["cost_usd"] == Decimal("0.003")
    assert generation["price_source"].startswith("genai-prices 0.2")
    assert generation["price_source"].endswith(": openai/gpt-4o")
    assert generation["cache_read_tokens"] == 400
    assert rows("SELECT cost_usd FROM workflows") == [{"cost_usd": Decimal("0.003")}]
    assert rows("SELECT cost_usd FROM model_usage") == [{"cost_usd": Decimal("0.003")}]
    assert not priced.handler.failures.counts


def test_known_and_unknown_costs_of_a_workflow(priced: Persist, rows: Any) -> None:
    models = {
        "known": Scripted(answers=[said("a", "own-1", usage=(1_000, 100))]),
        "unknown": Scripted(answers=[said("b", "fake-1", usage=(1_000, 100))]),
        "untold": Scripted(answers=[said("c", "own-1")]),
    }
    for thread, names in (("mixed", ["known", "unknown", "known"]), ("none", ["unknown"])):
        builder = StateGraph(Chat)

        def ask(state: Any, names: list[str] = names) -> Any:
            return {"messages": [models[name].invoke("hi") for name in names]}

        builder.add_node("ask", ask)
        builder.add_edge(START, "ask")
        priced.attach(builder.compile()).invoke({"messages": []}, priced.config(thread))
    models["untold"].invoke("hi", {"callbacks": [priced.handler], **priced.config("untold")})
    found = rows("SELECT thread_id, cost_usd FROM workflows ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [
        ("mixed", Decimal("0.024")),
        ("none", None),
        ("untold", None),
    ]
    generations = rows(
        "SELECT cost_usd, price_source FROM generations WHERE thread_id = 'mixed' ORDER BY id"
    )
    assert [tuple(row.values()) for row in generations] == [
        (Decimal("0.012"), "prices: own-1"),
        (None, None),
        (Decimal("0.012"), "prices: own-1"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_cached_answer_costs_nothing(priced: Persist, rows: Any, mode: str) -> None:
    model = Scripted(answers=[said("a", "own-1", usage=(1_000, 100))], cache=InMemoryCache())
    graph = priced.attach(asking(model).compile())
    for thread in ("first", "second"):
        run(graph, mode, {"messages": [HumanMessage("hi", id="1")]}, priced.config(thread))
    found = rows(
        "SELECT g.cost_usd, g.price_source, g.cache_hit, g.total_tokens, w.cost_usd AS total,"
        " w.total_tokens AS tokens, w.generation_count AS n"
        " FROM generations g JOIN workflows w ON w.id = g.workflow_id"
        " AND w.thread_id = g.thread_id ORDER BY g.started_at"
    )
    assert [tuple(row.values()) for row in found] == [
        (Decimal("0.012"), "prices: own-1", False, 1_100, Decimal("0.012"), 1_100, 1),
        (0, "cache", True, 0, 0, 0, 1),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_workflow_sums_up_its_runs(priced: Persist, rows: Any, mode: str) -> None:
    model = Scripted(
        answers=[said("a", "own-1", usage=(1_000, 100)), said("b", "fake-1", usage=(5, 5))],
    )

    def ask(state: Steps) -> Steps:
        model.invoke("hi")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("first", ask)
    builder.add_node("human", lambda state: {"note": interrupt("well?")})
    builder.add_node("second", ask)
    builder.add_edge(START, "first")
    builder.add_edge("first", "human")
    builder.add_edge("human", "second")
    graph = priced.attach(builder.compile(checkpointer=priced.checkpointer))
    run(graph, mode, {"count": 0}, priced.config("t"))
    assert rows("SELECT cost_usd FROM workflows") == [{"cost_usd": Decimal("0.012")}]
    run(graph, mode, Command(resume="yes"), priced.config("t"))
    (workflow,) = rows("SELECT cost_usd, generation_count FROM workflows")
    assert workflow == {"cost_usd": Decimal("0.012"), "generation_count": 2}


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_costs_what_its_models_cost(priced: Persist, rows: Any, mode: str) -> None:
    model = Scripted(answers=[said("a", "own-1", usage=(1_000, 100))])

    @tool
    def research(topic: str) -> str:
        """Look it up."""
        return model.invoke(topic).text + model.invoke("more of it").text

    @tool
    def plain(topic: str) -> str:
        """Know it."""
        return topic

    builder = StateGraph(Steps)

    def work(state: Steps) -> Steps:
        return {"note": research.invoke("cats") + plain.invoke("dogs")}

    builder.add_node("work", work)
    builder.add_edge(START, "work")
    graph = priced.attach(builder.compile(checkpointer=priced.checkpointer))
    run(graph, mode, {"count": 0}, priced.config("t"))
    found = rows("SELECT tool_name, tokens_used, cost_usd FROM tool_executions ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [
        ("plain", None, None),
        ("research", 2_200, Decimal("0.024")),
    ]
    assert rows("SELECT cost_usd FROM workflows") == [{"cost_usd": Decimal("0.024")}]


def test_a_defect_of_the_prices_costs_only_the_cost(
    persist: Persist, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr("langgraph_persist.usage.market.cost", broken)
    model = Scripted(answers=[said("a", "gpt-4o", usage=(1_000, 100))], provider="openai")
    persist.attach(asking(model).compile()).invoke({"messages": []}, persist.config("t"))
    (generation,) = rows("SELECT * FROM generations")
    assert (generation["cost_usd"], generation["total_tokens"]) == (None, 1_100)
    assert persist.handler.failures.counts == {"cost: RuntimeError": 1}


FRESH = """
import sys, threading
importers = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "genai_prices":
            importers.append(threading.current_thread().name)
sys.meta_path.insert(0, Watch())

from langgraph_persist import Persist, PersistCallbackHandler
from tests.graphs import chain_of
from tests.models import Scripted, said

with Persist({url!r}) as persist:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({{"count": 0}}, persist.config("plain"))
    assert persist.history.last().cost_usd is None
    assert not importers and "genai_prices" not in sys.modules
    model = Scripted(answers=[said("a", "gpt-4o", usage=(1_000, 100))], provider="openai")
    model.invoke("hi", {{"callbacks": [persist.handler]}})
    cost = persist.history.last().cost_usd
print(cost, importers)
"""


def test_prices_are_imported_when_a_model_is_called_and_elsewhere(migrated: str) -> None:
    """Without a model nothing of them is imported; with one, not in the thread that calls it."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH.format(url=migrated)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0.0035 ['langgraph-persist-prices']"


FORKING = """
import os
from langgraph_persist.usage import market

market.load()
pid = os.fork()
if pid == 0:
    from genai_prices import Usage, calc_price
    price = calc_price(Usage(input_tokens=1_000_000), "gpt-4o").total_price
    os._exit(0 if price > 0 else 1)
print(os.waitpid(pid, 0)[1])
"""


def test_a_fork_while_prices_are_imported_does_not_hang() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
