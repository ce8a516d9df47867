"""What public methods are given by mistake is refused, and told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest

from langgraph_persist import Persist
from langgraph_persist.arguments import Count, Moment, Name, Rating, Rule, checked, uuid_of
from langgraph_persist.errors import ConfigurationError, PersistError
from tests.graphs import chain_of

NOON = datetime(2026, 1, 2, 12)


@checked
class Things:
    """Takes one of each."""

    def name(self, value: Name) -> Any:
        return value

    def any(self, value: Any, *rest: str, **more: int) -> Any:
        return value, rest, more

    def whole(self, value: int) -> Any:
        return value

    def number(self, value: float) -> Any:
        return value

    def count(self, value: Count | None = None) -> Any:
        return value

    def rating(self, value: Rating = "unrated") -> Any:  # type: ignore[assignment]
        return value

    def moment(self, value: Moment) -> Any:
        return value

    def day(self, value: date) -> Any:
        return value

    def one_of(self, value: Literal["a", "b"] | Sequence[Literal["a", "b"]]) -> Any:
        return value

    def words(self, value: Collection[str]) -> Any:
        return value

    def mapping(self, value: Mapping[str, Any]) -> Any:
        return value

    def call(self, value: Callable[..., Any]) -> Any:
        return value

    def even(self, value: Annotated[int, Rule(lambda n: n % 2 == 0, "an even number")]) -> Any:
        return value

    async def later(self, value: UUID | str) -> Any:
        return value


GOOD = [
    ("name", "x"),
    ("any", object()),
    ("whole", 2**100),
    ("number", 1),
    ("number", 0.5),
    ("count", None),
    ("count", 1),
    ("rating", "unrated"),
    ("rating", 5),
    ("moment", NOON.replace(tzinfo=UTC)),
    ("day", date(2026, 1, 2)),
    ("one_of", "b"),
    ("one_of", ["a", "b"]),
    ("words", {"x"}),
    ("words", ()),
    ("mapping", {"x": 1}),
    ("call", print),
    ("even", 4),
]

BAD = [
    ("name", "", "value is a text that is not empty, not ''"),
    ("name", " \n", "value is a text that is not empty"),
    ("name", None, "value is a text that is not empty, not None"),
    ("name", b"x", "value is a text that is not empty, not a bytes"),
    ("whole", 1.5, "value is a whole number, not 1.5"),
    ("whole", True, "value is a whole number, not True"),
    ("number", "1", "value is a number, not '1'"),
    ("count", 0, "value is a whole number from 1, not 0"),
    ("count", 2**63, "value is a whole number from 1, not 9223"),
    ("rating", 6, "value is a whole number from 1 to 5, not 6"),
    ("moment", NOON, r"with a time zone, as datetime.now\(UTC\), not 2026-01-02 12:00:00"),
    ("moment", "2026-01-01", "value is a datetime with a time zone"),
    ("day", NOON, "value is a date, not 2026-01-02 12:00:00"),
    ("one_of", "c", "value is 'a', 'b' or a Sequence, not 'c'"),
    ("one_of", ["c"], "value is 'a', 'b' or a Sequence, not a list"),
    ("words", "x", "value is a Collection, not 'x'"),
    ("words", [1], "value is a Collection, not a list"),
    ("mapping", [("x", 1)], "value is a mapping, not a list"),
    ("call", 3, "value is a Callable, not 3"),
    ("even", 3, "value is an even number, not 3"),
]


@pytest.mark.parametrize(("method", "value"), GOOD)
def test_what_fits_is_taken(method: str, value: Any) -> None:
    found = getattr(Things(), method)(value)
    assert found == ((value, (), {}) if method == "any" else value)


@pytest.mark.parametrize(("method", "value", "told"), BAD)
def test_what_does_not_fit_is_refused(method: str, value: Any, told: str) -> None:
    for args, kwargs in (([value], {}), ([], {"value": value})):
        with pytest.raises(ConfigurationError, match=told):
            getattr(Things(), method)(*args, **kwargs)


async def test_coroutine_functions_stay_so() -> None:
    assert inspect.iscoroutinefunction(Things.later)
    assert await Things().later("x") == "x"
    with pytest.raises(ConfigurationError, match="value is a UUID or a text, not 3"):
        await Things().later(3)  # type: ignore[arg-type]


def test_a_call_that_is_none_is_pythons_to_refuse() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'value'"):
        Things().name()  # type: ignore[call-arg]


def test_a_uuid_may_be_a_text() -> None:
    assert uuid_of("id", str(UUID(int=1))) == uuid_of("id", UUID(int=1)) == UUID(int=1)
    with pytest.raises(ConfigurationError, match="plan is a UUID, not 'x'"):
        uuid_of("plan", "x")


def test_a_workflow_is_no_node(persist: Persist) -> None:
    workflow: Any = persist.history.last()
    for ask in (persist.history.diff, persist.history.replay_config):
        with pytest.raises(ConfigurationError, match="node is a Node, not a Workflow"):
            ask(workflow)
    with pytest.raises(ConfigurationError, match="b is a Workflow, not a Node"):
        persist.history.compare(workflow, workflow.nodes[0])


# --- all there is ---

ODD: list[Any] = [
    None,
    "",
    "x\x00\ud800",
    "a" * 100_000,
    -1,
    0,
    10**30,
    2.5,
    float("nan"),
    True,
    b"x",
    object(),
    [],
    [None],
    {},
    {"a": object()},
    NOON,
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    date.max,
    timedelta(1),
    UUID(int=0),
    print,
]


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated) as opened:
        graph = opened.attach(chain_of(["a"]).compile(checkpointer=opened.checkpointer))
        graph.invoke({"count": 0}, opened.config("t", user="ann", organization="acme"))
        yield opened


PARTS = (
    "history",
    "sessions",
    "evaluations",
    "feedback",
    "prompts",
    "reports",
    "usage",
    "organizations",
    "users",
    "recorder",
)


@pytest.mark.parametrize("part", PARTS)
def test_no_mistake_is_told_by_the_database(persist: Persist, part: str, tmp_path: Path) -> None:
    """Or by Python, which knows as little what was meant."""
    workflow = persist.history.last()
    given = {
        "thread": "t",
        "thread_id": "t",
        "slug": "acme",
        "username": "ann",
        "model": "m",
        "name": "x",
        "analysis": "fine",
        "score": 50,
        "evaluator": lambda turn: 50,
        "file": tmp_path / "out.jsonl",
        "node": workflow.nodes[0],
        "workflow": workflow,
        "id": workflow.id,
        "a": workflow,
        "b": workflow,
        "error": ValueError("x"),
    }
    api = getattr(persist, part)
    tried = 0
    natural = {"file": (OSError, ValueError)}  # Python says what is wrong with a path
    for name in [n for n in dir(api) if not n.startswith("_") and n not in ("rows", "AREAS")]:
        method = getattr(api, name)
        if inspect.iscoroutinefunction(method):
            continue  # the same, later
        parameters = inspect.signature(method).parameters.values()
        needed = {p.name: given[p.name] for p in parameters if p.default is p.empty}
        for parameter in parameters:
            for odd in ODD:
                recording = part == "recorder" and name not in ("start_workflow",)
                opened = persist.recorder.start_workflow() if recording else None
                try:
                    made = method(**needed | {parameter.name: odd})
                    if name == "start_workflow":
                        opened = made
                except PersistError:
                    pass
                except natural.get(parameter.name, ()):
                    pass
                except Exception as error:
                    error.add_note(f"from {part}.{name}({parameter.name}={odd!r:.50})")
                    raise
                finally:
                    if opened is not None and not opened.recorded.ended:
                        opened.end("completed")
                tried += 1
    assert tried > len(ODD)
    persist.flush()
    assert persist.checkpointer.journal.failures.counts == {}
