"""The recording half: a callback handler for any LangGraph graph or LangChain runnable."""

from langgraph_persist.handler.callbacks import PersistCallbackHandler

__all__ = ["PersistCallbackHandler"]
