"""The recorder: workflows, nodes, model and tool calls, told by whoever makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from langchain_core.messages.ai import UsageMetadata
from langchain_core.utils.uuid import uuid7

from langgraph_persist.arguments import Duration, Happened, Limit, Money, Name, checked
from langgraph_persist.errors import ConfigurationError, NotRecorded
from langgraph_persist.extract import (
    clean_text,
    error_fields,
    keep_for,
    nodes_around,
    task_around,
)
from langgraph_persist.journal import (
    Fields,
    Journal,
    Recorded,
    Restriction,
    Rows,
    Within,
    current_run,
    place_in,
)
from langgraph_persist.quotas import Answer, Quotas, User, Users, ask
from langgraph_persist.quotas import Request as Asked
from langgraph_persist.recorder import calls
from langgraph_persist.recorder.node import RecordedNode
from langgraph_persist.recorder.sending import send, wait
from langgraph_persist.recorder.workflow import RecordedWorkflow, Request
from langgraph_persist.usage import Costs, Prices


@checked
class Recorder:
    """Records what runs outside of LangChain, into the same tables and in the same order.

    A workflow is that of the context it was started in, and of what is called or awaited from
    there: graphs and models that run there with the handler attached are part of it. Where the
    context is another, in a thread of one's own, name it by ``workflow=``. In a node of a graph
    that is recorded, what is told is that node's, as are the calls that LangChain makes in it.

    What is told is queued; the end of a workflow waits until all of it is committed.

    Raises:
        ConfigurationError: no workflow is under way here, or it has ended.
        DurabilityError: something of the workflow could not be committed.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        users: Users,
        quotas: Quotas | None = None,
        session_ttl: timedelta | None = None,
        prices: Prices | None = None,
        restriction: Restriction | None = None,
    ) -> None:
        self._journal, self._users, self._quotas = journal, users, quotas
        self._session_ttl, self._restriction = session_ttl, restriction
        self._costs = Costs(prices or Prices.of(None), lambda event, error: None)

    def get_or_create_user(
        self,
        username: Name,
        *,
        name: str | None = None,
        email: str | None = None,
        organization: str | None = None,
    ) -> User:
        """The user of this name; made with these fields if there is none.

        Of several callers at once one makes it, and all are told of that one.

        Raises:
            NotRecorded: there is no such organization.
            QuotaExceeded: the organization has as many users as it may.
        """
        try:
            return self._users.get(username)
        except NotRecorded:
            given = {"name": name, "email": email, "organization": organization}
            told: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
            return self._users.make(username, **told)

    # --- workflows ---

    def start_workflow(
        self,
        name: Name = "workflow",
        *,
        thread_id: Name | None = None,
        user: Name | None = None,
        organization: Name | None = None,
        user_input: str | None = None,
        input: Any = None,
        settings: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> RecordedWorkflow:
        """Start a workflow here: the next turn of a session, or one of its own.

        Use it as a ``with`` or ``async with`` block; or end it by one of the next three methods.

        Args:
            name: what kind of workflow it is.
            thread_id: the session; without one it is a session of its own.
            user: who wants it; made if there is no such user.
            organization: on whose account; made if there is none.
            user_input: what the user said; by default it is looked for in ``input``.
            input: all that it is started with.
            settings: what the user has chosen.
            metadata: anything.
            tags: words to find it by.

        Raises:
            QuotaExceeded: the organization has reached a limit; it is recorded as refused. To know,
                the database is asked where a user or an organization is named.
        """
        user, organization = (None if n is None else clean_text(n) for n in (user, organization))
        request = Request(
            name=name,
            user=user,
            organization=organization,
            user_input=user_input,
            input=input,
            settings=settings,
            metadata=metadata,
            tags=tags,
        )
        answer = self._ask(user, organization)
        started = RecordedWorkflow(
            self._journal,
            thread_id,
            request,
            self._session_ttl,
            answer,
            private=self._is_private(place_in(self._journal)),
        )
        started.recorded.run.restriction = self._restriction
        if answer is not None and answer.refusal is not None:
            started.refuse(answer.refusal)
            raise answer.refusal
        return started

    def complete_workflow(
        self, result: Any = None, *, workflow: RecordedWorkflow | None = None
    ) -> None:
        """The workflow has reached its end."""
        self._workflow(workflow).end("completed", result=result)

    def fail(self, error: BaseException, *, workflow: RecordedWorkflow | None = None) -> None:
        """The workflow has failed."""
        self._workflow(workflow).end("failed", error=error)

    def cancel(self, *, workflow: RecordedWorkflow | None = None) -> None:
        """Nobody wants the workflow any more."""
        self._workflow(workflow).end("cancelled")

    # --- what happens in them ---

    def node(
        self, name: Name, *, input: Any = None, workflow: RecordedWorkflow | None = None
    ) -> RecordedNode:
        """A step, as a ``with`` or ``async with`` block; one within another is below it."""
        return RecordedNode(self._journal, self._place(workflow), name, input)

    def record_generation(
        self,
        model: str | None,
        *,
        prompt: calls.Prompt = None,
        output: Any = None,
        provider: str | None = None,
        prompt_tokens: Limit | None = None,
        completion_tokens: Limit | None = None,
        usage: UsageMetadata | None = None,
        cost_usd: Money | None = None,
        params: Mapping[str, Any] | None = None,
        finish_reason: str | None = None,
        prompt_name: str | None = None,
        prompt_version: str | None = None,
        started_at: Happened | None = None,
        latency_ms: Duration | None = None,
        error: BaseException | None = None,
        workflow: RecordedWorkflow | None = None,
    ) -> UUID:
        """A model was called; returns the id of the generation.

        Args:
            model: its name.
            prompt: a text, or messages in any form that LangChain takes.
            output: a text, a message, or whatever the answer was parsed to.
            provider: who serves it.
            prompt_tokens: how many it read, cached ones included.
            completion_tokens: how many it wrote.
            usage: all counts in LangChain's form, instead of these two.
            cost_usd: by default it follows from the counts and the known prices.
            params: what it was called with; secrets are left out.
            finish_reason: why it stopped.
            prompt_name: which prompt of yours it is.
            prompt_version: which version of it.
            started_at: by default ``latency_ms`` ago.
            latency_ms: how long it took.
            error: why it failed.
            workflow: that it is part of, if not the one under way here.
        """
        place = self._place(workflow)
        counts = usage or calls.usage_of(prompt_tokens, completion_tokens)
        started = calls.opened(model, prompt, provider, params, prompt_name, prompt_version)
        result = calls.answered(output, model, counts, finish_reason)
        fields = self._identity(place) | calls.span_of(started_at, latency_ms) | started.fields
        keep = keep_for(self._journal, fields["thread_id"], private=place.private)
        fields |= calls.ended(output, result, error, keep) | {"latency_ms": latency_ms}
        if cost_usd is None:
            fields |= calls.priced(self._costs, started, fields, result)
        else:
            fields |= {"cost_usd": _money(cost_usd), "price_source": "given"}
        fields["prompt"] = keep.prompt(started.messages)
        rows: Rows = [(table, _owner(fields) | content) for table, content in keep.rows]
        self._send(place, [*rows, ("generations", fields)])
        return UUID(str(fields["id"]))

    def record_tool(
        self,
        name: Name,
        *,
        input: Any = None,
        output: Any = None,
        tool_call_id: str | None = None,
        tokens_used: Limit | None = None,
        cost_usd: Money | None = None,
        started_at: Happened | None = None,
        execution_time_ms: Duration | None = None,
        error: BaseException | None = None,
        workflow: RecordedWorkflow | None = None,
    ) -> UUID:
        """A tool was called; returns the id of the execution.

        Args:
            name: the tool's.
            input: what it was called with.
            output: what it returned.
            tool_call_id: the model's call that it answers.
            tokens_used: by models that it called.
            cost_usd: what it cost. Workflows, plans and reports count what model calls cost, as
                those in a tool; record what else is to be counted by ``record_generation``.
            started_at: by default ``execution_time_ms`` ago.
            execution_time_ms: how long it took.
            error: why it failed.
            workflow: that it is part of, if not the one under way here.
        """
        place = self._place(workflow)
        fields = self._identity(place)
        keep = keep_for(self._journal, fields["thread_id"], private=place.private)
        fields |= calls.span_of(started_at, execution_time_ms) | {
            "tool_name": clean_text(name),
            "tool_call_id": None if tool_call_id is None else clean_text(tool_call_id),
            "input_params": keep.document(input),
            "output_data": keep.document(output),
            "tokens_used": tokens_used,
            "cost_usd": _money(cost_usd),
            "execution_time_ms": execution_time_ms,
            "success": error is None,
            "status": "completed" if error is None else "failed",
        }
        if error is not None:
            fields |= error_fields(error)
        tool = {"id": uuid7(), "name": fields["tool_name"]}
        rows: Rows = [(table, _owner(fields) | content) for table, content in keep.rows]
        self._send(place, [("tools", tool), *rows, ("tool_executions", fields)])
        return UUID(str(fields["id"]))

    # --- where ---

    def _ask(self, user: str | None, organization: str | None) -> Answer | None:
        if self._quotas is None or (user is None and organization is None):
            return None
        asked = Asked(user, organization, datetime.now(UTC))
        return ask(self._quotas, asked, self._journal.failures)

    def _workflow(self, workflow: RecordedWorkflow | None) -> RecordedWorkflow:
        owner = self._place(workflow).workflow.owner
        if not isinstance(owner, RecordedWorkflow):
            raise ConfigurationError("the workflow here is a graph's, which ends when its run does")
        return owner

    def _place(self, workflow: RecordedWorkflow | None) -> Within:
        place = self._place_of(workflow)
        return place._replace(private=self._is_private(place))

    def _is_private(self, place: Within | None) -> bool:
        """Whether only structure is kept of what happens there, or in the graph's node here."""
        if place is not None and place.private:
            return True
        excluded = self._journal.capture.nodes
        return bool(excluded) and not excluded.isdisjoint(nodes_around())

    def _place_of(self, workflow: RecordedWorkflow | None) -> Within:
        here = place_in(self._journal)
        if workflow is None:
            here = self._in_graph(here) or here
            if here is None:
                raise ConfigurationError(
                    "no workflow is recorded in this context: call start_workflow() before, or "
                    "name one by workflow="
                )
            return here
        if workflow.recorded.ended:
            raise ConfigurationError(f"workflow {workflow.id} has ended already")
        if here is not None and here.workflow is workflow.recorded:
            return here
        return Within(workflow.recorded, None, workflow.recorded.run.private)

    def _in_graph(self, here: Within | None) -> Within | None:
        """The place that the node of a graph is which this is called in, if it is the nearest."""
        run = current_run.get()
        task = run and task_around()
        node = run.task(task) if run and task and self._journal.runs.is_open(run) else None
        if run is None or node is None or (here is not None and here.around is node):
            return None
        if here is not None and run.whole is here.workflow.run:
            recorded = here.workflow
        else:
            recorded = run.by_hand = run.by_hand or Recorded(run, self._journal)
        return Within(recorded, node.fields, node.private or run.private, node)

    def _identity(self, place: Within) -> Fields:
        run = place.workflow.run
        return {
            "thread_id": run.thread_id,
            "id": uuid7(),
            "workflow_id": run.workflow_id,
            "run_id": run.id,
            "node_id": place.node["id"] if place.node else None,
        }

    def _send(self, place: Within, rows: Rows) -> None:
        """Record what has happened there: in a graph's node along with that."""
        node = place.around
        if node is not None and node.fields is place.node and not node.ended:
            node.rows += place.shown(rows)
        else:
            wait(send(self._journal, place, rows))


def _owner(fields: Fields) -> Fields:
    return {"thread_id": fields["thread_id"], "workflow_id": fields["workflow_id"]}


def _money(usd: Decimal | float | None) -> orjson.Fragment | None:
    return None if usd is None else orjson.Fragment(f"{Decimal(str(usd)):f}")
