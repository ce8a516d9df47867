"""Rows of a user's own tables, and promoted columns, made of states and committed with them."""

from __future__ import annotations

import asyncio
import enum
import operator
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb
from sqlalchemy import ARRAY, DateTime, Enum, MetaData, Numeric, Table, Text, event, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from langgraph_persist import Persist, models
from langgraph_persist.errors import ConfigurationError, DurabilityError, ProjectionFailed
from langgraph_persist.extract import qualified_name
from langgraph_persist.journal import journal as journal_module
from langgraph_persist.journal.write import write_group
from langgraph_persist.projections import ProjectionContext
from tests.load import terminate

Rows = Callable[[str], list[dict[str, Any]]]


class Base(DeclarativeBase):
    metadata = MetaData(schema="shop")


class Stage(enum.Enum):
    OPEN = "open"
    PAID = "paid"


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    number: Mapped[str] = mapped_column(unique=True)
    stage: Mapped[Stage] = mapped_column(Enum(Stage, native_enum=False), default=Stage.OPEN)
    lines: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    total: Mapped[Decimal | None] = mapped_column(Numeric)
    edited: Mapped[int] = mapped_column(default=0, onupdate=lambda: 1)
    seen_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=func.now(), onupdate=func.clock_timestamp()
    )


class Step(Base):
    """Appended to, so that whatever is written twice shows."""

    __tablename__ = "steps"

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[str]
    checkpoint_id: Mapped[str]
    source: Mapped[str]
    before: Mapped[int | None]
    after: Mapped[int | None]


class Buying(TypedDict, total=False):
    wish: str
    budget: int
    cart: Annotated[list[str], operator.add]
    count: int
    receipt: dict[str, Any]


class Basket(TypedDict, total=False):
    basket: dict[str, Any]
    paid: list[str]


def shopping(pick: Any = None, ask: Any = None) -> StateGraph[Any, Any, Any, Any]:
    """Picks, asks a human, pays."""

    def pick_one(state: Buying) -> Buying:
        return {"cart": [state["wish"]], "count": state.get("count", 0) + 1}

    def confirm(state: Buying) -> Buying:
        return {"wish": interrupt("Buy it?")}

    def pay(state: Buying) -> Buying:
        return {"count": state["count"] + 1, "receipt": {"paid": state["cart"]}}

    builder = StateGraph(Buying)
    builder.add_node("pick", pick or pick_one, retry_policy=RetryPolicy(initial_interval=0.001))
    builder.add_node("confirm", ask or confirm)
    builder.add_node("pay", pay)
    for before, after in [(START, "pick"), ("pick", "confirm"), ("confirm", "pay"), ("pay", END)]:
        builder.add_edge(before, after)
    return builder


@pytest.fixture
def shop(migrated: str) -> Iterator[str]:
    """The database's URL, with tables of a user's in it."""
    with Persist(migrated) as persist, persist.engine.begin() as conn:
        conn.exec_driver_sql("CREATE SCHEMA shop")
        Base.metadata.create_all(conn)
    yield migrated
    with psycopg.connect(migrated) as conn:
        conn.execute("DROP SCHEMA shop CASCADE")


@pytest.fixture
def rows(shop: str) -> Rows:
    def query(sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(shop, row_factory=dict_row) as conn:
            conn.execute("SET search_path = langgraph_persist, shop, public")
            return conn.execute(sql.encode()).fetchall()

    return query


def buy(persist: Persist, value: Any = None, thread: str = "t", **builder: Any) -> Any:
    graph = persist.attach(shopping(**builder).compile(checkpointer=persist.checkpointer))
    given = {"wish": "tea", "budget": 5} if value is None else value
    return graph.invoke(given, persist.config(thread, user="alice"))


def note_steps(persist: Persist, **options: Any) -> None:
    """A projection that adds a row for every checkpoint."""

    @persist.project(Step, **options)
    def steps(old: Any, new: Any, context: ProjectionContext) -> Step:
        return Step(
            thread_id=context.thread_id,
            checkpoint_id=context.checkpoint_id,
            source=context.source,
            before=old.get("count"),
            after=new.get("count"),
        )


ONCE_EACH = (
    "SELECT c.checkpoint_id, count(s.id) FROM checkpoints c LEFT JOIN steps s"
    " USING (thread_id, checkpoint_id) WHERE c.checkpoint_ns = ''"
    " GROUP BY 1 HAVING count(s.id) <> 1"
)
TOO_MANY = (
    "SELECT s.* FROM steps s LEFT JOIN checkpoints c USING (thread_id, checkpoint_id)"
    " WHERE c.checkpoint_id IS NULL"
)


def test_a_table_is_looked_up_again_where_the_connection_is_lost(shop: str, rows: Rows) -> None:
    looks: list[int] = []

    def cut(inspector: Any, table: Any, column: Any) -> None:
        """The columns are known, the keys not yet asked for."""
        looks.append(1)
        if len(looks) == 1:
            terminate(shop)

    event.listen(Table, "column_reflect", cut)
    try:
        with Persist(shop) as persist:

            @persist.project("shop.steps")
            def steps(old: Any, new: Any, context: ProjectionContext) -> dict[str, Any]:
                ids = {"thread_id": context.thread_id, "checkpoint_id": context.checkpoint_id}
                return ids | {"source": context.source, "after": new.get("count")}

            buy(persist)
    finally:
        event.remove(Table, "column_reflect", cut)
    assert len(looks) == 2 * len(Step.__table__.columns)
    assert rows(ONCE_EACH) == rows(TOO_MANY) == []
    assert len(rows("SELECT * FROM steps")) == len(rows("SELECT * FROM checkpoints"))


# --- promoted columns ---


def test_promoted_channels_fill_columns_of_the_workflow(shop: str, rows: Rows) -> None:
    promote = {"settings": ["budget", "wish"], "result": "receipt", "user_input": "wish"}
    with Persist(shop, promote=promote) as persist:
        buy(persist)
        (asked,) = rows("SELECT status, settings, result, user_input FROM workflows")
        assert asked["settings"] == {"budget": 5, "wish": "tea"}
        assert asked["user_input"] == "tea"
        buy(persist, Command(resume="cake"))
        (done,) = rows("SELECT status, settings, result, user_input FROM workflows")
        assert done == {
            "status": "completed",
            "settings": {"budget": 5, "wish": "cake"},
            "result": {"paid": ["tea"]},
            "user_input": "cake",
        }


def test_promoted_channels_are_the_context_of_the_session(shop: str, rows: Rows) -> None:
    with Persist(shop, promote={"current_context": ["wish", "cart"], "result": "cart"}) as persist:
        buy(persist)
        assert persist.sessions.get("t").current_context == {"wish": "tea", "cart": ["tea"]}
        buy(persist, Command(resume="cake"))
        context = persist.sessions.get("t").current_context
    assert context == {"wish": "cake", "cart": ["tea"]}
    assert rows("SELECT result FROM workflows") == [{"result": ["tea"]}]


def test_what_is_promoted_outlives_a_run_that_saves_nothing(shop: str, rows: Rows) -> None:
    def ask_twice(state: Buying) -> Buying:
        interrupt("Sure?")
        return {"wish": interrupt("Really?")}

    values: list[Any] = [None, Command(resume=True)]
    for value in values:
        with Persist(shop, promote={"result": "cart"}) as persist:
            buy(persist, value, ask=ask_twice)
            assert rows("SELECT status, result FROM workflows") == [
                {"status": "interrupted", "result": ["tea"]}
            ]


def test_a_graph_without_the_channel_keeps_its_whole_output(shop: str, rows: Rows) -> None:
    with Persist(shop, promote={"result": "elsewhere", "settings": ["nowhere"]}) as persist:
        buy(persist)
        (workflow,) = rows("SELECT settings, result FROM workflows")
    assert workflow["settings"] is None
    assert workflow["result"]["cart"] == ["tea"]


@pytest.mark.parametrize(
    ("promote", "told"),
    [
        ({"status": "x"}, "not status"),
        ({"user_input": ["a", "b"]}, "from one channel"),
        ({"result": None}, "result from a channel, or a list of channels, not None"),
        ({"settings": len}, "or a list of channels, not <built-in"),
        ({"settings": ["a", 1]}, "or a list of channels"),
        (["note"], r"which channels fill a column, not \['note'\]"),
    ],
)
def test_what_cannot_be_promoted_is_refused(promote: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Persist("postgresql://nowhere", promote=promote)


# --- rows ---


@pytest.mark.plain_postgres("compares transaction ids, which are a node's own")
def test_rows_are_upserted_in_the_transaction_of_their_checkpoint(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:

        @persist.project(Order, keys="number")
        def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
            if new.get("cart") and new != old:
                stage = Stage.PAID if "receipt" in new else Stage.OPEN
                lines = [{"what": item, "\x00": None} for item in new["cart"]]
                number = f"{context.user}-{context.thread_id}"
                yield {"number": number, "stage": stage, "lines": lines, "tags": ["new"]}

        buy(persist)
        (opened,) = rows("SELECT * FROM orders")
        assert (opened["number"], opened["stage"], opened["edited"]) == ("alice-t", "OPEN", 0)
        assert opened["lines"] == [{"what": "tea", "\ufffd": None}]
        buy(persist, Command(resume="cake"))
    (paid,) = rows("SELECT * FROM orders")
    assert (paid["id"], paid["stage"], paid["edited"]) == (opened["id"], "PAID", 1)
    assert paid["seen_at"] > opened["seen_at"]
    together = (
        "SELECT max(c.xmin::text) = max(o.xmin::text) AS same FROM orders o, checkpoints c"
        " WHERE c.checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints)"
    )
    assert rows(together) == [{"same": True}]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_checkpoint_is_projected_once_over_retries_and_resumes(
    shop: str, rows: Rows, asynchronous: bool
) -> None:
    tries = []

    def pick(state: Buying) -> Buying:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("try again")
        return {"cart": ["tea"], "count": 1}

    def run(persist: Persist, value: Any) -> Any:
        graph = persist.attach(shopping(pick).compile(checkpointer=persist.checkpointer))
        if asynchronous:
            return asyncio.run(graph.ainvoke(value, persist.config("t")))
        return graph.invoke(value, persist.config("t"))

    values: list[Any] = [{"wish": "tea"}, Command(resume="cake")]
    for value in values:
        with Persist(shop) as persist:
            note_steps(persist)
            run(persist, value)
    assert len(tries) == 2
    assert rows(ONCE_EACH) == rows(TOO_MANY) == []
    steps = rows("SELECT source, before, after FROM steps ORDER BY checkpoint_id")
    assert [tuple(step.values()) for step in steps] == [
        ("input", None, None),
        ("loop", None, None),
        ("loop", None, 1),
        ("loop", 1, 1),
        ("loop", 1, 2),
    ]


def test_a_commit_whose_answer_was_lost_is_not_repeated(
    shop: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = write_group
    lost: list[Any] = []

    def losing(conn: Any, group: Any, *args: Any) -> Any:
        projects = bool(group.projected)
        refused = write(conn, group, *args)
        if projects and len(lost) < 3:
            lost.append(group)
            raise psycopg.OperationalError("the answer was lost")
        return refused

    monkeypatch.setattr(journal_module, "write_group", losing)
    with Persist(shop) as persist:
        note_steps(persist)
        buy(persist)
    assert len(lost) == 3
    assert rows(ONCE_EACH) == []
    assert len(rows("SELECT * FROM steps")) == 3


def test_states_edited_by_hand_are_projected(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:
        note_steps(persist)
        buy(persist)
        graph = shopping().compile(checkpointer=persist.checkpointer)
        graph.update_state(persist.config("t"), {"count": 7})
        asyncio.run(graph.aupdate_state(persist.config("t"), {"count": 8}))
    edits = rows("SELECT before, after FROM steps WHERE source = 'update' ORDER BY checkpoint_id")
    assert [tuple(edit.values()) for edit in edits] == [(1, 7), (7, 8)]
    assert rows(ONCE_EACH) == []


def test_a_fork_starts_from_the_state_it_forks(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:
        note_steps(persist)
        buy(persist)
        buy(persist, Command(resume="cake"))
        graph = persist.attach(shopping().compile(checkpointer=persist.checkpointer))
        past = [s for s in graph.get_state_history(persist.config("t")) if s.next == ("pay",)]
        graph.invoke(None, past[0].config)
    last = rows("SELECT before, after FROM steps ORDER BY id DESC LIMIT 1")
    assert last == [{"before": 1, "after": 2}]
    assert rows(ONCE_EACH) == []


def test_subgraphs_are_projected_where_wanted(shop: str, rows: Rows) -> None:
    inner = StateGraph(Buying)
    inner.add_node("add", lambda state: {"count": 5})
    inner.add_edge(START, "add")
    builder = StateGraph(Buying)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "inner")
    for thread, subgraphs in (("deep", True), ("flat", False)):
        with Persist(shop) as persist:
            note_steps(persist, subgraphs=subgraphs)
            graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
            graph.invoke({"wish": "tea"}, persist.config(thread))
    found = rows(
        "SELECT s.thread_id, c.checkpoint_ns <> '' AS below, count(*) FROM steps s"
        " JOIN checkpoints c USING (thread_id, checkpoint_id) GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [tuple(row.values()) for row in found] == [
        ("deep", False, 3),
        ("deep", True, 3),
        ("flat", False, 3),
    ]


def test_a_table_may_be_named(shop: str, rows: Rows) -> None:
    targets: list[Any] = ["shop.orders", Order.__table__, Order]
    for number, target in enumerate(targets):
        with Persist(shop) as persist:

            @persist.project(target, keys=["number"])
            def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
                total = Decimal("1.50") * new.get("count", 0)
                return {"id": uuid.UUID(int=1), "number": "n", "total": total} | FILLED

            buy(persist, thread=f"t{number}")
    assert rows("SELECT number, total FROM orders") == [{"number": "n", "total": Decimal("1.50")}]


FILLED = {"stage": "OPEN", "edited": 0, "seen_at": datetime(2026, 1, 2, tzinfo=UTC)}


class Bare(DeclarativeBase):
    """As most declare their tables: without a schema."""


class Note(Bare):
    __tablename__ = "notes"

    thread_id: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


@pytest.mark.parametrize("checkpoint_schema", [None, "kept"])
@pytest.mark.parametrize("target", [Note, "notes"])
def test_a_table_without_a_schema_is_on_the_search_path(
    migrated: str, target: Any, checkpoint_schema: str | None
) -> None:
    with Persist(migrated, schema="told", checkpoint_schema=checkpoint_schema) as persist:
        Bare.metadata.create_all(persist.engine)
        persist.project(target)(
            lambda old, new, context: {"thread_id": context.thread_id, "count": len(new)}
        )
        try:
            buy(persist)
            with Session(persist.engine) as orm:
                assert orm.scalars(select(Note.thread_id)).all() == ["t"]
                assert orm.scalars(select(models.Session.thread_id)).all() == ["t"]
                assert set(orm.scalars(select(models.Checkpoint.thread_id))) == {"t"}
        finally:
            Bare.metadata.drop_all(persist.engine)
            with psycopg.connect(migrated) as conn:
                conn.execute("DROP SCHEMA IF EXISTS told, kept CASCADE")
                conn.execute("TRUNCATE public.checkpoints, checkpoint_blobs, checkpoint_writes")
    with psycopg.connect(migrated) as conn:
        assert conn.execute("SELECT to_regclass('notes')").fetchall() == [(None,)]


def test_without_a_value_for_the_key_rows_are_added(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:

        @persist.project("shop.steps")
        def steps(old: Any, new: Any, context: ProjectionContext) -> Any:
            row = {"thread_id": "x", "checkpoint_id": "y", "source": context.source}
            return [row, row] if context.step == 1 else None

        buy(persist)
    assert len(rows("SELECT * FROM steps")) == 2


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_projection_that_changes_what_it_is_given_changes_nothing_else(
    shop: str, rows: Rows, durability: Any
) -> None:
    builder = StateGraph(Basket)
    builder.add_node("fill", lambda state: {"basket": {"item": "tea"}})
    builder.add_node("pay", lambda state: {"paid": [*state["basket"]]})
    builder.add_edge(START, "fill")
    builder.add_edge("fill", "pay")
    with Persist(shop, promote={"result": "basket"}) as persist:

        @persist.project("shop.steps")
        def steps(old: Any, new: Any, context: ProjectionContext) -> Any:
            if (row := new.get("basket")) is not None:
                row |= {"thread_id": context.thread_id, "checkpoint_id": context.checkpoint_id}
                new["paid"] = old["paid"] = None
            return row and {k: row[k] for k in ("thread_id", "checkpoint_id")} | {"source": "loop"}

        graph: Any = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        result = graph.invoke({}, persist.config("t"), durability=durability)
        stored = graph.get_state(persist.config("t")).values
    assert result == stored == {"basket": {"item": "tea"}, "paid": ["item"]}
    assert rows("SELECT result FROM workflows") == [{"result": {"item": "tea"}}]
    assert rows("SELECT DISTINCT thread_id FROM steps") == [{"thread_id": "t"}]


# --- failures ---


def broken(
    persist: Persist, error: type[BaseException] = RuntimeError, **options: Any
) -> list[Any]:
    """A projection that raises while there is something in the returned list."""
    faults: list[Any] = ["out of paper"]

    @persist.project(Step, **options)
    def invoices(old: Any, new: Any, context: ProjectionContext) -> Any:
        if faults and new.get("count") == 1:
            raise error(faults[0])
        return None

    return faults


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failing_projection_fails_the_step(
    shop: str, rows: Rows, asynchronous: bool, error: type[BaseException]
) -> None:
    with Persist(shop) as persist:
        faults = broken(persist, error)
        note_steps(persist)
        graph = persist.attach(shopping().compile(checkpointer=persist.checkpointer))
        config = persist.config("t")

        def run(value: Any) -> Any:
            if asynchronous:
                return asyncio.run(graph.ainvoke(value, config))
            return graph.invoke(value, config)

        with pytest.raises(ProjectionFailed, match=r"'invoices' failed.*out of paper"):
            run({"wish": "tea"})
        (workflow,) = rows("SELECT status, error_type FROM workflows")
        assert workflow["status"] == "failed"
        assert workflow["error_type"].endswith("ProjectionFailed")
        assert [task.name for task in graph.get_state(config).tasks] == ["pick"]
        assert rows(ONCE_EACH) == rows(TOO_MANY) == []

        faults.clear()
        run(None)
        assert graph.get_state(config).next == ("confirm",)
    assert rows(ONCE_EACH) == rows(TOO_MANY) == []


@pytest.mark.parametrize("raised", [RuntimeError, asyncio.CancelledError])
def test_a_failing_projection_is_recorded_if_so_chosen(
    shop: str, rows: Rows, raised: type[BaseException]
) -> None:
    with Persist(shop) as persist:
        broken(persist, raised, on_error="record")
        note_steps(persist)
        buy(persist)
    (error,) = rows(
        "SELECT e.*, c.metadata -> 'step' AS step FROM projection_errors e"
        " JOIN checkpoints c USING (thread_id, checkpoint_ns, checkpoint_id)"
        " JOIN workflows w ON w.thread_id = e.thread_id AND w.id = e.workflow_id"
    )
    assert (error["projection"], error["step"], error["error_type"]) == (
        "invoices",
        1,
        qualified_name(raised),
    )
    assert error["error_message"] == "out of paper"
    assert "raise error(faults[0])" in error["error_traceback"]
    assert rows(ONCE_EACH) == []


def refused(persist: Persist, **options: Any) -> None:
    """A projection of which the database refuses one row of two."""

    @persist.project(Order, **options)
    def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
        if context.step == 1:
            yield {"number": "good"}
            yield {"number": None}


@pytest.mark.parametrize("wrap", [list, Json, Jsonb])
def test_json_may_be_wrapped_for_psycopg(shop: str, rows: Rows, wrap: Any) -> None:
    with Persist(shop) as persist:

        @persist.project(Order, keys="number")
        def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
            return {"number": "1", "lines": wrap([{"item": "tea"}])}

        buy(persist)
    assert rows("SELECT lines FROM shop.orders") == [{"lines": [{"item": "tea"}]}]


def test_sql_is_no_value_of_a_row(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:

        @persist.project(Order, keys="number")
        def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
            return {"number": "1", "seen_at": func.now()}

        with pytest.raises(ProjectionFailed, match=r"column 'seen_at' takes a value, not SQL: now"):
            buy(persist)
    assert rows("SELECT * FROM shop.orders") == []


def test_a_refused_row_fails_the_run(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:
        refused(persist)
        with pytest.raises(DurabilityError, match='null value in column "number"'):
            buy(persist)
    assert rows("SELECT * FROM orders") == []
    (workflow,) = rows("SELECT status, error_type, error_message FROM workflows")
    assert (workflow["status"], workflow["error_type"]) == (
        "failed",
        "langgraph_persist.errors.DurabilityError",
    )
    assert 'null value in column "number"' in workflow["error_message"]


def test_a_refused_row_is_recorded_if_so_chosen(shop: str, rows: Rows) -> None:
    with Persist(shop) as persist:
        refused(persist, on_error="record")
        note_steps(persist)
        buy(persist)
        buy(persist, thread="other")
    assert rows("SELECT number FROM orders") == [{"number": "good"}]
    errors = rows(
        "SELECT thread_id, projection, error_type, error_message FROM projection_errors"
        " ORDER BY error_type, thread_id"
    )
    assert [(error["thread_id"], error["error_type"]) for error in errors] == [
        ("other", "psycopg.errors.NotNullViolation"),
        ("t", "psycopg.errors.NotNullViolation"),
        ("other", "psycopg.errors.UniqueViolation"),
    ]
    assert {error["projection"] for error in errors} == {"orders"}
    assert 'null value in column "number"' in errors[0]["error_message"]
    assert rows(ONCE_EACH) == []


def test_each_refused_row_is_recorded_whatever_its_projection_is_called(
    shop: str, rows: Rows
) -> None:
    def bad(count: int) -> Any:
        return lambda old, new, context: [{"number": None}] * count

    def broken(old: Any, new: Any, context: ProjectionContext) -> Any:
        raise ValueError("out of ink")

    broken.__name__ = "<lambda>"
    with Persist(shop) as persist:
        for function in (bad(2), bad(1), broken):
            persist.project(Order, on_error="record")(function)
        buy(persist)
    errors = rows(
        "SELECT projection, count(*) AS told, count(DISTINCT id) AS ids,"
        " count(*) FILTER (WHERE error_message = 'out of ink') AS raised"
        " FROM projection_errors GROUP BY projection, checkpoint_id"
    )
    assert errors
    assert all(list(error.values()) == ["<lambda>", 4, 4, 1] for error in errors)


@pytest.mark.parametrize("before", range(10))
def test_a_refused_row_spoils_no_other(shop: str, rows: Rows, before: int) -> None:
    """Whatever psycopg was about to prepare when the database refused the row."""
    threads = [f"good-{n}" for n in range(before)] + ["bad-0", "good", "bad-1"]
    with Persist(shop) as persist:

        @persist.project(Order, on_error="record")
        def orders(old: Any, new: Any, context: ProjectionContext) -> Any:
            number = f"{context.thread_id}-{new.get('count', 0)}"
            bad = [{"number": None}] if "bad" in number else []
            return [{"number": number}, *bad]

        builder = StateGraph(Buying)
        builder.add_node("count", lambda state: {"count": 2})
        builder.add_edge(START, "count")
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        for thread_id in threads:
            graph.invoke({"count": 1}, persist.config(thread_id, user="u"))
    found = {row["number"] for row in rows("SELECT number FROM orders")}
    assert found == {f"{thread_id}-{n}" for thread_id in threads for n in range(3)}
    errors = rows("SELECT DISTINCT thread_id, error_type FROM projection_errors ORDER BY 1")
    assert [error["thread_id"] for error in errors] == ["bad-0", "bad-1"]
    assert {error["error_type"] for error in errors} == {"psycopg.errors.NotNullViolation"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"number": "n", "colour": "red"}, "no column 'colour'; it has: id, number"),
        ({"tags": []}, "lacks its key: number"),
        (Step(source="x"), "not a Step"),
        ("a text", "not a str"),
    ],
)
def test_what_is_no_row_is_told(shop: str, row: Any, told: str) -> None:
    with Persist(shop) as persist:
        persist.project(Order, keys="number")(lambda old, new, context: row)
        with pytest.raises(ProjectionFailed, match=told):
            buy(persist)


def test_what_is_no_projection_is_told(shop: str) -> None:
    async def coroutine(old: Any, new: Any, context: ProjectionContext) -> None: ...

    with Persist(shop) as persist:
        with pytest.raises(ConfigurationError, match="no coroutine function"):
            persist.project(Order)(coroutine)
        with pytest.raises(ConfigurationError, match="no column 'colour'"):
            persist.project(Order, keys="colour")(lambda old, new, context: None)
        with pytest.raises(ConfigurationError, match="'fail' or 'record', not 'ignore'"):
            persist.project(Order, on_error="ignore")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="a table's name, Table or model"):
            persist.project(int)(lambda old, new, context: None)
        persist.project("shop.nothing")(lambda old, new, context: {"a": 1})
        with pytest.raises(ProjectionFailed, match=r"no table 'shop\.nothing'"):
            buy(persist)


def test_a_slow_projection_does_not_block_the_event_loop(shop: str, rows: Rows) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Persist(shop) as persist:

            @persist.project(Step)
            def ask_the_loop(old: Any, new: Any, context: ProjectionContext) -> None:
                # Answered only if the loop is free meanwhile.
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)

            graph = persist.attach(shopping().compile(checkpointer=persist.checkpointer))
            await graph.ainvoke({"wish": "tea"}, persist.config("t"))

    asyncio.run(main())
    assert len(rows("SELECT * FROM checkpoints")) == 3
