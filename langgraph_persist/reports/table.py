"""A report: a list of rows, which pandas can have too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints
from uuid import UUID

from langgraph_persist.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas

R = TypeVar("R")

_TYPES: dict[type, str] = {
    str: "string",
    UUID: "string",
    int: "Int64",
    float: "float64",
    Decimal: "float64",
    date: "datetime64[us]",
    datetime: "datetime64[us, UTC]",
}


class Report(list[R]):
    """The rows of a report, in its order."""

    def __init__(self, row: type[R], rows: Iterable[R] = ()) -> None:
        super().__init__(rows)
        self._row = row

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a column for each field, whatever rows there are.

        Times are aware, in UTC; days are midnights without a time zone; money is ``float64`` (the
        rows have it as ``Decimal``); numbers and texts may be missing.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigurationError(
                "to_pandas() needs pandas: pip install 'langgraph-persist[pandas]'"
            ) from None
        hints = get_type_hints(self._row)
        columns = {
            field.name: pandas.Series(
                [_value(getattr(row, field.name)) for row in self],
                dtype=_dtype(hints[field.name]),
            )
            for field in fields(cast(Any, self._row))
        }
        return pandas.DataFrame(columns)


def _dtype(hint: Any) -> str:
    """The dtype of a column with this type, or with this or None."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return _TYPES.get(kinds[0], "object")


def _value(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value
