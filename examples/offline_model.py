"""A chat model for examples: it answers from a function of yours, offline, and counts its tokens.

Put any real chat model in its place, ``init_chat_model("openai:gpt-5")`` for one, and the record
shows that model's tokens, latency and cost instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

Reply = Callable[[Sequence[BaseMessage]], str]


def count_tokens(text: str) -> int:
    """Words and punctuation marks: a tokenizer's count, near enough for an example."""
    return len(re.findall(r"\w+|[^\w\s]", text))


class OfflineModel(BaseChatModel):
    """Says what ``reply`` makes of the messages."""

    model_name: str = "offline-writer-1"
    reply: Reply

    @property
    def _llm_type(self) -> str:
        return "offline"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = self.reply(messages)
        read = sum(count_tokens(message.text) for message in messages)
        written = count_tokens(text)
        answer = AIMessage(
            text,
            response_metadata={"model_name": self.model_name, "finish_reason": "stop"},
            usage_metadata=UsageMetadata(
                input_tokens=read, output_tokens=written, total_tokens=read + written
            ),
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])
