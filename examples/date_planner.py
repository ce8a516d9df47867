"""A trip planner: three days of one user, of which one goes wrong and one needs less.

    python examples/date_planner.py

The state becomes columns of the workflow and its session (``promote``), and rows of a table of the
application's own (``project``), in the transaction of its checkpoint. One request fails in the
middle (its map service knows no restaurant), one skips a node (nobody wants coffee); the history
shows both, with the state each node left behind.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from offline_model import OfflineModel
from printing import print_queries
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from langgraph_persist import Persist
from langgraph_persist.projections import ProjectionContext

# --- The map service -----------------------------------------------------------------------------

Place = dict[str, Any]

PLACES: dict[str, dict[str, list[Place]]] = {
    "Lisbon": {
        "activity": [
            {"name": "Tile museum", "km": 2.1},
            {"name": "Tram 28", "km": 0.4},
            {"name": "Sintra palace", "km": 25.0},
        ],
        "dining": [{"name": "Taberna da Rua", "km": 0.8}, {"name": "Ponto Final", "km": 4.2}],
        "cafe": [{"name": "Café da Garagem", "km": 0.9}],
    },
    "Reykjavik": {"activity": [{"name": "Sky lagoon", "km": 6.5}], "dining": [], "cafe": []},
}


@tool
def find_places(location: str, kind: str, radius_km: float) -> list[Place]:
    """The places of a kind around a location."""
    found = [place for place in PLACES[location][kind] if place["km"] <= radius_km]
    if not found:
        raise LookupError(f"no {kind} within {radius_km:g} km of {location}")
    return found


# --- The planner ---------------------------------------------------------------------------------


class State(TypedDict, total=False):
    user_input: str
    time_settings: str
    date_theme: str
    search_radius: float
    parsed_location: str
    user_intent: list[str]
    activity_places: list[Place]
    dining_places: list[Place]
    cafe_places: list[Place]
    final_itinerary: str


def write_itinerary(messages: Sequence[BaseMessage]) -> str:
    places = messages[-1].text.splitlines()
    return "\n".join(
        f"{hour}:00 {place}" for hour, place in zip((10, 13, 16), places, strict=False)
    )


planner = OfflineModel(model_name="offline-planner-1", reply=write_itinerary)


def parse_request(state: State) -> State:
    wishes = {"see": "activity", "eat": "dining", "coffee": "cafe"}
    words = re.findall(r"\w+", state["user_input"])
    return {
        "parsed_location": next(word for word in words if word in PLACES),
        "user_intent": [kind for wish, kind in wishes.items() if wish in words],
    }


def search(state: State, config: RunnableConfig, kind: str) -> list[Place]:
    arguments = {
        "location": state["parsed_location"],
        "kind": kind,
        "radius_km": state["search_radius"],
    }
    places: list[Place] = find_places.invoke(arguments, config)
    return places


def find_activities(state: State, config: RunnableConfig) -> State:
    return {"activity_places": search(state, config, "activity")}


def find_dining(state: State, config: RunnableConfig) -> State:
    return {"dining_places": search(state, config, "dining")}


def find_cafes(state: State, config: RunnableConfig) -> State:
    return {"cafe_places": search(state, config, "cafe")}


def coffee_or_not(state: State) -> str:
    return "find_cafes" if "cafe" in state["user_intent"] else "write_plan"


def write_plan(state: State, config: RunnableConfig) -> State:
    places = [
        *state["activity_places"][:1],
        *state["dining_places"][:1],
        *state.get("cafe_places", [])[:1],
    ]
    prompt = [
        SystemMessage(f"Plan a {state['date_theme']} day, {state['time_settings']}."),
        HumanMessage("\n".join(place["name"] for place in places)),
    ]
    return {"final_itinerary": planner.invoke(prompt, config).text}


builder = StateGraph(State)
for node in (parse_request, find_activities, find_dining, find_cafes, write_plan):
    builder.add_node(node)
builder.add_edge(START, "parse_request")
builder.add_edge("parse_request", "find_activities")
builder.add_edge("find_activities", "find_dining")
builder.add_conditional_edges("find_dining", coffee_or_not, ["find_cafes", "write_plan"])
builder.add_edge("find_cafes", "write_plan")
builder.add_edge("write_plan", END)

# --- What the application keeps of it ------------------------------------------------------------

PROMOTE = {
    "settings": ["time_settings", "date_theme", "search_radius"],
    "result": "final_itinerary",
    "user_input": "user_input",
    "current_context": ["parsed_location", "user_intent"],
}


class Base(DeclarativeBase):
    pass


class FoundPlace(Base):
    __tablename__ = "found_places"

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    km: Mapped[float]


def found_places(old: State, new: State, context: ProjectionContext) -> list[FoundPlace]:
    found: dict[str, list[Place]] = {
        "activity": new.get("activity_places", []),
        "dining": new.get("dining_places", []),
        "cafe": new.get("cafe_places", []),
    }
    return [
        FoundPlace(thread_id=context.thread_id, name=place["name"], kind=kind, km=place["km"])
        for kind, places in found.items()
        for place in places
    ]


# --- Three requests, then the history ------------------------------------------------------------

REQUESTS = [
    "Lisbon: something to see, somewhere to eat, and coffee",
    "Reykjavik: something to see and somewhere to eat",
    "Lisbon again, only to see and eat",
]


def plan_day(persist: Persist, user: str, request: str) -> None:
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, name="date_planner"))
    config = persist.config(f"date-{uuid.uuid4().hex[:8]}", user=user)
    asked: State = {
        "user_input": request,
        "time_settings": "from ten to six",
        "date_theme": "relaxed",
        "search_radius": 10,
    }
    try:
        print(graph.invoke(asked, config)["final_itinerary"])
    except LookupError as error:
        print(f"Sorry: {error}.")


def show_history(persist: Persist, user: str) -> None:
    print("History, newest first\n")
    for workflow in persist.history.workflows(user=user, limit=len(REQUESTS)):
        print(f"{workflow!r}\n    {workflow.user_input}")

    print("\nDetails, oldest first\n")
    for workflow in reversed(persist.history.workflows(user=user, limit=len(REQUESTS))):
        print(workflow.timeline())
        executed = {node.node_name for node in workflow.nodes if node.status != "skipped"}
        print(f"\nNever executed: {', '.join(builder.nodes.keys() - executed) or 'none'}")
        reached = [node for node in workflow.nodes if node.status == "completed"][-1]
        print(f"State after {reached.node_name}:")
        for channel, value in workflow.state_after(reached).items():
            print(f"    {channel}: {value!r}")
        print()


QUERIES = {
    "The requests in SQL: columns that the state fills": """\
SELECT w.user_input, w.settings ->> 'date_theme' AS theme, w.status, w.result #>> '{}' AS itinerary
FROM langgraph_persist.workflows w
WHERE w.name = 'date_planner' ORDER BY w.started_at""",
    "What went wrong, and where": """\
SELECT w.user_input, n.node_name, n.error_message, n.input_data ->> 'parsed_location' AS location
FROM langgraph_persist.nodes n
JOIN langgraph_persist.workflows w ON w.thread_id = n.thread_id AND w.id = n.workflow_id
WHERE w.name = 'date_planner' AND n.status = 'failed' ORDER BY n.started_at""",
    "The application's own table, by whom it was found for": """\
SELECT p.kind, p.name, p.km, count(*) AS found, string_agg(DISTINCT u.username, ', ') AS by
FROM found_places p
JOIN langgraph_persist.sessions s ON s.thread_id = p.thread_id
JOIN langgraph_persist.users u ON u.id = s.user_id
GROUP BY p.kind, p.name, p.km ORDER BY found DESC, p.name""",
    "Where sessions stand": """\
SELECT s.status, s.turns, s.current_context ->> 'parsed_location' AS location,
       s.current_context -> 'user_intent' AS wishes
FROM langgraph_persist.sessions s
WHERE s.current_context ? 'parsed_location' ORDER BY s.created_at""",
}


def main() -> None:
    with Persist(promote=PROMOTE) as persist:
        Base.metadata.create_all(persist.engine)
        persist.project(FoundPlace)(found_places)
        for request in REQUESTS:
            print(f"> {request}")
            plan_day(persist, "bob", request)
            print()
        show_history(persist, "bob")
        print_queries(persist.engine, QUERIES)


if __name__ == "__main__":
    main()
