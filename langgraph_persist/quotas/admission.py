"""Whether a workflow may start, within the limits of its organization."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import psycopg

from langgraph_persist.errors import PersistError, QuotaExceeded
from langgraph_persist.journal import Failures
from langgraph_persist.quotas.quotas import Quotas


class Request(NamedTuple):
    """Whose workflow is about to start, and when."""

    user: str | None
    organization: str | None
    at: datetime


class Answer(NamedTuple):
    """Whether a request needs no more counting, since it was counted or is refused."""

    settled: bool
    at: datetime
    refusal: QuotaExceeded | None = None

    @property
    def is_stranger(self) -> bool:
        """Whether the user is not to be made, since the organization has no room for another."""
        return self.refusal is not None and self.refusal.quota == "users"


def ask(quotas: Quotas, request: Request, failures: Failures) -> Answer:
    """The answer to a request; where the database cannot be asked, it is admitted."""
    try:
        counted = quotas.admit(request.user, request.organization, request.at)
        return Answer(counted, request.at)
    except QuotaExceeded as refusal:
        return Answer(True, request.at, refusal)
    except (psycopg.Error, PersistError) as error:
        failures.add("admit", error)
        return Answer(False, request.at)
