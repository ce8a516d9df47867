"""A graph that branches, works in parallel, calls a tool and a model, and waits for a human.

Nothing in the graph knows of persistence: two lines attach it. Run it with ``make demo``; without
a URL it starts an embedded PostgreSQL in ``./.langgraph_persist/``.
"""

from __future__ import annotations

import json
import operator
import uuid
from collections.abc import Sequence
from textwrap import shorten
from typing import Annotated, TypedDict

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from offline_model import OfflineModel
from sqlalchemy import text

from langgraph_persist import Persist

# --- An ordinary LangGraph application -----------------------------------------------------------

LIBRARY = {
    "cats": ["Cats sleep 13 hours a day.", "A group of cats is called a clowder."],
    "owls": ["An owl turns its head by 270 degrees."],
}


class State(TypedDict, total=False):
    topic: str
    facts: Annotated[list[str], operator.add]
    outline: list[str]
    article: str
    published: bool


@tool
def search_library(topic: str) -> list[str]:
    """Facts about a topic."""
    return LIBRARY[topic]


def write_article(messages: Sequence[BaseMessage]) -> str:
    facts = messages[-1].text.splitlines()[1:]
    return f"What everyone should know. {' '.join(facts)} And that is all."


model = OfflineModel(reply=write_article)


def classify(state: State) -> State:
    return {"topic": state["topic"].strip().lower()}


def route(state: State) -> list[str]:
    return ["search", "plan"] if state["topic"] in LIBRARY else ["brainstorm"]


def search(state: State) -> State:
    return {"facts": search_library.invoke({"topic": state["topic"]})}


def plan(state: State) -> State:
    return {"outline": ["opening", "facts", "closing"]}


def brainstorm(state: State) -> State:
    return {"facts": [f"Nobody has written about {state['topic']} yet."]}


def write(state: State) -> State:
    prompt = [
        SystemMessage("You write short articles from facts."),
        HumanMessage("\n".join([f"Write about {state['topic']}:", *state["facts"]])),
    ]
    return {"article": model.invoke(prompt).text}


def review(state: State) -> State:
    return {"published": interrupt({"question": "Publish?", "article": state["article"]})}


builder = StateGraph(State)
for node in (classify, search, plan, brainstorm, write, review):
    builder.add_node(node)
builder.add_edge(START, "classify")
builder.add_conditional_edges("classify", route, ["search", "plan", "brainstorm"])
builder.add_edge(["search", "plan"], "write")
builder.add_edge("brainstorm", "write")
builder.add_edge("write", "review")
builder.add_edge("review", END)

# --- What you see afterwards ---------------------------------------------------------------------

SQL = """\
SELECT n.step, n.node_name, n.status, round(n.duration_ms::numeric, 1) AS ms,
       g.model_name, g.prompt_tokens, g.completion_tokens, s.state_data
FROM langgraph_persist.nodes n
LEFT JOIN langgraph_persist.generations g ON g.thread_id = n.thread_id AND g.node_id = n.id
LEFT JOIN langgraph_persist.node_states s ON s.thread_id = n.thread_id AND s.node_id = n.id
WHERE n.thread_id = :thread_id
ORDER BY n.started_at"""


def show(persist: Persist, thread_id: str) -> None:
    workflow = persist.history.last()

    print("Timeline\n")
    print(workflow.timeline())

    print("\nGenerations\n")
    for generation in workflow.generations:
        print(generation)
        for message in generation.prompt:
            print(f"    {message['type']}: {message['content']!r}")
        print(f"    -> {generation.output!r}")

    last = workflow.nodes[-1]
    print(f"\nState after {last.node_name}\n")
    print(json.dumps(workflow.state_after(last), indent=2))

    print("\nThe same in SQL\n")
    print(SQL.replace(":thread_id", f"'{thread_id}'"))
    print()
    with persist.engine.connect() as connection:
        for row in connection.execute(text(SQL), {"thread_id": thread_id}):
            print(" | ".join(shorten(str(value), 60) for value in row if value is not None))


def main() -> None:
    thread_id = f"article-{uuid.uuid4().hex[:8]}"
    with Persist() as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, name="article"))
        config = persist.config(thread_id, user="alice", organization="acme")

        graph.invoke({"topic": " Cats "}, config)  # stops at the interrupt of `review`
        graph.invoke(Command(resume=True), config)  # a human says yes

        show(persist, thread_id)


if __name__ == "__main__":
    main()
