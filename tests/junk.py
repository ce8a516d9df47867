"""Values and events as nobody should send them, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias, cast
from uuid import UUID, uuid4

import numpy as np
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langgraph.callbacks import GraphInterruptEvent
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.types import Command, Interrupt, Send


def _no(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise LookupError("what was said")


_WAYS = ["__repr__", "__str__", "__len__", "__iter__", "__bool__", "__eq__", "__hash__"]
_WAYS += ["__getattr__", "__getattribute__", "model_dump", "__deepcopy__", "__reduce_ex__", "get"]
_WAYS += ["__format__", "__float__", "__int__", "__contains__", "__getitem__", "items", "keys"]


def hostile(rng: random.Random) -> Any:
    """An object, or a container, that lets itself not be read in some ways."""
    bases: list[tuple[type, ...]] = [
        (),
        (dict,),
        (list,),
        (str,),
        (int,),
        (Exception,),
        (AIMessage,),
    ]
    chosen = rng.choice(bases)
    ways = rng.sample(_WAYS, rng.randint(1, len(_WAYS)))
    if rng.random() < 0.2:
        ways.append("__class__")
    fields: dict[str, Any] = {way: _no for way in ways}
    if "__class__" in fields:
        fields["__class__"] = property(_no)
    if "__eq__" in fields and "__hash__" not in fields:
        fields["__hash__"] = object.__hash__
    made = type("Hostile", chosen, fields)
    try:
        return made(content="x") if chosen == (AIMessage,) else made()
    except Exception:
        return type("Hostile", (), fields)()


class Color(Enum):
    RED = "\x00"


def cyclic() -> Any:
    held: dict[str, Any] = {"list": []}
    held["list"].append(held)
    return held


def deep() -> Any:
    held: Any = []
    for _ in range(3_000):
        held = [held]
    return held


PLAIN: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 2**70,
    lambda: 10**5_000,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: -0.5,
    lambda: 1e308,
    lambda: "",
    lambda: "\x00a",
    lambda: "\ud800",
    lambda: "x",
    lambda: "y" * 300_000,
    lambda: "é" * 1_000,
    lambda: b"\x00\xff",
    lambda: (),
    dict,
    lambda: set(),
    cyclic,
    deep,
    lambda: {1, "a", (2,)},
    lambda: (i for i in "ab"),
    lambda: len,
    lambda: int,
    lambda: datetime.max,
    lambda: Decimal("NaN"),
    lambda: Decimal("sNaN"),
    lambda: Decimal("1e999999"),
    uuid4,
    lambda: Color.RED,
    lambda: np.array([np.nan, 1.0]),
    lambda: np.float32("inf"),
    lambda: np.datetime64("NaT"),
    lambda: object(),
    lambda: ValueError("\x00\ud800"),
    lambda: GraphInterrupt(),
    lambda: GraphInterrupt(cast(Any, ("odd",))),
    lambda: ParentCommand(Command()),
    lambda: Command(resume=cyclic()),
    lambda: Send("\x00", cyclic()),
    lambda: Interrupt(cyclic(), id="\x00"),
    lambda: complex(1, 2),
    lambda: range(3),
    lambda: memoryview(b"ab"),
    lambda: NotImplemented,
    lambda: ...,
]


def junk(rng: random.Random, depth: int = 0) -> Any:
    """Anything."""
    kind = rng.random()
    if kind < 0.5 or depth > 3:
        return rng.choice(PLAIN)()
    if kind < 0.62:
        return hostile(rng)
    if kind < 0.72:
        return [junk(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    if kind < 0.85:
        return {key(rng): junk(rng, depth + 1) for _ in range(rng.randint(0, 4))}
    return _constructed(rng, depth)


def key(rng: random.Random) -> Any:
    odd = [None, 1, 1.5, (1, 2), "\x00", "\ud800", "", "a", "$ref", "$left_out", Color.RED, b"b"]
    odd += ["thread_id", "user", "langgraph_node", "langgraph_checkpoint_ns", "input_tokens"]
    return rng.choice(odd)


def _constructed(rng: random.Random, depth: int) -> Any:
    """Messages and results that hold junk, past all validation."""

    def more() -> Any:
        return junk(rng, depth + 1)

    made: list[Callable[[], Any]] = [
        lambda: AIMessage.model_construct(
            content=more(),
            usage_metadata=usage(rng),
            response_metadata=more(),
            tool_calls=more(),
            id=more(),
            name=more(),
            additional_kwargs=more(),
            type="ai",
        ),
        lambda: AIMessageChunk.model_construct(
            content=more(), usage_metadata=usage(rng), tool_call_chunks=more()
        ),
        lambda: HumanMessage.model_construct(content=more(), type=more()),
        lambda: ToolMessage.model_construct(
            content=more(), tool_call_id=more(), artifact=more(), status=more(), type="tool"
        ),
        lambda: Document.model_construct(page_content=more(), metadata=more()),
        lambda: Generation.model_construct(text=more(), generation_info=more()),
        lambda: ChatGeneration.model_construct(text=more(), message=more(), generation_info=more()),
        lambda: LLMResult.model_construct(generations=more(), llm_output=more()),
        lambda: LLMResult.model_construct(
            generations=[
                [
                    ChatGeneration.model_construct(
                        message=AIMessage.model_construct(
                            content=more(),
                            usage_metadata=usage(rng),
                            response_metadata={
                                "model_name": more(),
                                "finish_reason": more(),
                                "token_usage": usage(rng),
                            },
                            tool_calls=[more(), {"name": more(), "args": more(), "id": more()}],
                        )
                    )
                ]
            ],
            llm_output={"token_usage": usage(rng), "model_name": more()},
        ),
    ]
    return rng.choice(made)()


def usage(rng: random.Random) -> Any:
    """Token counts of the wrong types, negative, huge or contradictory."""
    counts = [
        0,
        3,
        -5,
        2**31,
        2**63,
        2**70,
        1.5,
        float("nan"),
        "7",
        "x",
        None,
        True,
        [],
        Decimal(3),
    ]
    if rng.random() < 0.2:
        return junk(rng, 3)

    def details() -> Any:
        if rng.random() < 0.3:
            return junk(rng, 3)
        return {
            k: rng.choice(counts) for k in ("cache_read", "cache_creation", "reasoning", "audio")
        }

    names = [
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "prompt_tokens",
        "completion_tokens",
        "total_cost",
    ]
    found: dict[Any, Any] = {name: rng.choice(counts) for name in names if rng.random() < 0.7}
    return found | {"input_token_details": details(), "output_token_details": details()}


Event: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]
"""The name of a handler's method, and what it is called with."""


class Events:
    """A stream of events, plausible ones with junk in some places."""

    def __init__(self, seed: int, threads: list[str]) -> None:
        self.rng = random.Random(seed)
        self.threads = threads
        self.rate = 0.0
        self.reused = [self._id() for _ in range(6)]
        self.open: list[tuple[str, Any]] = []

    def _id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def maybe(self, plain: Any) -> Any:
        return junk(self.rng) if self.rng.random() < self.rate else plain

    def stream(self, count: int) -> Iterator[Event]:
        self.rate = self.rng.choice([0.05, 0.2, 0.6])
        for _ in range(count):
            yield self.event()
        for kind, run_id in reversed(self.open):
            yield self._ended(kind, run_id)

    def event(self) -> Event:
        roll = self.rng.random()
        if roll < 0.45 or not self.open:
            return self._start()
        kind, run_id = self.rng.choice(self.open)
        if roll > 0.75:
            return self._between(kind, run_id)
        if self.rng.random() < 0.1:
            return self._ended(kind, self._id())
        if self.rng.random() < 0.1:
            return self._ended(self.rng.choice(["chain", "llm", "tool", "retriever"]), run_id)
        if self.rng.random() < 0.9:
            self.open.remove((kind, run_id))  # else it ends twice
        return self._ended(kind, run_id)

    def _start(self) -> Event:
        rng, maybe = self.rng, self.maybe
        method = rng.choice(["chain", "chain", "chat_model", "llm", "tool", "retriever"])
        under_way = {run_id for _, run_id in self.open}
        ended = [run_id for run_id in self.reused if run_id not in under_way]
        run_id = rng.choice(ended) if ended and rng.random() < 0.1 else self._id()
        parent = rng.choice(self.open)[1] if self.open and rng.random() < 0.8 else None
        if rng.random() < 0.05:
            parent = self._id()
        name = maybe("n")
        kwargs: dict[str, Any] = {
            "run_id": run_id,
            "parent_run_id": parent,
            "tags": maybe(["mine", maybe("seq:step:1"), maybe("graph:step:1")]),
            "metadata": maybe(self._metadata(name)),
            "name": name,
        }
        named = {"name": maybe("s"), "id": maybe(["a", "b"]), "kwargs": maybe({"model": "m"})}
        self.open.append(("llm" if method == "chat_model" else method, run_id))
        given, more = getattr(self, f"_{method}")()
        return f"on_{method}_start", (maybe(named), given), kwargs | more

    def _metadata(self, name: Any) -> dict[Any, Any]:
        rng, maybe = self.rng, self.maybe
        found: dict[Any, Any] = {
            "thread_id": maybe(rng.choice(self.threads)),
            "user": maybe("ann"),
            "language": maybe("en"),
            "note": maybe("n"),
        }
        if rng.random() < 0.5:
            found["ls_integration"] = maybe("langgraph")
        if rng.random() < 0.5:
            task = UUID(int=rng.getrandbits(128))
            found |= {
                "langgraph_node": name,
                "langgraph_step": maybe(1),
                "langgraph_checkpoint_ns": maybe(f"n:{task}"),
                "langgraph_path": maybe(("__pregel_pull", "n")),
                "langgraph_triggers": maybe(["branch:to:n"]),
            }
        if rng.random() < 0.2:
            found |= {key(rng): junk(rng) for _ in range(3)}
        return found

    def _chain(self) -> tuple[Any, dict[str, Any]]:
        maybe = self.maybe
        given = {"messages": [maybe(HumanMessage("hi"))], "x": maybe(1)}
        return maybe(given), {"run_type": self.rng.choice([None, "parser", maybe("prompt")])}

    def _chat_model(self) -> tuple[Any, dict[str, Any]]:
        maybe = self.maybe
        params = {
            "model": maybe("gpt"),
            "temperature": maybe(0.5),
            "max_tokens": maybe(10),
            "tools": maybe([{"name": maybe("t")}]),
            "stop": maybe(None),
        }
        given = maybe([maybe([maybe(HumanMessage("hi")), maybe(AIMessage("x"))])])
        return given, {"invocation_params": maybe(params), "options": maybe({}), "batch_size": 1}

    def _llm(self) -> tuple[Any, dict[str, Any]]:
        maybe = self.maybe
        return maybe([maybe("hi")]), {"invocation_params": maybe({}), "options": maybe({})}

    def _tool(self) -> tuple[Any, dict[str, Any]]:
        maybe = self.maybe
        inputs = maybe({"a": maybe(1)})
        return maybe("{'a': 1}"), {"inputs": inputs, "tool_call_id": maybe("call-1")}

    def _retriever(self) -> tuple[Any, dict[str, Any]]:
        return self.maybe("query"), {}

    def _ended(self, kind: str, run_id: Any) -> Event:
        rng, maybe = self.rng, self.maybe
        if rng.random() < 0.25:
            errors: list[Any] = [
                ValueError("boom"),
                GraphInterrupt((Interrupt(maybe(1), id=maybe("i")),)),
                ParentCommand(Command(goto=maybe("x"))),
                GeneratorExit(),
                hostile_error(rng),
                KeyError(maybe("k")),
            ]
            extra = {"response": maybe(None)} if kind == "llm" else {}
            return f"on_{kind}_error", (rng.choice(errors),), {"run_id": run_id, **extra}
        payload: dict[str, Callable[[], Any]] = {
            "chain": lambda: {"messages": [maybe(AIMessage("done"))], "x": maybe(2)},
            "llm": self._answer,
            "tool": lambda: ToolMessage("x", tool_call_id="1"),
            "retriever": lambda: [maybe(Document("d"))],
        }
        return f"on_{kind}_end", (maybe(payload[kind]()),), {"run_id": run_id}

    def _answer(self) -> LLMResult:
        maybe = self.maybe
        message = AIMessage.model_construct(
            content=maybe("hi"),
            usage_metadata=usage(self.rng),
            response_metadata=maybe({"model_name": maybe("m"), "finish_reason": maybe("stop")}),
            tool_calls=maybe([]),
            invalid_tool_calls=[],
            additional_kwargs={},
            id=maybe("1"),
        )
        generation = ChatGeneration.model_construct(text=maybe("hi"), message=message)
        return LLMResult.model_construct(
            generations=maybe([maybe([maybe(generation)])]),
            llm_output=maybe({"token_usage": usage(self.rng)}),
        )

    def _between(self, kind: str, run_id: Any) -> Event:
        rng, maybe = self.rng, self.maybe
        roll = rng.random()
        if roll < 0.4:
            return "on_llm_new_token", (maybe("t"),), {"run_id": run_id, "chunk": maybe(None)}
        if roll < 0.6:
            return (
                "on_stream_event",
                (maybe({"event": maybe("content-block-delta"), "delta": maybe({})}),),
                {"run_id": run_id},
            )
        if roll < 0.8:
            event = GraphInterruptEvent(
                run_id=run_id,
                status=maybe("interrupt_before"),
                checkpoint_id=maybe("c"),
                checkpoint_ns=maybe(()),
                interrupts=maybe((maybe(Interrupt(maybe(1), id="x")),)),
            )
            return "on_interrupt", (event,), {}
        return rng.choice(
            [
                ("on_text", (maybe("t"),), {"run_id": run_id}),
                ("on_retry", (maybe(None),), {"run_id": run_id}),
                ("on_custom_event", (maybe("e"), maybe({})), {"run_id": run_id}),
            ]
        )


def hostile_error(rng: random.Random) -> BaseException:
    """An error that cannot be read."""
    ways = rng.sample(["__str__", "__repr__", "__eq__"], 2)
    made = type("HostileError", (ValueError,), {way: _no for way in ways})
    return cast(BaseException, cast(Any, made)(junk(rng)))
