"""Rows for SQLAlchemy's tables and models, as statements that psycopg executes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from psycopg.types.json import Json, Jsonb
from sqlalchemy import (
    ClauseElement,
    Column,
    MetaData,
    NullPool,
    Table,
    bindparam,
    create_engine,
    inspect,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, NoSuchTableError
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.sql.compiler import SQLCompiler

from langgraph_persist.errors import ConfigurationError
from langgraph_persist.extract import clean_text, to_json_bytes
from langgraph_persist.journal import Fields, Statement

Target: TypeAlias = "str | Table | type[Any]"
"""A table's name, itself, or the model that maps it."""

_DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Upserts:
    """Turns rows of one table into statements, each compiled once for a set of columns.

    A row is a mapping by column or attribute name, or an instance of the table's model. Where a
    row with the same keys exists, the columns that are given replace its own. Keys are the
    primary key unless named; a row without them, where none were named, is added.
    """

    def __init__(
        self,
        target: Target,
        keys: Sequence[str] | None,
        reflect: Callable[[str], Table],
        *,
        name: str,
        lenient: bool,
    ) -> None:
        self._name, self._lenient = name, lenient
        named = (keys,) if isinstance(keys, str) else keys
        self._open = partial(_Known.of, target, named, reflect)
        self._known = None if isinstance(target, str) else self._open()
        self._upserts: dict[frozenset[str], _Upsert] = {}

    def prepare(self, row: Any) -> tuple[Statement, Fields]:
        """The statement that writes a row, and its parameters, which no one else can change.

        Raises:
            ConfigurationError: this is no row of the table.
        """
        known = self._known = self._known or self._open()
        given = known.columns(row)
        names = frozenset(given)
        if (upsert := self._upserts.get(names)) is None:
            compiled = known.compile(names)
            statement = Statement(self._name, str(compiled).encode(), self._lenient)
            upsert = self._upserts[names] = _Upsert(statement, compiled, known.table)
        return upsert.statement, upsert.params(given)


class _Known:
    """A table whose columns are known."""

    def __init__(
        self, table: Table, attributes: Mapping[str, str], keys: Sequence[str] | None
    ) -> None:
        self.table, self._attributes = table, attributes
        self._required = bool(keys)
        named = [column.key for column in table.primary_key] if keys is None else keys
        self._keys = tuple(self._column(key) for key in named)

    @classmethod
    def of(
        cls, target: Target, keys: Sequence[str] | None, reflect: Callable[[str], Table]
    ) -> _Known:
        found = reflect(target) if isinstance(target, str) else inspect(target, raiseerr=False)
        if isinstance(found, Table):
            return cls(found, {column.key: column.key for column in found.columns}, keys)
        if isinstance(found, Mapper) and isinstance(found.local_table, Table):
            attributes = {a.key: a.columns[0].key for a in found.column_attrs}
            return cls(found.local_table, attributes, keys)
        raise ConfigurationError(f"a projection is for a table's name, Table or model: {target!r}")

    def columns(self, row: Any) -> Fields:
        """A row by its columns."""
        given = {self._column(key): value for key, value in self._items(row)}
        for name, value in given.items():
            if isinstance(value, ClauseElement):
                raise ConfigurationError(f"column {name!r} takes a value, not SQL: {value}")
        return given

    def _items(self, row: Any) -> list[tuple[str, Any]]:
        if isinstance(row, Mapping):
            return list(row.items())
        state = inspect(row, raiseerr=False)
        if isinstance(state, InstanceState) and state.mapper.local_table is self.table:
            return [(key, state.dict[key]) for key in self._attributes if key in state.dict]
        raise ConfigurationError(
            f"a row of {self.table.fullname} is a mapping or an instance of its model, not a "
            f"{type(row).__qualname__}"
        )

    def _column(self, key: str) -> str:
        column = self._attributes.get(key, key)
        if column not in self.table.columns:
            raise ConfigurationError(
                f"table {self.table.fullname} has no column {key!r}; it has: "
                + ", ".join(self.table.columns.keys())
            )
        return column

    def compile(self, columns: frozenset[str]) -> SQLCompiler:
        """The statement that writes a row of these columns."""
        table = self.table
        statement = insert(table).inline()
        if self._keys and columns.issuperset(self._keys):
            conflict: dict[str, Any] = {
                table.columns[key].name: statement.excluded[key]
                for key in sorted(columns.difference(self._keys))
            }
            index = [table.columns[key] for key in self._keys]
            if conflict:
                conflict |= _refreshed(table, columns)
                statement = statement.on_conflict_do_update(index_elements=index, set_=conflict)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=index)
        elif self._required:
            missing = ", ".join(key for key in self._keys if key not in columns)
            raise ConfigurationError(f"a row of {table.fullname} lacks its key: {missing}")
        compiled = statement.compile(dialect=_DIALECT, column_keys=sorted(columns))
        assert isinstance(compiled, SQLCompiler)
        return compiled


class _Upsert:
    """A compiled statement, and how its parameters are made."""

    def __init__(self, statement: Statement, compiled: SQLCompiler, table: Table) -> None:
        self.statement = statement
        self._compiled = compiled
        made: list[tuple[str, Any]] = [
            (column.key, column.default) for column in compiled.insert_prefetch
        ]
        made += [(_refreshing(column), column.onupdate) for column in table.columns]
        self._made = [(name, default) for name, default in made if name in compiled.binds]
        escaped = compiled.escaped_bind_names
        self._process = {
            escaped.get(name, name): process
            for name, bound in compiled.binds.items()
            if (process := bound.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) is not None
        }

    def params(self, given: Fields) -> Fields:
        """The values as psycopg takes them, as they are now."""
        made = {name: _made(default) for name, default in self._made}
        values = self._compiled.construct_params(made | given)
        return {name: _settled(self._processed(name, value)) for name, value in values.items()}

    def _processed(self, name: str, value: Any) -> Any:
        if (process := self._process.get(name)) is None:
            return value
        # A JSON column's processor would wrap what is wrapped once more.
        return process(value.obj if isinstance(value, (Json, Jsonb)) else value)


def _made(default: Any) -> Any:
    """What Python gives a column that has no value."""
    return default.arg(None) if default.is_callable else default.arg


def _refreshed(table: Table, columns: frozenset[str]) -> dict[str, Any]:
    """The columns that an update sets by itself, with what it sets them to."""
    found: dict[str, Any] = {}
    for column in table.columns:
        onupdate: Any = column.onupdate
        if column.key in columns or onupdate is None:
            continue
        made = bindparam(_refreshing(column), type_=column.type)
        found[column.name] = onupdate.arg if onupdate.is_clause_element else made
    return found


def _refreshing(column: Column[Any]) -> str:
    return f"{column.key}__onupdate"


def _settled(value: Any) -> Any:
    """A snapshot of a parameter: nobody else can change it before it is written."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (Json, Jsonb)):
        return to_json_bytes(value.obj).decode()
    if isinstance(value, (list, tuple)):
        return [_settled(item) for item in value]
    if isinstance(value, bytearray):
        return bytes(value)
    return value


def reflect(name: str, connect: Callable[[], Any]) -> Table:
    """A table of the database, found on the search path or in the schema before the dot.

    Raises:
        ConfigurationError: there is none.
        psycopg.Error: the database cannot be asked.
    """
    schema, _, table = name.rpartition(".")
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        return Table(table, MetaData(), schema=schema or None, autoload_with=engine)
    except NoSuchTableError:
        raise ConfigurationError(f"there is no table {name!r} to project to; create it") from None
    except DBAPIError as error:
        raise (error.orig or error) from error
