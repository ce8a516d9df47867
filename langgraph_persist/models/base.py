"""What all models share: names and types as the SQL has them, relationships, a readable repr."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, TypeAlias, get_args

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKeyConstraint,
    MetaData,
    Numeric,
    Text,
    Uuid,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.schema import Constraint, Table

# Stands for the schema of an installation, see the package's docstring.
SCHEMA = "langgraph_persist"


def _last_column(constraint: Constraint, table: Table) -> str:
    # A key's first column is the session's thread_id; the last one tells keys apart.
    assert isinstance(constraint, ForeignKeyConstraint)
    return constraint.column_keys[-1]


NAMES: dict[str, Any] = {
    "last_column": _last_column,
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(last_column)s_fkey",
}
JSON = JSONB(none_as_null=True)

BigInt: TypeAlias = Annotated[int, mapped_column(BigInteger)]
# Any JSON value; where it is always an object the models say dict[str, Any].
Json: TypeAlias = Annotated[Any, mapped_column(JSON)]


class Base(DeclarativeBase):
    """A row of langgraph-persist."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Double(),
        Decimal: Numeric(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON,
        list[str]: ARRAY(Text()),
        list[uuid.UUID]: ARRAY(Uuid()),
    }

    _shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        # Only what is loaded: a repr must not query, nor fail on a detached row.
        state = inspect(self)
        keys = [state.mapper.get_property_by_column(c).key for c in state.mapper.primary_key]
        parts = [f"{k}={_plain(state.dict[k])}" for k in (*keys, *self._shown) if k in state.dict]
        return f"{type(self).__name__}({', '.join(parts)})"


class Times:
    """When a row was first and last written."""

    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Error:
    """What went wrong, if anything did."""

    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    error_traceback: Mapped[str | None]


class Gaps:
    """What the row lacks and why, by column or event; None where nothing is known to be missing."""

    missing: Mapped[dict[str, Any] | None]


class View(Base):
    """A row of a view: read-only, and not for ``create_all`` or Alembic."""

    __abstract__ = True
    metadata = MetaData(schema=SCHEMA)


def new_id() -> Any:
    """A primary key that the server makes unless one is given."""
    return mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))


def one_of(column: str, values: Any) -> CheckConstraint:
    """The column holds one of the Literal's values."""
    listed = ", ".join(f"'{value}'" for value in get_args(values))
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def belongs_to(table: str, column: str, key: str = "id") -> ForeignKeyConstraint:
    """The row goes with a row of the same session in ``table``."""
    return ForeignKeyConstraint(
        ["thread_id", column],
        [f"{SCHEMA}.{table}.thread_id", f"{SCHEMA}.{table}.{key}"],
        ondelete="CASCADE",
    )


def of_session() -> ForeignKeyConstraint:
    """The row goes with its session."""
    return ForeignKeyConstraint(["thread_id"], [f"{SCHEMA}.sessions.thread_id"], ondelete="CASCADE")


def refers_to(table: str, column: str) -> ForeignKeyConstraint:
    """The row outlives what it refers to in a reference table."""
    return ForeignKeyConstraint([column], [f"{SCHEMA}.{table}.id"], ondelete="SET NULL")


def owned(back_populates: str, **options: Any) -> Any:
    """The rows that go with this one; the database deletes them."""
    return relationship(
        back_populates=back_populates,
        cascade="save-update, merge, delete",
        passive_deletes=True,
        **options,
    )


def linked(back_populates: str, **options: Any) -> Any:
    """The other side of a key that is set by its columns: for reading."""
    return relationship(back_populates=back_populates, viewonly=True, **options)


def whole_of(model: str, view: str, key: str) -> Any:
    """The row of a view that has what this one's columns refer to in its place."""
    join = f"{model}.thread_id == foreign({view}.thread_id), {model}.id == foreign({view}.{key})"
    return relationship(primaryjoin=f"and_({join})", viewonly=True, uselist=False)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, (uuid.UUID, datetime)) else repr(value)
