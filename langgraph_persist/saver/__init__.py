"""The checkpointer."""

from langgraph_persist.saver.saver import PersistSaver
from langgraph_persist.saver.values import checked_serde
from langgraph_persist.saver.watch import state_of

__all__ = ["PersistSaver", "checked_serde", "state_of"]
