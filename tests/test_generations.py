"""Model calls of every kind, in every mode, read back from the tables."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM, FakeStreamingListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.output_parsers import (
    JsonOutputParser,
    PydanticOutputParser,
    StrOutputParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import BaseModel

from langgraph_persist import Persist
from tests.graphs import MODES, Chat, Steps, run
from tests.models import Scripted, Streaming, said
from tests.test_encryption import Xor


def calling(chain: Any, **kwargs: Any) -> StateGraph[Any, Any, Any, Any]:
    """One node that calls something that calls models."""

    def ask(state: Steps) -> Steps:
        return {"note": str(chain.invoke("What is it?"))}

    async def aask(state: Steps) -> Steps:
        return {"note": str(await chain.ainvoke("What is it?"))}

    builder = StateGraph(Steps)
    builder.add_node("ask", RunnableLambda(ask, aask), **kwargs)
    builder.add_edge(START, "ask")
    return builder


def everywhere(persist: Persist, chain: Any, mode: str, place: str) -> Any:
    """Calls it by itself or in a graph."""
    config: Any = persist.config("t")
    if place == "alone":
        return run(chain, mode, "What is it?", {**config, "callbacks": [persist.handler]})
    graph = calling(chain).compile(checkpointer=persist.checkpointer)
    return run(persist.attach(graph), mode, {"count": 0}, config)


PLACES = ["alone", "graph"]
everyhow = pytest.mark.parametrize(("mode", "place"), [(m, p) for m in MODES for p in PLACES])


@everyhow
@pytest.mark.parametrize("kind", [Scripted, Streaming])
def test_a_call(persist: Persist, rows: Any, mode: str, place: str, kind: Any) -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 6,
        "total_tokens": 16,
        "input_token_details": {"cache_read": 4, "cache_creation": 2},
        "output_token_details": {"reasoning": 3},
    }
    calls = [{"name": "look", "args": {"where": "here"}, "id": "c1"}]
    answer = said("a small cat", "m-1-2026", usage=usage, tool_calls=calls)
    model = kind(answers=[answer], model="m-1", provider="p", temperature=0.5)
    prompt = ChatPromptTemplate([("system", "Be brief."), ("human", "{q}")])
    everywhere(persist, prompt | model.bind(stop=["."], api_key="sk-1", max_tokens=9), mode, place)
    (found,) = rows("SELECT * FROM generations")
    assert (found["system_prompt"], found["user_prompt"]) == ("Be brief.", "What is it?")
    assert (found["requested_model"], found["model_name"]) == ("m-1", "m-1-2026")
    assert (found["model_provider"], found["status"]) == ("p", "completed")
    assert (found["output"], found["finish_reason"]) == ("a small cat", "stop")
    (answered,) = rows("SELECT output_message FROM generation_prompts")
    assert answered["output_message"]["type"] == "ai"
    assert found["tool_calls"][0]["args"] == {"where": "here"}
    assert (found["prompt_tokens"], found["completion_tokens"]) == (10, 6)
    assert (found["cache_read_tokens"], found["cache_creation_tokens"]) == (4, 2)
    assert found["reasoning_tokens"] == 3
    assert found["max_tokens"] == 9
    assert found["invocation_params"]["stop"] == ["."]
    assert "sk-1" not in str(found["invocation_params"])
    assert (found["attempt"], found["retry_of"], found["cache_hit"]) == (1, None, False)
    assert (found["node_id"] is None) == (place == "alone")
    assert found["latency_ms"] > 0
    streamed = kind is Streaming and place == "alone" and "stream" in mode
    assert found["streamed"] == streamed
    if streamed:
        assert 0 < found["time_to_first_token_ms"] <= found["latency_ms"]
    else:
        assert found["time_to_first_token_ms"] is None
    (prompted,) = rows("SELECT messages FROM generation_prompts")
    assert [m["content"] for m in prompted["messages"]] == ["Be brief.", "What is it?"]
    assert not persist.handler.failures.counts


def test_prompts_and_versions_are_named_by_metadata(persist: Persist, rows: Any) -> None:
    model = Scripted(answers=[said("x")])
    metadata = {"prompt_name": "greet", "prompt_version": 3}
    graph = calling(model.with_config(metadata=metadata)).compile()
    persist.attach(graph).invoke({"count": 0}, persist.config("t"))
    (found,) = rows("SELECT prompt_name, prompt_version FROM generations")
    assert found == {"prompt_name": "greet", "prompt_version": "3"}
    assert len(rows("SELECT * FROM prompt_versions")) == 1


# --- streaming ---


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_a_graph_that_streams_messages(persist: Persist, rows: Any, mode: str) -> None:
    model = Streaming(answers=[said("one two three", "m-1", usage=(5, 3))])
    graph = persist.attach(calling(model).compile(checkpointer=persist.checkpointer))
    chunks = run(graph, mode, {"count": 0}, persist.config("t"), stream_mode="messages")
    assert len(chunks) > 3
    (found,) = rows("SELECT * FROM generations")
    assert (found["streamed"], found["output"]) == (True, "one two three")
    assert 0 < found["time_to_first_token_ms"] <= found["latency_ms"]
    assert found["total_tokens"] == 8


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_streamed_events(persist: Persist, rows: Any, asynchronous: bool) -> None:
    model = Streaming(answers=[said("one two three", "m-1", usage=(5, 3))])
    config: Any = {"callbacks": [persist.handler], **persist.config("t")}

    async def consume() -> None:
        async for _ in await model.astream_events("go", config, version="v3"):
            pass
        # LangChain tells of the end after the last event.
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    if asynchronous:
        asyncio.run(consume())
    else:
        list(model.stream_events("go", config, version="v3"))
    (found,) = rows("SELECT * FROM generations")
    assert (found["streamed"], found["output"]) == (True, "one two three")
    assert 0 < found["time_to_first_token_ms"] <= found["latency_ms"]
    assert found["total_tokens"] == 8


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_broken_events_keep_what_came_once(persist: Persist, rows: Any) -> None:
    """The same text is told by tokens, too."""
    model = Streaming(answers=[[said("half a"), ConnectionError("cut off")]])
    with pytest.raises(ConnectionError, match="cut off"):
        list(model.stream_events("go", {"callbacks": [persist.handler]}, version="v3"))
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"]) == ("failed", "half a")


def test_the_first_token_is_the_first_with_content(persist: Persist, rows: Any) -> None:
    waited = threading.Event()

    class Slow(Streaming):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            chunks = super()._stream(*args, **kwargs)
            yield next(chunks)
            waited.wait(0.05)
            yield from chunks

    model = Slow(answers=[said("hi")])
    list(model.stream("go", {"callbacks": [persist.handler]}))
    (found,) = rows("SELECT * FROM generations")
    assert found["time_to_first_token_ms"] >= 50


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_a_tool_call_is_a_first_token_too(persist: Persist, rows: Any, mode: str) -> None:
    calls = [{"name": "look", "args": {}, "id": "c1"}]
    model = Streaming(answers=[said("", tool_calls=calls)])
    run(model, mode, "go", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT * FROM generations")
    assert found["time_to_first_token_ms"] is not None
    assert found["tool_calls"][0]["name"] == "look"


@everyhow
def test_a_stream_that_breaks_keeps_what_came(
    persist: Persist, rows: Any, mode: str, place: str
) -> None:
    broken = [said("half a", "m-1", usage=(5, 2)), ConnectionError("cut off")]
    model = Streaming(answers=[broken], streaming=True)
    with pytest.raises(ConnectionError, match="cut off"):
        everywhere(persist, model, mode, place)
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["error_type"]) == ("failed", "ConnectionError")
    assert found["error_message"] == "cut off"
    assert "Traceback" in found["error_traceback"]
    assert found["output"] == "half a"
    assert found["streamed"]
    assert found["latency_ms"] > 0
    if "stream" in mode and place == "alone":
        # Only then does LangChain hand over what it had, with the counts.
        assert (found["total_tokens"], found["model_name"]) == (7, "m-1")


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_a_stream_left_early_is_cancelled_with_what_came(
    persist: Persist, rows: Any, mode: str
) -> None:
    model = Streaming(answers=[said("one two three")])
    config: Any = {"callbacks": [persist.handler]}

    async def leave() -> None:
        chunks: Any = model.astream("go", config)
        await anext(chunks)
        await anext(chunks)
        await chunks.aclose()

    if mode == "astream":
        asyncio.run(leave())
    else:
        chunks: Any = model.stream("go", config)
        next(chunks), next(chunks)
        chunks.close()
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"]) == ("cancelled", "one")


async def test_a_call_cancelled_in_a_graph_keeps_what_came(persist: Persist, rows: Any) -> None:
    came = asyncio.Event()

    class Endless(Streaming):
        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            for word in ("one", " two"):
                yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            came.set()
            await asyncio.sleep(60)

    model = Endless(answers=[], streaming=True)
    graph = persist.attach(calling(model).compile(checkpointer=persist.checkpointer))
    task = asyncio.create_task(graph.ainvoke({"count": 0}, persist.config("t")))
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(persist.flush)
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"], found["streamed"]) == ("cancelled", "one two", True)
    assert found["latency_ms"] >= found["time_to_first_token_ms"] > 0
    assert rows("SELECT generation_count FROM workflows") == [{"generation_count": 1}]


def test_the_body_of_an_error_is_no_answer(persist: Persist, rows: Any) -> None:
    class Response:
        status_code = 429
        headers: Any = {"set-cookie": "secret"}  # noqa: RUF012

        def json(self) -> Any:
            return {"error": "too many"}

    error = RuntimeError("too many")
    error.response = Response()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        Scripted(answers=[error]).invoke("go", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"], found["output_message"]) == ("failed", None, None)


# --- retries and fallbacks ---


def attempts(rows: Any) -> list[tuple[Any, ...]]:
    """Model, status, attempt, and the place of the call that this one replaces."""
    found = rows("SELECT * FROM generations ORDER BY started_at, id")
    places = {row["id"]: place for place, row in enumerate(found)}
    return [
        (row["requested_model"], row["status"], row["attempt"], places.get(row["retry_of"]))
        for row in found
    ]


DOWN = ConnectionError("down")


# A stream is not retried.
retriable = pytest.mark.parametrize(
    ("mode", "place"), [(m, "graph") for m in MODES] + [("invoke", "alone"), ("ainvoke", "alone")]
)


@retriable
def test_retries_are_linked(persist: Persist, rows: Any, mode: str, place: str) -> None:
    model = Scripted(answers=[DOWN, DOWN, said("up")], model="a")
    everywhere(persist, model.with_retry(wait_exponential_jitter=False), mode, place)
    assert attempts(rows) == [
        ("a", "failed", 1, None),
        ("a", "failed", 2, 0),
        ("a", "completed", 3, 1),
    ]


@everyhow
def test_fallbacks_are_linked(persist: Persist, rows: Any, mode: str, place: str) -> None:
    first = Scripted(answers=[DOWN], model="a")
    second = Scripted(answers=[DOWN], model="b")
    third = Scripted(answers=[said("up")], model="c")
    chain = first.with_fallbacks([second, third]).with_config(run_name="any")
    everywhere(persist, chain, mode, place)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert attempts(rows) == [
        ("a", "failed", 1, None),
        ("b", "failed", 2, 0),
        ("c", "completed", 3, 1),
    ]


@everyhow
def test_a_fallback_may_ask_otherwise(persist: Persist, rows: Any, mode: str, place: str) -> None:
    long = ChatPromptTemplate([("human", "At length: {q}")]) | Scripted(answers=[DOWN], model="a")
    short = ChatPromptTemplate([("human", "{q}")]) | Scripted(answers=[said("up")], model="b")
    everywhere(persist, long.with_fallbacks([short]), mode, place)
    assert attempts(rows) == [("a", "failed", 1, None), ("b", "completed", 2, 0)]


@retriable
def test_retries_before_a_fallback(persist: Persist, rows: Any, mode: str, place: str) -> None:
    first = Scripted(answers=[DOWN], model="a").with_retry(
        stop_after_attempt=2, wait_exponential_jitter=False
    )
    everywhere(
        persist, first.with_fallbacks([Scripted(answers=[said("up")], model="b")]), mode, place
    )
    assert attempts(rows) == [
        ("a", "failed", 1, None),
        ("a", "failed", 2, 0),
        ("b", "completed", 3, 1),
    ]


@retriable
def test_a_retried_chain_links_what_is_asked_again(
    persist: Persist, rows: Any, mode: str, place: str
) -> None:
    outline: Any = Scripted(answers=[said("outline")], model="outline")
    text = Scripted(answers=[DOWN, said("text")], model="text")
    chain = (outline | RunnableLambda(lambda m: m.content) | text).with_retry(
        wait_exponential_jitter=False
    )
    everywhere(persist, chain, mode, place)
    assert attempts(rows) == [
        ("outline", "completed", 1, None),
        ("text", "failed", 1, None),
        # Asked once more, though it had not failed.
        ("outline", "completed", 2, None),
        ("text", "completed", 2, 1),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_attempts_of_a_node_link_its_calls(persist: Persist, rows: Any, mode: str) -> None:
    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    model = Scripted(answers=[DOWN, said("up")], model="a")
    graph = calling(model, retry_policy=policy).compile(checkpointer=persist.checkpointer)
    run(persist.attach(graph), mode, {"count": 0}, persist.config("t"))
    assert attempts(rows) == [("a", "failed", 1, None), ("a", "completed", 2, 0)]


@pytest.mark.parametrize("mode", MODES)
def test_an_agents_retries_and_fallbacks(persist: Persist, rows: Any, mode: str) -> None:
    agent = create_agent(
        Scripted(answers=[DOWN], model="a"),
        middleware=[
            ModelFallbackMiddleware(Scripted(answers=[said("up")], model="b")),
            ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error"),
        ],
        checkpointer=persist.checkpointer,
    )
    run(persist.attach(agent), mode, {"messages": [HumanMessage("go")]}, persist.config("t"))
    assert attempts(rows) == [
        ("a", "failed", 1, None),
        ("a", "failed", 2, 0),
        ("b", "completed", 3, 1),
    ]


def test_retries_are_linked_where_nothing_is_readable(migrated: str, rows: Any) -> None:
    model = Scripted(answers=[DOWN, said(WHERE)], model="a")
    chain = model.with_retry(wait_exponential_jitter=False) | JsonOutputParser()
    with Persist(migrated, record_cipher=Xor()) as persist:
        everywhere(persist, chain, "invoke", "graph")
        again = persist.history.last().generations[1]
        assert again.parsed_output == {"city": "Oslo"}
    assert attempts(rows) == [("a", "failed", 1, None), ("a", "completed", 2, 0)]
    assert "Oslo" not in str(rows("SELECT * FROM generations"))


def test_other_calls_after_a_failure_replace_nothing(persist: Persist, rows: Any) -> None:
    broken = Scripted(answers=[DOWN], model="a")
    other = Scripted(answers=[said("b")], model="b")

    def ask(state: Steps) -> Steps:
        with pytest.raises(ConnectionError):
            broken.invoke("first")
        other.invoke("second")
        with pytest.raises(ConnectionError):
            broken.invoke("third")
        other.invoke("third")
        other.invoke("third")
        return {"count": 1}

    builder = StateGraph(Steps)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    persist.attach(builder.compile()).invoke({"count": 0}, persist.config("t"))
    assert attempts(rows) == [
        ("a", "failed", 1, None),
        ("b", "completed", 1, None),
        ("a", "failed", 1, None),
        ("b", "completed", 2, 2),
        # That one was replaced before.
        ("b", "completed", 1, None),
    ]


def test_a_batch_that_is_retried(persist: Persist, rows: Any) -> None:
    model = Scripted(answers=[said("a"), DOWN, said("b"), said("c")], model="a")
    retried: Runnable[Any, Any] = model.with_retry(wait_exponential_jitter=False)
    config: Any = {"callbacks": [persist.handler], "max_concurrency": 1}
    retried.batch(["1", "2", "3"], config)
    found = attempts(rows)
    assert len([row for row in found if row[1] == "completed"]) == 3
    (failed,) = rows("SELECT id, user_prompt FROM generations WHERE status = 'failed'")
    (again,) = rows("SELECT retry_of, user_prompt, attempt FROM generations WHERE attempt = 2")
    assert again == {"retry_of": failed["id"], "user_prompt": failed["user_prompt"], "attempt": 2}


# --- what is parsed of answers ---


class Place(BaseModel):
    """Where it is."""

    city: str


WHERE = '{"city": "Oslo"}'


@everyhow
@pytest.mark.parametrize("kind", [Scripted, Streaming])
def test_a_parser_after_a_model(
    persist: Persist, rows: Any, mode: str, place: str, kind: Any
) -> None:
    chain = kind(answers=[said(WHERE)]) | JsonOutputParser()
    everywhere(persist, chain, mode, place)
    (found,) = rows("SELECT * FROM generations")
    assert found["parsed_output"] == {"city": "Oslo"}
    assert (found["status"], found["output"]) == ("completed", WHERE)
    assert found["latency_ms"] > 0


@everyhow
@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output(
    persist: Persist, rows: Any, mode: str, place: str, include_raw: bool
) -> None:
    calls = [{"name": "Place", "args": {"city": "Oslo"}, "id": "c1"}]
    model = Streaming(answers=[said("", tool_calls=calls)])
    chain = model.with_structured_output(Place, include_raw=include_raw)
    everywhere(persist, chain, mode, place)
    (found,) = rows("SELECT * FROM generations")
    assert found["parsed_output"] == {"city": "Oslo"}


@pytest.mark.parametrize("mode", MODES)
def test_each_answer_has_its_own_parsed_output(persist: Persist, rows: Any, mode: str) -> None:
    model = Scripted(answers=[said(f'{{"city": "{name}"}}') for name in ("Oslo", "Rome")])
    chain = model | PydanticOutputParser(pydantic_object=Place)
    more = RunnableLambda(lambda place: chain.invoke(place.city))
    run(chain | more, mode, "go", {"callbacks": [persist.handler]})
    found = rows("SELECT parsed_output FROM generations ORDER BY started_at")
    assert [row["parsed_output"] for row in found] == [{"city": "Oslo"}, {"city": "Rome"}]


def test_a_parser_of_a_text_models_answer(persist: Persist, rows: Any) -> None:
    chain = FakeListLLM(responses=[WHERE]) | JsonOutputParser()
    chain.invoke("go", {"callbacks": [persist.handler]})
    assert rows("SELECT parsed_output FROM generations") == [{"parsed_output": {"city": "Oslo"}}]


def test_text_is_not_kept_twice(persist: Persist, rows: Any) -> None:
    chain = Scripted(answers=[said("plain")]) | StrOutputParser()
    chain.invoke("go", {"callbacks": [persist.handler]})
    assert rows("SELECT output, parsed_output FROM generations") == [
        {"output": "plain", "parsed_output": None}
    ]


def test_what_cannot_be_parsed(persist: Persist, rows: Any) -> None:
    chain = Scripted(answers=[said("no json")]) | JsonOutputParser()
    with pytest.raises(ValueError, match="no json"):
        chain.invoke("go", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT status, parsed_output FROM generations")
    assert found == {"status": "completed", "parsed_output": None}
    (workflow,) = rows("SELECT status, error_type FROM workflows")
    assert workflow["status"] == "failed"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_an_agents_structured_response(
    persist: Persist, rows: Any, mode: str, strategy: Any
) -> None:
    calls = [{"name": "Place", "args": {"city": "Oslo"}, "id": "c1"}]
    answer = said("", tool_calls=calls) if strategy is ToolStrategy else said(WHERE)
    agent = create_agent(
        Scripted(answers=[answer]),
        response_format=strategy(Place),
        checkpointer=persist.checkpointer,
    )
    run(persist.attach(agent), mode, {"messages": [HumanMessage("go")]}, persist.config("t"))
    (found,) = rows("SELECT parsed_output FROM generations")
    assert found["parsed_output"] == {"city": "Oslo"}
    assert not persist.handler.failures.counts


# --- odd models and answers ---


def test_several_answers_to_one_prompt(persist: Persist, rows: Any) -> None:
    class Several(Scripted):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=m) for m in self.answers])

    model = Several(answers=[said("first", "m", usage=(5, 4)), said("second", "m", usage=(5, 4))])
    model.invoke("go", {"callbacks": [persist.handler]})
    (found,) = rows("SELECT * FROM generations")
    assert (found["output"], found["total_tokens"]) == ("first", 9)
    (answered,) = rows("SELECT output_message FROM generation_prompts")
    message = answered["output_message"]
    assert message["content"] == "first"
    assert [other["content"] for other in message["candidates"]] == ["second"]


@pytest.mark.parametrize("mode", MODES)
def test_parts_of_many_kinds(persist: Persist, rows: Any, mode: str) -> None:
    image = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
    asked = [
        SystemMessage([{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]),
        HumanMessage([{"type": "text", "text": "What is this?"}, image]),
    ]
    parts = [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "text", "text": "A "},
        {"type": "text", "text": "cat."},
        {"type": "non_standard", "value": {"raw": b"\x00"}},
    ]
    model = Scripted(answers=[said(parts)])
    graph = StateGraph(Chat)
    graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    compiled = persist.attach(graph.compile(checkpointer=persist.checkpointer))
    run(compiled, mode, {"messages": asked}, persist.config("t"))
    (found,) = rows("SELECT * FROM generations")
    assert (found["system_prompt"], found["user_prompt"]) == ("Be kind.", "What is this?")
    assert found["output"] == "A cat."
    (answered,) = rows("SELECT output_message FROM generation_prompts")
    assert answered["output_message"]["content"][0] == {"type": "reasoning", "reasoning": "hm"}
    assert not persist.handler.failures.counts


ODD_USAGE: list[Any] = [
    {"input_tokens": -5, "output_tokens": -1, "total_tokens": -6},
    {"input_tokens": None, "output_tokens": 3, "total_tokens": None},
    {"input_tokens": "7", "output_tokens": "many", "total_tokens": []},
    {"input_tokens": 5, "output_tokens": 3, "input_token_details": {"cache_read": 900}},
    {"input_tokens": 2**70, "output_tokens": float("nan"), "output_token_details": None},
    {"unheard": "of"},
    "none",
    [],
]


@pytest.mark.parametrize("usage", ODD_USAGE, ids=str)
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_odd_usage_breaks_nothing(persist: Persist, rows: Any, mode: str, usage: Any) -> None:
    answer = AIMessage("fine")
    answer.__dict__["usage_metadata"] = usage
    answer.response_metadata = {"model_name": "gpt-4o", "token_usage": usage}
    everywhere(persist, Scripted(answers=[answer], provider="openai"), mode, "graph")
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"]) == ("completed", "fine")
    cached = (found["cache_read_tokens"] or 0) + (found["cache_creation_tokens"] or 0)
    assert cached <= (found["prompt_tokens"] or 0)
    assert (found["cost_usd"] is None) == (found["price_source"] is None)
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]
    assert not persist.handler.failures.counts


@everyhow
@pytest.mark.parametrize("kind", [FakeListLLM, FakeStreamingListLLM])
def test_text_models(persist: Persist, rows: Any, mode: str, place: str, kind: Any) -> None:
    everywhere(persist, kind(responses=["it is"]), mode, place)
    (found,) = rows("SELECT * FROM generations")
    assert (found["status"], found["output"]) == ("completed", "it is")
    assert found["user_prompt"] == "What is it?"
    (prompted,) = rows("SELECT messages FROM generation_prompts")
    assert [m["content"] for m in prompted["messages"]] == ["What is it?"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", ["chat", "text"])
def test_a_batch(persist: Persist, rows: Any, asynchronous: bool, kind: str) -> None:
    model: Any = Scripted(answers=[said(n) for n in "abc"])
    if kind == "text":
        model = FakeListLLM(responses=["a", "b", "c"])
    config: Any = {"callbacks": [persist.handler]}
    if asynchronous:
        asyncio.run(model.abatch(["1", "2", "3"], config))
    else:
        model.batch(["1", "2", "3"], config)
    found = rows("SELECT user_prompt, output, status FROM generations")
    assert {row["user_prompt"] for row in found} == {"1", "2", "3"}
    assert {row["output"] for row in found} == {"a", "b", "c"}
    assert {row["status"] for row in found} == {"completed"}


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_a_cached_answer_is_marked(persist: Persist, rows: Any, mode: str) -> None:
    model = Scripted(answers=[said(WHERE, "m-1", usage=(5, 4))], cache=InMemoryCache())
    chain = model | JsonOutputParser()
    for _ in range(2):
        run(chain, mode, "go", {"callbacks": [persist.handler]})
    found = rows("SELECT * FROM generations ORDER BY started_at")
    assert [row["cache_hit"] for row in found] == [False, True]
    assert [row["total_tokens"] for row in found] == [9, 0]
    assert all(row["parsed_output"] == {"city": "Oslo"} for row in found)
    assert rows("SELECT calls, cache_hits, total_tokens FROM model_usage") == [
        {"calls": 2, "cache_hits": 1, "total_tokens": 9}
    ]


SECRETS = {
    "api_key": "sk-1",
    "default_headers": {"Authorization": "Bearer sk-2", "X-Trace": "sk-3"},
    "extra_body": {"auth": {"token": "sk-4"}, "kept": 1, "nested": [{"password": "sk-5"}]},
    "base_url": "https://user:sk-6@models.example/v1",
}


def test_no_secret_is_recorded(persist: Persist, rows: Any) -> None:
    model = Scripted(answers=[said("x")]).bind(**SECRETS)
    persist.attach(calling(model).compile()).invoke({"count": 0}, persist.config("t"))
    (found,) = rows("SELECT * FROM generations")
    assert "sk-" not in str(found)
    assert found["invocation_params"]["extra_body"] == {"kept": 1, "nested": [{}]}
    assert found["invocation_params"]["base_url"] == "https://models.example/v1"
