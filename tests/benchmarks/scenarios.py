"""What other handlers make of the scenarios: ``python -m tests.benchmarks.scenarios [--write]``.

By hand, with the extras ``dev`` and ``bench``. Langfuse's, MLflow's and OpenInference's handlers
are attached to the same runs, called by ``invoke`` and ``ainvoke``; each node that this project
records is looked for among their spans. ``--write`` puts the table into SCENARIOS.md.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psycopg
from langgraph.checkpoint.memory import InMemorySaver
from psycopg.rows import dict_row

from langgraph_persist import Persist
from tests.benchmarks.tracers import TRACERS, Tracer
from tests.scenarios import MARK, PAGE, SCENARIOS, Scenario, Stage, Way, page

WAYS = [Way("invoke"), Way("ainvoke")]
PACKAGES = {
    "langfuse": ("Langfuse", "langfuse"),
    "mlflow": ("MLflow", "mlflow-skinny"),
    "openinference": ("OpenInference", "openinference-instrumentation-langchain"),
}
NODES = """
SELECT n.node_name AS name, n.status, n.cached, n.node_type, p.node_name AS parent
FROM langgraph_persist.nodes n
LEFT JOIN langgraph_persist.nodes p ON p.thread_id = n.thread_id AND p.id = n.parent_node_id
"""


class Seen(NamedTuple):
    """A span: its name, the names of those around it, whether it is an error, and its trace."""

    name: str
    around: frozenset[str]
    failed: bool
    trace: Any


class Truth(NamedTuple):
    """A scenario as this project records it."""

    nodes: Sequence[dict[str, Any]]
    workflows: int


def record(persist: Persist, scenario: Scenario, way: Way) -> Truth:
    """Play a scenario on an empty record, and read it."""
    with psycopg.connect(persist.url, autocommit=True, row_factory=dict_row) as conn:
        for table in ("langgraph_persist.sessions", "checkpoints", "checkpoint_writes"):
            conn.execute(f"DELETE FROM {table}".encode())
        scenario.play(Stage(persist.checkpointer, way, persist.attach))
        persist.flush()
        counted = conn.execute("SELECT count(*) AS n FROM langgraph_persist.workflows").fetchone()
        assert counted is not None
        return Truth(conn.execute(NODES.encode()).fetchall(), counted["n"])


def watch(tracer: Tracer, scenario: Scenario, way: Way) -> list[Seen]:
    """Play a scenario with another handler attached, and read its spans."""
    tracer.read()

    def attach(runnable: Any) -> Any:
        return runnable.with_config(callbacks=[tracer.handler])

    scenario.play(Stage(InMemorySaver(), way, attach))
    tracer.finish()
    spans = {_id(span): span for span in tracer.read()}
    return [_seen(span, spans) for span in spans.values()]


def _id(span: Any) -> Any:
    return span.context.span_id if hasattr(span, "context") else span.span_id


def _parent_id(span: Any) -> Any:
    if hasattr(span, "parent_id"):
        return span.parent_id
    return span.parent.span_id if span.parent is not None else None


def _seen(span: Any, spans: dict[Any, Any]) -> Seen:
    around, above = set(), spans.get(_parent_id(span))
    while above is not None:
        around.add(_name(above))
        above = spans.get(_parent_id(above))
    trace = span.context.trace_id if hasattr(span, "context") else span.trace_id
    return Seen(_name(span), frozenset(around), _failed(span), trace)


def _name(span: Any) -> str:
    """MLflow numbers spans of the same name."""
    return re.sub(r"_\d+$", "", span.name or "")


def _failed(span: Any) -> bool:
    level = (span.attributes or {}).get("langfuse.observation.level")
    return level == "ERROR" or "ERROR" in str(span.status.status_code)


def findings(truth: Truth, seen: list[Seen]) -> Iterator[str]:
    """What is wrong or missing in the spans, node by node."""
    names = Counter(span.name for span in seen)
    wanted = Counter(n["name"] for n in truth.nodes if _ran(n))
    for name, count in sorted(wanted.items()):
        if names[name] < count:
            yield f"`{name}` missing" if not names[name] else f"{names[name]} of {count} `{name}`"
    for node in truth.nodes:
        found = [span for span in seen if span.name == node["name"]]
        yield from _of_node(node, found)
    if (traces := len({span.trace for span in seen})) != truth.workflows:
        yield f"traces: {traces}, requests: {truth.workflows}"


def _ran(node: dict[str, Any]) -> bool:
    return not node["cached"] and node["status"] != "skipped" and node["node_type"] != "update"


def _of_node(node: dict[str, Any], found: list[Seen]) -> Iterator[str]:
    name = node["name"]
    if not _ran(node):
        kind = "cached" if node["cached"] else node["status"]
        yield f"`{name}` {'edit' if node['node_type'] == 'update' else kind}: missing"
        return
    failed = any(span.failed for span in found)
    if node["status"] == "failed" and found and not failed:
        yield f"`{name}` failed: not marked"
    if node["status"] == "interrupted" and failed:
        yield f"`{name}` interrupted: an error"
    if node["status"] == "completed" and found and all(span.failed for span in found):
        yield f"`{name}` completed: an error"
    if node["parent"] and found and not any(node["parent"] in span.around for span in found):
        yield f"`{name}` not in `{node['parent']}`"


def compare(persist: Persist) -> Iterator[tuple[Scenario, dict[str, str]]]:
    """For each scenario, what each handler gets wrong or misses."""
    with ExitStack() as stack:
        tracers = {name: make(stack) for name, make in TRACERS.items()}
        for scenario in SCENARIOS:
            found: dict[str, dict[str, None]] = {name: {} for name in tracers}
            for way in [way for way in scenario.ways if way in WAYS] or scenario.ways[:1]:
                truth = record(persist, scenario, way)
                if not truth.workflows:  # it needs a database
                    break
                for name, tracer in tracers.items():
                    seen = watch(tracer, scenario, way)
                    found[name] |= dict.fromkeys(findings(truth, seen))
            if truth.workflows:
                yield scenario, {name: "; ".join(said) or "-" for name, said in found.items()}


def table(persist: Persist) -> str:
    """The comparison as a part of the page."""
    made = ", ".join(f"{title} {version(package)}" for title, package in PACKAGES.values())
    titles = " | ".join(title for title, _ in PACKAGES.values())
    lines = [
        MARK,
        "",
        f"What {made} get wrong or miss,",
        "on the same runs by `invoke` and `ainvoke`; `-`: every node is there, in its place, with",
        "its status. Made by `tests/benchmarks/scenarios.py`.",
        "",
        f"| scenario | {titles} |",
        f"| --- |{' --- |' * len(PACKAGES)}",
    ]
    for scenario, said in compare(persist):
        lines.append(f"| {scenario.title} | {' | '.join(said[name] for name in PACKAGES)} |")
    return "\n".join(lines)


def main() -> None:
    with TemporaryDirectory() as folder, Persist(directory=folder) as persist:
        text = table(persist)
    print(text)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(text), "utf-8")


if __name__ == "__main__":
    main()
