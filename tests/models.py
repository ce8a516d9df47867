"""Fake chat models that behave like providers' own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr


def said(text: Any = "", model: str | None = None, **fields: Any) -> AIMessage:
    """An answer, with the name of the model that gave it and its token counts."""
    meta = {"model_name": model, "finish_reason": "stop"} if model else {"finish_reason": "stop"}
    counts = fields.pop("usage", None)
    if isinstance(counts, tuple):
        counts = {
            "input_tokens": counts[0],
            "output_tokens": counts[1],
            "total_tokens": sum(counts),
        }
    return AIMessage(text, response_metadata=meta, usage_metadata=counts, **fields)


class Scripted(BaseChatModel):
    """Gives its answers in turn, in any mode; an exception among them is raised.

    In a list of answers what comes before an exception was streamed. A callable is asked.
    """

    answers: list[Any]
    model: str = "scripted-1"
    provider: str = "scripted"
    temperature: float | None = None
    # A batch asks from several threads at once.
    _turns: Iterator[int] = PrivateAttr(default_factory=itertools.count)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {"ls_provider": self.provider, "ls_model_name": self.model, "ls_model_type": "chat"}

    def _take(self) -> Any:
        return self.answers[next(self._turns) % len(self.answers)]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._take()
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, BaseException):
                raise part
            answer = part
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)


class Streaming(Scripted):
    """The same, word by word; the counts come with the last word."""

    streaming: bool = False

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._take()
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, BaseException):
                raise part
            for message in _chunks(part):
                chunk = ChatGenerationChunk(message=message)
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk


def _chunks(answer: AIMessage) -> Iterator[AIMessageChunk]:
    yield AIMessageChunk(content="")
    for index, word in enumerate(str(answer.content).split()):
        yield AIMessageChunk(content=word if index == 0 else f" {word}")
    yield AIMessageChunk(
        content="",
        tool_call_chunks=[
            {
                "name": call["name"],
                "args": json.dumps(call["args"]),
                "id": call["id"],
                "index": index,
            }
            for index, call in enumerate(answer.tool_calls)
        ],
        usage_metadata=answer.usage_metadata,
        response_metadata=answer.response_metadata,
    )
