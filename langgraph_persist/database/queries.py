"""Named SQL statements from the ``sql/`` folder.

A query file is a list of statements, each headed by its name, with one line of purpose::

    -- finish_job --
    -- Marks a job as done.
    UPDATE {{schema}}.jobs SET done = true WHERE id = %(id)s

``{{schema}}`` and ``{{checkpoint_schema}}`` stand for the quoted names of the two schemas, and
``{{> name}}`` for what several statements have in common: a fragment, which ``sql/fragments.sql``
lists in the same form, and which may want others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)
_FRAGMENT = re.compile(r"\{\{> (\w+)\}\}")
_PURPOSE = re.compile(r"\A(?:--.*\n)+")


class Schemas(NamedTuple):
    """Where the two families of tables live.

    ``record`` holds the business tables, ``checkpoints`` the stock ones.
    """

    record: str = "langgraph_persist"
    checkpoints: str = "public"

    def render(self, sql: str) -> str:
        """The SQL with the schema names in place of their markers."""
        return sql.replace("{{schema}}", quote(self.record)).replace(
            "{{checkpoint_schema}}", quote(self.checkpoints)
        )


def quote(identifier: str) -> str:
    """A PostgreSQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def sql_folder() -> Path:
    """The folder of SQL files: inside the package when installed, else the repository's."""
    installed = Path(str(files("langgraph_persist"))) / "sql"
    return installed if installed.is_dir() else installed.parent.parent / "sql"


@cache
def load(area: str) -> Mapping[str, str]:
    """The statements of ``sql/queries/<area>.sql`` by name, markers not yet replaced.

    Raises:
        ValueError: one has the name of another, or wants a fragment that there is not.
    """
    fragments = _read("fragments.sql")

    def fragment(match: re.Match[str]) -> str:
        if match[1] not in fragments:
            raise ValueError(
                f"sql/queries/{area}.sql wants a fragment {match[1]} that is not there"
            )
        return _FRAGMENT.sub(fragment, _PURPOSE.sub("", fragments[match[1]]))

    statements = _read(f"queries/{area}.sql")
    return {name: _FRAGMENT.sub(fragment, body) for name, body in statements.items()}


def _read(path: str) -> dict[str, str]:
    """What a file lists, by name."""
    parts = _HEAD.split((sql_folder() / path).read_text("utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"sql/{path} names a statement twice")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}


@cache
def queries(area: str, schemas: Schemas) -> Mapping[str, str]:
    """The statements of an area, ready for these schemas, to be executed with parameters."""
    schemas = Schemas(*(name.replace("%", "%%") for name in schemas))
    return {name: schemas.render(sql) for name, sql in load(area).items()}
