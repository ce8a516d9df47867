"""Two services, each a process of its own, on one database: its users, its sessions, its limits.

    python examples/two_services.py

A planner makes itineraries. A booking service, which knows nothing of the planner's code, reads
them from the record and goes on in the same session. Requests to both count against the limit of
one organization, however many come at once. This script starts both, is the customer of both, and
shows what is in the database then.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypedDict

from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from offline_model import OfflineModel
from printing import print_queries

from langgraph_persist import Persist
from langgraph_persist.errors import NotRecorded, QuotaExceeded

Request = dict[str, str]
Answer = dict[str, str]
Service = Callable[[Request], Answer]

# --- The planner ---------------------------------------------------------------------------------


class Plan(TypedDict, total=False):
    wish: str
    itinerary: str


model = OfflineModel(
    model_name="offline-planner-1",
    reply=lambda messages: f"{messages[-1].text}: museum at 10, lunch at 13",
)


def write(state: Plan) -> Plan:
    return {"itinerary": model.invoke([HumanMessage(state["wish"])]).text}


def planner(persist: Persist) -> Service:
    builder = StateGraph(Plan)
    builder.add_node(write)
    builder.add_edge(START, "write")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, name="planner"))

    def plan(request: Request) -> Answer:
        config = persist.config(request["thread"], user=request["user"])
        return {"said": graph.invoke({"wish": request["wish"]}, config)["itinerary"]}

    return plan


# --- The booking service -------------------------------------------------------------------------


class Booking(TypedDict, total=False):
    offer: str
    confirmation: str


def reserve(state: Booking) -> Booking:
    return {"confirmation": f"Booked. {state['offer']}"}


def booking(persist: Persist) -> Service:
    builder = StateGraph(Booking)
    builder.add_node(reserve)
    builder.add_edge(START, "reserve")
    graph = persist.attach(builder.compile(checkpointer=persist.checkpointer, name="booking"))

    def book(request: Request) -> Answer:
        workflows = persist.history.workflows(thread=request["thread"], status="completed")
        planned = next((found for found in workflows if found.name == "planner"), None)
        if planned is None:
            raise NotRecorded("nothing is planned yet")
        offer = planned.state_after("write")["itinerary"]
        config = persist.config(request["thread"], user=planned.user, plan=str(planned.id))
        return {"said": graph.invoke({"offer": offer}, config)["confirmation"]}

    return book


# --- A process: answers requests, a line each ----------------------------------------------------

SERVICES = {"planner": planner, "booking": booking}


def serve(name: str) -> None:
    # LangChain warns of whatever a callback raises; refusals are answered here.
    logging.getLogger("langchain_core.callbacks").setLevel(logging.ERROR)
    with Persist() as persist:
        service = SERVICES[name](persist)
        for line in sys.stdin:
            try:
                answer = service(json.loads(line))
            except QuotaExceeded as error:
                answer = {"refused": str(error)}
            print(json.dumps(answer), flush=True)


@contextmanager
def started(name: str) -> Iterator[Service]:
    """The service in a process of its own, as a function."""
    command = [sys.executable, __file__, name]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def ask(request: Request) -> Answer:
            print(json.dumps(request), file=requests, flush=True)
            line = answers.readline()
            if not line:
                raise RuntimeError(f"the service {name} has ended, with {process.wait()}")
            answer: Answer = json.loads(line)
            return answer

        yield ask


# --- The customers of both -----------------------------------------------------------------------

QUERIES = {
    "Sessions: who was served by what, in which process": """\
SELECT w.thread_id AS session, w.turn, u.username, w.name AS service, w.status,
       dense_rank() OVER (ORDER BY r.instance_id) AS process
FROM langgraph_persist.workflows w
JOIN langgraph_persist.workflow_runs r ON r.thread_id = w.thread_id AND r.workflow_id = w.id
JOIN langgraph_persist.users u ON u.id = w.user_id
JOIN langgraph_persist.organizations o ON o.id = w.organization_id
WHERE o.slug = :acme AND w.status <> 'refused' ORDER BY w.thread_id, w.turn""",
    "What was planned in the one and booked in the other": """\
SELECT p.result ->> 'itinerary' AS planned, b.result ->> 'confirmation' AS booked
FROM langgraph_persist.workflows b
JOIN langgraph_persist.workflows p
    ON p.thread_id = b.thread_id AND p.id::text = b.metadata ->> 'plan'
JOIN langgraph_persist.organizations o ON o.id = b.organization_id
WHERE o.slug = :acme AND b.status = 'completed' ORDER BY b.thread_id, b.turn LIMIT 1""",
    "Requests of the organization": """\
SELECT w.status, count(*) AS requests, o.max_daily_requests AS allowed
FROM langgraph_persist.workflows w
JOIN langgraph_persist.organizations o ON o.id = w.organization_id
WHERE o.slug = :acme GROUP BY w.status, o.id ORDER BY w.status""",
}


def ask_at_once(asks: list[tuple[Service, Request]]) -> list[Answer]:
    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(lambda asked: asked[0](asked[1]), asks))


def main() -> None:
    acme = f"acme-{uuid.uuid4().hex[:8]}"
    lisbon, rome = (
        {"thread": f"{city}-{acme}", "user": user, "wish": f"A day in {city}"}
        for city, user in (("Lisbon", "clara"), ("Rome", "david"))
    )
    with Persist() as persist:
        persist.organizations.save(acme, name="Acme", max_daily_requests=6)
        for user in ("clara", "david"):
            persist.users.save(user, organization=acme)
        with started("planner") as plan, started("booking") as book:
            for said in (plan(lisbon), book(lisbon), plan(rome)):
                print(said["said"])
            print("\nNow both at once, as often as the organization may, and more:")
            for _ in range(4):
                for said in ask_at_once([(plan, lisbon), (book, rome)]):
                    print(said.get("said", "Refused."))
            print(f"{book(rome)['refused']}\n")
        print_queries(persist.engine, QUERIES, acme=acme)


if __name__ == "__main__":
    serve(sys.argv[1]) if sys.argv[1:] else main()
