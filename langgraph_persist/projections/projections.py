"""What a ``Persist`` makes of every state: promoted columns, and the rows of projections."""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from langgraph_persist.errors import ConfigurationError, ProjectionFailed
from langgraph_persist.extract import error_fields
from langgraph_persist.journal import Change, Derived, Fields, Graph, Projected, Rows, Run, State
from langgraph_persist.journal.project import projection_error
from langgraph_persist.projections.promote import CONTEXT, Promotion

if TYPE_CHECKING:
    from sqlalchemy import Table

    from langgraph_persist.projections.tables import Target, Upserts

logger = logging.getLogger(__name__)

_FAILURES = (Exception, CancelledError, GeneratorExit)
"""What a function may raise that is its own: a run that is cancelled raises nothing in it."""

OnError: TypeAlias = Literal["fail", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionContext:
    """Where a state comes from."""

    thread_id: str
    checkpoint_id: str
    checkpoint_ns: str
    """Empty but in a subgraph."""
    workflow_id: UUID | None
    """None where the run is not recorded, as in ``update_state``."""
    step: int
    source: str
    """``input``, ``loop``, ``update`` or ``fork``."""
    written_at: datetime
    metadata: Mapping[str, Any]
    """What the config's metadata and LangGraph say of the checkpoint."""

    @property
    def user(self) -> str | None:
        """The user of ``persist.config(…, user=…)``."""
        return self.metadata.get("user")

    @property
    def organization(self) -> str | None:
        """The organization of ``persist.config(…, organization=…)``."""
        return self.metadata.get("organization")


ProjectionFunction: TypeAlias = Callable[[Any, Any, ProjectionContext], Any]
F = TypeVar("F", bound=ProjectionFunction)


class _Projection(NamedTuple):
    number: int
    name: str
    function: ProjectionFunction
    upserts: Upserts
    on_error: OnError
    subgraphs: bool

    def rows(self, change: Change, context: ProjectionContext) -> Iterator[Projected]:
        made = self.function(dict(change.old), dict(change.copied), context)
        for n, row in enumerate(_rows(made)):
            statement, params = self.upserts.prepare(row)
            origin = (self.number, n)
            yield Projected(statement, params, change.checkpoint, _owner(change), origin)


class Projections:
    """The projector of a ``Persist``: promoted columns, then the projections in their order."""

    def __init__(self, promotion: Promotion | None, reflect: Callable[[str], Table]) -> None:
        self._promotion = promotion
        self._reflect = reflect
        self._projections: list[_Projection] = []

    def add(
        self,
        target: Target,
        *,
        keys: Sequence[str] | None,
        on_error: OnError,
        subgraphs: bool,
    ) -> Callable[[F], F]:
        """A decorator that makes a function the source of a table's rows."""
        from langgraph_persist.projections.tables import Upserts

        if on_error not in ("fail", "record"):
            raise ConfigurationError(f"on_error is 'fail' or 'record', not {on_error!r}")

        def decorate(function: F) -> F:
            if not callable(function):
                raise ConfigurationError(f"a projection is a function, not {function!r:.100}")
            if inspect.iscoroutinefunction(function):
                raise ConfigurationError(f"a projection is no coroutine function: {function!r}")
            name = str(getattr(function, "__name__", function))
            upserts = Upserts(target, keys, self._reflect, name=name, lenient=on_error == "record")
            projection = _Projection(
                number=len(self._projections),
                name=name,
                function=function,
                upserts=upserts,
                on_error=on_error,
                subgraphs=subgraphs,
            )
            self._projections.append(projection)
            return function

        return decorate

    @property
    def compares(self) -> bool:
        """Whether it wants to know the state before, too."""
        return bool(self._projections)

    def follows(self, graph: Graph) -> bool:
        """Whether it wants to know of this graph's states at all."""
        if self._promotion is None and not self._projections:
            return False
        return not graph.checkpoint_ns or any(p.subgraphs for p in self._projections)

    def loaded(self, run: Run, graph: Graph, state: State) -> None:
        """A run starts from the checkpoint that holds this state."""
        self._promote(run, graph, state)

    def saved(self, change: Change) -> Derived:
        """What goes with a checkpoint.

        Raises:
            ProjectionFailed: a projection raised whose errors are not to be recorded.
        """
        rows: Rows = []
        projected: list[Projected] = []
        root = not change.graph.checkpoint_ns
        context = _context(change) if self._projections else None
        for projection in self._projections:
            if context is None or not (root or projection.subgraphs):
                continue
            try:
                projected += list(projection.rows(change, context))
            except _FAILURES as error:
                rows.append(_failure(projection, change, error))
        if change.run is not None:
            rows += self._promote(change.run, change.graph, change.new)
        return Derived(rows, projected)

    def _promote(self, run: Run, graph: Graph, state: State) -> Rows:
        root = not graph.checkpoint_ns and graph.thread_id == run.thread_id
        if self._promotion is None or not root:
            return []
        found = self._promotion(state)
        session = {CONTEXT: found.pop(CONTEXT)} if CONTEXT in found else {}
        run.promoted = found
        key = {"thread_id": run.thread_id}
        rows: Rows = []
        if session:
            rows.append(("session_updates", key | session))
        if found:
            rows.append(("workflow_promotions", key | {"id": run.workflow_id} | found))
        return rows


def _failure(projection: _Projection, change: Change, error: BaseException) -> tuple[str, Fields]:
    if projection.on_error == "fail":
        where = f"checkpoint {change.checkpoint_id} of thread {change.graph.thread_id!r}"
        raise ProjectionFailed(
            f"projection {projection.name!r} failed, so {where} was not saved: {error}"
        ) from error
    logger.warning("projection %r failed (%s)", projection.name, type(error).__name__)
    origin = (projection.number, 0)
    told = projection_error(projection.name, change.checkpoint, _owner(change), origin)
    return "projection_errors", told | error_fields(error)


def _owner(change: Change) -> Fields:
    run = change.run
    if run is None:
        return {"thread_id": change.graph.thread_id, "workflow_id": None}
    return {"thread_id": run.thread_id, "workflow_id": run.workflow_id}


def _context(change: Change) -> ProjectionContext:
    return ProjectionContext(
        thread_id=change.graph.thread_id,
        checkpoint_id=change.checkpoint_id,
        checkpoint_ns=change.graph.checkpoint_ns,
        workflow_id=change.run.workflow_id if change.run else None,
        step=change.step,
        source=change.source,
        written_at=datetime.fromisoformat(change.written_at),
        metadata=change.metadata,
    )


def _rows(made: Any) -> Iterable[Any]:
    """What a function returned: nothing, one row or several."""
    if made is None:
        return ()
    if isinstance(made, Mapping) or not isinstance(made, Iterable):
        return (made,)
    return made
