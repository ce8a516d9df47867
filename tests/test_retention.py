"""Retention: what goes, what stays, and that graphs run on meanwhile."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import reduce
from typing import Annotated, Any, TypeAlias, TypedDict

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.utils.uuid import uuid7
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.database.connection import Database
from langgraph_persist.database.queries import Schemas
from langgraph_persist.database.statements import Transaction
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.retention import GRACE, Policy, Retention, RetentionReport
from langgraph_persist.retention import checkpoints as deleting
from langgraph_persist.retention.store import Store
from tests.graphs import chain_of, chat_graph

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
NOW = timedelta(0)

Retain: TypeAlias = Callable[..., RetentionReport]


@pytest.fixture
def saver(migrated: str) -> Iterator[PersistSaver]:
    with PersistSaver.from_conn_string(migrated) as opened:
        yield opened


@pytest.fixture
def retain(migrated: str) -> Iterator[Retain]:
    """Retains with nothing taken for a run under way, unless told otherwise."""
    database = Database(migrated)
    retention = Retention(database, Schemas())
    yield lambda **policy: retention.retain(Policy(**{"grace": NOW} | policy))
    database.close()


def config(thread_id: str = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}}


def rows_of(url: str, *threads: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of stock's tables, those of other threads aside; without our own columns."""
    columns = {
        "checkpoints": "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint",
        "checkpoint_blobs": "thread_id, checkpoint_ns, channel, version, blob",
        "checkpoint_writes": "thread_id, checkpoint_ns, checkpoint_id, task_id, idx, blob",
    }
    query = "SELECT {} FROM {} WHERE thread_id = ANY(%s) ORDER BY 1, 2, 3, 4, 5"
    with psycopg.connect(url) as conn:
        return {
            table: conn.execute(query.format(names, table).encode(), [[*threads]]).fetchall()
            for table, names in columns.items()
        }


def counts_of(url: str, *threads: str) -> dict[str, int]:
    return {table: len(rows) for table, rows in rows_of(url, *threads).items()}


def states(graph: Any, thread: Any, limit: int | None = None) -> dict[str, Any]:
    """The state at a thread's checkpoints, newest first, by their ids."""
    return {
        s.config["configurable"]["checkpoint_id"]: (s.values, s.next, s.metadata, s.tasks)
        for s in graph.get_state_history(thread, limit=limit)
    }


def execute(url: str, query: str, *params: Any) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(query.encode(), params)


def value(url: str, query: str, *params: Any) -> Any:
    with psycopg.connect(url) as conn:
        row = conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]


# --- graphs ---


class Deltas(TypedDict, total=False):
    """Two channels that are rebuilt from older checkpoints, one of them seldom written."""

    log: Annotated[list[str], DeltaChannel(lambda a, b: reduce(_add, b, a), snapshot_frequency=4)]
    files: Annotated[dict[str, int], DeltaChannel(lambda a, b: reduce(_or, b, a))]
    count: int


_add, _or = operator.add, operator.or_


def delta_graph(saver: Any) -> Any:
    def work(state: Deltas) -> Any:
        count = state.get("count", 0) + 1
        update: Any = {"count": count, "log": [f"n{count}"]}
        return update | ({"files": {f"f{count}": count}} if count % 7 == 1 else {})

    builder = StateGraph(Deltas)
    builder.add_node("work", work)
    builder.add_node("rest", lambda state: {"log": ["rest"]})
    builder.add_edge(START, "work")
    builder.add_edge("work", "rest")
    builder.add_edge("rest", END)
    return builder.compile(checkpointer=saver)


class Talk(TypedDict, total=False):
    said: list[str]


def nested_graph(saver: Any, inner: Any = None) -> Any:
    """A graph with a subgraph, that asks a human when told to."""

    def ask(state: Talk) -> Any:
        said = state.get("said", [])
        return {"said": [*said, interrupt("?") if said[-1:] == ["ask"] else "inner"]}

    sub = StateGraph(Talk)
    sub.add_node("ask", ask)
    sub.add_edge(START, "ask")
    builder = StateGraph(Talk)
    builder.add_node("sub", sub.compile(checkpointer=inner))
    builder.add_node("after", lambda state: {"said": [*state["said"], "outer"]})
    builder.add_edge(START, "sub")
    builder.add_edge("sub", "after")
    return builder.compile(checkpointer=saver)


# --- keep_latest ---


@pytest.mark.parametrize("inner", [None, True])
@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_keep_latest_does_as_stock_does(
    migrated: str, direct: str, saver: PersistSaver, inner: Any
) -> None:
    graph = nested_graph(saver, inner)
    for _ in range(3):
        graph.invoke({"said": ["hello"]}, config())
    graph.invoke({"said": ["ask"]}, config())
    graph.update_state(next(graph.get_state_history(config())).parent_config, {"said": ["fork"]})
    chain_of(["a", "b"]).compile(checkpointer=saver).invoke({"count": 0}, config("other"))
    saver.copy_thread("t", "u")
    with PostgresSaver.from_conn_string(direct) as stock:
        stock.prune(["u"])
    saver.prune(["t"])
    ours, stocks = rows_of(migrated, "t"), rows_of(migrated, "u")
    for table in TABLES:
        assert [row[1:] for row in ours[table]] == [row[1:] for row in stocks[table]], table
    assert len(ours["checkpoints"]) < 10
    assert len(rows_of(migrated, "other")["checkpoints"]) == 4


@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_keep_latest_keeps_what_delta_channels_need(
    migrated: str, direct: str, saver: PersistSaver
) -> None:
    graph = delta_graph(saver)
    for _ in range(20):
        graph.invoke({"log": ["in"]}, config())
    before = graph.get_state(config())
    with (
        PostgresSaver.from_conn_string(direct) as stock,
        pytest.raises(NotImplementedError, match="DeltaChannel"),
    ):
        stock.prune(["t"])
    saver.prune(["t"])
    after = graph.get_state(config())
    assert (after.values, after.next, after.metadata) == (
        before.values,
        before.next,
        before.metadata,
    )
    assert len(before.values["files"]) == 3
    assert len(rows_of(migrated, "t")["checkpoints"]) < 20
    assert graph.invoke({"log": ["in"]}, config())["count"] == 21
    with PostgresSaver.from_conn_string(direct) as stock:
        log = delta_graph(stock).get_state(config()).values["log"]
    assert log == [*before.values["log"], "in", "n21", "rest"]


def test_prune_checks_its_arguments(saver: PersistSaver) -> None:
    with pytest.raises(ConfigurationError, match="thread_ids is a list of ids, not 't'"):
        saver.prune("t")
    with pytest.raises(ValueError, match="nonsense"):
        saver.prune(["t"], strategy="nonsense")


# --- any history ---

CHANNELS = ("a", "b")
KINDS: dict[str, Callable[[int], Any]] = {
    "s": lambda n: _DeltaSnapshot([n]),
    "p": lambda n: [n],
    "i": lambda n: n,
}


class Made(TypedDict):
    """A checkpoint: the number of its parent, what is stored at it, what is written after it."""

    parent: int | None
    stored: dict[str, str]
    written: list[str]
    v: int


@st.composite
def histories(draw: st.DrawFn) -> list[Made]:
    """Checkpoints of one namespace: mostly a chain, with branches and several roots."""
    channels, v = st.sampled_from(CHANNELS), draw(st.sampled_from([4, 4, 3]))
    written = st.lists(st.sampled_from([*CHANNELS, "__pregel_tasks"]), max_size=3)
    made: list[Made] = []
    for number in range(draw(st.integers(1, 20))):
        back = draw(st.sampled_from([1, 1, 1, 1, 2, 5, 100]))
        made.append(
            {
                "parent": number - back if back <= number else None,
                "stored": draw(st.dictionaries(channels, st.sampled_from([*KINDS]), max_size=1)),
                "written": draw(written),
                "v": v if number < 8 else 4,
            }
        )
    return made


def versions_of(history: list[Made]) -> list[dict[str, str]]:
    """The channel versions at each checkpoint: a channel has a new one when it was written."""
    found: list[dict[str, str]] = []
    for number, made in enumerate(history):
        parent = made["parent"]
        old = {} if parent is None else found[parent]
        updated = [] if parent is None else history[parent]["written"]
        new = [*updated, *made["stored"], "plain"]
        found.append(old | {name: f"{number + 1:032}.{name}" for name in new})
    return found


def store(saver: PostgresSaver, thread: Any, history: list[Made]) -> list[str]:
    """Puts a history; the ids of its checkpoints."""
    ids: list[str] = []
    for number, (made, versions) in enumerate(zip(history, versions_of(history), strict=True)):
        values: dict[str, Any] = {n: KINDS[kind](number) for n, kind in made["stored"].items()}
        checkpoint = empty_checkpoint()
        checkpoint["v"], checkpoint["id"] = made["v"], str(uuid6(clock_seq=number))
        checkpoint["channel_values"] = values | {"plain": [number]}
        checkpoint["channel_versions"] = {**versions}
        counters = {name: [1, 1] for name in CHANNELS if name not in values}
        metadata: Any = {"source": "loop", "step": number}
        metadata |= {"counters_since_delta_snapshot": counters} if counters else {}
        at = dict(thread["configurable"])
        if made["parent"] is not None:
            at["checkpoint_id"] = ids[made["parent"]]
        new: Any = {name: versions[name] for name in [*values, "plain"]}
        saved = saver.put({"configurable": at}, checkpoint, metadata, new)
        ids.append(checkpoint["id"])
        if made["written"]:
            writes = [(name, f"{number}-{index}") for index, name in enumerate(made["written"])]
            saver.put_writes(saved, writes, str(uuid7()))
    return ids


def needed(history: list[Made], keep: int) -> set[int]:
    """The newest checkpoints, and those that they are rebuilt from."""
    versions = versions_of(history)
    blobs = {
        (name, versions[number][name])
        for number, made in enumerate(history)
        for name, kind in made["stored"].items()
        if kind != "i"
    }

    def stored(number: int, name: str) -> bool:
        inline = history[number]["stored"].get(name) in ("s", "i")
        return inline or (name, versions[number].get(name)) in blobs

    counted = {n for n in CHANNELS if any(n not in made["stored"] for made in history)}
    newest = set(range(max(len(history) - keep, 0), len(history)))
    found = set(newest)
    for number in newest:
        parent = history[number]["parent"]
        if history[number]["v"] < 4 and parent is not None:
            sent = "__pregel_tasks" in history[parent]["written"]
            found |= {parent} if counted or sent else set()
        for name in counted:
            at = None if stored(number, name) else parent
            while at is not None:
                if stored(at, name) or name in history[at]["written"]:
                    found.add(at)
                at = None if stored(at, name) else history[at]["parent"]
    return found


def reading(saver: PersistSaver, thread: Any, id: str) -> Any:
    """What a graph would read of a checkpoint: its values, pending writes and deltas."""
    at: Any = {"configurable": thread["configurable"] | {"checkpoint_id": id}}
    found = saver.get_tuple(at)
    assert found is not None
    values = found.checkpoint["channel_values"]
    lacking = [name for name in CHANNELS if values.get(name) is None]
    deltas = saver.get_delta_channel_history(config=at, channels=lacking)
    return found.checkpoint, found.metadata, found.pending_writes, deltas


def left_over(url: str, thread_id: str) -> list[tuple[Any, ...]]:
    """Values and writes that belong to no checkpoint, and parents that are not there."""
    with psycopg.connect(url) as conn:
        return conn.execute(
            """
            SELECT 'value', channel FROM checkpoint_blobs AS b
            WHERE thread_id = %(id)s AND NOT EXISTS (
                SELECT FROM checkpoints AS c WHERE c.thread_id = b.thread_id
                    AND c.checkpoint_ns = b.checkpoint_ns
                    AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
            )
            UNION ALL
            SELECT 'write', channel FROM checkpoint_writes AS w
            WHERE thread_id = %(id)s AND NOT EXISTS (
                SELECT FROM checkpoints AS c WHERE c.thread_id = w.thread_id
                    AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id
            )
            UNION ALL
            SELECT 'parent', checkpoint_id FROM checkpoints AS c
            WHERE thread_id = %(id)s AND parent_checkpoint_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM checkpoints AS p WHERE p.thread_id = c.thread_id
                    AND p.checkpoint_ns = c.checkpoint_ns
                    AND p.checkpoint_id = c.parent_checkpoint_id
            )
            """,
            {"id": thread_id},
        ).fetchall()


SENT_LONG_AGO: list[Made] = [
    {"parent": None, "stored": {}, "written": ["a", "__pregel_tasks"], "v": 3},
    {"parent": 0, "stored": {}, "written": [], "v": 3},
    {"parent": 1, "stored": {}, "written": [], "v": 3},
]


@given(history=histories(), keep=st.integers(0, 5))
@example(history=SENT_LONG_AGO, keep=1)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
def test_what_is_kept_reads_as_before_and_nothing_else_is_kept(
    migrated: str, direct: str, saver: PersistSaver, retain: Retain, history: list[Made], keep: int
) -> None:
    thread = config(name := str(uuid7()))
    with PostgresSaver.from_conn_string(direct) as stock:
        ids = store(stock, thread, history)
    kept = ids[len(ids) - keep :] if keep else []
    before = {id: reading(saver, thread, id) for id in kept}
    size = counts_of(migrated, name)
    planned = retain(keep_last=keep, sessions=[name], dry_run=True)
    assert counts_of(migrated, name) == size
    done = retain(keep_last=keep, sessions=[name])
    assert (done.rows, done.bytes, done.threads) == (planned.rows, planned.bytes, planned.threads)
    left = rows_of(migrated, name)
    assert {t: size[t] - len(left[t]) for t in TABLES if size[t] > len(left[t])} == done.rows
    assert {id: reading(saver, thread, id) for id in kept} == before
    assert not left_over(migrated, name)
    assert {row[2] for row in left["checkpoints"]} == {ids[n] for n in needed(history, keep)}
    assert retain(keep_last=keep, sessions=[name]).rows == {}


# --- what a retention keeps ---


def test_the_newest_stay_and_what_is_younger(
    migrated: str, saver: PersistSaver, retain: Retain
) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    for thread_id in ("t", "u"):
        for _ in range(5):
            graph.invoke({"count": 0}, config(thread_id))
    before = states(graph, config())
    ids = [*before]
    age = "UPDATE checkpoints SET created_at = now() - %s WHERE checkpoint_id = ANY(%s)"
    execute(migrated, age, timedelta(days=3), ids[4:])
    # A row that is older than our columns tells its age itself.
    execute(
        migrated,
        "UPDATE checkpoints SET created_at = NULL, checkpoint = checkpoint || %s"
        " WHERE checkpoint_id = ANY(%s)",
        '{"ts": "2024-05-04T06:32:42.235444+00:00"}',
        ids[-2:],
    )
    report = retain(older_than=timedelta(days=2), keep_last=6)
    assert report.rows["checkpoints"] == len(ids) - 6
    assert report.threads == 1
    assert [*states(graph, config())] == ids[:6]
    retain(older_than=timedelta(days=2))
    assert [*states(graph, config())] == ids[:4]
    retain(keep_last=2)
    assert states(graph, config()) == {id: before[id] for id in ids[:2]}
    assert len(states(graph, config("u"))) == 2
    assert not left_over(migrated, "t")
    assert retain(keep_last=2) == retain(keep_last=5) == RetentionReport(False, 0, {}, 0, {}, NOW)
    assert graph.invoke({"count": 7}, config())["log"] == ["a", "b"] * 6


def test_delta_channels_read_as_before(migrated: str, saver: PersistSaver, retain: Retain) -> None:
    graph = delta_graph(saver)
    for _ in range(12):
        graph.invoke({"log": ["in"]}, config())
    fork = [*graph.get_state_history(config())][7].config
    graph.update_state(fork, {"log": ["fork"], "files": {"fork": 1}})
    graph.invoke({"log": ["in"]}, config())
    before = states(graph, config(), limit=8)
    retain(keep_last=8)
    assert states(graph, config(), limit=8) == before
    assert len(rows_of(migrated, "t")["checkpoints"]) < 20
    retain(keep_last=2)
    assert states(graph, config(), limit=2) == {id: before[id] for id in [*before][:2]}
    assert graph.invoke({"log": ["in"]}, config())["files"]["fork"] == 1


def test_a_thread_that_was_no_delta_thread_before(saver: PersistSaver, retain: Retain) -> None:
    class Plain(TypedDict, total=False):
        log: Annotated[list[str], operator.add]
        count: int

    builder = StateGraph(Plain)
    builder.add_node("work", lambda state: {"log": ["old"]})
    builder.add_edge(START, "work")
    builder.compile(checkpointer=saver).invoke({"log": ["in"]}, config())
    graph = delta_graph(saver)
    graph.invoke({"log": ["in"]}, config())
    before = states(graph, config(), limit=1)
    retain(keep_last=1)
    assert states(graph, config(), limit=1) == before
    # And back again: what was written as deltas is read by the plain channel.
    plain = builder.compile(checkpointer=saver)
    plain.invoke({}, config())
    values = plain.get_state(config()).values
    retain(keep_last=1)
    assert plain.get_state(config()).values == values


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_runs_that_save_at_their_exit(saver: PersistSaver, retain: Retain, durability: Any) -> None:
    graph = delta_graph(saver)
    for _ in range(5):
        graph.invoke({"log": ["in"]}, config(), durability=durability)
        before = graph.get_state(config()).values
        retain(keep_last=1)
        assert graph.get_state(config()).values == before
    assert before["count"] == 5


def test_calls_of_subgraphs_go_with_their_root_checkpoint(
    migrated: str, saver: PersistSaver, retain: Retain
) -> None:
    graph = nested_graph(saver)
    for _ in range(4):
        graph.invoke({"said": ["hello"]}, config())
    graph.invoke({"said": ["ask"]}, config())
    calls = "SELECT count(DISTINCT checkpoint_ns) FROM checkpoints WHERE checkpoint_ns <> ''"
    assert value(migrated, calls) == 5
    dry = retain(keep_last=5, dry_run=True)
    assert retain(keep_last=5).rows == dry.rows
    assert value(migrated, calls) == 2
    retain(keep_last=1)
    assert value(migrated, calls) == 1
    done = graph.invoke(Command(resume="yes"), config())
    assert done["said"] == ["ask", "yes", "outer"]
    retain(keep_last=0)
    assert not any(counts_of(migrated, "t").values())


def test_recent_ends_of_branches_stay(saver: PersistSaver, retain: Retain) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    graph.invoke({"count": 0}, config())
    end = next(graph.get_state_history(config()))
    start = [*graph.get_state_history(config())][-1].config
    fork = graph.update_state(start, {"note": "fork"})
    ids = [fork["configurable"]["checkpoint_id"], end.config["configurable"]["checkpoint_id"]]
    retain(keep_last=1, grace=timedelta(minutes=1))
    assert [*states(graph, config())] == ids
    # A run that goes on from the other branch finds all it has.
    graph.update_state(end.config, {"note": "late"})
    assert graph.get_state(config()).values == end.values | {"note": "late"}
    retain(keep_last=1)
    assert len(states(graph, config())) == 1


# --- beside running graphs ---


def test_graphs_run_on_meanwhile(migrated: str, retain: Retain) -> None:
    done = threading.Event()
    reports: list[RetentionReport] = []

    def keep_retaining(keep: int) -> None:
        while not done.is_set():
            reports.append(retain(keep_last=keep, grace=timedelta(seconds=5)))

    def run_all(saver: Any, make: Callable[[Any], Any], update: Any, thread_id: str) -> Any:
        graph = make(saver)
        for _ in range(8):
            graph.invoke(update, config(thread_id))
        return graph.get_state(config(thread_id)).values

    jobs = [
        (lambda s: chain_of(["a", "b", "c"]).compile(checkpointer=s), {"count": 0}),
        (delta_graph, {"log": ["in"]}),
        (nested_graph, {"said": ["hello"]}),
    ]
    retainers = [threading.Thread(target=keep_retaining, args=[keep]) for keep in (1, 3)]
    with (
        PersistSaver.from_conn_string(migrated) as saver,
        ThreadPoolExecutor(6) as pool,
    ):
        for thread in retainers:
            thread.start()
        runs = [
            pool.submit(run_all, saver, make, update, f"{kind}-{number}")
            for number in range(2)
            for kind, (make, update) in enumerate(jobs)
        ]
        try:
            found = [run.result() for run in runs]
        finally:
            done.set()
            for thread in retainers:
                thread.join()
    wanted = [run_all(InMemorySaver(), make, update, "t") for make, update in jobs] * 2
    assert found == wanted
    assert sum(report.rows.get("checkpoints", 0) for report in reports) > 20


@pytest.mark.plain_postgres("stock reads no distributed tables")
def test_stock_runs_on_meanwhile(migrated: str, direct: str, retain: Retain) -> None:
    done = threading.Event()

    def keep_retaining() -> None:
        while not done.is_set():
            retain(keep_last=1, grace=timedelta(seconds=5))

    thread = threading.Thread(target=keep_retaining)
    thread.start()
    try:
        with PostgresSaver.from_conn_string(direct) as stock:
            graph = delta_graph(stock)
            for count in range(1, 13):
                assert graph.invoke({"log": ["in"]}, config())["count"] == count
            assert len(graph.get_state(config()).values["log"]) == 36
    finally:
        done.set()
        thread.join()


def test_writers_are_not_kept_waiting(
    migrated: str, saver: PersistSaver, retain: Retain, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain_of(["a", "b"]).compile(checkpointer=saver)
    graph.invoke({"count": 0}, config())
    run = Transaction.run
    written: list[Any] = []

    def run_beside(self: Transaction, name: str, **params: Any) -> int:
        done = run(self, name, **params)
        if name == "delete_checkpoints":
            written.append(graph.invoke({"count": 0}, config()))
        return done

    monkeypatch.setattr(Transaction, "run", run_beside)
    retain(keep_last=1)
    assert [one["count"] for one in written] == [2]
    assert graph.get_state(config()).values["log"] == ["a", "b", "a", "b"]


def test_what_is_built_on_meanwhile_stays(
    migrated: str, saver: PersistSaver, retain: Retain, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = delta_graph(saver)
    for _ in range(4):
        graph.invoke({"log": ["in"]}, config())
    old = [*graph.get_state_history(config())][9]
    change = Store.change
    forked: list[Any] = []

    def change_late(self: Store, thread_id: str, work: Any) -> Any:
        if len(forked) < 2:
            forked.append(graph.update_state(old.config, {"log": ["fork"]}))
        return change(self, thread_id, work)

    monkeypatch.setattr(Store, "change", change_late)
    retain(keep_last=1)
    assert old.values["files"] == {"f1": 1}
    for fork in forked:
        values = graph.get_state(fork).values
        assert values == old.values | {"log": [*old.values["log"], "fork"]}


def test_one_retention_minds_another(
    saver: PersistSaver, retain: Retain, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = delta_graph(saver)
    for _ in range(12):
        graph.invoke({"log": ["in"]}, config())
    before = states(graph, config(), limit=1)
    change, others = Store.change, [2, 1]

    def change_late(self: Store, thread_id: str, work: Any) -> Any:
        if others:
            retain(keep_last=others.pop(0))
        return change(self, thread_id, work)

    monkeypatch.setattr(Store, "change", change_late)
    retain(keep_last=4)
    assert states(graph, config(), limit=1) == before


# --- crashes ---


@pytest.mark.parametrize("make", [delta_graph, nested_graph])
def test_a_crash_in_the_middle_leaves_the_rest_to_the_next_call(
    migrated: str,
    saver: PersistSaver,
    retain: Retain,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Any], Any],
) -> None:
    class Crash(Exception):
        pass

    monkeypatch.setattr(deleting, "BATCH", 3)
    monkeypatch.setattr(deleting, "BLOB_BATCH", 3)
    graph = make(saver)
    for _ in range(5):
        graph.invoke({"log": ["in"], "said": ["hello"]}, config())
    saver.copy_thread("t", "u")
    retain(keep_last=2, sessions=["u"])
    wanted = {t: [row[1:] for row in rows] for t, rows in rows_of(migrated, "u").items()}
    before = states(graph, config(), limit=2)
    change, left = Store.change, 0

    def change_and_crash(self: Store, thread_id: str, work: Any) -> Any:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1
        return change(self, thread_id, work)

    monkeypatch.setattr(Store, "change", change_and_crash)
    for lives in range(1, 100):
        left = lives
        try:
            retain(keep_last=2, sessions=["t"])
            break
        except Crash:
            assert states(graph, config(), limit=2) == before
    assert lives > 3
    assert {t: [row[1:] for row in r] for t, r in rows_of(migrated, "t").items()} == wanted


def test_what_crashes_left_is_found(
    migrated: str, saver: PersistSaver, retain: Retain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_persist.retention.retention.SETTLE", 0)
    graph = nested_graph(saver)
    graph.invoke({"said": ["hello"]}, config())
    size = counts_of(migrated, "t", "gone")
    at = {"checkpoint_id": str(uuid6())}
    saver.put_writes(config(**at), [("said", "x"), ("said", "y")], "task")
    saver.put_writes(config("gone", **at), [("said", "x")], "task")
    blob = "INSERT INTO checkpoint_blobs VALUES (%s, '', 'said', 'x', 'msgpack', 'x')"
    for thread_id in ("t", "gone"):
        execute(migrated, blob, thread_id)
    # A call that committed before its root checkpoint, which then never came.
    call, unsaved = config(checkpoint_ns="sub:1"), {"parents": {"": str(uuid6())}}
    saver.put(call, empty_checkpoint(), {"source": "loop", "step": 1} | unsaved, {})  # type: ignore[arg-type]
    assert retain(grace=timedelta(minutes=1)).rows == {"checkpoint_blobs": 2}
    with psycopg.connect(migrated, autocommit=True) as conn:
        start_run(conn, "t")
        found = {"checkpoint_writes": 1}
        assert retain(dry_run=True).rows == found
        assert retain().rows == found
        conn.execute("UPDATE langgraph_persist.workflow_runs SET status = 'completed'")
    assert retain().rows == {"checkpoints": 1, "checkpoint_writes": 2}
    assert counts_of(migrated, "t", "gone") == size
    assert repr(retain()) == "<RetentionReport: deleted nothing of 0 threads, 0 bytes>"


def start_run(conn: psycopg.Connection[Any], thread_id: str) -> None:
    """Records a run that is under way."""
    conn.execute("INSERT INTO langgraph_persist.sessions (thread_id) VALUES (%s)", [thread_id])
    conn.execute(
        "INSERT INTO langgraph_persist.workflows (thread_id, id, turn, name, started_at)"
        " VALUES (%s, gen_random_uuid(), 1, 'w', now())",
        [thread_id],
    )
    conn.execute(
        "INSERT INTO langgraph_persist.workflow_runs (thread_id, id, workflow_id, started_at)"
        " SELECT thread_id, gen_random_uuid(), id, now() FROM langgraph_persist.workflows"
        " WHERE thread_id = %s",
        [thread_id],
    )


def test_late_checkpoints_find_their_writes(
    saver: PersistSaver, retain: Retain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found in the moment before its checkpoint is looked at a second time."""
    checkpoint = empty_checkpoint()
    saver.put_writes(config(checkpoint_id=checkpoint["id"]), [("c", 1)], "task")

    def put(seconds: float) -> None:
        saver.put(config(), checkpoint, {"source": "loop", "step": 1}, {})

    monkeypatch.setattr("langgraph_persist.retention.retention.time.sleep", put)
    assert retain().rows == {}
    found = saver.get_tuple(config())
    assert found is not None
    assert found.pending_writes == [("task", "c", 1)]


# --- sessions ---


def test_expired_sessions_lose_their_checkpoints(migrated: str) -> None:
    query = "SELECT status FROM langgraph_persist.sessions WHERE thread_id = %s"
    expires = "SELECT expires_at - now() FROM langgraph_persist.sessions WHERE thread_id = %s"
    late = "UPDATE langgraph_persist.sessions SET expires_at = now() - interval '1 s'"
    with Persist(migrated, session_ttl=timedelta(hours=2)) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        for thread_id in ("t", "u"):
            graph.invoke({"count": 0}, persist.config(thread_id))
        assert timedelta(hours=1.9) < value(migrated, expires, "t") <= timedelta(hours=2)
        assert persist.retain(sessions="expired", grace=NOW).rows == {}
        execute(migrated, f"{late} WHERE thread_id = 't'")
        with psycopg.connect(migrated, autocommit=True) as conn:
            running = "UPDATE langgraph_persist.workflow_runs SET status = %s"
            conn.execute(running, ["running"])
            assert persist.retain(sessions="expired", grace=NOW).rows == {}
            conn.execute(running, ["completed"])
        dry = persist.retain(sessions="expired", grace=NOW, dry_run=True)
        assert persist.retain(sessions="expired", grace=NOW).rows == dry.rows
        assert dry.rows["checkpoints"] == 3
        assert counts_of(migrated, "t") == dict.fromkeys(TABLES, 0)
        assert value(migrated, query, "t") == "expired"
        assert value(migrated, query, "u") == "active"
        assert len(persist.history.workflows(thread="t")) == 1
        graph.invoke({"count": 0}, persist.config("t"))
        assert value(migrated, query, "t") == "active"
        assert value(migrated, expires, "t") > timedelta(hours=1)
        assert persist.retain(sessions="expired", grace=NOW).rows == {}


def test_completed_sessions_and_named_threads(migrated: str) -> None:
    with Persist(migrated) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        for thread_id in ("t", "u", "v"):
            graph.invoke({"count": 0}, persist.config(thread_id))
        execute(
            migrated,
            "UPDATE langgraph_persist.sessions SET status = 'completed' WHERE thread_id = 't'",
        )
        assert value(migrated, "SELECT count(expires_at) FROM langgraph_persist.sessions") == 0
        persist.retain(sessions="completed", keep_last=1)
        persist.retain(sessions=["u"], keep_last=0, grace=NOW)
    sizes = {t: counts_of(migrated, t)["checkpoints"] for t in "tuv"}
    assert sizes == {"t": 1, "u": 0, "v": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep_last": -1}, "keep_last is a whole number, at least 0, not -1"),
        ({"keep_last": 1.5}, "keep_last is a whole number, at least 0, not 1.5"),
        ({"keep_last": True}, "keep_last is a whole number, at least 0, not True"),
        ({"older_than": 30}, "older_than is a timedelta, not 30"),
        ({"record_older_than": "30d"}, "record_older_than is a timedelta, not '30d'"),
        ({"older_than": timedelta(-1)}, "older_than must not be negative"),
        ({"sessions": "thread-1", "keep_last": 1}, "a list of thread ids, not 'thread-1'"),
        ({"sessions": ["thread-1"]}, "how much of these sessions stays"),
    ],
)
def test_senseless_arguments_are_refused(
    migrated: str, arguments: dict[str, Any], message: str
) -> None:
    with Persist(migrated) as persist, pytest.raises(ConfigurationError, match=message):
        persist.retain(**arguments)


# --- the record ---

RECORD = ("sessions", "workflows", "workflow_runs", "nodes", "generations", "messages")


def recorded(url: str) -> dict[str, int]:
    names = (*RECORD, "state_values")
    return {t: value(url, f"SELECT count(*) FROM langgraph_persist.{t}") for t in names}


def test_old_turns_are_forgotten_and_the_rest_reads_as_before(migrated: str) -> None:
    with Persist(migrated) as persist:
        builder = chat_graph(*[f"answer {n}" for n in range(4)])
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        notes = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        for n in range(3):
            graph.invoke({"messages": [("human", f"question {n}")]}, persist.config("t"))
            notes.invoke({"note": f"note {n} " * 40}, persist.config("u"))
        before = recorded(migrated)
        checkpoints = counts_of(migrated, "t", "u")
        last = [w.state_after(w.nodes[-1]) for w in persist.history.workflows(limit=2)]
        said = persist.history.transcript("t", turn=3)
        age = "UPDATE langgraph_persist.workflows SET updated_at = now() - interval '9 d'"
        execute(migrated, f"{age} WHERE turn < 3")
        keep: Any = {"record_older_than": timedelta(days=5)}
        # While a process may rely on it, content stays.
        dry = persist.retain(**keep, dry_run=True)
        assert dry.rows == {"workflows": 4, "workflow_runs": 4, "nodes": 6, "generations": 2} | {
            "tool_executions": 2
        }
        dry = persist.retain(**keep, grace=NOW, dry_run=True)
        assert recorded(migrated) == before
        done = persist.retain(**keep, grace=NOW)
        assert (done.rows, done.bytes) == (dry.rows, dry.bytes)
        # All messages are still part of the last state; of the notes only one is.
        assert done.rows.keys() - {"tool_executions"} == {
            *("workflows", "workflow_runs", "nodes", "generations", "state_values")
        }
        after = recorded(migrated)
        assert {t: before[t] - after[t] for t in before if t in done.rows} == {
            t: n for t, n in done.rows.items() if t in before
        }
        assert counts_of(migrated, "t", "u") == checkpoints
        workflows = persist.history.workflows()
        assert [w.state_after(w.nodes[-1]) for w in workflows] == last
        assert persist.history.transcript("t") == said
        # What was forgotten is recorded anew when it comes again.
        notes.invoke({"note": "note 0 " * 40}, persist.config("u"))
        (workflow,) = persist.history.workflows(limit=1)
        assert workflow.turn == 4
        assert workflow.state_after("a")["note"] == "note 0 " * 40


def test_sessions_in_which_nothing_happens_are_forgotten(migrated: str) -> None:
    with Persist(migrated) as persist:
        graph = chat_graph("one", "two", "three").compile(checkpointer=persist.checkpointer)
        for thread_id in ("t", "u"):
            persist.attach(graph).invoke({"messages": [("human", "hi")]}, persist.config(thread_id))
        total = recorded(migrated)
        half = {table: count // 2 for table, count in total.items()}
        for table in ("sessions", "workflows"):
            execute(
                migrated,
                f"UPDATE langgraph_persist.{table} SET updated_at = now() - interval '9 d'"
                " WHERE thread_id = 't'",
            )
        keep: Any = {"record_older_than": timedelta(days=5)}
        dry = persist.retain(**keep, dry_run=True)
        assert persist.retain(**keep) == RetentionReport(False, 1, dry.rows, dry.bytes, {}, GRACE)
        assert {table: dry.rows[table] for table in half} == half
        assert recorded(migrated) == half
        assert len([*persist.checkpointer.list(config("t"))]) == 4
        persist.attach(graph).invoke({"messages": [("human", "again")]}, persist.config("t"))
        assert len(persist.history.last().state_after("ask")["messages"]) == 6


def test_reports_say_what_was_done(saver: PersistSaver, retain: Retain) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"c": os.urandom(5_000)}
    checkpoint["channel_versions"] = {"c": "1"}
    saver.put(config(), checkpoint, {"source": "loop", "step": 1}, {"c": "1"})
    text = "delete 1 checkpoints, 1 checkpoint_blobs of 1 threads, 5."
    assert repr(retain(keep_last=0, dry_run=True)).startswith(f"<RetentionReport: would {text}")
    assert repr(retain(keep_last=0)).endswith(" kB>")


def test_reports_say_what_stays_for_being_recent(migrated: str) -> None:
    with Persist(migrated) as persist:
        graph = chat_graph(*map(str, range(9))).compile(checkpointer=persist.checkpointer)
        for thread_id in ("t", "u"):
            persist.attach(graph).invoke({"messages": [("human", "hi")]}, persist.config(thread_id))
        persist.attach(graph).invoke({"messages": [("human", "again")]}, persist.config("t"))
        for dry_run in (True, False):
            report = persist.retain(keep_last=0, record_older_than=NOW, dry_run=dry_run)
            assert (report.spared, report.grace) == ({"checkpoints": 2, "sessions": 2}, GRACE)
        told = "; 2 checkpoints and 2 sessions younger than grace=1:00:00 stay>"
        assert repr(report).endswith(told)
        assert len(persist.threads()) == 2
        report = persist.retain(keep_last=0, record_older_than=NOW, grace=NOW)
        assert (report.spared, report.grace) == ({}, NOW)
        assert "stay" not in repr(report)
        assert persist.threads() == []
