"""What is mistaken is refused by an error of this package that says what was expected."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from langgraph_persist import Persist, PersistSaver
from langgraph_persist.errors import ConfigurationError, NotRecorded, UnreadableValue
from tests.graphs import chain_of
from tests.test_encryption import Xor

METADATA: Any = {"source": "input", "step": -1}


def config(thread_id: Any = "t", **configurable: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}}


@pytest.fixture
def saver(persist: Persist) -> PersistSaver:
    graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    return persist.checkpointer


USES: dict[str, Callable[[PersistSaver, Any], Any]] = {
    "put": lambda saver, where: saver.put(where, empty_checkpoint(), METADATA, {}),
    "aput": lambda saver, where: asyncio.run(saver.aput(where, empty_checkpoint(), METADATA, {})),
    "put_writes": lambda saver, where: saver.put_writes(where, [("c", 1)], "task"),
    "get_tuple": lambda saver, where: saver.get_tuple(where),
    "aget_tuple": lambda saver, where: asyncio.run(saver.aget_tuple(where)),
    "list": lambda saver, where: [*saver.list(where)],
    "history": lambda saver, where: saver.get_delta_channel_history(config=where, channels=["c"]),
}
CONFIGS: list[tuple[Any, str]] = [
    (5, r'a config is \{"configurable": \{"thread_id"'),
    ("t", r'a config is \{"configurable": \{"thread_id"'),
    ({"thread_id": "t"}, r'a config is \{"configurable": \{"thread_id"'),
    ({"configurable": None}, r'a config is \{"configurable": \{"thread_id"'),
    ({"configurable": {}}, "names no thread"),
    (config(None), "thread_id is None"),
    (config(""), "thread_id is empty"),
    (config(["t"]), r"thread_id is a text, not \['t'\]"),
    (config(b"t"), "thread_id is a text, not b't'"),
    (config("a\x00"), "thread_id cannot contain NUL"),
    (config("a\ud800"), "thread_id cannot contain a lone surrogate"),
    (config(checkpoint_id="a\x00"), "checkpoint_id cannot contain NUL"),
]


@pytest.mark.parametrize(("where", "message"), CONFIGS)
@pytest.mark.parametrize("use", USES)
def test_a_config_that_names_no_thread_is_refused(
    saver: PersistSaver, use: str, where: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        USES[use](saver, where)


def test_ids_may_be_of_another_type(saver: PersistSaver) -> None:
    checkpoint = empty_checkpoint()
    saver.put(config(7), checkpoint, METADATA, {})
    id = uuid.UUID(checkpoint["id"])
    for where in (config("7"), config(7, checkpoint_id=id), config(7, checkpoint_ns=None)):
        found = saver.get_tuple(where)
        assert found is not None
        assert found.checkpoint["id"] == checkpoint["id"]
        assert len([*saver.list(where)]) == 1
        assert saver.get_delta_channel_history(config=where, channels=["c"])["c"]["writes"] == []
    assert [*saver.list({})] == [*saver.list(None)]


def test_writes_need_a_checkpoint(saver: PersistSaver) -> None:
    with pytest.raises(ConfigurationError, match="no checkpoint_id"):
        saver.put_writes(config(), [("c", 1)], "task")


LISTINGS: list[tuple[dict[str, Any], str]] = [
    ({"limit": -3}, "limit is a whole number, at least 0, not -3"),
    ({"limit": "5"}, "limit is a whole number, at least 0, not '5'"),
    ({"limit": 1.5}, "limit is a whole number"),
    ({"limit": True}, "limit is a whole number"),
    ({"limit": 10**30}, "limit is a whole number"),
    ({"filter": "source"}, "filter is a dict"),
    ({"filter": {"source": object()}}, "filter holds what metadata cannot"),
    ({"before": "x"}, "a config is"),
    ({"before": config(checkpoint_id="\x00")}, "cannot contain NUL"),
]


@pytest.mark.parametrize(("options", "message"), LISTINGS)
def test_a_listing_that_cannot_be_is_refused(
    saver: PersistSaver, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        [*saver.list(config(), **options)]

    async def alist() -> list[Any]:
        return [item async for item in saver.alist(config(), **options)]

    with pytest.raises(ConfigurationError, match=message):
        asyncio.run(alist())


@pytest.mark.parametrize("ids", ["t", b"t", None, 5, [None], ["a\x00"], [["t"]]])
def test_a_list_of_ids_is_one(saver: PersistSaver, ids: Any) -> None:
    for work in (
        saver.delete_for_runs,
        saver.prune,
        lambda ids: saver.prune(ids, strategy="delete"),
        lambda ids: asyncio.run(saver.adelete_for_runs(ids)),
    ):
        with pytest.raises(ConfigurationError, match=r"is a list of ids|is a text|NUL"):
            work(ids)
    assert len([*saver.list(config())]) == 3


def test_ids_may_come_from_anywhere(saver: PersistSaver, persist: Persist) -> None:
    saver.prune(iter(["t"]), strategy="keep_latest")  # type: ignore[arg-type]
    assert len([*saver.list(config())]) == 1
    persist.retain(sessions=iter(["t"]), keep_last=0, grace=timedelta(0))  # type: ignore[arg-type]
    assert [*saver.list(config())] == []


@pytest.mark.parametrize("name", ["older_than", "record_older_than", "grace"])
def test_nothing_is_older_than_all_times(saver: PersistSaver, persist: Persist, name: str) -> None:
    ages: dict[str, Any] = {name: timedelta.max}
    report = persist.retain(keep_last=1, **ages)
    assert report.rows.get("sessions", 0) == 0
    assert len(persist.threads()) == 1


class Tagged:
    """A cipher that notices a wrong key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "tagged", self._key + plaintext

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        if not ciphertext.startswith(self._key):
            raise ValueError("MAC check failed")
        return ciphertext.removeprefix(self._key)


@pytest.fixture
def encrypted(migrated: str) -> Iterator[str]:
    """The URL of a database with an encrypted thread; its serializer's key is right."""
    serde = EncryptedSerializer(Tagged(b"right"))
    with PersistSaver.from_conn_string(migrated, serde=serde) as saver:
        chain_of(["a"]).compile(checkpointer=saver).invoke({"note": "x"}, config())
        yield migrated


@pytest.mark.parametrize(
    ("serde", "message"),
    [
        (None, r"msgpack\+tagged\); it is encrypted by 'tagged': give the serde="),
        (EncryptedSerializer(Tagged(b"left")), "MAC check failed.*serde=.* key included"),
        (EncryptedSerializer(Xor()), "serde=.* cipher and its key included"),
    ],
)
def test_what_cannot_be_read_says_what_it_takes(encrypted: str, serde: Any, message: str) -> None:
    whole = rf"channel '\w+' of thread 't', checkpoint \S+, cannot be read \(.*{message}"
    with PersistSaver.from_conn_string(encrypted, serde=serde) as saver:
        for read in (
            lambda: saver.get_tuple(config()),
            lambda: [*saver.list(config())],
            lambda: chain_of(["a"]).compile(checkpointer=saver).invoke({"count": 0}, config()),
            lambda: asyncio.run(saver.aget_tuple(config())),
        ):
            with pytest.raises(UnreadableValue, match=whole):
                read()


def test_a_write_that_cannot_be_read_is_named(encrypted: str) -> None:
    with PersistSaver.from_conn_string(
        encrypted, serde=EncryptedSerializer(Tagged(b"right"))
    ) as saver:
        saved = saver.put(config("w"), empty_checkpoint(), METADATA, {})
        saver.put_writes(saved, [("c", 1)], "task")
    with (
        PersistSaver.from_conn_string(encrypted) as saver,
        pytest.raises(UnreadableValue, match="what task task wrote to 'c' of thread 'w'"),
    ):
        saver.get_tuple(config("w"))


def nodes_of(persist: Persist) -> Any:
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"count": 0}, persist.config("t"))
    return persist.history.last().nodes


@pytest.mark.parametrize(
    "options", [{"serde": EncryptedSerializer(Xor())}, {"capture": "structure"}]
)
def test_a_state_that_was_left_out_says_why(migrated: str, options: Any) -> None:
    with Persist(migrated, **options) as persist:
        node = nodes_of(persist)[0]
        for read in (lambda: node.state, lambda: persist.history.diff(node)):
            with pytest.raises(NotRecorded, match=r"left out.* serde=.*record_cipher= keeps"):
                read()
        chain_of(["a"]).compile().invoke({"count": 0}, {"callbacks": [persist.handler]})
        with pytest.raises(NotRecorded, match="in a graph with a checkpointer"):
            persist.history.last().state_after("a")


def test_a_replay_from_a_checkpoint_that_is_gone_is_refused(persist: Persist) -> None:
    first, second = nodes_of(persist)
    assert persist.history.replay_config(first)["configurable"]["thread_id"] == "t"
    persist.retain(keep_last=1, grace=timedelta(0))
    for node in (first, second):
        with pytest.raises(NotRecorded, match="is gone, by a retention"):
            persist.history.replay_config(node)


@pytest.mark.parametrize(
    ("cipher", "message"),
    [(Tagged(b"left"), r"\(ValueError: MAC check failed\); give the record_cipher="), (Xor(), "")],
)
def test_a_record_of_another_key_says_so(migrated: str, cipher: Any, message: str) -> None:
    serde = EncryptedSerializer(Tagged(b"right"))
    with Persist(migrated, serde=serde, record_cipher=Tagged(b"right")) as persist:
        assert nodes_of(persist)[0].state["count"] == 1
    with Persist(migrated, serde=serde, record_cipher=cipher) as persist:
        whole = f"encrypted by 'tagged' and cannot be read.*{message}.* key included"
        with pytest.raises(UnreadableValue, match=whole):
            _ = persist.history.last().nodes[0].state


MISTAKEN: list[tuple[dict[str, Any], str]] = [
    ({"serde": "x"}, "serde is an object with dumps_typed and loads_typed, not 'x'"),
    ({"record_cipher": "x"}, "record_cipher is an object with encrypt and decrypt, not 'x'"),
    ({"schema": 5}, "schema is the name of a PostgreSQL schema, not 5"),
    ({"schema": ""}, "schema is a name of 1 to 63 bytes, not ''"),
    ({"schema": "x" * 64}, "schema is a name of 1 to 63 bytes"),
    ({"schema": "a\x00"}, "cannot contain NUL"),
    ({"checkpoint_schema": ["public"]}, "checkpoint_schema is the name of"),
    ({"directory": 5}, "directory is a path, not 5"),
    ({"prices": 5}, "prices is a mapping"),
    ({"exclude": 5}, "exclude is a mapping"),
    ({"exclude": {"channels": 5}}, r"exclude\['channels'\] is a list of names, not 5"),
    ({"redact": 5}, "redact is a callable"),
    ({"max_payload_bytes": "1"}, "max_payload_bytes is a whole number, at least 1, not '1'"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKEN)
def test_a_mistaken_setting_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Persist("postgresql://", **options)
    if options.keys() <= {"serde", "schema", "checkpoint_schema"}:
        with pytest.raises(ConfigurationError, match=message):
            PersistSaver("postgresql://", **options)


def test_a_serializer_of_the_old_kind_is_taken(migrated: str) -> None:
    old: Any = type("Old", (), {"dumps": staticmethod(repr), "loads": staticmethod(eval)})()
    PersistSaver(migrated, serde=old).close()


def test_only_what_runs_can_be_attached_to(persist: Persist) -> None:
    built: Any = chain_of(["a"])
    with pytest.raises(ConfigurationError, match=r"StateGraph that is not compiled: .*\.compile\("):
        persist.attach(built)
    for other in (None, "graph", print):
        nothing: Any = other
        with pytest.raises(ConfigurationError, match="give a compiled graph or a runnable"):
            persist.attach(nothing)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda p: p.config(""), "thread_id is empty"),
        (lambda p: p.config("a\ud800"), "lone surrogate"),
        (lambda p: p.config("t", metadata=5), "metadata is a mapping, not 5"),
        (lambda p: p.config("t", configurable="x"), "configurable is a mapping, not 'x'"),
        (lambda p: p.flush("1"), "timeout is a number of seconds"),
        (lambda p: p.flush(-1), "timeout is a number of seconds"),
        (lambda p: p.reap("1"), "lost_after is a timedelta, not '1'"),
        (lambda p: p.retain(sessions=5, keep_last=1), "sessions is a list of ids, not 5"),
        (lambda p: p.retain(sessions=["a\x00"], keep_last=1), "cannot contain NUL"),
        (lambda p: p.project("table")(5), "a projection is a function, not 5"),
        (lambda p: p.project(5)(print), "a table's name, Table or model"),
        (lambda p: p.migrate(p.url, schema=5, sql=True), "schema is the name of"),
    ],
)
def test_a_mistaken_argument_is_refused(persist: Persist, mistake: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        mistake(persist)
    persist.reap(timedelta.max)
