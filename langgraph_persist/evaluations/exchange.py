"""What was said to a workflow and what it answered, as texts.

Of a conversation's result only the end is read: all of it would be read again for each turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langgraph_persist.extract import is_excerpt, root_input
from langgraph_persist.extract.text import excerpt
from langgraph_persist.history import History
from langgraph_persist.history.contents import Contents, Row
from langgraph_persist.history.said import answer_in, messages_of, text_of

_LOOK_BACK = 20
"""How many of the last messages may be tools' before an answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and answered."""

    input: str | None
    output: str | None


def with_exchanges(
    history: History, pages: Iterable[tuple[str, Sequence[Row]]]
) -> Iterator[tuple[Row, Exchange]]:
    """Rows of threads, page by page, each with its workflow's exchange."""
    for thread_id, rows in pages:
        yield from zip(rows, read_exchanges(history, thread_id, rows), strict=True)


def read_exchanges(history: History, thread_id: str, rows: Sequence[Row]) -> list[Exchange]:
    """The exchanges of a thread's workflows, given ``user_input``, ``input`` and ``result``."""
    contents = Contents(history, thread_id)
    asked = [row["input"] if _is_partial(row["user_input"]) else None for row in rows]
    lists = [_list_of(row["result"]) for row in rows]
    given = [_end_of(row["result"]) for row in rows]
    answers = _last_said(history, thread_id, {id for id in lists if id is not None})
    return [
        Exchange(
            _asked(row["user_input"], input),
            text_of(result) if list_id is None else answers.get(list_id),
        )
        for row, input, list_id, result in zip(
            rows, contents.whole(asked), lists, contents.whole(given), strict=True
        )
    ]


def _list_of(result: Any) -> str | None:
    """The stored list of messages that a result ends with."""
    messages = messages_of(result)
    if isinstance(messages, list) and messages:
        return _reference(messages[-1], "$items")
    return _reference(messages, "$stored")


def _end_of(result: Any) -> Any:
    """A result as far as its text needs it."""
    if _list_of(result) is not None:
        return None
    if isinstance(messages := messages_of(result), list):
        last = messages[-_LOOK_BACK:]
        return {"messages": [m for m in last if _reference(m, "$items") is None]}
    return result


def _last_said(history: History, thread_id: str, lists: set[str]) -> dict[str, str | None]:
    """The answers at the ends of stored lists."""
    if not lists:
        return {}
    wanted = [UUID(id) for id in lists]
    rows = history.rows("ends_of_lists", thread_id=thread_id, ids=wanted)
    ends = {str(row["id"]): row for row in rows}
    entries = {id: _entries(row) for id, row in ends.items()}
    ids = {entry for found in entries.values() for entry in found if isinstance(entry, str)}
    rows = history.rows("said", thread_id=thread_id, ids=[UUID(id) for id in ids])
    said = {str(row["id"]): _of_row(row) for row in rows}
    return {
        id: answer_in(said.get(entry) if isinstance(entry, str) else entry for entry in found)
        for id, found in entries.items()
    }


def _entries(row: Row) -> list[Any]:
    """The last messages of a list: their ids, or themselves."""
    last = row["value"][-_LOOK_BACK:] if isinstance(row["value"], list) else []
    if row["kind"] != "messages":
        return [entry for entry in last if isinstance(entry, dict)]
    return [entry if isinstance(entry, str) else entry[0] for entry in last]


def _asked(user_input: str | None, given: Any) -> str | None:
    """What the user said, whole."""
    if not _is_partial(user_input):
        return user_input
    if isinstance(given, list) and given and isinstance(given[0], list):
        given = given[0]
    said: str | None = root_input(given)["user_input"]
    if user_input is None:
        return said if said is not None else text_of(given)
    return said if excerpt(said) == user_input else user_input


def _is_partial(user_input: str | None) -> bool:
    return user_input is None or is_excerpt(user_input)


def _of_row(row: Row) -> dict[str, Any]:
    content = row["text"] if row["content"] is None else row["content"]
    return {"type": row["role"], "content": content or ""}


def _reference(value: Any, kind: str) -> str | None:
    found = value.get(kind) if isinstance(value, dict) and len(value) == 1 else None
    return found if isinstance(found, str) else None
