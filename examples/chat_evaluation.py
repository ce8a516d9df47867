"""A chat service whose answers are evaluated, turn by turn and as a whole.

    pip install 'langgraph-persist[stats]'
    pip install 'langgraph-persist[stats]'
    python examples/chat_evaluation.py

Twelve customers ask a help desk, half of them answered by each of two versions of its prompt. Every
answer is judged by a function, every conversation by a model; some customers say what they think.
An evaluator that fails on a turn loses no other one, and does not end the session. At the end, the
reports: what the versions are worth, and whether that can be chance.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from offline_model import OfflineModel
from printing import print_queries

from langgraph_persist import Persist
from langgraph_persist.evaluations import Turn

# --- The help desk -------------------------------------------------------------------------------

ANSWERS = {
    "refund": "You get the money back within 14 days",
    "parcel": "The parcel arrives tomorrow",
    "password": "Use the link that we have sent you",
}

PROMPTS = {
    "1": "Answer questions of customers.",
    "2": "Answer questions of customers. Be polite, and offer further help.",
}


def reply(messages: Sequence[BaseMessage]) -> str:
    asked = messages[-1].text
    found = next((text for topic, text in ANSWERS.items() if topic in asked), "Ask somebody else")
    polite = messages[0].text == PROMPTS["2"]
    return f"Thank you for asking. {found}. Anything else?" if polite else f"{found}."


model = OfflineModel(model_name="offline-chat-1", reply=reply)


def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    version = config["configurable"]["prompt_version"]
    named = {"prompt_name": "help-desk", "prompt_version": version}
    messages = [SystemMessage(PROMPTS[version]), *state["messages"]]
    return {"messages": [model.invoke(messages, {"metadata": named})]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")

QUESTIONS = ["Where is my parcel?", "I want a refund", "How do I get a new password?"]


def serve(persist: Persist, customer: str, version: str) -> str:
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, name="help_desk"))
    thread = f"chat-{customer}"
    config = persist.config(
        thread, user=customer, configurable={"prompt_version": version}, service="help desk"
    )
    for question in QUESTIONS:
        graph.invoke({"messages": [HumanMessage(question)]}, config)
    return thread


# --- Who judges it -------------------------------------------------------------------------------


def manners(turn: Turn) -> dict[str, Any]:
    """A function sees the turn, with all that is recorded of it if it wants."""
    said = turn.output or ""
    found = {"thanks": "Thank you" in said, "offers help": "else?" in said}
    score = 50 + 20 * sum(found.values()) + len(turn.input or "") % 7
    return {"score": score, "analysis": f"{found}", "tokens": turn.workflow.total_tokens}


class Flaky:
    """Another one, which cannot judge what it has not seen before."""

    __name__ = "flaky"

    def __init__(self) -> None:
        self.seen: set[str | None] = set()

    def __call__(self, turn: Turn) -> tuple[float, str]:
        if turn.input == QUESTIONS[1] and turn.input not in self.seen:
            self.seen.add(turn.input)
            raise TimeoutError("the judge does not answer")
        return 80, "seen before"


def judge(messages: Sequence[BaseMessage]) -> str:
    thanks = messages[-1].text.count("Thank you")
    analysis = f"thanked the customer {thanks} times"
    return json.dumps({"score": min(100, 60 + 10 * thanks), "reasoning": analysis})


# Any chain: it is given `input`, `output` and `transcript`, and answers in JSON.
judge_of_all = ChatPromptTemplate.from_template("Score from 0 to 100:\n{transcript}") | (
    OfflineModel(model_name="offline-judge-1", reply=judge)
)

# --- The reports ---------------------------------------------------------------------------------

REPORTS = {
    "Scores by turn": """\
SELECT e.turn, count(*) AS evaluated,
       round(avg((e.details ->> 'score')::numeric), 1) AS score
FROM langgraph_persist.evaluations e
WHERE e.evaluation_type = 'TURN_EVAL'
GROUP BY e.turn ORDER BY e.turn""",
    "The worst conversations": """\
SELECT e.thread_id, e.details ->> 'score' AS score, e.details ->> 'analysis' AS analysis,
       s.status
FROM langgraph_persist.evaluations e
JOIN langgraph_persist.sessions s ON s.thread_id = e.thread_id
WHERE e.evaluation_type = 'HOLISTIC_FLOW'
ORDER BY (e.details ->> 'score')::numeric, e.thread_id LIMIT 3""",
    "What customers said": """\
SELECT u.username, f.rating, f.comment, w.user_input
FROM langgraph_persist.feedback f
JOIN langgraph_persist.workflows w ON w.thread_id = f.thread_id AND w.id = f.workflow_id
JOIN langgraph_persist.users u ON u.id = f.user_id
WHERE f.comment IS NOT NULL ORDER BY f.rating, u.username""",
    "Prompt versions": """\
SELECT prompt_version, calls, cost_usd, round(avg_score, 1) AS score, scores,
       round(avg_rating, 1) AS rating, ratings
FROM langgraph_persist.prompt_versions
WHERE prompt_name = 'help-desk' ORDER BY prompt_version""",
}


# --- All of it -----------------------------------------------------------------------------------


def evaluate(persist: Persist, threads: Sequence[str]) -> None:
    print("Evaluations\n")
    for thread in threads:
        report = persist.evaluations.evaluate_turns(thread, manners)
        assert not report.failed
        persist.evaluations.evaluate_session(thread, judge_of_all, name="judge")
    flaky = Flaky()
    print(persist.evaluations.evaluate_turns(threads[0], flaky))
    print(persist.evaluations.evaluate_turns(threads[0], flaky))
    print(persist.evaluations.evaluate_turns(threads[0], manners))
    print(f"the session is {persist.sessions.get(threads[0]).status}")


def ask_customers(persist: Persist, threads: Sequence[str]) -> None:
    for number, thread in enumerate(threads):
        customer = thread.removeprefix("chat-")
        polite = number % 2
        rating = (3, 4, 5)[number % 3] if polite else (1, 2, 3)[number % 3]
        comment = None if number > 3 else "kind" if polite else "curt"
        persist.feedback.record(thread, turn=2, rating=rating, comment=comment, user=customer)


def show_dataset(persist: Persist) -> None:
    lines = io.StringIO()
    count = persist.evaluations.export(lines, type="TURN_EVAL", max_score=60)
    print(f"\nA dataset of {count} poor answers, the first of which is\n")
    first = json.loads(lines.getvalue().splitlines()[0])
    print(json.dumps({name: first[name] for name in ("input", "output", "score")}))


def main() -> None:
    with Persist(prices={"offline-*": {"input": "0.25", "output": 2}}) as persist:
        threads = [
            serve(persist, f"customer-{number:02}", "12"[number % 2]) for number in range(12)
        ]
        evaluate(persist, threads)
        ask_customers(persist, threads)
        print(f"\nPrompt versions\n\n{persist.prompts.compare('help-desk')}")
        show_dataset(persist)
        print()
        print_queries(persist.engine, REPORTS)


if __name__ == "__main__":
    main()
