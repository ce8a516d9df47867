"""Lists of todos: read from anything, and compared with the list before."""

from __future__ import annotations

import dataclasses
import enum
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from langgraph_persist.extract.todos import Privacy, compare_todos, read_todos, todo_list
from langgraph_persist.journal.capture import EVERYTHING

KEY = ("thread", "", "checkpoint")
NAMES = st.sampled_from(
    ["id", "title", "content", "status", "priority", "progress", "depends_on", "result", "retries"]
)
ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=20,
)
TITLES = st.lists(st.sampled_from("abcdef"), max_size=8)
STATUSES = st.sampled_from(["pending", "in_progress", "completed", "failed"])


class Status(enum.Enum):
    DONE = "done"


@dataclasses.dataclass
class Data:
    title: str
    status: Status


class Model(BaseModel):
    task: str
    state: str = "x"
    status: str = "In Progress"


@given(ANYTHING, ANYTHING)
def test_anything_is_read_or_is_no_list(old: Any, new: Any) -> None:
    before, after = read_todos(old) or [], read_todos(new) or []
    row = todo_list(KEY, before, after, by_user=False, privacy=Privacy(True, EVERYTHING, None))
    assert b"\\u0000" not in orjson.dumps(row)
    for todo in row["todos"]:
        assert todo["title"] is not None
        assert 0 <= todo["priority"] <= 10
        assert todo["progress_percentage"] is None or 0 <= todo["progress_percentage"] <= 100


@given(TITLES, TITLES, st.randoms(use_true_random=False))
def test_no_todo_follows_two(old: list[str], new: list[str], chance: random.Random) -> None:
    before = read_todos([{"title": t, "status": chance.choice(["done", "open"])} for t in old])
    after = read_todos(new)
    assert before is not None and after is not None
    previous = compare_todos(before, after, by_user=False).previous
    found = [index for index in previous if index is not None]
    assert len(found) == len(set(found))
    assert all(old[i] == new[place] for place, i in enumerate(previous) if i is not None)
    assert len(found) == sum(min(old.count(t), new.count(t)) for t in set(old))


@given(TITLES, STATUSES)
def test_work_that_goes_on_is_no_change_of_the_plan(titles: list[str], status: str) -> None:
    before = read_todos(titles)
    after = read_todos([{"content": title, "status": status} for title in titles])
    assert before is not None and after is not None
    assert compare_todos(before, after, by_user=True).change is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a"], [(None, "a", "pending")]),
        ([{"content": "a", "status": "DONE"}], [(None, "a", "completed")]),
        ({"7": {"title": "a", "status": "canceled"}}, [("7", "a", "cancelled")]),
        ((Data("a", Status.DONE),), [(None, "a", "completed")]),
        ([Model(task="a")], [(None, "a", "in_progress")]),
        ([{"id": 3, "name": "a", "status": "so-so"}], [("3", "a", "pending")]),
    ],
)
def test_todos_of_many_kinds(value: Any, expected: Any) -> None:
    found = read_todos(value)
    assert found is not None
    assert [(todo["key"], todo["title"], todo["status"]) for todo in found] == expected


@pytest.mark.parametrize("value", [None, "abc", 3, [3], [None], [{"status": "done"}], object()])
def test_what_is_no_list_of_todos(value: Any) -> None:
    assert read_todos(value) is None


def compared(old: Any, new: Any, *, by_user: bool = False) -> tuple[Any, ...]:
    before, after = read_todos(old), read_todos(new)
    assert before is not None and after is not None
    return compare_todos(before, after, by_user=by_user)


DONE, OPEN = {"title": "done", "status": "completed"}, {"title": "open"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], ["a"], ([None], "create", True)),
        ([DONE], ["a"], ([None], "create", True)),
        ([DONE], [], ([], None, True)),
        ([OPEN], [], ([], "auto_adjust", False)),
        ([OPEN], ["a"], ([None], "replan", False)),
        ([DONE, OPEN], [DONE, "a"], ([0, None], "replan", False)),
        ([DONE, OPEN], [OPEN, DONE], ([1, 0], "auto_adjust", False)),
        ([DONE], [DONE, "a"], ([0, None], "auto_adjust", False)),
        ([{"id": 1, "title": "a"}], [{"id": 1, "title": "b"}], ([0], "auto_adjust", False)),
        ([{"id": 1, "title": "a"}], [{"id": 2, "title": "b"}], ([None], "replan", False)),
        (["Find a hotel in Rome"], ["Find a cheap hotel in Rome"], ([0], "auto_adjust", False)),
        (["Review module A"], ["Review module B"], ([None], "replan", False)),
    ],
)
def test_kinds_of_change(old: Any, new: Any, expected: Any) -> None:
    assert compared(old, new) == expected


def test_a_users_change_is_an_edit() -> None:
    assert compared(["a"], ["b"], by_user=True) == ([None], "user_edit", False)
    assert compared([], ["b"], by_user=True) == ([None], "create", True)
