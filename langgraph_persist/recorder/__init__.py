"""``persist.recorder``: records by hand what runs outside of LangChain."""

from langgraph_persist.recorder.node import RecordedNode
from langgraph_persist.recorder.recorder import Recorder
from langgraph_persist.recorder.workflow import RecordedWorkflow

__all__ = ["RecordedNode", "RecordedWorkflow", "Recorder"]
