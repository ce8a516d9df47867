"""The versions of a prompt, side by side."""

from langgraph_persist.prompts.prompts import (
    Difference,
    PromptComparison,
    Prompts,
    PromptVersion,
)

__all__ = ["Difference", "PromptComparison", "PromptVersion", "Prompts"]
