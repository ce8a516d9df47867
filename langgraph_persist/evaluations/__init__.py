"""What turns and sessions are worth: judged by evaluators, and by users.

def polite(turn: Turn) -> dict[str, Any]:
    is_polite = "please" in (turn.output or "")
    return {"score": 100 if is_polite else 40, "analysis": "says please, or does not"}

print(persist.evaluations.evaluate_turns("thread-1", polite))
persist.feedback.record("thread-1", turn=1, rating=5, user="alice")
persist.evaluations.export("evaluations.jsonl")
"""

from langgraph_persist.evaluations.content import Content
from langgraph_persist.evaluations.evaluations import Evaluations
from langgraph_persist.evaluations.feedback import Feedback, FeedbackEntry
from langgraph_persist.evaluations.report import Evaluation, EvaluationReport
from langgraph_persist.evaluations.subjects import Conversation, Turn
from langgraph_persist.kinds import EvaluationType

__all__ = [
    "Content",
    "Conversation",
    "Evaluation",
    "EvaluationReport",
    "EvaluationType",
    "Evaluations",
    "Feedback",
    "FeedbackEntry",
    "Turn",
]
