"""Whatever is told or passed through, nothing is raised, and what can be written is written."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph

from langgraph_persist import Persist, PersistCallbackHandler
from langgraph_persist.journal.salvage import MARKED
from tests.graphs import run
from tests.junk import PLAIN, Events, hostile_error, junk, key, usage

Rows = Callable[..., list[dict[str, Any]]]
SEEDS = 12
EVENTS = 25
MODES = ["invoke", "ainvoke", "stream"]


def tell(handler: PersistCallbackHandler, events: Events) -> None:
    for name, args, kwargs in events.stream(EVENTS):
        getattr(handler, name)(*args, **kwargs)


async def atell(handler: PersistCallbackHandler, events: Events) -> None:
    for name, args, kwargs in events.stream(EVENTS):
        if asyncio.iscoroutine(told := getattr(handler, name)(*args, **kwargs)):
            await told


@pytest.mark.parametrize("seed", range(SEEDS))
def test_events_of_any_kind(persist: Persist, rows: Rows, seed: int) -> None:
    """Each run is closed whose end was told, and all of the record can be read."""
    handler = persist.handler
    if seed % 2:
        contextvars.copy_context().run(tell, handler, Events(seed, ["a", "b"]))
    else:
        asyncio.run(atell(handler, Events(seed, ["a", "b"])))
    persist.flush()
    tables = ("workflows", "workflow_runs", "nodes", "generations", "tool_executions")
    for table in tables:
        assert rows(f"SELECT * FROM {table} WHERE status = 'running'") == [], table
    assert not len(handler._spans)
    failed = [kind for kind in handler.failures.counts if not kind.startswith(("request", "doubt"))]
    marked = [m for t in MARKED for m in rows(f"SELECT missing FROM {t} WHERE missing IS NOT NULL")]
    assert bool(marked) >= bool(failed)
    workflows = persist.history.workflows()
    assert workflows
    for workflow in workflows:
        assert str(workflow.timeline())
        parts = [(node.input_data, node.output_data) for node in workflow.nodes]
        parts += [(call.prompt, call.output_message) for call in workflow.generations]
        parts += [(call.input_params, call.output_data) for call in workflow.tool_executions]
        assert len(parts) >= len(workflow.nodes)
    persist.history.transcript("a")


class Answering(BaseChatModel):
    """Answers with what it was made with."""

    answer: Any

    @property
    def _llm_type(self) -> str:
        return "answering"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        generation = ChatGeneration.model_construct(text="", message=self.answer)
        return ChatResult.model_construct(generations=[generation], llm_output={"x": self.answer})


class Odd:
    """A graph whose nodes give, raise and pass on what nobody should."""

    def __init__(self, seed: int, awaited: bool) -> None:
        rng = random.Random(seed)
        self.held = [junk(rng) for _ in range(5)]
        # asyncio itself asks an error for its text.
        self.error = ValueError("\x00\ud800") if awaited else hostile_error(rng)
        self.metadata = {str(key(rng)): rng.choice(PLAIN)() for _ in range(2)}
        self.answer = AIMessage.model_construct(
            content="hi",
            type="ai",
            usage_metadata=usage(rng),
            response_metadata={"model_name": junk(rng), "finish_reason": junk(rng)},
            tool_calls=[],
            invalid_tool_calls=[],
            additional_kwargs={},
            id=None,
            name=None,
        )

    def graph(self) -> Any:
        held = self.held

        @tool
        def look(x: Any) -> Any:
            """Looks."""
            return held[1]

        def call(state: dict[str, Any]) -> dict[str, Any]:
            with suppress(Exception):  # what LangChain itself makes of it
                RunnableLambda(lambda given: held[3]).invoke(held[2])
            with suppress(Exception):
                look.invoke({"x": held[2]})
            with suppress(Exception):
                Answering(answer=self.answer).invoke("hi")
            return {"b": held[4]}

        def fail(state: dict[str, Any]) -> dict[str, Any]:
            raise self.error

        builder: Any = StateGraph(dict)
        builder.add_node("give", lambda state: {"a": held[0], "state": 1})
        builder.add_node("call", call)
        builder.add_node("fail", fail)
        builder.add_edge(START, "give")
        builder.add_edge("give", "call")
        builder.add_conditional_edges("call", lambda state: "fail", ["fail", "give"])
        return builder.compile()

    def outcome(self, graph: Any, mode: str, config: Any) -> Any:
        """Every chunk up to the exception, and that."""
        seen: list[Any] = []
        given = {"in": self.held[2]}
        try:
            if mode in ("invoke", "ainvoke"):
                seen.append(run(graph, mode, given, config))
            else:
                for chunk in graph.stream(given, config, stream_mode=["values", "updates"]):
                    seen.append(chunk)
        except Exception as error:
            return _shape(seen), type(error), error is self.error
        return _shape(seen)


def _shape(value: Any, depth: int = 4) -> Any:
    """What is the same for the same objects in the same places."""
    if depth and type(value) is dict:
        return {name: _shape(item, depth - 1) for name, item in value.items()}
    if depth and type(value) in (list, tuple):
        return [_shape(item, depth - 1) for item in value]
    return id(value)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_graphs_full_of_junk_behave_the_same(persist: Persist, rows: Rows, seed: int) -> None:
    mode = MODES[seed % 3]
    odd = Odd(seed, awaited=mode == "ainvoke")
    base: Any = {"metadata": odd.metadata, "tags": ["mine"], "configurable": {"thread_id": "t"}}
    expected = odd.outcome(odd.graph(), mode, base)
    assert expected[1:] == (type(odd.error), True)
    assert odd.outcome(persist.attach(odd.graph()), mode, base) == expected
    persist.flush()
    (workflow,) = persist.history.workflows()
    assert workflow.status == "failed"
    assert workflow.nodes[0].status == "completed"
    assert str(workflow.timeline())


def test_what_can_be_read_only_once_is_not_read(persist: Persist) -> None:
    builder: Any = StateGraph(dict)
    builder.add_node("give", lambda state: {"parts": (part for part in "abc")})
    builder.add_edge(START, "give")
    graph = persist.attach(builder.compile())
    assert [*graph.invoke({}, persist.config("t"))["parts"]] == ["a", "b", "c"]
