"""Listing checkpoints and threads: the same as stock finds, a few at a time."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg_pool import ConnectionPool

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.database.queries import Schemas, queries
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.migrate import index_metadata
from langgraph_persist.saver import pages
from tests.graphs import approval_graph, chain_of


@pytest.fixture
def saver(migrated: str) -> Iterator[PersistSaver]:
    with PersistSaver.from_conn_string(migrated) as opened:
        yield opened


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "FIRST", 2)
    monkeypatch.setattr(pages, "GROWTH", 2)
    monkeypatch.setattr(pages, "LARGEST", 5)


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each query for whole checkpoints gave."""
    found: list[int] = []
    select = PersistSaver._select

    def counting(self: PersistSaver, *args: Any, **options: Any) -> Any:
        rows = select(self, *args, **options)
        found.append(len(rows))
        return rows

    monkeypatch.setattr(PersistSaver, "_select", counting)
    return found


def config(thread_id: str = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}}


def fill(url: str, thread_id: str, count: int, size: int = 2_000) -> None:
    """A thread of so many checkpoints with a value and a write each, made in SQL."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            """
            WITH made AS (
                SELECT n, lpad(to_hex(n), 8, '0') || '-0000-6000-8000-000000000000' AS id
                FROM generate_series(1, %(count)s) AS n
            ), blobs AS (
                INSERT INTO checkpoint_blobs
                SELECT %(thread)s, '', 'c', n::text, 'bytes',
                    convert_to(rpad(md5(n::text), %(size)s, md5(n::text)), 'UTF8')
                FROM made
            ), writes AS (
                INSERT INTO checkpoint_writes
                SELECT %(thread)s, '', id, id, 0, 'c', 'bytes', 'x' FROM made
            )
            INSERT INTO checkpoints
                (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
                checkpoint, metadata)
            SELECT %(thread)s, '', id, lag(id) OVER (ORDER BY n),
                jsonb_build_object(
                    'v', 4, 'id', id, 'ts', now(), 'channel_values', '{}'::jsonb,
                    'channel_versions', jsonb_build_object('c', n::text),
                    'versions_seen', '{}'::jsonb
                ),
                jsonb_build_object('step', n, 'user', 'user-' || n %% 500)
            FROM made
            """,
            {"count": count, "thread": thread_id, "size": size},
        )
        conn.execute("ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes")


# --- the same as stock ---

SOURCES = ("input", "loop", "update")


def scatter(stock: PostgresSaver, v: int) -> list[str]:
    """Checkpoints of several threads and namespaces in any order; their ids."""
    chance = random.Random(7)
    ids = [str(uuid6()) for _ in range(50)]
    for number, id in enumerate(chance.sample(ids, len(ids))):
        checkpoint = empty_checkpoint()
        checkpoint["id"], checkpoint["v"] = id, v
        checkpoint["channel_values"] = {"c": [number], "n": number}
        checkpoint["channel_versions"] = {"c": id, "n": id}
        at = config(chance.choice("tu"), checkpoint_ns=chance.choice(["", "sub:1"]))
        at["configurable"]["checkpoint_id"] = chance.choice([*ids[:5], None])
        metadata: Any = {
            "source": chance.choice(SOURCES),
            "step": number % 4,
            "deep": {"n": number % 3},
        }
        saved = stock.put(at, checkpoint, metadata, {"c": id, "n": id})
        writes = [("c", [number]), ("__pregel_tasks", number)][: chance.randint(0, 2)]
        if writes:
            stock.put_writes(saved, writes, f"task-{number}", "path")
    return ids


def test_numbers_of_any_size_that_stock_wrote_are_read_exactly(
    saver: PersistSaver, migrated: str
) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"n": 2**70, "m": -(2**63) - 1, "x": 1e300, "y": 0.5}
    checkpoint["channel_versions"] = {name: "1" for name in "nmxy"}
    metadata: Any = {"step": 1, "deep": [{"n": 2**64}], "x": 1e300}
    with PostgresSaver.from_conn_string(migrated) as stock:
        stock.put(config(), checkpoint, metadata, {})
        theirs = stock.get_tuple(config())
    ours = saver.get_tuple(config())
    assert ours is not None and theirs is not None
    assert ours.checkpoint["channel_values"] == theirs.checkpoint["channel_values"]
    assert ours.checkpoint["channel_values"]["n"] == 2**70
    assert ours.metadata == theirs.metadata
    assert dict(ours.metadata)["deep"] == [{"n": 2**64}]


where = st.none() | st.fixed_dictionaries(
    {"thread_id": st.sampled_from("tuv")},
    optional={
        "checkpoint_ns": st.sampled_from(["", "sub:1"]),
        "checkpoint_id": st.integers(0, 49) | st.none(),
    },
)
filters = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from([*SOURCES, "fork"]),
        "step": st.integers(0, 4),
        "deep": st.fixed_dictionaries({"n": st.integers(0, 3)}),
    },
)


@pytest.mark.parametrize("v", [3, 4])
@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_lists_what_stock_lists(
    migrated: str, direct: str, saver: PersistSaver, small_pages: None, v: int
) -> None:
    with PostgresSaver.from_conn_string(direct) as stock:
        ids = scatter(stock, v)

        @given(
            where=where,
            filter=filters,
            before=st.none() | st.integers(0, 49),
            limit=st.none() | st.integers(0, 60),
        )
        @settings(deadline=None, max_examples=50)
        def check(where: Any, filter: Any, before: int | None, limit: int | None) -> None:
            # Of old checkpoints stock takes the sends of one thread for those of all.
            assume(where is not None or v == 4)
            if where is not None:
                id = where.get("checkpoint_id")
                where = where | ({} if id is None else {"checkpoint_id": ids[id]})
                where = {"configurable": where}
            options: Any = {"filter": filter, "limit": limit}
            if before is not None:
                options["before"] = config(checkpoint_id=ids[before])
            assert [*saver.list(where, **options)] == [*stock.list(where, **options)]

        check()
        assert len([*saver.list(None)]) == 50


def test_the_same_id_in_many_threads_is_listed_once_each(
    saver: PersistSaver, small_pages: None
) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    graph.invoke({"count": 0}, config())
    for number in range(6):
        saver.copy_thread("t", f"copy-{number}")
    found = [
        (c["checkpoint_id"], c["thread_id"])
        for c in (item.config["configurable"] for item in saver.list(None))
    ]
    assert len(found) == len(set(found)) == 28
    assert [id for id, _ in found] == sorted((id for id, _ in found), reverse=True)
    assert [*saver.list(None, limit=9)] == [*saver.list(None)][:9]


async def test_alist_gives_the_same(saver: PersistSaver, small_pages: None) -> None:
    graph = approval_graph().compile(checkpointer=saver)
    for _ in range(4):
        await graph.ainvoke({"count": 0}, config())
    options: Any = {"filter": {"source": "loop"}, "limit": 7}
    found = [item async for item in saver.alist(config(), **options)]
    assert found == await asyncio.to_thread(lambda: [*saver.list(config(), **options)])
    assert len(found) == 7


def test_a_thread_id_may_be_a_number(saver: PersistSaver) -> None:
    chain_of(["a"]).compile(checkpointer=saver).invoke({"count": 0}, config("7"))
    assert len([*saver.list({"configurable": {"thread_id": 7}})]) == 3


# --- a few at a time ---


def consume(items: Iterator[CheckpointTuple]) -> int:
    return sum(1 for _ in items)


def live_memory() -> int:
    """Bytes of the objects in use, garbage not counted."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.unpooled
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_memory_does_not_grow_with_the_thread(
    migrated: str, saver: PersistSaver, selected: list[int], traced: None, mode: str
) -> None:
    fill(migrated, "t", 5_000)
    used: list[int] = []

    def look(number: int) -> None:
        if number % 500 == 0:
            used.append(live_memory())

    async def alook() -> None:
        number = 0
        async for _ in saver.alist(config()):
            look(number := number + 1)

    if mode == "sync":
        for number, _ in enumerate(saver.list(config()), 1):
            look(number)
    else:
        asyncio.run(alook())
    assert (sum(selected), max(selected), len(used)) == (5_000, pages.LARGEST, 10)
    # A page takes 2 MB; it is done with when the next one comes.
    assert max(used) - used[0] < 1_000_000


@pytest.mark.unpooled
def test_large_checkpoints_make_small_pages(
    migrated: str, saver: PersistSaver, selected: list[int]
) -> None:
    fill(migrated, "large", 30, size=2_000_000)
    assert consume(saver.list(config("large"))) == 30
    assert max(selected[1:]) <= 3


def test_a_limit_reads_no_more(migrated: str, saver: PersistSaver, selected: list[int]) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    for _ in range(10):
        graph.invoke({"count": 0}, config())
    selected.clear()
    assert len([*graph.get_state_history(config(), limit=1)]) == 1
    assert selected == [1]
    selected.clear()
    next(saver.list(config()))
    assert selected == [pages.FIRST]


async def test_alist_reads_on_as_it_is_asked(
    migrated: str, saver: PersistSaver, selected: list[int]
) -> None:
    fill(migrated, "long", 500)
    items: Any = saver.alist(config("long"))
    await anext(items)
    assert selected == [pages.FIRST]
    await items.aclose()


def test_no_connection_is_held_between_pages(migrated: str, small_pages: None) -> None:
    fill(migrated, "t", 20)
    with ConnectionPool(migrated, min_size=1, max_size=1, timeout=5, open=True) as pool:
        saver = PersistSaver(pool)
        found = []
        for item in saver.list(config()):
            found.append(saver.get_tuple(item.config))
            assert pool.get_stats()["pool_available"] == 1
        assert len(found) == 20
        saver.close()


def test_what_changes_meanwhile_is_passed_over(
    migrated: str, saver: PersistSaver, small_pages: None
) -> None:
    fill(migrated, "t", 20)
    steps = []
    for item in saver.list(config()):
        steps.append(item.metadata["step"])
        if len(steps) == 1:
            saver.put(item.config, empty_checkpoint(), {"source": "loop", "step": 99}, {})
            with psycopg.connect(migrated) as conn:
                conn.execute("DELETE FROM checkpoints WHERE metadata ->> 'step' = '10'")
    assert steps == [n for n in range(20, 0, -1) if n != 10]


def test_pages_of_a_thread_come_from_its_index(migrated: str, saver: PersistSaver) -> None:
    fill(migrated, "t", 2_000)
    plan = explain(migrated, saver, lambda: next(saver.list(config())))
    assert "Backward using checkpoints_pkey" in plan
    assert "Seq Scan" not in plan


def explain(url: str, saver: PersistSaver, work: Callable[[], object]) -> str:
    """The plan of the first query that the work makes."""
    asked: list[tuple[str, Any]] = []
    select = PersistSaver._select

    def recording(operation: str, thread_id: Any, where: str, args: Any, **options: Any) -> Any:
        asked.append((where, args))
        return select(saver, operation, thread_id, where, args, **options)

    saver._select = recording  # type: ignore[method-assign]
    work()
    where, args = asked[0]
    with psycopg.connect(url) as conn:
        query = f"EXPLAIN SELECT c.checkpoint_id FROM checkpoints AS c {where}"
        return "\n".join(row[0] for row in conn.execute(query.encode(), args))


def test_metadata_filters_use_an_index_where_one_is_asked_for(
    migrated: str, direct: str, saver: PersistSaver
) -> None:
    fill(migrated, "t", 5_000, size=10)
    find = {"user": "user-77"}
    assert "checkpoints_metadata_idx" not in explain(
        migrated, saver, lambda: [*saver.list(None, filter=find)]
    )
    with Persist(direct) as persist:
        persist.index_metadata()
        persist.index_metadata()
    try:
        with psycopg.connect(migrated, autocommit=True) as conn:
            conn.execute("ANALYZE checkpoints")
        found: list[CheckpointTuple] = []
        plan = explain(migrated, saver, lambda: found.extend(saver.list(None, filter=find)))
        assert "Bitmap Index Scan on checkpoints_metadata_idx" in plan
        assert [item.metadata["step"] for item in found] == [4577, *range(4077, 0, -500)]
    finally:
        with psycopg.connect(migrated) as conn:
            conn.execute("DROP INDEX checkpoints_metadata_idx")


def test_a_failed_build_of_the_index_is_made_good(direct: str) -> None:
    with psycopg.connect(direct, autocommit=True) as conn:
        index_metadata(direct, Schemas())
        invalidate = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass"
        conn.execute(invalidate, ["checkpoints_metadata_idx"])
        try:
            index_metadata(direct, Schemas())
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass"
            assert conn.execute(valid, ["checkpoints_metadata_idx"]).fetchone() == (True,)
        finally:
            conn.execute("DROP INDEX checkpoints_metadata_idx")


# --- threads ---


@pytest.fixture
def persist(migrated: str) -> Iterator[Persist]:
    with Persist(migrated, session_ttl=timedelta(days=1)) as opened:
        yield opened


def run(persist: Persist, thread_id: str, **who: Any) -> None:
    graph = approval_graph().compile(checkpointer=persist.checkpointer)
    persist.attach(graph).invoke({"note": "hi"}, persist.config(thread_id, **who))


def test_threads_tell_what_there_is(persist: Persist) -> None:
    run(persist, "a", user="alice", organization="acme")
    run(persist, "b", user="bob")
    run(persist, "a", user="alice")
    first, second = persist.threads()
    assert (first.thread_id, first.user, first.organization) == ("a", "alice", "acme")
    assert (first.status, first.turns, first.workflow_status) == ("active", 2, "interrupted")
    assert first.checkpoints == 6
    assert first.created_at < second.updated_at < first.updated_at
    assert first.expires_at is not None
    assert repr(second) == "<Thread 'b', active, 1 turns, bob, interrupted, 3 checkpoints>"
    assert [t.thread_id for t in persist.threads(user="bob")] == ["b"]
    assert persist.threads(user="nobody") == persist.threads(status="expired") == []


@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_threads_that_stock_wrote_are_found(migrated: str, direct: str, persist: Persist) -> None:
    run(persist, "ours")
    with PostgresSaver.from_conn_string(direct) as stock:
        for thread_id in ("one", "two"):
            chain_of(["a"]).compile(checkpointer=stock).invoke({"count": 0}, config(thread_id))
    run(persist, "late")
    found = persist.threads()
    assert [t.thread_id for t in found] == ["late", "two", "one", "ours"]
    assert repr(found[1]) == "<Thread 'two', not recorded, 3 checkpoints>"
    assert found[1].created_at < found[1].updated_at
    with psycopg.connect(migrated) as conn:
        conn.execute("UPDATE checkpoints SET created_at = NULL WHERE thread_id = 'two'")
    assert persist.threads(recorded=False) == [
        t for t in persist.threads() if t.thread_id in ("one", "two")
    ]
    assert [t.thread_id for t in persist.threads(recorded=True)] == ["late", "ours"]
    assert [t.thread_id for t in persist.threads(status="active")] == ["late", "ours"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_threads_come_in_pages(migrated: str, persist: Persist, size: int) -> None:
    with psycopg.connect(migrated) as conn:
        conn.execute(
            "INSERT INTO langgraph_persist.sessions (thread_id, updated_at)"
            " SELECT 'thread-' || n, '2026-01-01'::timestamptz + n / 3 * interval '1 s'"
            " FROM generate_series(1, 7) AS n"
        )
    graph = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
    graph.invoke({"count": 0}, config("not recorded"))
    wanted = persist.threads()
    assert len(wanted) == 8
    found = page = persist.threads(limit=size)
    while page := persist.threads(limit=size, before=page[-1]):
        assert len(page) <= size
        found += page
    assert found == wanted
    assert persist.threads(before=wanted[3].updated_at) == [
        t for t in wanted if t.updated_at < wanted[3].updated_at
    ]


def test_pages_of_threads_come_from_an_index(migrated: str, persist: Persist) -> None:
    with psycopg.connect(migrated, autocommit=True) as conn:
        conn.execute("INSERT INTO langgraph_persist.users (id, username) VALUES (%s, 'u')", [USER])
        conn.execute(
            "INSERT INTO langgraph_persist.sessions (thread_id, updated_at, user_id)"
            " SELECT n::text, '2026-01-01'::timestamptz + n * interval '1 s',"
            " CASE WHEN n %% 1000 = 0 THEN %s::uuid END FROM generate_series(1, 20000) AS n",
            [USER],
        )
        conn.execute("ANALYZE langgraph_persist.sessions")
        statement = queries("listing", Schemas())["recorded_threads"]
        unset: Any = dict.fromkeys(["user", "status", "before", "before_id"]) | {"limit": 20}
        for params, index in [
            (unset, "Backward using sessions_updated_at_idx"),
            (unset | {"user": "u"}, "sessions_user_id_updated_at_idx"),
        ]:
            rows = conn.execute(f"EXPLAIN {statement}".encode(), params, prepare=False)
            assert index in "\n".join(row[0] for row in rows)


USER = "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"status": "running"}])
def test_senseless_arguments_are_refused(persist: Persist, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        persist.threads(**arguments)
