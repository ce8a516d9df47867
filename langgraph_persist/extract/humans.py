"""What a graph asks humans, and what they answer, as columns of ``hitl_events``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.types import Command, Interrupt

from langgraph_persist.extract.encode import to_json
from langgraph_persist.extract.guard import columns, mapping, total

EVENT_TYPES = ("plan_review", "approval_request", "input_request", "pause")
"""The kinds of requests; an interrupt's payload may name one as its ``event_type``."""

_INTERRUPT_ID = re.compile("[0-9a-f]{32}")
_DECISIONS = {
    "approve": ("approve", "approved", "accept", "accepted", "allow", "allowed"),
    "edit": ("edit", "edited"),
    "reject": ("reject", "rejected", "deny", "denied", "decline", "declined", "ignore"),
    "respond": ("respond", "responded", "response"),
}
_WORDS = {word: decision for decision, words in _DECISIONS.items() for word in words}
_DECISION_KEYS = ("decisions", "decision", "type", "action", "approved")


@columns(lambda: {"event_type": "input_request"})
def hitl_request(interrupt: Interrupt, at: datetime, timeout: timedelta | None) -> dict[str, Any]:
    """What ``interrupt(…)`` asks, at this time.

    It waits until the payload's ``timeout_at``, or for its ``timeout_seconds``, else ``timeout``.
    """
    value = interrupt.value
    schema = getattr(interrupt, "response_schema", None)
    return {
        "event_type": _event_type(value),
        "event_data": to_json(value),
        "response_schema": None if schema is None else to_json(schema),
        "timeout_at": _timeout_at(mapping(value), at, timeout),
    }


def _no_answers() -> list[dict[str, Any]]:
    return []


def _no_decision() -> str | None:
    return None


def _never() -> datetime | None:
    return None


@total(_no_answers)
def hitl_answers(command: Any) -> list[dict[str, Any]]:
    """What a root run's input answers: by interrupt, or (with None as id) whatever was asked.

    Without a resume value only a pause is over.
    """
    resume = command.resume if isinstance(command, Command) else None
    if resume is None:
        return [_answer(None, None) | {"event_type": "pause", "user_input": None}]
    if isinstance(resume, dict) and all(_INTERRUPT_ID.fullmatch(str(key)) for key in resume):
        return [_answer(key, value) for key, value in resume.items()]
    return [_answer(None, resume)]


@total(_no_decision)
def decision_of(answer: Any) -> str | None:
    """approve, edit, reject or respond, where the answer says one; several joined by commas."""
    found = _decisions(answer)
    known = dict.fromkeys(decision for decision in found if decision is not None)
    return ", ".join(known) if known and None not in found else None


def _answer(interrupt_id: str | None, value: Any) -> dict[str, Any]:
    return {
        "interrupt_id": interrupt_id,
        "event_type": None,
        "user_input": to_json(value),
        "user_decision": decision_of(value),
    }


def _decisions(answer: Any) -> list[str | None]:
    if isinstance(answer, bool):
        return ["approve" if answer else "reject"]
    if isinstance(answer, str):
        return [_WORDS.get(answer.strip().lower())]
    if isinstance(answer, (list, tuple)):
        return [decision for item in answer for decision in _decisions(item)]
    fields = mapping(answer)
    for key in _DECISION_KEYS:
        if key in fields:
            return _decisions(fields[key])
    return [None]


def _event_type(value: Any) -> str:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    fields = mapping(first)
    if fields.get("event_type") in EVENT_TYPES:
        return str(fields["event_type"])
    asks = "action_requests" in fields or "action_request" in fields
    # HumanInTheLoopMiddleware asks so where it asks for each call apart.
    if asks or fields.get("type") == "tool_approval":
        return "approval_request"
    return "input_request"


@total(_never)
def _timeout_at(
    fields: Mapping[Any, Any], at: datetime, timeout: timedelta | None
) -> datetime | None:
    until = fields.get("timeout_at")
    if isinstance(until, str):
        until = datetime.fromisoformat(until)
    if isinstance(until, datetime):
        return until if until.tzinfo else until.replace(tzinfo=UTC)
    seconds = fields.get("timeout_seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        timeout = timedelta(seconds=seconds)
    return None if timeout is None else at + timeout
