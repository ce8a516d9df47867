"""``Persist``: opening, its parts, and every error a user can meet on the way."""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote as urlquote
from urllib.parse import urlsplit

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from psycopg_pool import ConnectionPool
from sqlalchemy.orm import Session as OrmSession

from langgraph_persist import Persist, PersistCallbackHandler, PersistSaver
from langgraph_persist.database.connection import Backoff
from langgraph_persist.database.queries import Schemas
from langgraph_persist.errors import (
    AuthenticationFailed,
    ConfigurationError,
    DatabaseMissing,
    DatabaseUnavailable,
    DurabilityError,
    JournalClosed,
    PrivilegeMissing,
    SchemaOutdated,
    ServerTooOld,
)
from langgraph_persist.journal import Reaped
from langgraph_persist.migrate import downgrade
from tests.conftest import sibling
from tests.graphs import chain_of, chat_graph, fake_model
from tests.load import terminate


def ping(persist: Persist, thread_id: str = "t") -> dict[str, Any]:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    return graph.invoke({"count": 0}, persist.config(thread_id, user="alice"))


def thread(thread_id: str, checkpoint_id: str | None = None) -> Any:
    where = {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
    return {"configurable": where}


def test_the_readmes_promise(database: str) -> None:
    with Persist(database) as persist:
        assert ping(persist)["count"] == 2
        workflow = persist.history.last()
        assert [node.node_name for node in workflow.nodes] == ["a", "b"]
        assert workflow.state_after("b")["count"] == 2
        assert "completed" in str(workflow.timeline())


async def test_async_context(database: str) -> None:
    async with Persist(database) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        assert (await graph.ainvoke({"count": 0}, persist.config("t")))["count"] == 1


async def test_a_slow_commit_does_not_block_the_event_loop(database: str) -> None:
    async with Persist(database) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        await graph.ainvoke({"count": 0}, persist.config("warm"))
        with psycopg.connect(database) as blocker:
            blocker.execute("LOCK TABLE langgraph_persist.nodes IN EXCLUSIVE MODE")
            run = asyncio.create_task(graph.ainvoke({"count": 0}, persist.config("t")))
            ticks = 0
            for _ in range(50):
                await asyncio.sleep(0.005)
                ticks += 1
            assert not run.done()
        assert ticks == 50
        assert (await run)["count"] == 1


def test_url_from_the_environment(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_PERSIST_URL", database)
    with Persist() as persist:
        ping(persist)
        assert persist.history.last().status == "completed"


def test_its_url_is_told(database: str) -> None:
    with Persist(database) as persist, psycopg.connect(persist.url) as conn:
        assert conn.info.dbname == urlsplit(database).path[1:]


def test_an_unknown_status_is_refused(database: str) -> None:
    with Persist(database) as persist, pytest.raises(ConfigurationError, match="interrupted"):
        persist.history.workflows(status="finished")


def test_sqlalchemy_urls_are_understood(database: str) -> None:
    with Persist(database.replace("postgresql://", "postgresql+psycopg://")) as persist:
        ping(persist)


def test_engine_reads_the_models(database: str) -> None:
    from langgraph_persist.models import Session

    with Persist(database, schema="elsewhere") as persist:
        ping(persist)
        with OrmSession(persist.engine) as orm:
            session = orm.get(Session, "t")
            assert session is not None
            (workflow,) = session.workflows
            assert {node.node_name for node in workflow.nodes} == {"a", "b"}


def test_engine_rolls_back(database: str) -> None:
    from langgraph_persist.models import Session

    with Persist(database) as persist:
        with OrmSession(persist.engine) as orm:
            orm.add(Session(thread_id="never"))
            orm.flush()
            orm.rollback()
        with OrmSession(persist.engine) as orm:
            assert orm.get(Session, "never") is None


def test_engine_outlives_its_connections(database: str) -> None:
    with Persist(database) as persist:
        with persist.engine.connect() as conn:
            first = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        assert terminate(database) > 0
        with persist.engine.connect() as conn:
            assert conn.exec_driver_sql("SELECT pg_backend_pid()").scalar() != first


def test_schemas_of_ones_own(database: str) -> None:
    with Persist(database, schema='Odd "100%"', checkpoint_schema="check points") as persist:
        ping(persist)
        assert persist.history.last().status == "completed"
        graph = chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer)
        assert len([*graph.get_state_history(persist.config("t"))]) == 4
        assert persist.reap() == Reaped([], [], [])
    with psycopg.connect(database) as conn:
        assert conn.execute('SELECT count(*) FROM "check points".checkpoints').fetchone() == (4,)
        assert conn.execute("SELECT to_regclass('public.checkpoints')").fetchone() == (None,)


def test_one_schema_for_both_is_refused(database: str) -> None:
    with pytest.raises(ConfigurationError, match="of their own"):
        Persist(database, schema="same", checkpoint_schema="same")


def test_closed_is_closed(database: str) -> None:
    persist = Persist(database)
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    persist.close()
    persist.close()
    with pytest.raises(JournalClosed):
        graph.invoke({"count": 0}, persist.config("t"))
    with pytest.raises(JournalClosed):
        persist.flush()


def test_a_part_shares_the_journal_of_persist(database: str) -> None:
    with Persist(database) as persist:
        handler = PersistCallbackHandler(database)
        assert handler.journal is persist.checkpointer.journal
        handler.close()
        handler.close()
        ping(persist)


def test_a_duration_is_a_timedelta() -> None:
    with pytest.raises(ConfigurationError, match="session_ttl is a timedelta, not 3600"):
        Persist(session_ttl=3600)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="hitl_timeout is a timedelta"):
        Persist(hitl_timeout=1.5)  # type: ignore[arg-type]
    for part in (Persist, PersistCallbackHandler):
        with pytest.raises(ConfigurationError, match="session_ttl must not be negative"):
            part("postgresql://", session_ttl=timedelta(seconds=-1))


def test_a_connection_in_a_transaction_is_refused(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT 1")
        with pytest.raises(ConfigurationError, match="in a transaction of yours"):
            PersistSaver(conn)


def test_a_run_in_a_transaction_of_the_users_is_not_said_to_be_durable(database: str) -> None:
    with psycopg.connect(database) as conn:
        saver = PersistSaver(conn)
        saver.setup()
        graph = chain_of(["a"]).compile(checkpointer=saver)
        graph.invoke({"count": 0}, Persist.config("t"))
        conn.execute("SELECT 1")
        with pytest.raises((ConfigurationError, DurabilityError), match="transaction of yours"):
            graph.invoke({"count": 5}, Persist.config("t"))
        conn.rollback()
        assert graph.get_state(Persist.config("t")).values["count"] == 1
        assert graph.invoke({"count": 5}, Persist.config("t"))["count"] == 6
        saver.close()


def test_other_encodings_change_nothing(database: str) -> None:
    separator = "&" if "?" in database else "?"
    with Persist(f"{database}{separator}client_encoding=latin1") as persist:
        ping(persist, "zürich")
    with Persist(database) as persist:
        assert persist.history.last().thread_id == "zürich"
        assert persist.checkpointer.get_tuple(persist.config("zürich")) is not None


def test_parts_by_themselves_share_a_journal(database: str) -> None:
    Persist(database).open().close()
    saver, handler = PersistSaver(database), PersistCallbackHandler(database)
    assert saver.journal is handler.journal
    graph = chain_of(["a"]).compile(checkpointer=saver)
    graph.invoke({"count": 0}, {**Persist.config("t"), "callbacks": [handler]})
    saver.close()
    handler.close()
    with psycopg.connect(database) as conn:
        linked = conn.execute(
            "SELECT count(*) FROM langgraph_persist.nodes n JOIN checkpoints c"
            " USING (thread_id, checkpoint_id)"
        ).fetchone()
    assert linked == (1,)


def test_delete_thread_keeps_the_record_and_marks_the_session(database: str) -> None:
    with Persist(database) as persist:
        ping(persist)
        persist.checkpointer.delete_thread("t")
        assert persist.checkpointer.get_tuple(persist.config("t")) is None
        (workflow,) = persist.history.workflows(thread="t")
        assert workflow.state_after("b")["count"] == 2
        with persist.engine.connect() as conn:
            (marked,) = conn.exec_driver_sql(
                "SELECT status, ended_at IS NOT NULL, metadata ? 'checkpoints_deleted_at'"
                " FROM langgraph_persist.sessions"
            ).fetchall()
        assert tuple(marked) == ("completed", True, True)
        ping(persist)
        assert [w.turn for w in persist.history.workflows(thread="t")] == [2, 1]


def test_threads_are_named(database: str) -> None:
    nobody: Any = None
    with Persist(database) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        with pytest.raises(ConfigurationError, match="thread_id is None"):
            persist.config(nobody)
        with pytest.raises(ConfigurationError, match="thread_id is None"):
            graph.invoke({"count": 0}, {"configurable": {"thread_id": None}})
        with pytest.raises(ConfigurationError, match="thread_id is None"):
            persist.checkpointer.copy_thread("t", nobody)
        with pytest.raises(ConfigurationError, match="copied to itself"):
            persist.checkpointer.copy_thread("t", "t")
        assert "None" not in [thread.thread_id for thread in persist.threads()]


def test_a_mistaken_deletion_deletes_nothing(database: str) -> None:
    erase: Any = True
    with Persist(database) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        graph.invoke({"count": 0}, persist.config("t"))
        with pytest.raises(ConfigurationError, match='record is "keep" or "delete", not True'):
            persist.checkpointer.delete_thread("t", record=erase)
        assert graph.get_state(persist.config("t")).values["count"] == 1


def test_delete_thread_deletes_the_record_where_asked(database: str) -> None:
    with Persist(database) as persist:
        ping(persist)
        persist.checkpointer.delete_thread("t", record="delete")
        assert persist.history.workflows() == []
        ping(persist)
        assert persist.history.last().state_after("b")["log"] == ["a", "b"]


def test_copy_thread_copies_the_record_where_asked(database: str) -> None:
    with Persist(database) as persist:
        graph = persist.attach(chat_graph("yes", "no").compile(checkpointer=persist.checkpointer))
        graph.invoke({"messages": [HumanMessage("hi")]}, persist.config("t"))
        persist.checkpointer.copy_thread("t", "bare")
        persist.checkpointer.copy_thread("t", "whole", record=True)
        assert persist.history.workflows(thread="bare") == []
        (original,) = persist.history.workflows(thread="t")
        (copied,) = persist.history.workflows(thread="whole")
        assert copied.state_after("ask") == original.state_after("ask")
        assert [m["content"] for m in copied.generations[0].prompt] == ["hi", "sunny in Oslo"]
        with pytest.raises(ConfigurationError, match="'whole' has checkpoints"):
            persist.checkpointer.copy_thread("t", "whole", record=True)
        graph.invoke({"messages": [HumanMessage("again")]}, persist.config("whole"))
        assert [w.turn for w in persist.history.workflows(thread="whole")] == [2, 1]
        assert persist.history.workflow(original.id).thread_id == "t"


# --- errors ---


def test_bad_url() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user"):
        Persist("http://example").open()
    with pytest.raises(ConfigurationError, match="empty"):
        Persist(" ").open()
    with pytest.raises(ConfigurationError, match="not float"):
        Persist(1.5).open()  # type: ignore[arg-type]


OPENING: dict[str, tuple[Callable[..., Any], Callable[[Any], object]]] = {
    "open": (Persist, lambda persist: persist.open()),
    "setup": (PersistSaver, lambda saver: saver.setup()),
    "read": (PersistSaver, lambda saver: saver.get_tuple(thread("t"))),
    "list": (partial(PersistSaver, checkpoint_schema="c"), lambda saver: [*saver.list(None)]),
    "aread": (PersistSaver, lambda saver: asyncio.run(saver.aget_tuple(thread("t")))),
    "write": (PersistSaver, lambda saver: saver.put_writes(thread("t", "c"), [("c", 1)], "task")),
    "run": (
        PersistCallbackHandler,
        lambda handler: chain_of(["a"]).compile().invoke({"count": 0}, {"callbacks": [handler]}),
    ),
}


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"postgresql://u:secret@127.0.0.1:{unused.getsockname()[1]}/db"


@pytest.mark.parametrize("how", OPENING)
def test_a_server_that_never_was_there_is_not_waited_for(
    nowhere: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Backoff] = []

    def wait(self: Backoff) -> bool:
        waits.append(self)
        return False

    monkeypatch.setattr(Backoff, "wait", wait)
    make, use = OPENING[how]
    unreachable = f"{urlsplit(nowhere).port} .*Check that the server runs"
    part = make(nowhere)
    with pytest.raises((DatabaseUnavailable, DurabilityError), match=unreachable):
        use(part)
    assert waits == []
    with suppress(DurabilityError):
        part.close()


def test_a_pool_without_a_server_says_so(nowhere: str) -> None:
    pool = ConnectionPool(nowhere, min_size=0, max_size=1, timeout=0.05, open=True)
    with pool, PersistSaver.from_conn_string(cast(Any, pool)) as saver:
        with pytest.raises(DatabaseUnavailable, match="Check that the server runs"):
            saver.setup()
        with pytest.raises(DatabaseUnavailable, match=r"no connection .*0.05 sec.* max_size"):
            saver.get_tuple(thread("t"))


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "30", True, timedelta(1)])
def test_a_patience_is_a_number_of_seconds(value: Any) -> None:
    for part in (Persist, PersistSaver, PersistCallbackHandler):
        with pytest.raises(ConfigurationError, match="retry_for is a number of seconds"):
            part("postgresql://", retry_for=value)


def test_a_savers_patience_holds(migrated: str) -> None:
    with PersistSaver.from_conn_string(migrated, retry_for=2) as saver:
        assert saver.journal.database.retry_for == 2.0
        with PersistSaver.from_conn_string(migrated) as other:
            assert other.journal.database.retry_for == 2.0
        with Persist(migrated, retry_for=0) as persist:
            assert persist.checkpointer.journal.database.retry_for == 0


def test_database_missing(server_url: str) -> None:
    with pytest.raises(DatabaseMissing, match="CREATE DATABASE nowhere_to_be_found"):
        Persist(sibling(server_url, "nowhere_to_be_found")).open()


@pytest.fixture
def limited(database: str) -> Iterator[str]:
    """The URL of a user that may connect and nothing else."""
    name = "limited_user"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"DROP ROLE IF EXISTS {name}")
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    parts = urlsplit(database)
    host = parts.netloc.rpartition("@")[2]
    yield parts._replace(netloc=f"{name}:right@{host}").geturl()
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"DROP OWNED BY {name}")
        conn.execute(f"DROP ROLE {name}")


def test_unknown_user(database: str) -> None:
    parts = urlsplit(database)
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=f"nobody_here:{urlquote('p@ss')}@{host}").geturl()
    with pytest.raises(AuthenticationFailed, match="user and password") as caught:
        Persist(url).open()
    assert "p@ss" not in str(caught.value)


def test_missing_privilege(limited: str) -> None:
    with pytest.raises(PrivilegeMissing, match=r"Persist\.migrate"):
        Persist(limited).open()


def test_migrate_false_refuses_and_says_what_is_missing(database: str) -> None:
    with pytest.raises(SchemaOutdated, match="0004_create_session_tables"):
        Persist(database, migrate=False).open()
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT to_regclass('checkpoints')").fetchone() == (None,)
    Persist.migrate(database)
    Persist(database, migrate=False).open().close()


def test_server_too_old(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langgraph_persist.database.connection.OLDEST_SERVER", 990000)
    with pytest.raises(ServerTooOld, match="needs 99"):
        Persist(database).open()


def test_ddl_is_returned_for_a_dba(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = Persist.migrate(sql=True)
    assert capsys.readouterr().out == ""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(script.encode())
    with Persist(database, migrate=False) as persist:
        ping(persist)
    downgrade(database, Schemas(), "0006")
    script = Persist.migrate(database, sql=True)
    assert "node_performance" in script
    assert "sessions_pkey" not in script
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(script.encode())
    Persist(database, migrate=False).open().close()


def test_a_lost_server_fails_the_run_and_keeps_the_thread(server_url: str, database: str) -> None:
    name = urlsplit(database).path[1:]
    with Persist(database) as persist, psycopg.connect(server_url, autocommit=True) as admin:
        builder = chain_of(["a", "b"])
        lost: list[bool] = []

        def lose_it(state: Any) -> dict[str, Any]:
            persist.flush()  # a connection that is only just opened would survive
            return {} if lost else lose(admin, name)

        builder.add_node("lose", lose_it)
        builder.add_edge("b", "lose")
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        persist.checkpointer.journal.database.retry_for = 0.5
        with pytest.raises(DurabilityError, match="resumes from there"):
            graph.invoke({"count": 0}, persist.config("t"))
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        last = graph.get_state(persist.config("t"))
        assert last.next or not last.values
        lost.append(True)
        graph.invoke({"count": 0}, persist.config("t"))
        assert persist.history.last().status == "completed"


def lose(admin: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    """Ends all connections to a database and lets no new one in."""
    admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
    )
    return {"count": 1}


# --- the embedded server ---


def test_embedded_is_the_default_and_survives(project: Path) -> None:
    with Persist() as persist:
        ping(persist, "first")
    assert (project / ".langgraph_persist").is_dir()
    with Persist() as persist:
        ping(persist, "second")
        assert {w.thread_id for w in persist.history.workflows()} == {"first", "second"}


def test_embedded_is_shared_by_processes(project: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from langgraph_persist import Persist
        from tests.graphs import chain_of, chat_graph
        with Persist() as persist:
            graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
            for number in range(5):
                graph.invoke({"count": 0}, persist.config(f"{sys.argv[1]}-{number}"))
        """
    )
    root = str(Path(__file__).parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number)],
            cwd=project,
            env={**os.environ, "PYTHONPATH": root},
        )
        for number in range(4)
    ]
    assert [process.wait(120) for process in processes] == [0] * 4
    with Persist() as persist:
        assert len(persist.history.workflows()) == 20


def test_two_threads_open_one_persist(database: str) -> None:
    persist = Persist(database)
    threads = [threading.Thread(target=persist.open) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ping(persist)
    persist.close()


def test_copies_of_what_holds_them_have_the_same_handler_and_saver(
    persist: Persist, rows: Any
) -> None:
    config: Any = {"callbacks": [persist.handler], "configurable": {"thread_id": "t"}}
    copied = copy.deepcopy(config)
    model = fake_model("Hello").model_copy(update={"callbacks": [copy.copy(persist.handler)]})
    model.model_copy(deep=True).invoke("Hi", copied)
    copy.deepcopy(persist.attach(model)).invoke("Hi")
    assert rows("SELECT count(*) AS count FROM generations") == [{"count": 2}]
    assert copy.deepcopy([persist.checkpointer]) == [persist.checkpointer]
