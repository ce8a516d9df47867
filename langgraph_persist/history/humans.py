"""What graphs asked humans, and what these answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class HitlEvent:
    """A request to a human, as it was when it was read."""

    thread_id: str
    id: UUID
    workflow_id: UUID
    run_id: UUID | None
    node_id: UUID | None
    node_name: str | None
    event_type: str
    """approval_request, input_request, plan_review or pause."""
    event_data: Any
    """What was asked: the payload of the interrupt."""
    response_schema: Any
    interrupt_id: str | None
    """What ``Command(resume={interrupt_id: answer})`` answers it by."""
    checkpoint_thread_id: str | None
    """The thread that waits, where a node called a graph which saves on a thread of its own."""
    status: str
    """pending, completed, timeout or cancelled."""
    user: str | None
    """Who answered."""
    user_input: Any
    user_decision: str | None
    """approve, edit, reject or respond, where the answer says one."""
    requested_at: datetime
    responded_at: datetime | None
    timeout_at: datetime | None
    missing: dict[str, str] | None
    """What could not be recorded and why, by column or event."""

    @property
    def resume_thread_id(self) -> str:
        """The thread to resume."""
        return self.checkpoint_thread_id or self.thread_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HitlEvent):
            return NotImplemented
        return (self.thread_id, self.id) == (other.thread_id, other.id)

    def __hash__(self) -> int:
        return hash((self.thread_id, self.id))

    def __str__(self) -> str:
        decided = f": {self.user_decision}" if self.user_decision else ""
        by = f" by {self.user}" if self.user else ""
        return f"{self.event_type} {self.status}{decided}{by}"

    def __repr__(self) -> str:
        place = f" in {self.node_name!r}" if self.node_name else ""
        return f"<HitlEvent {self.thread_id!r}{place}, {self}>"
