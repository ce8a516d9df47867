"""An agent that plans its work, asks before it acts, and has only so many requests a day.

    pip install langchain
    python examples/planning_agent.py

LangChain's ``TodoListMiddleware`` keeps the agent's todos, its ``HumanInTheLoopMiddleware`` asks a
manager before a report is sent. Neither knows of persistence: the plan with its versions and
results, the approvals and who gave them, every call of a model or tool and what it cost are rows
once the agent has run, and so is what the user thinks of it. The organization may make two requests
a day, so the third is refused.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    TodoListMiddleware,
)
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from offline_model import OfflineModel
from printing import print_queries

from langgraph_persist import Persist
from langgraph_persist.errors import QuotaExceeded

# --- Tools ---------------------------------------------------------------------------------------

SALES = {"June": 118_000, "July": 131_000}


@tool
def find_sales(month: str) -> str:
    """The sales of a month in euros."""
    return f"{SALES[month]:,} euros" if month in SALES else f"no sales of {month} are known"


@tool
def send_report(to: str, text: str) -> str:
    """Send a report by mail."""
    return f"sent to {to}"


# --- The agent -----------------------------------------------------------------------------------

LOOK, COMPARE, SEND = "Look up the sales", "Compare them with June", "Send the report"
ASK = "Ask the stores for their numbers"


def todos(**statuses: str) -> dict[str, Any]:
    titles = {"look": LOOK, "compare": COMPARE, "send": SEND, "ask": ASK}
    listed = [{"content": titles[name], "status": status} for name, status in statuses.items()]
    return {"name": "write_todos", "args": {"todos": listed}}


def sales(month: str) -> dict[str, Any]:
    return {"name": "find_sales", "args": {"month": month}}


def report(to: str, text: str) -> dict[str, Any]:
    return {"name": "send_report", "args": {"to": to, "text": text}}


# What a real model would come to: the next call, by how many it has made for this request.
COURSES: dict[str, list[dict[str, Any] | str]] = {
    "Tell the board how July went": [
        todos(look="in_progress", send="pending"),
        sales("July"),
        todos(look="completed", compare="in_progress", send="pending"),
        sales("June"),
        todos(look="completed", compare="completed", send="in_progress"),
        report("board@acme.example", "July: 131,000 euros, 11 % more than in June."),
        todos(look="completed", compare="completed", send="completed"),
        "The board has the report.",
    ],
    "And now August": [
        todos(look="in_progress", send="pending"),
        sales("August"),
        todos(ask="in_progress"),
        report("stores@acme.example", "Your numbers of August, please!"),
        todos(),
        "Nobody has been written to.",
    ],
}


def work(messages: Sequence[BaseMessage]) -> str | AIMessage:
    asked = max(place for place, message in enumerate(messages) if message.type == "human")
    done = sum(message.type == "ai" for message in messages[asked:])
    step = COURSES[messages[asked].text][done]
    if isinstance(step, str):
        return step
    return AIMessage("", tool_calls=[{"id": f"call-{len(messages)}", **step}])


def make_agent(persist: Persist) -> CompiledStateGraph[Any, Any, Any, Any]:
    middleware: list[AgentMiddleware[Any, Any, Any]] = [
        TodoListMiddleware(),
        HumanInTheLoopMiddleware({"send_report": True}),
    ]
    agent = create_agent(
        OfflineModel(model_name="offline-agent-1", reply=work),
        tools=[find_sales, send_report],
        middleware=middleware,
        checkpointer=persist.checkpointer,
        name="reporter",
    )
    return persist.attach(agent)


# --- A day at Acme -------------------------------------------------------------------------------

APPROVE = {"type": "approve"}
REJECT = {"type": "reject", "message": "The stores report by themselves on Friday."}


def ask(persist: Persist, thread_id: str, request: str) -> None:
    print(f"> {request}")
    agent = make_agent(persist)
    try:
        agent.invoke({"messages": request}, persist.config(thread_id, user="ann"))
    except QuotaExceeded as error:
        print(f"Refused: {error}.\n")


def decide(persist: Persist, thread_id: str, decision: dict[str, Any]) -> None:
    """What a manager does, maybe in another process, hours later."""
    agent = make_agent(persist)
    for event in persist.history.pending(thread=thread_id):
        (action,) = event.event_data["action_requests"]
        print(f"  {action['name']} {action['args']}: {decision['type']}")
        answer: Command[Any] = Command(resume={event.interrupt_id: {"decisions": [decision]}})
        said = agent.invoke(answer, persist.config(thread_id, user="max"))
        print(f"{said['messages'][-1].text}\n")


def rate(persist: Persist, thread_id: str, turn: int, rating: int, comment: str) -> None:
    persist.feedback.record(thread_id, turn=turn, rating=rating, comment=comment, user="ann")


# --- What is recorded of it ----------------------------------------------------------------------

QUERIES = {
    "Plans": """\
SELECT w.turn, p.intent #>> '{}' AS intent, p.status, p.completed_todos AS done,
       p.total_todos AS todos, v.versions, p.actual_cost AS usd
FROM langgraph_persist.plans p
JOIN langgraph_persist.workflows w ON w.thread_id = p.thread_id AND w.id = p.workflow_id
JOIN (
    SELECT thread_id, plan_id, string_agg(change_type, ', ' ORDER BY version) AS versions
    FROM langgraph_persist.plan_versions GROUP BY thread_id, plan_id
) v ON v.thread_id = p.thread_id AND v.plan_id = p.id
WHERE p.thread_id = :thread_id ORDER BY w.turn""",
    "Todos, and what they took": """\
SELECT t.title, t.status, u.username AS approved_by, r.tool_name, r.api_calls_count AS calls,
       r.tokens_used AS tokens, r.execution_time_ms AS ms
FROM langgraph_persist.todos t
LEFT JOIN langgraph_persist.execution_results r ON r.thread_id = t.thread_id AND r.todo_id = t.id
LEFT JOIN langgraph_persist.users u ON u.id = t.approved_by
WHERE t.thread_id = :thread_id ORDER BY t.created_at, t.title""",
    "Approvals": """\
SELECT h.event_type, h.event_data #>> '{action_requests,0,args,to}' AS to, t.title AS todo,
       h.user_decision AS decision, u.username AS by,
       h.user_input #>> '{decisions,0,message}' AS reason
FROM langgraph_persist.hitl_events h
LEFT JOIN langgraph_persist.todos t ON t.thread_id = h.thread_id AND t.id = h.todo_id
LEFT JOIN langgraph_persist.users u ON u.id = h.user_id
WHERE h.thread_id = :thread_id ORDER BY h.requested_at""",
    "Tools": """\
SELECT k.name, k.description, count(*) AS calls, avg(x.execution_time_ms) AS avg_ms
FROM langgraph_persist.tool_executions x
JOIN langgraph_persist.tools k ON k.id = x.tool_id
WHERE x.thread_id = :thread_id AND k.name <> 'write_todos' GROUP BY k.id ORDER BY k.name""",
    "Feedback": """\
SELECT w.turn, u.username, f.rating, f.comment, p.status AS plan, p.completed_todos AS done
FROM langgraph_persist.feedback f
JOIN langgraph_persist.workflows w ON w.thread_id = f.thread_id AND w.id = f.workflow_id
JOIN langgraph_persist.plans p ON p.thread_id = f.thread_id AND p.workflow_id = f.workflow_id
JOIN langgraph_persist.users u ON u.id = f.user_id
WHERE f.thread_id = :thread_id ORDER BY w.turn""",
    "Requests": """\
SELECT w.turn, w.user_input, w.status, w.total_tokens AS tokens, w.cost_usd AS usd,
       w.active_ms, w.duration_ms - w.active_ms AS waited_ms
FROM langgraph_persist.workflows w
WHERE w.thread_id = :thread_id ORDER BY w.turn""",
}


def main() -> None:
    # LangChain warns of whatever a callback raises; the refusal is shown here.
    logging.getLogger("langchain_core.callbacks").setLevel(logging.ERROR)
    thread_id = f"reports-{uuid.uuid4().hex[:8]}"
    prices: Any = {"offline-agent-1": {"input": "1.25", "output": 10}}
    with Persist(prices=prices) as persist:
        acme = f"acme-{uuid.uuid4().hex[:8]}"
        persist.organizations.save(
            acme, name="Acme", max_daily_requests=2, max_monthly_tokens=50_000, max_users=5
        )
        persist.users.save("ann", organization=acme)
        persist.users.save("max", organization=acme, role="manager")

        ask(persist, thread_id, "Tell the board how July went")
        decide(persist, thread_id, APPROVE)
        rate(persist, thread_id, 1, 5, "just in time")
        ask(persist, thread_id, "And now August")
        decide(persist, thread_id, REJECT)
        rate(persist, thread_id, 2, 2, "August is missing")
        ask(persist, thread_id, "And September")

        for quota in persist.organizations.quotas(acme):
            print(f"{quota.name}: {quota.used:,} of {quota.limit:,}")
        print()
        print_queries(persist.engine, QUERIES, thread_id=thread_id)


if __name__ == "__main__":
    main()
