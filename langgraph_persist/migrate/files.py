"""The numbered migrations of ``sql/migrations``: the source of truth for the schema."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from langgraph_persist.database.queries import Schemas, sql_folder


class Migration(NamedTuple):
    """One numbered change of the schema, there and back."""

    name: str
    up: str
    down: str

    @property
    def revision(self) -> str:
        """The number, which is Alembic's revision too."""
        return self.name.partition("_")[0]

    @property
    def sha256(self) -> str:
        """The checksum of the file as shipped, whatever the schemas and line endings."""
        return hashlib.sha256(self.up.encode()).hexdigest()

    def up_sql(self, schemas: Schemas) -> str:
        """The change alone, in one transaction."""
        return blocking(schemas.render(self.up))

    def upgrade_sql(self, schemas: Schemas) -> str:
        """The change and its ledger row, in one transaction."""
        return (
            f"{self.up_sql(schemas).rstrip()}\n\n"
            + schemas.render("INSERT INTO {{schema}}.schema_ledger (name, sha256)\n")
            + f"VALUES ('{self.name}', '{self.sha256}');"
        )

    def downgrade_sql(self, schemas: Schemas) -> str:
        """What undoes both, in one transaction."""
        return schemas.render(
            f"DELETE FROM {{{{schema}}}}.schema_ledger WHERE name = '{self.name}';\n\n{self.down}"
        )


# The migration that adds to upstream's tables; repeatable.
EXTENSION = "0002_extend_stock_tables"


def blocking(sql: str) -> str:
    """The SQL with its indexes built in the transaction, as is right for tables without rows."""
    return sql.replace("INDEX CONCURRENTLY", "INDEX")


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations in order."""
    folder = sql_folder() / "migrations"
    names = sorted(path.name.removesuffix(".up.sql") for path in folder.glob("*.up.sql"))
    return tuple(
        Migration(
            name,
            (folder / f"{name}.up.sql").read_text("utf-8"),
            (folder / f"{name}.down.sql").read_text("utf-8"),
        )
        for name in names
    )


_DOLLARS = re.compile(r"\$\w*\$")


def split(sql: str) -> Iterator[str]:
    """The statements of a file, each of which ends with a semicolon at a line's end.

    A Citus cluster takes them one by one only.
    """
    lines: list[str] = []
    body: str | None = None
    for line in sql.splitlines(keepends=True):
        lines.append(line)
        for mark in _DOLLARS.findall(line):
            body = mark if body is None else None if body == mark else body
        ends = line.rstrip().endswith(";") and not line.lstrip().startswith("--")
        if body is None and ends:
            yield "".join(lines)
            lines.clear()
    if rest := "".join(lines).strip():
        yield rest
