"""What a model call was asked, what it answered and what it cost in tokens."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from pydantic import BaseModel, SecretStr

from langgraph_persist.extract import GenerationStart, generation_end, generation_start
from tests.test_extract_json import Hostile


def as_json(fields: Any) -> Any:
    return json.loads(orjson.dumps(fields))


def tokens(fields: dict[str, Any]) -> dict[str, int]:
    return {name: count for name, count in fields.items() if name.endswith("_tokens")}


class Recorder(BaseCallbackHandler):
    run_inline = True
    raise_error = True

    def __init__(self) -> None:
        self.starts: list[GenerationStart] = []
        self.ends: list[dict[str, Any]] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.starts.append(generation_start(serialized, messages=messages, **kwargs))

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.starts.append(generation_start(serialized, prompts=prompts, **kwargs))

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.ends.append(as_json(generation_end(response)))


class ChatFake(GenericFakeChatModel):
    model: str = "fake-1"
    temperature: float = 0.5
    api_key: SecretStr = SecretStr("hunter2")


def answer(**fields: Any) -> AIMessage:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return AIMessage("Sunny.", **({"usage_metadata": usage} | fields))


def result(message: AIMessage | None = None, **llm_output: Any) -> LLMResult:
    generation = ChatGeneration(message=message) if message else Generation(text="hi\x00")
    return LLMResult(generations=[[generation]], llm_output=llm_output)


def test_a_call_of_a_chat_model() -> None:
    recorder = Recorder()
    message = answer(
        id="run-1",
        response_metadata={"model_name": "fake-1-2025", "finish_reason": "tool_calls"},
        tool_calls=[{"name": "f", "args": {}, "id": "c", "type": "tool_call"}],
    )
    prompt = [SystemMessage("Be kind."), HumanMessage("One?"), HumanMessage("Weather?")]
    config: Any = {"callbacks": [recorder], "metadata": {"prompt_name": "p", "prompt_version": 3}}
    ChatFake(messages=iter([message])).invoke(prompt, config, max_tokens=99, stop=["."])

    [start] = recorder.starts
    assert start.messages == prompt
    fields = as_json(start.fields)
    params = fields.pop("invocation_params")
    assert fields == {
        "model_name": "fake-1",
        "requested_model": "fake-1",
        "model_provider": "fake",
        "system_prompt": "Be kind.",
        "user_prompt": "Weather?",
        "temperature": 0.5,
        "max_tokens": 99,
        "streamed": False,
        "prompt_name": "p",
        "prompt_version": "3",
    }
    assert params["stop"] == ["."]
    assert "api_key" not in params

    [end] = recorder.ends
    output = end.pop("output_message")
    assert end == {
        "output": "Sunny.",
        "model_name": "fake-1-2025",
        "finish_reason": "tool_calls",
        "tool_calls": [{"name": "f", "args": {}, "id": "c", "type": "tool_call"}],
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
    }
    assert output["type"] == "ai"
    assert output["content"] == "Sunny."


def test_a_streamed_call_ends_like_any_other() -> None:
    recorder = Recorder()
    list(
        ChatFake(messages=iter([AIMessage("It is sunny.")])).stream("Hi", {"callbacks": [recorder]})
    )
    [end] = recorder.ends
    assert end["output"] == "It is sunny."
    assert end["output_message"]["type"] == "ai"


def test_a_call_of_a_text_model_has_its_prompt_as_a_message() -> None:
    recorder = Recorder()
    FakeListLLM(responses=["fine"]).invoke("How are you?", {"callbacks": [recorder]})
    [start] = recorder.starts
    assert start.messages == [HumanMessage("How are you?")]
    assert start.fields["user_prompt"] == "How are you?"
    assert recorder.ends == [{"output": "fine"}]


def test_a_cached_answer_counts_no_tokens() -> None:
    recorder = Recorder()
    model = ChatFake(messages=iter([answer()]), cache=InMemoryCache())
    for _ in range(2):
        model.invoke("Weather?", {"callbacks": [recorder]})
    called, cached = recorder.ends
    assert (called["total_tokens"], called.get("cache_hit")) == (10, None)
    assert (cached["total_tokens"], cached["prompt_tokens"], cached["cache_hit"]) == (0, 0, True)


PLAIN = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

USAGE = [
    (
        "parts",
        {"input_token_details": {"cache_read": 2, "cache_creation": 1}},
        {"cache_read_tokens": 2, "cache_creation_tokens": 1},
    ),
    ("reasoning", {"output_token_details": {"reasoning": 2}}, {"reasoning_tokens": 2}),
    (
        "service tier",
        {
            "input_token_details": {"flex": 5, "flex_cache_read": 2},
            "output_token_details": {"flex": 3, "flex_reasoning": 1},
        },
        {"cache_read_tokens": 2, "reasoning_tokens": 1},
    ),
    (
        "ephemeral",
        {
            "input_token_details": {
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 2,
                "ephemeral_1h_input_tokens": 3,
            }
        },
        {"cache_creation_tokens": 5},
    ),
    (
        "too many parts",
        {
            "input_token_details": {"cache_read": 5, "cache_creation": 5},
            "output_token_details": {"reasoning": 50},
        },
        {"cache_read_tokens": 5, "cache_creation_tokens": 2, "reasoning_tokens": 3},
    ),
    ("odd parts", {"input_token_details": {"cache_read": -1, "cache_creation": "x"}}, {}),
    ("odd details", {"input_token_details": [1]}, {}),
]


@pytest.mark.parametrize(
    ("details", "expected"), [case[1:] for case in USAGE], ids=[case[0] for case in USAGE]
)
def test_token_parts(details: dict[str, Any], expected: dict[str, int]) -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10} | details
    message = AIMessage.model_construct(content="", type="ai", usage_metadata=usage)
    found = generation_end(
        LLMResult.model_construct(generations=[[ChatGeneration.model_construct(message=message)]])
    )
    assert tokens(found) == PLAIN | expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (PLAIN, PLAIN),
        (
            PLAIN
            | {"prompt_tokens_details": {"cached_tokens": 4}}
            | {"completion_tokens_details": {"reasoning_tokens": 1}},
            PLAIN | {"cache_read_tokens": 4, "reasoning_tokens": 1},
        ),
        (
            {"input_tokens": 2, "output_tokens": 3, "cache_read_input_tokens": 4}
            | {"cache_creation_input_tokens": 1},
            PLAIN | {"cache_read_tokens": 4, "cache_creation_tokens": 1},
        ),
        ({"prompt_tokens": 7.0, "completion_tokens": 3}, PLAIN),
        ({"prompt_tokens": -7, "completion_tokens": None}, {}),
        ({}, {}),
        ("many", {}),
    ],
)
@pytest.mark.parametrize("place", ["llm_output", "response_metadata"])
def test_tokens_as_providers_report_them(raw: Any, expected: dict[str, int], place: str) -> None:
    bare = AIMessage("hi")
    if place == "response_metadata":
        response = result(AIMessage("hi", response_metadata={"token_usage": raw}))
    else:
        response = result(bare, usage=raw)
    found = generation_end(response)
    assert tokens(found) == expected


def test_what_else_an_answer_says() -> None:
    class Place(BaseModel):
        name: str

    message = AIMessage(
        [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}],
        additional_kwargs={"parsed": Place(name="x")},
        response_metadata={"stop_reason": "end_turn", "model": "claude"},
    )
    end = as_json(generation_end(result(message)))
    assert end["output"] == "a"
    assert end["parsed_output"] == {"name": "x"}
    assert (end["finish_reason"], end["model_name"]) == ("end_turn", "claude")
    assert as_json(generation_end(result())) == {"output": "hi\ufffd"}


def test_secrets_are_left_out_of_the_parameters() -> None:
    schema = {"type": "object", "properties": {"token": {"type": "string"}, "q": {}}}
    given_params = {
        "model": "gpt",
        "max_tokens": 5,
        "api_key": "k",
        "openai_api_key": SecretStr("k"),
        "azure_ad_token": "k",
        "default_headers": {"Authorization": "k"},
        "base_url": "https://user:k@example.com/v1",
        "client": {"Api-Key": "k", "region": "eu", "deep": [{"password": "k"}]},
        "tools": [{"headers": {"x": "k"}, "authorization": "k", "parameters": schema}],
        "stop": None,
    }
    start = generation_start(None, messages=[[]], invocation_params=given_params)
    assert as_json(start.fields["invocation_params"]) == {
        "model": "gpt",
        "max_tokens": 5,
        "base_url": "https://example.com/v1",
        "client": {"region": "eu", "deep": [{}]},
        "tools": [{"parameters": schema}],
    }


def test_secrets_are_cut_out_of_texts_among_the_parameters() -> None:
    given_params = {
        "endpoint": "https://gw.example/v1?version=2&api_key=k3y&sig=s1g&page=3",
        "tools": [{"server_url": "https://mcp.example?token=t0ken"}],
        "note": "Bearer abcdefghijklmnopqrst",
        "aws_session": "AKIAIOSFODNN7EXAMPLE",
        "extra_query": {"key": "k3y", "alt": "json"},
        "stop": ["?key"],
    }
    start = generation_start(None, messages=[[]], invocation_params=given_params)
    found = json.dumps(as_json(start.fields["invocation_params"]))
    for secret in ("k3y", "s1g", "t0ken", "abcdefghijklmnopqrst", "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in found
    for kept in ("https://gw.example/v1?version=2", "mcp.example", "Bearer", "json", "?key"):
        assert kept in found


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"serialized": None}, {"model_name": None, "model_provider": None}),
        ({"serialized": None, "name": "ChatFoo"}, {"model_provider": "foo"}),
        (
            {"serialized": {"id": ["a", "b", "ChatBar"], "kwargs": {"model": "m"}}},
            {"model_provider": "bar", "model_name": "m"},
        ),
        (
            {
                "serialized": {},
                "metadata": {"ls_provider": "openai", "ls_model_name": "m", "ls_max_tokens": 9}
                | {"ls_temperature": 1},
            },
            {"model_provider": "openai", "model_name": "m", "max_tokens": 9, "temperature": 1.0},
        ),
        (
            {"serialized": {}, "invocation_params": {"stream": True, "max_tokens": 2**40}}
            | {"metadata": {"lc_hub_repo": "r", "lc_hub_commit_hash": "abc"}},
            {"streamed": True, "max_tokens": None, "prompt_name": "r", "prompt_version": "abc"},
        ),
        (
            {"serialized": {}, "invocation_params": {"temperature": float("nan")}},
            {"temperature": None, "streamed": False},
        ),
    ],
)
def test_what_a_start_says(event: Any, expected: dict[str, Any]) -> None:
    fields = generation_start(**event).fields
    assert {name: fields[name] for name in expected} == expected


def test_settings_that_have_changed_in_place_are_read_again() -> None:
    params: dict[str, Any] = {"model": "m", "stop": ["a"], "tools": [{"name": "f"}]}
    serialized: dict[str, Any] = {"id": ["ChatFoo"], "kwargs": {"base_url": "http://a"}}
    metadata: dict[str, Any] = {"ls_temperature": 0.5, "langgraph_step": 1}

    def told() -> tuple[Any, ...]:
        start = generation_start(serialized, invocation_params=params, metadata=metadata)
        names = ("model_name", "temperature", "model_provider", "invocation_params")
        return *(as_json(start.fields)[name] for name in names), start.endpoint

    first, parameters = told(), {"model": "m", "stop": ["a"], "tools": ["f"]}
    assert first == ("m", 0.5, "foo", parameters, "http://a")
    metadata["langgraph_step"] = 2
    assert told() == first
    params["stop"].append("b")
    assert told()[3] == parameters | {"stop": ["a", "b"]}
    params["tools"][0]["name"] = "g"
    assert told()[3]["tools"] == ["g"]
    metadata["ls_temperature"] = 0.7
    serialized["id"][0], serialized["kwargs"]["base_url"] = "ChatBar", "http://b"
    assert (told()[1], told()[2], told()[4]) == (0.7, "bar", "http://b")
    params["model"] = "n"
    assert told()[0] == "n"


def test_only_settings_that_json_tells_exactly_are_known_again() -> None:
    def key(**params: Any) -> bytes | None:
        return generation_start(None, invocation_params=params).settings

    class Text(str):
        pass

    assert key(temperature=1) == key(temperature=1)
    assert key(temperature=1) != key(temperature=1.0) != key(temperature=True)
    for odd in (Hostile(), Text("x"), {1: 2}, 2**70, "\ud800", SecretStr("k"), BaseModel, b"x"):
        assert key(odd=odd) is None
    assert key(odd="x" * 100_000) is None


def test_no_start_changes_what_another_is_told() -> None:
    start = generation_start(None, invocation_params={"model": "m"})
    start.fields["model_name"] = "changed"
    assert generation_start(None, invocation_params={"model": "m"}).fields["model_name"] == "m"


JUNK = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
COUNTS = st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.none() | st.booleans()


@settings(deadline=None)
@given(JUNK, JUNK, JUNK, JUNK, JUNK)
def test_odd_payloads_never_raise(a: Any, b: Any, c: Any, d: Any, e: Any) -> None:
    as_json(generation_start(a, messages=b, invocation_params=c, options=d, metadata=e).fields)
    as_json(generation_start(a, prompts=b, name=c, tags=d).fields)
    as_json(generation_end(a))
    as_json(generation_end(LLMResult.model_construct(generations=b, llm_output=c)))


@pytest.mark.parametrize("depth", range(4))
def test_hostile_payloads_never_raise(depth: int) -> None:
    value: Any = Hostile()
    for _ in range(depth):
        value = [value]
    as_json(generation_start(value, messages=value, invocation_params=value, metadata=value).fields)
    as_json(generation_end(value))
    as_json(generation_end(LLMResult.model_construct(generations=value, llm_output=value)))


@settings(deadline=None)
@given(st.lists(COUNTS, min_size=6, max_size=6))
def test_the_parts_never_exceed_the_whole(counts: list[Any]) -> None:
    usage = {
        "input_tokens": counts[0],
        "output_tokens": counts[1],
        "total_tokens": counts[2],
        "input_token_details": {"cache_read": counts[3], "cache_creation": counts[4]},
        "output_token_details": {"reasoning": counts[5]},
    }
    message = AIMessage.model_construct(content="", type="ai", usage_metadata=usage)
    generation = ChatGeneration.model_construct(message=message)
    found = generation_end(LLMResult.model_construct(generations=[[generation]]))
    counted = tokens(found)
    assert all(0 <= count < 2**63 for count in counted.values())
    parts = counted.get("cache_read_tokens", 0) + counted.get("cache_creation_tokens", 0)
    assert parts <= counted.get("prompt_tokens", 0)
    assert counted.get("reasoning_tokens", 0) <= counted.get("completion_tokens", 0)
