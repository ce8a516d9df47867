"""Time zones by their IANA names, as PostgreSQL knows them.

PostgreSQL takes more for a time zone: ``+05:30`` is five hours and a half *west* of Greenwich
there, by a rule of POSIX, and an abbreviation like ``IST`` is one of several countries'.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import psycopg

from langgraph_persist.database.statements import Row
from langgraph_persist.errors import ConfigurationError

_PLACE = re.compile(r"[A-Za-z_]+(?:/[A-Za-z_-]+)+")
"""A name that PostgreSQL can take for nothing else; any other is looked up, which takes longer."""


class Asked(Protocol):
    """What executes the statements of ``sql/queries/zones.sql``."""

    def rows(self, name: str, /, **params: object) -> list[Row]: ...


def require_zone(statements: Asked, timezone: Any) -> None:
    """Nothing, where this is the name of a time zone.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        statements.rows("zone", timezone=timezone)
    except psycopg.DataError as error:
        raise ConfigurationError(str(error.diag.message_primary)) from None
    if timezone == "UTC" or _PLACE.fullmatch(timezone):
        return
    if not statements.rows("zone_is_named", timezone=timezone)[0]["found"]:
        raise ConfigurationError(
            f"a time zone has an IANA name, as Asia/Kolkata or UTC; {timezone!r} is none, and "
            "PostgreSQL would take an offset the other way round"
        )
