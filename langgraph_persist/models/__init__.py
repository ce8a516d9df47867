"""SQLAlchemy models of every table and view: a reading view of ``sql/migrations``.

They work in your own ``Session`` or ``AsyncSession``, with an engine for ``postgresql+psycopg://``::

    with Session(engine) as db:
        chat = db.get_one(models.Session, "thread-1")
        print(chat.workflows[0].nodes[0].generations)

Async sessions cannot load on access, so say what is needed::

    select(models.Workflow).options(
        selectinload(models.Workflow.nodes).options(
            undefer(models.Node.state_data), selectinload(models.Node.generations)
        )
    )

Where the tables live in other schemas than the default ones, say so once for an engine::

    engine.execution_options(
        schema_translate_map={"langgraph_persist": "record_schema", "public": "checkpoint_schema"}
    )

Large values and messages are stored once, and columns such as ``Node.input_data`` refer to them;
``Node.whole``, and likewise that of workflows, generations and tool executions, has all in its
place. A column ``metadata`` is the attribute ``meta``, since ``metadata`` is SQLAlchemy's own.
"""

from langgraph_persist.models.base import SCHEMA, Base, View
from langgraph_persist.models.evaluation import Evaluation, Feedback, UsageMetric
from langgraph_persist.models.planning import (
    ExecutionResult,
    HitlEvent,
    Plan,
    PlanVersion,
    Todo,
    ToolExecution,
)
from langgraph_persist.models.reference import Organization, Tool, User
from langgraph_persist.models.reports import (
    ReportModels,
    ReportNodes,
    ReportPeriod,
    ReportUsers,
)
from langgraph_persist.models.runs import (
    Generation,
    Node,
    ProjectionError,
    Retrieval,
    Workflow,
    WorkflowRun,
)
from langgraph_persist.models.sessions import Message, Session, StateValue
from langgraph_persist.models.stock import Checkpoint, CheckpointBlob, CheckpointWrite
from langgraph_persist.models.views import (
    DailyCost,
    GenerationPrompt,
    ModelUsage,
    NodePerformance,
    NodeState,
    PromptVersion,
    StateContent,
    TimelineEvent,
    ToolContent,
    TranscriptLine,
    UserSuccessRate,
    WorkflowContent,
)

__all__ = [
    "SCHEMA",
    "Base",
    "Checkpoint",
    "CheckpointBlob",
    "CheckpointWrite",
    "DailyCost",
    "Evaluation",
    "ExecutionResult",
    "Feedback",
    "Generation",
    "GenerationPrompt",
    "HitlEvent",
    "Message",
    "ModelUsage",
    "Node",
    "NodePerformance",
    "NodeState",
    "Organization",
    "Plan",
    "PlanVersion",
    "ProjectionError",
    "PromptVersion",
    "ReportModels",
    "ReportNodes",
    "ReportPeriod",
    "ReportUsers",
    "Retrieval",
    "Session",
    "StateContent",
    "StateValue",
    "TimelineEvent",
    "Todo",
    "Tool",
    "ToolContent",
    "ToolExecution",
    "TranscriptLine",
    "UsageMetric",
    "User",
    "UserSuccessRate",
    "View",
    "Workflow",
    "WorkflowContent",
    "WorkflowRun",
]
