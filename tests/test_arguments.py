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
from langgraph_persist.errors import ConfigurationError, UnreadableValue
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
