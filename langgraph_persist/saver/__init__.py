"""The checkpointer."""

from langgraph_persist.saver.saver import PersistSaver

__all__ = ["PersistSaver"]
