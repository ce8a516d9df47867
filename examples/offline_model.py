"""A chat model for examples: it answers from a function of yours, offline, and counts its tokens.

Put any real chat model in its place, ``init_chat_model("openai:gpt-5")`` for one, and the record
shows that model's tokens, latency and cost instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

Reply = Callable[[Sequence[BaseMessage]], str | AIMessage]


def count_tokens(text: str) -> int:
    """Words and punctuation marks: a tokenizer's count, near enough for an example."""
    return len(re.findall(r"\w+|[^\w\s]", text))


class OfflineModel(BaseChatModel):
    """Says, or calls the tools that, ``reply`` makes of the messages."""

    model_name: str = "offline-writer-1"
    reply: Reply

    @property
    def _llm_type(self) -> str:
        return "offline"

    def bind_tools(
        self, tools: Sequence[Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self.reply(messages)
        answer = AIMessage(reply) if isinstance(reply, str) else reply
        read = sum(count_tokens(message.text) for message in messages)
        called = "".join(str(call["args"]) for call in answer.tool_calls)
        written = count_tokens(answer.text) + count_tokens(called)
        counted = UsageMetadata(
            input_tokens=read, output_tokens=written, total_tokens=read + written
        )
        told = {"model_name": self.model_name, "finish_reason": "stop"}
        answer = answer.model_copy(update={"usage_metadata": counted, "response_metadata": told})
        return ChatResult(generations=[ChatGeneration(message=answer)])
