"""Any Python object becomes JSON that Python and PostgreSQL read back, and nothing raises."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import importlib.util
import json
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, UserDict, UserList, deque, namedtuple
from collections.abc import Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, field_serializer

from langgraph_persist.extract import clean_text, to_json, to_json_bytes

FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


class Hostile:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def _refuse(self, *args: object) -> Any:
        raise RuntimeError("no")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = _refuse


class Rude:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: Any


Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Place:
    name: str
    at: Point | None = None
    tags: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int
    b: int = dataclasses.field(init=False)


class Plan(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")

    title: str
    key: SecretStr = SecretStr("hunter2")
    internal: str = Field(default="no", exclude=True)
    messages: list[Any] = []
    inner: Plan | None = None


class Masked(BaseModel):
    card: str

    @field_serializer("card")
    def last_digits(self, value: str) -> str:
        return value[-4:]


class Broken(BaseModel):
    card: str

    @field_serializer("card")
    def fail(self, value: str) -> str:
        raise RuntimeError(value)


class Plain:
    pass


class Text(str):
    __slots__ = ()


@tool
def search(query: str) -> str:
    """Searches."""
    return query


def plain(value: Any) -> Any:
    return json.loads(to_json_bytes(value))


NAIVE = dt.datetime(2025, 1, 2, 3, 4, 5)
ID = uuid.UUID(int=7)

CASES: list[tuple[Any, Any]] = [
    (None, None),
    (Text("a\x00b"), "a\ufffdb"),
    ("a\ud800b", "a\ufffdb"),
    ("\\u0000 \\\\u0000 \x00\x00", "\\u0000 \\\\u0000 \ufffd\ufffd"),
    ({"k\x00": 1, "l\udfff": 2}, {"k\ufffd": 1, "l\ufffd": 2}),
    (2**64 - 1, 2**64 - 1),
    ([2**70, -(2**70)], [2**70, -(2**70)]),
    (float("nan"), None),
    ([float("inf"), 2**70], [None, 2**70]),
    (
        {1: 1, None: 2, False: 3, 2.5: 4, ID: 5},
        {"1": 1, "null": 2, "false": 3, "2.5": 4, str(ID): 5},
    ),
    (
        {("a", 1): 1, 2**70: 2, b"x": 3, None: 4, False: 5, 1.5: 6, "a\ud800": 7},
        {
            '["a",1]': 1,
            str(2**70): 2,
            '{"base64":"eA=="}': 3,
            "null": 4,
            "false": 5,
            "1.5": 6,
            "a\ufffd": 7,
        },
    ),
    (Color.RED, "red"),
    ({Color.RED: Level.HIGH, "big": 2**70}, {"red": 3, "big": 2**70}),
    (NAIVE, "2025-01-02T03:04:05"),
    ([NAIVE.replace(tzinfo=dt.UTC), 2**70], ["2025-01-02T03:04:05+00:00", 2**70]),
    (dt.date(2025, 1, 2), "2025-01-02"),
    (dt.time(3, 4, tzinfo=dt.UTC), "03:04:00+00:00"),
    (dt.timedelta(days=1, seconds=2.5), "PT86402.5S"),
    (dt.timedelta(0), "PT0S"),
    (dt.timedelta(seconds=-100), "PT-100S"),
    (Decimal("1.10"), 1.1),
    (Decimal("NaN"), "NaN"),
    (Decimal("1e+900000"), "1E+900000"),
    (ID, str(ID)),
    ([ID, 2**70], [str(ID), 2**70]),
    (PurePosixPath("/a/b"), "/a/b"),
    ({"b", "a"}, ["a", "b"]),
    (frozenset({1}), [1]),
    ({1, "a"}, ["a", 1]),
    (deque([1, 2]), [1, 2]),
    ((1, (2,)), [1, [2]]),
    (UserList([1]), [1]),
    ({"a": 1}.keys(), ["a"]),
    (UserDict({"a": 1}), {"a": 1}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (OrderedDict(a=1), {"a": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (Point(1, Pair(2, 3)), {"x": 1, "y": {"left": 2, "right": 3}}),
    (Place("x", Point(1, 2), {"t"}), {"name": "x", "at": {"x": 1, "y": 2}, "tags": ["t"]}),
    (Slotted(1), {"a": 1}),
    (b"\x00\xff", {"base64": "AP8="}),
    (bytearray(b"a"), {"base64": "YQ=="}),
    (ValueError("a\x00"), {"type": "ValueError", "message": "a\ufffd"}),
    (int, "int"),
    (Place, f"{__name__}.Place"),
    (plain, f"{__name__}.plain"),
    (len, "len"),
    (functools.partial(plain, 1), f"partial({__name__}.plain)"),
    (1 + 2j, "(1+2j)"),
    (Plain(), f"<{__name__}.Plain>"),
    ((letter for letter in "ab"), "<generator object <genexpr>>"),
    (Hostile(), f"<unreadable {__name__}.Hostile>"),
    (
        {"ok": 1, "bad": Hostile(), "big": 2**70},
        {"ok": 1, "bad": f"<unreadable {__name__}.Hostile>", "big": 2**70},
    ),
    (SecretStr("hunter2"), "**********"),
    (
        Plan.model_validate({"title": "t", "inner": Plan(title="u"), "more": 1}),
        {
            "title": "t",
            "key": "**********",
            "messages": [],
            "inner": {"title": "u", "key": "**********", "messages": [], "inner": None},
            "more": 1,
        },
    ),
    (Plan.model_construct(title="half"), None),
    (Masked(card="4111111111111111"), {"card": "1111"}),
    (Broken(card="4111"), {"card": "4111"}),
    (RootModel[list[int]]([1]), [1]),
    (
        Document("text", metadata={"source": "a"}),
        {"page_content": "text", "metadata": {"source": "a"}},
    ),
    (HumanMessage("hi"), {"type": "human", "content": "hi"}),
    (RemoveMessage(id="1"), {"type": "remove", "content": "", "id": "1"}),
    (
        ToolMessage("42", tool_call_id="c", artifact={"n": {1}}),
        {
            "type": "tool",
            "content": "42",
            "tool_call_id": "c",
            "artifact": {"n": [1]},
            "status": "success",
        },
    ),
    (
        Command(update={"a": 1}, goto="b"),
        {"type": "Command", "update": {"a": 1}, "goto": "b"},
    ),
    (Send("n", {"a": 1}), {"type": "Send", "node": "n", "arg": {"a": 1}}),
    (Interrupt("why", id="i"), {"type": "Interrupt", "id": "i", "value": "why"}),
    (search, {"type": "langchain_core.tools.structured.StructuredTool", "name": "search"}),
    (
        FakeListChatModel(responses=["a"]),
        {"type": "langchain_core.language_models.fake_chat_models.FakeListChatModel"},
    ),
]

if importlib.util.find_spec("numpy"):
    import numpy as np

    CASES += [
        (np.float64(1.5), 1.5),
        (np.int64(7), 7),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.arange(6)[::2], [0, 2, 4]),
        (np.array(["a", None], dtype=object), ["a", None]),
        ([np.int64(7), np.float32(0.5), 2**70], [7, 0.5, 2**70]),
    ]

if sys.version_info < (3, 14):
    from pydantic import v1

    class OldPlan(v1.BaseModel):
        title: str
        key: v1.SecretStr = v1.SecretStr("hunter2")
        internal: str = v1.Field(default="no", exclude=True)

    CASES += [(OldPlan(title="t"), {"title": "t", "key": "**********"})]


@pytest.mark.parametrize(("value", "expected"), CASES, ids=lambda v: type(v).__name__)
def test_kinds_of_values(value: Any, expected: Any) -> None:
    found = plain(value)
    assert expected is None or found == expected
    assert not FORBIDDEN.search(json.dumps(found, ensure_ascii=False))


def test_an_integer_too_long_for_any_database_is_kept_in_hexadecimal() -> None:
    assert plain(1 << 5000) == hex(1 << 5000)


def test_cycles_and_depth_are_marked() -> None:
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = [cycle]
    assert plain(cycle) == {"a": 1, "self": ["<circular reference>"]}
    place = Place("x")
    place.tags = {"a": place}  # type: ignore[assignment]
    assert plain(place)["tags"] == {"a": "<circular reference>"}
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert b"<nested too deep>" in to_json_bytes(deep)


def test_the_fragment_is_a_snapshot() -> None:
    state = {"a": [1]}
    fragment = to_json(state)
    state["a"].append(2)
    assert orjson.dumps([{"state": fragment}]) == b'[{"state":{"a":[1]}}]'


def test_repr_names_no_address_so_equal_states_have_equal_json() -> None:
    assert to_json_bytes([Plain(), iter([])]) == to_json_bytes([Plain(), iter([])])
    assert b"0x" not in to_json_bytes([Plain(), object(), iter([]), lambda: 1])


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [("plain", "plain"), ("é", "é"), ("a\x00", "a\ufffd"), ("é\x00\udc80", "é\ufffd\ufffd")],
)
def test_clean_text(given_text: str, expected: str) -> None:
    assert clean_text(given_text) == expected
    assert type(clean_text(Text(given_text))) is str


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**100), 2**100),
    st.floats(),
    ANY_TEXT,
    st.sampled_from(["\x00", "\ud800", "\\u0000", "\\\x00"]),
    st.binary(max_size=10),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.just(dt.UTC)),
    st.times(timezones=st.none() | st.just(dt.UTC)),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.sampled_from([Color.RED, Level.HIGH, Plain(), int, len, ...]),
    st.builds(Rude),
    st.builds(HumanMessage, st.text()),
)
KEYS = st.one_of(
    ANY_TEXT, st.integers(), st.floats(), st.none(), st.booleans(), st.tuples(ANY_TEXT, st.binary())
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.frozensets(st.integers() | ANY_TEXT, max_size=3),
        st.builds(Place, ANY_TEXT, inner),
        st.builds(Point, st.integers(), inner),
        st.builds(lambda x: Plan(title="t", messages=[x]), inner),
        st.builds(lambda x: AIMessage("", additional_kwargs={"x": x}), inner),
        st.builds(Command, update=inner),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
@example("\\\\\x00")
def test_everything_becomes_clean_json(value: Any) -> None:
    data = to_json_bytes(value)
    assert not FORBIDDEN.search(json.dumps(json.loads(data), ensure_ascii=False))
    assert to_json_bytes(value) == data


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int, value jsonb, label text)")
        yield conn


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, label=ANY_TEXT)
def test_postgresql_takes_it_all(
    connection: psycopg.Connection[Any], value: Any, label: str
) -> None:
    rows = orjson.dumps([{"id": 1, "value": to_json([value]), "label": clean_text(label)}])
    taken = connection.execute(
        "INSERT INTO t SELECT * FROM jsonb_populate_recordset(null::t, %s::jsonb) RETURNING label",
        [rows.decode()],
    ).fetchone()
    assert taken == (clean_text(label),)
