"""What the record may hold, as users want it: all, parts of it, nothing, redacted or cut."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.errors import NodeError
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command, TracePolicy, interrupt, omit_payload

from langgraph_persist import (
    Persist,
    PersistCallbackHandler,
    redact_personal,
    redact_secrets,
)
from langgraph_persist.errors import ConfigurationError, JournalClosed
from langgraph_persist.extract import to_json_bytes
from langgraph_persist.journal import Capture
from tests.graphs import Steps, chain_of, chat_graph, fake_model

Rows = Callable[..., list[dict[str, Any]]]

SAID = {
    "mail": "ann.b+c@mail.example.com",
    "card": "4111 1111 1111 1111",
    "phone": "+49 170 1234567",
    "key": "sk-proj-abcdefghijklmnop1234",
}
TABLES = ["sessions", "workflows", "workflow_runs", "nodes", "generations", "tool_executions"]
TABLES += ["messages", "state_values"]


def dump(rows: Rows) -> str:
    return "\n".join(
        json.dumps(row, default=str) for table in TABLES for row in rows(f"SELECT * FROM {table}")
    )


def chat(persist: Persist, **where: Any) -> Any:
    """A chat in which all of that is said; the model repeats it."""
    said = ", ".join(SAID.values())
    graph = chat_graph(f"You said {said}").compile(checkpointer=persist.checkpointer)
    result = persist.attach(graph).invoke(
        {"messages": [HumanMessage(f"I am {said}.")]}, persist.config("t")
    )
    assert said in result["messages"][0].content
    assert said in result["messages"][-1].content
    return graph


def test_nothing_is_left_out_unless_asked(migrated: str, rows: Rows) -> None:
    with Persist(migrated) as persist:
        chat(persist)
    assert all(text in dump(rows) for text in SAID.values())


def test_redactors_run_before_anything_is_written(migrated: str, rows: Rows) -> None:
    with Persist(migrated, redact=[redact_secrets, redact_personal]) as persist:
        graph = chat(persist)
        state = graph.get_state(persist.config("t"))
        assert not persist.handler.failures.counts
    found = dump(rows)
    assert [name for name, text in SAID.items() if text in found] == []
    (answer,) = rows("SELECT output, user_prompt FROM generation_prompts")
    assert answer["output"] == "You said [email], [card], [phone], [secret]"
    assert rows("SELECT count(*) AS n FROM messages") == [{"n": 3}]
    # The checkpoint is what the graph goes on from.
    assert SAID["key"] in state.values["messages"][0].content


def test_a_redactor_that_raises_leaves_nothing_readable(migrated: str, rows: Rows) -> None:
    def broken(value: Any) -> Any:
        raise KeyError(value)

    with Persist(migrated, redact=broken) as persist:
        chat(persist)
        assert persist.handler.failures.counts["redact: KeyError"] > 1
    found = dump(rows)
    assert [name for name, text in SAID.items() if text in found] == []
    assert "<redaction failed: KeyError>" in found
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


def test_structure_only(migrated: str, rows: Rows) -> None:
    with Persist(migrated, capture="structure") as persist:
        chat(persist)
    found = dump(rows)
    assert [name for name, text in SAID.items() if text in found] == []
    assert rows("SELECT * FROM messages UNION ALL SELECT * FROM messages") == []
    assert rows("SELECT total_tokens > 0 AS counted, model_name FROM generations") == [
        {"counted": True, "model_name": "fake-1"}
    ]


def mail(handler: PersistCallbackHandler, thread_id: str) -> None:
    fake_model("Tell bob@example.com").invoke(
        "I am ann@example.com", {"callbacks": [handler], "metadata": {"thread_id": thread_id}}
    )


def test_what_one_wants_hidden_is_hidden_whatever_others_want(migrated: str, rows: Rows) -> None:
    def upper(value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    with Persist(migrated, redact=redact_personal) as persist:
        other = PersistCallbackHandler(migrated, max_payload_bytes=1_000_000, redact=upper)
        mail(persist.handler, "1")
        mail(other, "2")
        other.close()
        gc.collect()  # runs that have ended
        mail(persist.handler, "3")
        with Persist(migrated, exclude={"nodes": ["x"]}):
            mail(persist.handler, "4")
        with Persist(migrated) as silent:
            mail(silent.handler, "5")
    said = {
        r["thread_id"]: (r["user_prompt"], r["output"])
        for r in rows("SELECT thread_id, user_prompt, output FROM generations")
    }
    redacted = ("I am [email]", "Tell [email]")
    both = ("I AM [EMAIL]", "TELL [EMAIL]")
    assert said == {"1": both, "2": both, "3": redacted, "4": redacted, "5": redacted}


@pytest.mark.parametrize("by_hand", [False, True])
def test_structure_only_holds_for_all_until_who_wants_it_is_gone(
    migrated: str, rows: Rows, by_hand: bool
) -> None:
    with Persist(migrated) as persist:
        strict = Persist(migrated, capture="structure").open()
        handler = strict.handler
        recorder = strict.recorder
        mail(persist.handler, "1")
        strict.close()
        if by_hand:
            del handler
            recorder.start_workflow("late", thread_id="2", user_input="not said")
            recorder.complete_workflow("not said")
            del recorder
        else:
            del recorder
            mail(handler, "2")
            del handler
        del strict
        gc.collect()  # runs that have ended
        mail(persist.handler, "3")
    (said,) = rows("SELECT thread_id FROM generations WHERE output IS NOT NULL")
    assert said["thread_id"] == "3"
    assert "not said" not in dump(rows)


def test_a_handler_that_is_closed_lets_its_runs_end_and_begins_no_more(
    migrated: str, rows: Rows
) -> None:
    closing = PersistCallbackHandler(migrated, redact=redact_personal)

    def close(_: Any) -> str:
        closing.close()
        return "by ann@example.com"

    chain = RunnableLambda(close).with_config(callbacks=[closing])
    with Persist(migrated) as persist:
        chain.invoke("of bob@example.com")
        with pytest.raises(JournalClosed):
            chain.invoke("")
        mail(persist.handler, "2")
    assert rows("SELECT status FROM workflows WHERE thread_id <> '2'") == [{"status": "completed"}]
    text = dump(rows)
    assert "by [email]" in text and "of [email]" in text
    assert "I am ann@example.com" in text


def test_the_smallest_limit_holds() -> None:
    def of(limit: int | None) -> Capture:
        return Capture.of(max_payload_bytes=limit)

    assert of(None).joined(of(20 << 20)).max_bytes == 20 << 20
    assert of(30 << 20).joined(of(20 << 20)).max_bytes == 20 << 20
    assert of(None).joined(of(100)).max_bytes == 100


def test_of_excluded_nodes_only_structure_is_kept(migrated: str, rows: Rows) -> None:
    with Persist(migrated, exclude={"nodes": ["ask"]}) as persist:
        chat(persist)
    nodes = {row["node_name"]: row for row in rows("SELECT * FROM nodes")}
    hidden = ("input_data", "output_data", "state")
    assert [nodes["ask"][column] for column in hidden] == [None] * 3
    assert None not in [nodes["look"][column] for column in hidden]
    assert nodes["ask"]["status"] == "completed" and nodes["ask"]["checkpoint_id"]
    (generation,) = rows("SELECT * FROM generations")
    assert [generation[c] for c in ("prompt", "output", "output_message", "user_prompt")] == [
        None
    ] * 4
    assert generation["total_tokens"] > 0
    assert rows("SELECT output_data FROM tool_executions") == [{"output_data": "sunny in Oslo"}]


class Pay(TypedDict, total=False):
    who: str


def review_graph(path: str) -> StateGraph[Any, Any, Any, Any]:
    """Its node ``review`` asks for a human and raises what it was told; others pass that on."""

    def review(state: Pay) -> Pay:
        told = interrupt({"salary": "Zeppelin earns 90,000"})
        raise ValueError(f"cannot pay {told}")

    def escalate(state: Pay, error: NodeError) -> Pay:
        raise RuntimeError(f"handled: {error.error}")

    inner = StateGraph(Pay)
    inner.add_node("review", review, error_handler=escalate if path == "handler" else None)
    inner.add_edge(START, "review")
    if path in ("itself", "handler"):
        return inner
    below = inner.compile()

    @tool
    def pay(who: str) -> str:
        """Pay somebody."""
        return str(below.invoke({"who": who}))

    def outer(state: Pay) -> Any:
        try:
            return pay.invoke({"who": "me"}) if path == "tool" else below.invoke(state)
        except ValueError as error:
            if path == "group":
                raise ExceptionGroup(f"no: {error}", [error]) from None
            raise RuntimeError(f"no: {error}") from (error if path == "cause" else None)

    builder = StateGraph(Pay)
    builder.add_node("outer", outer)
    builder.add_edge(START, "outer")
    return builder


@pytest.mark.parametrize("path", ["itself", "handler", "cause", "context", "group", "tool"])
@pytest.mark.parametrize("resumed", ["here", "elsewhere"])
def test_what_an_excluded_node_asks_is_told_and_raises_is_left_out(
    path: str, resumed: str, migrated: str, rows: Rows
) -> None:
    builder, exclude = review_graph(path), {"nodes": ["review"]}
    answer = "no, Zeppelin is sick; " * 40
    with Persist(migrated, exclude=exclude) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        graph.invoke({"who": "me"}, persist.config("t"))
    # What was asked is known to be private to whoever answers, what the node does then is not.
    with Persist(migrated, exclude=exclude if resumed == "here" else None) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises((ValueError, RuntimeError, ExceptionGroup), match="Zeppelin"):
            graph.invoke(Command(resume=answer), persist.config("t"))
    (asked,) = rows("SELECT * FROM hitl_events")
    assert (asked["event_type"], asked["status"]) == ("input_request", "completed")
    assert (asked["event_data"], asked["user_input"]) == (None, None)
    assert asked["missing"] == {"event_data": "excluded", "user_input": "excluded"}
    (workflow,) = rows("SELECT * FROM workflows")
    assert (workflow["status"], workflow["input"]) == ("failed", {"who": "me"})
    assert workflow["error_type"] in ("ValueError", "RuntimeError", "ExceptionGroup")
    if resumed == "here":
        names = "SELECT c.relname AS name FROM pg_class c WHERE c.relkind IN ('r', 'p')"
        names += " AND c.relnamespace = 'langgraph_persist'::regnamespace"
        for table in rows(names):
            said = rows(f"SELECT t.* FROM langgraph_persist.{table['name']} AS t")
            assert "Zeppelin" not in json.dumps(said, default=str), table


def test_what_an_excluded_node_is_answered_by_its_caller_is_left_out(
    migrated: str, rows: Rows
) -> None:
    inner = StateGraph(Pay).add_node("review", lambda state: {"who": interrupt("Zeppelin?")})
    inner.add_edge(START, "review")

    def call(state: Pay) -> Pay:
        own = persist.config("inner")
        below.invoke({"who": "me"}, own)
        below.invoke(Command(resume="Zeppelin!"), own)
        return {"who": "you"}

    outer = StateGraph(Pay).add_node("call", call).add_edge(START, "call")
    with Persist(migrated, exclude={"nodes": ["review"]}) as persist:
        below = inner.compile(checkpointer=persist.checkpointer)
        graph = persist.attach(outer.compile(checkpointer=persist.checkpointer))
        graph.invoke({"who": "me"}, persist.config("t"))
    (asked,) = rows("SELECT status, event_data, user_input FROM hitl_events")
    assert asked == {"status": "completed", "event_data": None, "user_input": None}


def test_an_error_that_an_excluded_node_did_not_raise_is_told(migrated: str, rows: Rows) -> None:
    def review(state: Pay) -> Pay:
        raise ValueError("cannot pay Zeppelin")

    def go_on(state: Pay, error: NodeError) -> Command[Any]:
        return Command(goto="publish")

    def publish(state: Pay) -> Pay:
        raise RuntimeError("no paper")

    builder = StateGraph(Pay).add_node("review", review, error_handler=go_on)
    builder.add_node("publish", publish).add_edge(START, "review")
    with Persist(migrated, exclude={"nodes": ["review"]}) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises(RuntimeError, match="no paper"):
            graph.invoke({"who": "me"}, persist.config("t"))
    assert rows("SELECT error_message FROM workflows") == [{"error_message": "no paper"}]
    told = {row["node_name"]: row for row in rows("SELECT * FROM nodes")}
    assert told["publish"]["error_message"] == "no paper"
    assert (told["review"]["error_type"], told["review"]["error_message"]) == ("ValueError", None)
    assert told["__error_handler__review"]["input_data"] is None


class Overheard(Exception):
    """An error that quotes what was said."""


def confide(persist: Persist, secret: str) -> None:
    """All that can be recorded by hand where it is called, and a model and a graph besides."""
    recorder = persist.recorder
    told = ("house-1", [("system", secret), ("user", secret)])
    usage: Any = {"prompt_tokens": 3, "completion_tokens": 4}
    recorder.record_generation(told[0], prompt=told[1], output=secret, **usage)
    recorder.record_generation(told[0], prompt=told[1], error=Overheard(secret), **usage)
    recorder.record_tool("look", input={"q": secret}, output=[secret])
    recorder.record_tool("look", input={"q": secret}, error=Overheard(secret))
    with recorder.node("below", input=secret) as node:
        node.complete(state={"note": secret}, output={"note": secret})
    with recorder.node("rest") as node:
        node.skip(secret)
    with recorder.node("worse") as node:
        node.fail(Overheard(secret))
    with recorder.start_workflow("aside", thread_id="aside", user_input=secret, input=secret):
        recorder.record_tool("look", input=secret)
    recorded: Any = {"callbacks": [persist.handler]}
    fake_model(secret).invoke(secret, recorded)
    graph = persist.attach(chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer))
    graph.invoke({"note": secret, "count": 0}, persist.config("inside"))
    with pytest.raises(Overheard):
        persist.attach(failing(secret)).invoke({"note": secret})


def failing(secret: str) -> Any:
    """A graph whose node fails."""

    def fail(state: Steps) -> Steps:
        raise Overheard(secret)

    builder = StateGraph(Steps)
    builder.add_node("fail", fail)
    builder.add_edge(START, "fail")
    return builder.compile()


WHERE = {"a node": "out", "a node around": "around", "a graph's node": "ask"}


@pytest.mark.parametrize("where", WHERE)
def test_what_is_recorded_by_hand_in_excluded_nodes_is_left_out(
    migrated: str, rows: Rows, where: str
) -> None:
    secret = "Zeppelin" * 200

    def out(state: Any) -> Any:
        confide(persist, secret)
        raise Overheard(secret)

    def by_hand() -> None:
        with persist.recorder.node("around"), persist.recorder.node("out"):
            try:
                out({})
            except Overheard as error:
                raise RuntimeError(f"because of {error}") from None

    with Persist(migrated, exclude={"nodes": [WHERE[where]]}) as persist:
        builder = StateGraph(Steps)
        builder.add_node("ask", out)
        builder.add_edge(START, "ask")
        graph = builder.compile()
        with (
            pytest.raises((RuntimeError, Overheard)),
            persist.recorder.start_workflow("w", thread_id="t", user_input="fine"),
        ):
            if where == "a graph's node":
                persist.attach(graph).invoke({"count": 0})
            else:
                by_hand()
        assert not persist.handler.failures.counts
    tables = rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'langgraph_persist'::regnamespace"
    )
    leaks = {
        table["relname"]
        for table in tables
        if "Zeppelin" in json.dumps(rows(f"SELECT * FROM {table['relname']}"), default=str)
    }
    assert leaks == set()
    # What happened is known all the same, and what it took.
    workflow, aside = rows("SELECT * FROM workflows ORDER BY name DESC")
    assert (workflow["user_input"], workflow["status"]) == ("fine", "failed")
    assert workflow["error_type"] in ("RuntimeError", "Overheard", f"{__name__}.Overheard")
    assert aside["status"] == "completed"
    calls = rows("SELECT status, total_tokens FROM generations ORDER BY id")
    assert [(call["status"], call["total_tokens"]) for call in calls] == [
        ("completed", 7),
        ("failed", 7),
        ("completed", 8),
    ]
    tools = rows("SELECT success, error_type FROM tool_executions ORDER BY id")
    assert [tool["success"] for tool in tools] == [True, False, True]
    nodes = {row["node_name"]: row["status"] for row in rows("SELECT * FROM nodes")}
    assert {"below": "completed", "rest": "skipped", "worse": "failed"}.items() <= nodes.items()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {"reason": "ann@example.com has left"}),
        ({"redact": redact_personal}, {"reason": "[email] has left"}),
        ({"capture": "structure"}, None),
        ({"exclude": {"nodes": ["mail"]}}, None),
    ],
    ids=["full", "redacted", "structure", "excluded"],
)
def test_why_a_node_was_skipped_is_private_too(
    migrated: str, rows: Rows, settings: Any, kept: Any
) -> None:
    with (
        Persist(migrated, **settings) as persist,
        persist.recorder.start_workflow(),
        persist.recorder.node("mail") as node,
    ):
        node.skip("ann@example.com has left")
    assert rows("SELECT status, metadata FROM nodes") == [{"status": "skipped", "metadata": kept}]


def test_an_excluded_channel_is_left_out_and_said_to_be(migrated: str, rows: Rows) -> None:
    secret = "the secret note"
    with Persist(migrated, exclude={"channels": ["note"]}) as persist:
        graph = chain_of(["a", "b"]).compile(checkpointer=persist.checkpointer)
        persist.attach(graph).invoke({"count": 0, "note": secret}, persist.config("t"))
    assert secret not in dump(rows)
    mark = {"$left_out": "excluded"}
    (workflow,) = rows("SELECT input, result FROM workflows")
    assert (workflow["input"]["note"], workflow["result"]["note"]) == (mark, mark)
    for node in rows("SELECT state_data, input_data FROM node_states"):
        assert (node["state_data"]["note"], node["input_data"]["note"]) == (mark, mark)
        assert "count" in node["state_data"]


def test_an_excluded_name_is_left_out_of_what_functions_as_graphs_are_given_and_give(
    migrated: str, rows: Rows
) -> None:
    with Persist(migrated, exclude={"channels": ["salary"]}) as persist:

        @entrypoint(checkpointer=persist.checkpointer)
        def pay(asked: dict[str, Any], *, previous: Any = None) -> dict[str, Any]:
            return {"salary": "90,000", "raise": asked["raise"], "before": bool(previous)}

        for rise in ("none", "some"):
            persist.attach(pay).invoke({"salary": "80,000", "raise": rise}, persist.config("t"))
        state = persist.history.last().state_after("pay")
    assert {"before", "raise"} < state["__end__"].keys()
    assert "0,000" not in dump(rows)
    assert "some" in dump(rows)


def test_a_large_value_is_cut_with_a_mark(migrated: str, rows: Rows) -> None:
    with Persist(migrated, max_payload_bytes=1_000) as persist:
        graph = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
        value = {"count": 0, "note": "x" * 5_000, "log": ["y" * 900]}
        persist.attach(graph).invoke(value, persist.config("t"))
        (node,) = rows("SELECT state_data FROM node_states")
        assert node["state_data"]["note"] == {
            "$left_out": "5,002 bytes",
            "bytes": 5_002,
            "begins": '"' + "x" * 499,
        }
        assert node["state_data"]["log"] == ["y" * 900, "a"]
        found = persist.history.last().state_after("a")
        assert found == node["state_data"]


def test_a_long_message_keeps_its_ends(migrated: str, rows: Rows) -> None:
    with Persist(migrated, max_payload_bytes=1_000) as persist:
        graph = chat_graph("ok").compile(checkpointer=persist.checkpointer)
        said = [HumanMessage("a" * 5_000 + "z")]
        persist.attach(graph).invoke({"messages": said}, persist.config("t"))
    (message,) = rows("SELECT text FROM messages WHERE role = 'human' AND length(text) > 100")
    assert message["text"].startswith("aaa") and message["text"].endswith("z")
    assert "4001 characters left out" in message["text"]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_trace_policy_is_respected(migrated: str, rows: Rows, mode: str) -> None:
    def failing(value: Any) -> Any:
        raise ValueError(value)

    policies = {
        "omitted": TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload),
        "summed up": TracePolicy(process_inputs=lambda state: {"keys": sorted(state)}),
        "failing": TracePolicy(process_outputs=failing),
        "plain": None,
    }
    builder = StateGraph(Steps)
    previous = START
    for name, policy in policies.items():
        builder.add_node(name, lambda state: {"note": "n"}, trace_policy=policy)
        builder.add_edge(previous, name)
        previous = name
    with Persist(migrated) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        value: Any = {"count": 1, "note": "first"}
        if mode == "invoke":
            result = graph.invoke(value, persist.config("t"))
        else:
            result = await graph.ainvoke(value, persist.config("t"))
        assert result["note"] == "n"
        assert persist.handler.failures.counts == {"trace_policy: ValueError": 1}
    nodes = {
        r["node_name"]: (r["input_data"], r["output_data"]) for r in rows("SELECT * FROM nodes")
    }
    assert nodes["omitted"] == ({}, {})
    assert nodes["summed up"] == ({"keys": ["count", "log", "note"]}, {"note": "n"})
    assert nodes["failing"][1] == "<trace policy failed: ValueError>"
    assert nodes["plain"] == ({"count": 1, "note": "n", "log": []}, {"note": "n"})


@pytest.mark.parametrize(
    "settings",
    [
        {"capture": "some"},
        {"exclude": {"tables": ["nodes"]}},
        {"exclude": {"nodes": "ask"}},
        {"redact": "secrets"},
        {"redact": [redact_secrets, 1]},
        {"max_payload_bytes": 0},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_settings_that_make_no_sense_are_refused(migrated: str, settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        Persist(migrated, **settings)
    with pytest.raises(ConfigurationError):
        PersistCallbackHandler(migrated, **settings)


REDACTED: list[tuple[Any, Any]] = [
    ("mail ann@example.com now", "mail [email] now"),
    ("call 555-123-4567 or (555) 123-4567", "call [phone] or [phone]"),
    ("call +1 (415) 555 2671.", "call [phone]."),
    ("card 4111-1111-1111-1111, 5500005555555559", "card [card], [card]"),
    (
        "order 4111111111111112 of 2024-05-06 10:11:12",
        "order 4111111111111112 of 2024-05-06 10:11:12",
    ),
    ("id 01890a5d-ac96-774b-bcce-b302099a8057", "id 01890a5d-ac96-774b-bcce-b302099a8057"),
    ("took 1234567.25 ms", "took 1234567.25 ms"),
    ("bob.o'neil@mail.example.co.uk, please", "[email], please"),
    ("to DE89 3704 0044 0532 0130 00.", "to [iban]."),
    ("from GB82WEST12345698765432", "from [iban]"),
    ("part AB12 CDEF 0001 XYZW", "part AB12 CDEF 0001 XYZW"),
    ({"ann@example.com": [1, None, True]}, {"[email]": [1, None, True]}),
    ({"card": 4111111111111111, "n": [371449635398431]}, {"card": "[card]", "n": ["[card]"]}),
    ([4111111111111112, 1700000000000006, 1700000000006, -4111111111111111, 4.5], None),
]


@pytest.mark.parametrize(("value", "expected"), REDACTED, ids=str)
def test_personal_data_is_redacted(value: Any, expected: Any) -> None:
    assert redact_personal(value) == (value if expected is None else expected)


SECRET: list[tuple[Any, Any]] = [
    ("use sk-ant-api03-abcdefghij0123456789", "use [secret]"),
    ("ghp_abcdefghijklmnopqrst1234 AKIAABCDEFGHIJKLMNOP", "[secret] [secret]"),
    ("Bearer abcdefghijklmnop.q-r", "Bearer [secret]"),
    ("postgresql://me:hunter2@db/x", "postgresql://[secret]@db/x"),
    ("password = 'hunter22'", "password = '[secret]'"),
    ('{"password": "hunter2"}', '{"password": "[secret]"}'),
    ("aws_secret_access_key=wJalrXUtnFEMI", "aws_secret_access_key=[secret]"),
    ("access_token: abcdefgh", "access_token: [secret]"),
    ("total_tokens: 1234567", "total_tokens: 1234567"),
    ("gsk_abcdefghijklmnopqrst tvly-abcdefghijklmnopqrst", "[secret] [secret]"),
    ("SG.abcdefghijklmnopqrst.abcdefghijklmnopqrst", "[secret]"),
    (
        {"api_key": "x", "total_tokens": 5, "a": [{"Password": "y"}]},
        {"api_key": "[secret]", "total_tokens": 5, "a": [{"Password": "[secret]"}]},
    ),
    ("a task-based, skilled desk", "a task-based, skilled desk"),
    ("accessToken: q8w7e6r5t4zz", "accessToken: [secret]"),
    ("AccountName=x;AccountKey=QUJDREVGR0hJ==;", "AccountName=x;AccountKey=[secret];"),
    ("Authorization: Basic Ym9iOmh1bnRlcjQ0", "Authorization: Basic [secret]"),
    ("'authorization': 'basic Ym9iOmh1bnRlcjQ0'", "'authorization': 'basic [secret]'"),
    ("basic understanding of authorization", "basic understanding of authorization"),
    *[({name: "q8w7"}, {name: "[secret]"}) for name in ("accessToken", "refreshToken", "apiKey")],
    ({"maxTokens": 5, "tokens": [1], "tokenizer": "x"}, None),
    (
        {"password": 123456, "credentials": {"user": "bob"}, "secrets": ["hunter22"], "pwd": 1.5},
        dict.fromkeys(("password", "credentials", "secrets", "pwd"), "[secret]"),
    ),
    ({"password": None, "use_oauth": True, "secret": False}, None),
    ({"properties": {"password": {"type": "string"}}, "$defs": {"Credentials": {}}}, None),
    (
        {"properties": {"password": "x", "a": {"token": "y"}}},
        {"properties": {"password": "[secret]", "a": {"token": "[secret]"}}},
    ),
]


@pytest.mark.parametrize(("value", "expected"), SECRET, ids=str)
def test_secrets_are_redacted(value: Any, expected: Any) -> None:
    assert redact_secrets(value) == (value if expected is None else expected)


REPEATED = ["ab01", "a@", "a.", "eyJ", "eyJ-", "eyJa.", "a:", "://a:", "1 ", "+1", "DE12", "sk-"]
REPEATED += ["-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "secret", "secret_", "token ", "="]


@pytest.mark.parametrize("redact", [redact_personal, redact_secrets])
@pytest.mark.parametrize("part", REPEATED)
def test_a_long_text_is_no_obstacle(redact: Any, part: str) -> None:
    """What takes the square of its length takes many minutes for this."""
    for begin in ("", "x@", "://"):
        assert redact(begin + part * (200_000 // len(part)))


PROMOTED = {
    "settings": ["note"],
    "result": "note",
    "user_input": "note",
    "current_context": ["note"],
}
KEY = SAID["key"]


def test_promoted_channels_are_redacted(migrated: str, rows: Rows) -> None:
    with Persist(migrated, promote=PROMOTED, redact=redact_secrets) as persist:
        graph = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
        persist.attach(graph).invoke({"count": 0, "note": f"use {KEY}"}, persist.config("t"))
    assert KEY not in dump(rows)
    (workflow,) = rows("SELECT settings, result, user_input FROM workflows")
    said = "use [secret]"
    assert workflow == {"settings": {"note": said}, "result": said, "user_input": said}
    assert rows("SELECT current_context AS c FROM sessions") == [{"c": {"note": said}}]


def test_excluded_channels_are_not_promoted(migrated: str, rows: Rows) -> None:
    with Persist(migrated, promote=PROMOTED, exclude={"channels": ["note"]}) as persist:
        graph = chain_of(["a"]).compile(checkpointer=persist.checkpointer)
        persist.attach(graph).invoke({"count": 0, "note": KEY}, persist.config("t"))
    assert KEY not in dump(rows)
    (workflow,) = rows("SELECT settings, result FROM workflows")
    assert workflow["settings"] is None
    assert workflow["result"] == {"count": 1, "log": ["a"], "note": {"$left_out": "excluded"}}


def test_messages_and_tracebacks_of_exceptions_are_redacted(migrated: str, rows: Rows) -> None:
    def fails(state: Steps) -> Steps:
        raise ValueError(f"no access with {KEY}")

    builder = StateGraph(Steps)
    builder.add_node("fails", fails)
    builder.add_edge(START, "fails")
    with Persist(migrated, redact=redact_secrets) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        with pytest.raises(ValueError, match=KEY):
            graph.invoke({"count": 0}, persist.config("t"))
    assert KEY not in dump(rows)
    for table in ("nodes", "workflows", "workflow_runs"):
        (row,) = rows(f"SELECT error_message, error_traceback FROM {table}")
        assert row["error_message"] == "no access with [secret]"
        assert "ValueError: no access with [secret]" in row["error_traceback"]


@pytest.mark.parametrize("before", [2_480, 2_490, 30_000])
def test_errors_are_redacted_before_they_are_cut(migrated: str, rows: Rows, before: int) -> None:
    key = "sk-" + "A1b2C3d4E5f6G7h8" * 3

    def fails(state: Steps) -> Steps:
        raise ValueError("y" * before + f" {key} " + "z" * (7_480 if before == 30_000 else 20_000))

    builder = StateGraph(Steps)
    builder.add_node("fails", fails)
    builder.add_edge(START, "fails")
    with Persist(migrated, redact=redact_secrets) as persist, pytest.raises(ValueError, match="A1"):
        persist.attach(builder.compile()).invoke({"count": 0})
    text = dump(rows)
    assert "b2C3d4" not in text
    assert text.count("characters left out") >= 3


def test_the_text_of_an_unknown_object_is_cut_between_words() -> None:
    class Page:
        def __init__(self, before: int) -> None:
            self.before = before

        def __repr__(self) -> str:
            return f"<Page {'y ' * self.before} {KEY}{' z' * 3_000}>"

    for before in range(200, 260):
        text = redact_secrets(to_json_bytes(Page(before)).decode())
        assert KEY[4:12] not in text
        assert len(text) < 2_100
        assert "characters left out" in text


def test_bound_tools_are_named_in_the_parameters_and_described_once(
    migrated: str, rows: Rows
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "weather", "description": "Tells the weather.", "parameters": schema}
    tools = [{"type": "function", "function": function}, {"type": "web_search"}]
    with Persist(migrated) as persist:
        fake_model("ok").bind(tools=tools, temperature=0.5).invoke(
            "hi", {"callbacks": [persist.handler]}
        )
    (called,) = rows("SELECT invocation_params AS p FROM generations")
    assert called["p"]["tools"] == ["weather", {"type": "web_search"}]
    assert called["p"]["temperature"] == 0.5
    (tool,) = rows("SELECT description, parameters_schema FROM tools WHERE name = 'weather'")
    assert tool == {"description": "Tells the weather.", "parameters_schema": schema}


@pytest.mark.parametrize(
    "odd", ["nul \x00", "half \ud800", "back \\\x00", float("nan"), b"x", {1: 2}]
)
def test_whatever_a_redactor_gives_can_be_stored(migrated: str, rows: Rows, odd: Any) -> None:
    with Persist(migrated, redact=lambda value: odd) as persist:
        chat(persist)
        assert not [kind for kind in persist.handler.failures.counts if "row" in kind]
    found = dump(rows)
    assert [name for name, text in SAID.items() if text in found] == []
    assert rows("SELECT status FROM workflows") == [{"status": "completed"}]


@pytest.mark.parametrize(
    ("settings", "title", "snapshot"),
    [
        ({"redact": redact_personal}, "call [email]", "call [email]"),
        ({"capture": "structure"}, "todo 1", None),
        ({"exclude": {"channels": ["todos"]}}, "todo 1", None),
        ({"exclude": {"nodes": ["plan"]}}, "todo 1", None),
    ],
)
def test_todos_are_private_too(
    migrated: str, rows: Rows, settings: Any, title: str, snapshot: str | None
) -> None:
    class Planning(TypedDict, total=False):
        todos: list[dict[str, str]]

    todo = {"content": "call bob@example.com", "description": "bob@example.com", "id": "bob"}
    builder = StateGraph(Planning)
    builder.add_node("plan", lambda state: {"todos": [todo | {"status": "in_progress"}]})
    builder.add_edge(START, "plan")
    with Persist(migrated, **settings) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        graph.invoke({}, persist.config("t"))
    (found,) = rows("SELECT * FROM todos")
    assert (found["title"], found["status"]) == (title, "in_progress")
    assert "bob@" not in str(found)
    (version,) = rows("SELECT todos_snapshot FROM plan_versions")
    assert "bob@" not in str(version)
    shown = version["todos_snapshot"]
    assert (shown[0]["title"] if shown else None) == snapshot


def test_the_name_of_a_prompt_is_redacted_and_always_kept(migrated: str, rows: Rows) -> None:
    told = {"metadata": {"prompt_name": "for ann@example.com", "prompt_version": "7"}}
    for settings in ({"redact": redact_personal}, {"capture": "structure"}):
        with Persist(migrated, **settings) as persist:
            persist.attach(fake_model("hi")).invoke("hello", told)  # type: ignore[arg-type]
    found = rows("SELECT prompt_name, prompt_version FROM generations ORDER BY id")
    assert [(g["prompt_name"], g["prompt_version"]) for g in found] == [
        ("for [email]", "7"),
        ("for ann@example.com", "7"),
    ]


def test_a_redactor_is_asked_of_all_that_lies_inside(migrated: str, rows: Rows) -> None:
    def no_apollo(value: Any) -> Any:
        return value.replace("Apollo", "[project]") if isinstance(value, str) else value

    with Persist(migrated, redact=no_apollo) as persist:
        graph = chat_graph("Apollo it is").compile(checkpointer=persist.checkpointer)
        persist.attach(graph).invoke({"messages": [HumanMessage("Apollo?")]}, persist.config("t"))
    assert "Apollo" not in dump(rows)
    assert "[project]?" in dump(rows)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ({"note": SAID["mail"]}, [SAID["mail"]])),
        ({"redact": redact_personal}, ({"note": "[email]"}, ["[email]"])),
        ({"capture": "structure"}, (None, None)),
    ],
)
def test_what_a_config_says_of_a_run_is_private_too(
    migrated: str, rows: Rows, settings: Any, expected: Any
) -> None:
    with Persist(migrated, **settings) as persist:
        graph = persist.attach(chain_of(["a"]).compile(checkpointer=persist.checkpointer))
        config = persist.config("t", metadata={"note": SAID["mail"]}, tags=[SAID["mail"]])
        graph.invoke({"count": 0}, config)
    (workflow,) = rows("SELECT metadata, tags FROM workflows")
    assert (workflow["metadata"], workflow["tags"]) == expected
