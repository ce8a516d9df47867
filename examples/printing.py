"""Prints what statements give, the way psql does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine, text


def print_query(engine: Engine, title: str, sql: str, **parameters: object) -> None:
    """A title, the statement, and the table that it gives."""
    print(f"{title}\n\n{sql}\n")
    with engine.connect() as connection:
        found = connection.execute(text(sql), parameters)
        print_table(list(found.keys()), [list(row) for row in found])
    print()


def print_queries(engine: Engine, queries: Mapping[str, str], **parameters: object) -> None:
    """One after the other."""
    for title, sql in queries.items():
        print_query(engine, title, sql, **parameters)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[_shown(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for line in (head, ["-" * width for width in widths], *cells):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _shown(value: object) -> str:
    if value is None:
        return ""
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    return " / ".join(shown.splitlines())
