from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, selectinload, undefer
from sqlalchemy.pool import NullPool

from langgraph_persist import models as m
from langgraph_persist.database.queries import Schemas
from langgraph_persist.migrate import upgrade
from langgraph_persist.models.stock import Stock
from tests._migrate_catalog import Catalog, catalog, difference

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RELATIONSHIPS = [
    (mapper.class_, relationship.key)
    for mapper in m.Base.registry.mappers
    for relationship in mapper.relationships
]
VIEWS = {table.name for table in m.View.metadata.tables.values()}
UNMODELLED = {"schema_version", "schema_ledger", "checkpoint_migrations"}


def driver_url(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:", 1)


@pytest.fixture
def engine(migrated: str) -> Engine:
    return create_engine(driver_url(migrated), poolclass=NullPool)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose changes, of the schema too, are rolled back."""
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


# --- models and database are the same ---


def defined(connection: Connection, schema: str) -> Catalog:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return catalog(raw, schema)


def tables_only(found: Catalog) -> Catalog:
    hidden = tuple(VIEWS | UNMODELLED)
    return {
        name: definition
        for name, definition in found.items()
        if not name.split()[1].removeprefix("SCHEMA.").startswith(hidden)
    }


def table_drift(connection: Connection) -> dict[str, tuple[str | None, str | None]]:
    """Where the migrated tables are not what the models would make."""
    connection.execute(text("CREATE SCHEMA copied"))
    for metadata, schema in ((m.Base.metadata, m.SCHEMA), (Stock.metadata, "public")):
        mapped = connection.execution_options(schema_translate_map={schema: "copied"})
        metadata.create_all(mapped, checkfirst=False)
    migrated = {**defined(connection, m.SCHEMA), **defined(connection, "public")}
    return difference(tables_only(migrated), defined(connection, "copied"))


def view_drift(connection: Connection) -> dict[str, tuple[str | None, str | None]]:
    """Where the views' columns are not the models'; PostgreSQL knows no NOT NULL of a view's."""
    found = {
        name: definition.removesuffix(" DEFAULT ")
        for name, definition in defined(connection, m.SCHEMA).items()
        if name.startswith("column ") and name.split()[1].partition(".")[0] in VIEWS
    }
    modelled = {
        f"column {table.name}.{column.name}": column.type.compile(connection.dialect).lower()
        for table in m.View.metadata.tables.values()
        for column in table.columns
    }
    return difference(found, modelled)


@pytest.mark.plain_postgres("Citus lists the constraints of shards too")
def test_every_table_is_as_its_model_says(connection: Connection) -> None:
    assert table_drift(connection) == {}


def test_every_view_is_as_its_model_says(connection: Connection) -> None:
    assert view_drift(connection) == {}
    views = connection.scalars(
        text("SELECT viewname FROM pg_views WHERE schemaname = 'langgraph_persist'")
    )
    assert set(views) == VIEWS


def test_alembic_would_change_nothing(connection: Connection) -> None:
    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": lambda name, type_, parents: (
                name == m.SCHEMA if type_ == "schema" else name not in UNMODELLED
            ),
            "compare_type": True,
            "compare_server_default": True,
        },
    )
    assert compare_metadata(context, m.Base.metadata) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {}.todos DROP CONSTRAINT todos_priority_check",
        "ALTER TABLE {}.nodes ALTER COLUMN node_name DROP NOT NULL",
        "ALTER TABLE {}.nodes ALTER COLUMN cached SET DEFAULT true",
        "ALTER TABLE {}.nodes ALTER COLUMN step TYPE bigint USING step",
        "ALTER TABLE {}.nodes ADD COLUMN extra text",
        "ALTER TABLE {}.users DROP CONSTRAINT users_email_key",
        "ALTER TYPE {}.evaluation_type ADD VALUE 'OTHER'",
        "DROP INDEX {0}.todos_pending_idx; CREATE INDEX todos_pending_idx ON {0}.todos"
        " (thread_id, plan_id, execution_order) WHERE status = 'blocked'",
        "DROP INDEX {0}.nodes_started_at_idx;"
        " CREATE INDEX nodes_started_at_idx ON {0}.nodes (started_at)",
        "ALTER TABLE {0}.messages DROP CONSTRAINT messages_thread_id_fkey,"
        " ADD CONSTRAINT messages_thread_id_fkey FOREIGN KEY (thread_id)"
        " REFERENCES {0}.sessions (thread_id)",
        "ALTER TABLE checkpoints ALTER COLUMN created_at DROP DEFAULT",
        "DROP INDEX checkpoint_writes_thread_id_task_id_idx",
    ],
)
@pytest.mark.plain_postgres("Citus lists the constraints of shards too")
def test_a_drift_is_found(connection: Connection, change: str) -> None:
    views = "SELECT format('DROP VIEW %I.%I CASCADE', schemaname, viewname) FROM pg_views"
    for drop in connection.scalars(text(f"{views} WHERE schemaname = '{m.SCHEMA}'")).all():
        connection.execute(text(drop.replace("DROP VIEW", "DROP VIEW IF EXISTS")))
    connection.execute(text(change.format(m.SCHEMA)))
    assert table_drift(connection) != {}


def test_a_drift_of_a_view_is_found(connection: Connection) -> None:
    connection.execute(text(f"ALTER VIEW {m.SCHEMA}.model_usage RENAME COLUMN calls TO called"))
    assert set(view_drift(connection)) == {
        "column model_usage.calls",
        "column model_usage.called",
    }


# --- use ---


def new(model: Any, **values: Any) -> Any:
    """A row of the thread ``t``, or with an id of its own."""
    return model(id=uuid.uuid4(), **values)


def record(db: Session) -> m.Session:
    """One session with something of everything."""
    acme = m.Organization(name="Acme", slug="acme")
    alice = m.User(username="alice", organization=acme)
    who = {"user": alice, "organization": acme}
    chat = m.Session(thread_id="t", meta={"a": 1}, **who)
    workflow = new(m.Workflow, turn=1, name="graph", started_at=NOW, session=chat, **who)
    run = new(m.WorkflowRun, started_at=NOW, workflow=workflow, user=alice)
    place, messages = contents(chat)
    at = {"workflow": workflow, "started_at": NOW, "run_id": run.id}
    sub = new(m.Node, node_name="sub", node_type="subgraph", execution_order=1, **at)
    chat_list = {"$stored": str(messages.id)}
    state = {"place": {"$stored": str(place.id)}, "messages": chat_list, "n": 1}
    at_node = {"parent_node_id": sub.id, "checkpoint_id": "c1", "state": state}
    node = new(m.Node, node_name="plan", execution_order=2, **at_node, **at)
    plan = new(m.Plan, session=chat)
    todo = new(m.Todo, plan=plan, title="book", approver=alice, depends_on=[node.id])
    db.add(chat)
    db.flush()
    # What follows refers to these by column.
    plan.workflow_id = workflow.id
    to_plan = {"plan_id": plan.id, "node_id": node.id, "todo_id": todo.id}
    search = {"tool": m.Tool(name="search", tags=["web"]), "tool_name": "search"}
    verdict = {"score": 90.5, "analysis": "good"}
    prompt = {"$stored": str(messages.id)}
    of = {"organization_id": acme.id, "user_id": alice.id}
    failed = {"projection": "orders", "checkpoint_ns": "", "checkpoint_id": "c1"}
    day = {"period_start": NOW, "period_end": NOW + timedelta(days=1)}
    db.add_all(
        [
            new(m.Generation, node_id=node.id, prompt=prompt, model_name="gpt", **at),
            new(m.ToolExecution, node_id=node.id, todo_id=todo.id, **search, **at),
            new(m.Retrieval, node_id=node.id, query="cats", **at),
            new(m.HitlEvent, workflow=workflow, event_type="pause", user=alice, **to_plan),
            m.PlanVersion(plan=plan, version=1),
            m.ExecutionResult(todo=todo, plan_id=plan.id, success=True),
            new(m.Evaluation, session=chat, turn=1, evaluation_type="TURN_EVAL", details=verdict),
            m.Feedback(session=chat, user=alice, workflow_id=workflow.id, plan_id=plan.id),
            new(m.ProjectionError, thread_id="t", workflow_id=workflow.id, **failed),
            m.Checkpoint(thread_id="t", checkpoint_id="c1", checkpoint={}, workflow_id=workflow.id),
            m.UsageMetric(metric_type="api_calls", metric_value=Decimal("1.5"), **of, **day),
        ]
    )
    db.commit()
    return chat


def contents(chat: m.Session) -> tuple[m.StateValue, m.StateValue]:
    """A value, and a list of one message, kept once for the session."""
    said = new(m.Message, session=chat, role="human", text="hi", message_id="1", turn=1)
    base = new(m.StateValue, session=chat, kind="messages", value=[])
    after = {"value": [str(said.id)], "base_id": base.id}
    return (
        new(m.StateValue, session=chat, value={"city": "Rome"}),
        new(m.StateValue, session=chat, kind="messages", **after),
    )


@pytest.mark.plain_postgres("Citus reads no views of full states")
def test_the_record_is_read_along_its_relationships(db: Session) -> None:
    chat = record(db)
    db.expire_all()

    workflow = chat.workflows[0]
    _, node = workflow.nodes
    generation = node.generations[0]
    assert chat.workflows[0].nodes[1].generations == workflow.generations == [generation]
    assert node.state_data == {
        "place": {"city": "Rome"},
        "messages": [{"type": "human", "content": "hi", "id": "1"}],
        "n": 1,
    }
    assert generation.prompt_messages == node.state_data["messages"]
    assert generation.node is node and node.parent is not None and node.parent.children == [node]
    assert node.run is workflow.runs[0] and node.checkpoint is workflow.checkpoints[0]
    assert [event.kind for event in workflow.timeline].count("node") == 1
    assert chat.user is not None and chat.user.organization is chat.organization
    assert chat.plans[0].todos[0].results[0].plan is chat.plans[0]
    assert chat.evaluations[0].workflow is workflow
    assert chat.meta == {"a": 1}


def test_every_relationship_leads_somewhere_and_back(db: Session) -> None:
    record(db)
    for model, name in RELATIONSHIPS:
        rows = db.scalars(select(model).options(selectinload(getattr(model, name)))).all()
        values = [getattr(row, name) for row in rows]
        targets = [t for v in values if v for t in (v if isinstance(v, list) else [v])]
        assert targets, f"{model.__name__}.{name} is empty"
        back = model.__mapper__.relationships[name].back_populates
        for target in targets if back else ():
            other = getattr(target, back)
            assert set(rows) & set(other if isinstance(other, list) else [other])


@pytest.mark.plain_postgres("Citus reads no views of full states")
async def test_an_async_session_loads_what_it_is_told_to(db: Session, migrated: str) -> None:
    record(db)
    engine = create_async_engine(driver_url(migrated), poolclass=NullPool)
    wanted = (
        select(m.Session)
        .options(
            selectinload(m.Session.workflows)
            .selectinload(m.Workflow.nodes)
            .options(undefer(m.Node.state_data), selectinload(m.Node.generations))
        )
        .where(m.Session.thread_id == "t")
    )
    async with AsyncSession(engine) as adb:
        chat = (await adb.scalars(wanted)).one()
    node = chat.workflows[0].nodes[1]
    assert node.state_data is not None and node.state_data["place"] == {"city": "Rome"}
    assert node.generations[0].model_name == "gpt"


def test_the_schema_is_a_parameter(engine: Engine, migrated: str) -> None:
    odd = Schemas('My "schema"', "Check points")
    upgrade(migrated, odd)
    try:
        places = {m.SCHEMA: odd.record, "public": odd.checkpoints}
        with Session(engine.execution_options(schema_translate_map=places)) as db:
            chat = record(db)
            assert chat.workflows[0].checkpoints[0].checkpoint_id == "c1"
            assert chat.evaluations[0].evaluation_type == "TURN_EVAL"
        with Session(engine) as db:
            assert db.scalar(select(func.count()).select_from(m.Session)) == 0
    finally:
        with psycopg.connect(migrated, autocommit=True) as conn:
            conn.execute('DROP SCHEMA "My ""schema""", "Check points" CASCADE')


def test_plans_are_written_in_the_order_their_keys_need(db: Session) -> None:
    chat = m.Session(thread_id="t")
    plan = m.Plan(session=chat, todos=[m.Todo(title="b"), m.Todo(title="a", priority=10)])
    db.add(chat)
    db.commit()
    assert [todo.title for todo in plan.todos] in (["a", "b"], ["b", "a"])
    assert {todo.priority for todo in plan.todos} == {0, 10}
    plan.todos[0].priority = 11
    with pytest.raises(IntegrityError, match="todos_priority_check"):
        db.commit()


def test_a_deleted_session_takes_its_rows_along_and_a_deleted_user_does_not(db: Session) -> None:
    chat = record(db)
    db.delete(db.scalars(select(m.User)).one())
    db.commit()
    assert chat.user is None and chat.workflows[0].user_id is None
    assert db.scalars(select(m.UsageMetric)).one().user_id is not None

    db.delete(chat)
    db.commit()
    kept = {"Organization", "Tool", "UsageMetric", "Checkpoint"}
    for mapper in m.Base.registry.mappers:
        rows = db.scalars(select(mapper.class_)).all()
        assert bool(rows) == (mapper.class_.__name__ in kept), mapper


def test_none_is_null_and_not_a_json_null(db: Session) -> None:
    record(db)
    workflow = db.scalars(select(m.Workflow)).one()
    workflow.result = None
    db.commit()
    assert db.scalar(select(m.Workflow.id).where(m.Workflow.result.is_(None))) == workflow.id


def test_reports_without_a_user_are_rows_too(db: Session) -> None:
    workflow = new(m.Workflow, turn=1, name="graph", started_at=NOW, status="completed")
    workflow.session = m.Session(thread_id="t")
    new(m.Generation, workflow=workflow, run_id=workflow.id, started_at=NOW)
    db.add(workflow)
    db.commit()
    assert db.scalars(select(m.UserSuccessRate)).one().success_rate == 1
    assert db.scalars(select(m.ModelUsage)).one().calls == 1
    assert db.scalars(select(m.DailyCost)).one().day == NOW.date()


def test_a_repr_says_what_it_is_without_asking_the_database(db: Session) -> None:
    record(db)
    workflow = db.scalars(select(m.Workflow)).one()
    shown = f"Workflow(thread_id='t', id={workflow.id}, turn=1, name='graph', status='running'"
    assert repr(workflow) == f"{shown}, duration_ms=None)"
    user = db.scalars(select(m.User)).one()
    assert repr(user) == f"User(id={user.id}, username='alice', role='user')"
    db.expire_all()
    db.close()
    assert repr(workflow) == "Workflow()"
    for mapper in m.Base.registry.mappers:
        assert repr(mapper.class_()) == f"{mapper.class_.__name__}()"


def test_everything_public_is_exported() -> None:
    classes = {mapper.class_.__name__ for mapper in m.Base.registry.mappers}
    assert set(m.__all__) == classes | {"Base", "View", "SCHEMA"}
