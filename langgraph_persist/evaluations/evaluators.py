"""What can evaluate, and what it may answer.

A callable is given the :class:`Turn` or :class:`Conversation`; a LangChain evaluator (whatever has
``evaluate_strings``) its texts; any other runnable a mapping of these, as prompts take them. The
answer is a number, a number with an analysis, or a mapping or model with ``score`` and
``analysis`` (or ``reasoning``, ``comment`` or ``explanation``), also as JSON in a message.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from asyncio import CancelledError, current_task, to_thread
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from numbers import Real
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel

from langgraph_persist.errors import ConfigurationError
from langgraph_persist.evaluations.subjects import Subject

ANALYSIS_KEYS = ("analysis", "reasoning", "comment", "explanation", "value")

PERFECT = 100
"""The best score there is in the record."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What an evaluator found."""

    score: float
    analysis: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Any evaluator, by its name.

    Args:
        evaluator: a callable, a runnable, or an evaluator of LangChain.
        name: what it is called in the record; by default what it calls itself.
        scale: its best score, which becomes 100; its worst is 0.

    Raises:
        ConfigurationError: it cannot evaluate, or has no name.
    """

    def __init__(self, evaluator: Any, name: str | None, scale: float | None) -> None:
        self._is_strings = callable(getattr(evaluator, "evaluate_strings", None))
        self._is_runnable = isinstance(evaluator, Runnable)
        if not (self._is_strings or self._is_runnable or callable(evaluator)):
            raise ConfigurationError(
                "an evaluator is a callable, a runnable or has evaluate_strings(), "
                f"not {type(evaluator).__name__}"
            )
        self._evaluator = evaluator
        self.name = _name(evaluator) if name is None else require_name(name)
        self.scale = _scale(scale, 1 if self._is_strings else PERFECT)

    def judge(self, subject: Subject) -> Judgement:
        """Ask it, here and now."""
        if self._is_strings:
            found = self._evaluator.evaluate_strings(**self._strings(subject))
        elif self._is_runnable:
            found = self._evaluator.invoke(subject.variables(), {"run_name": self.name})
        else:
            found = self._evaluator(subject)
        if inspect.isawaitable(found):
            _discard(found)
            raise ConfigurationError(
                f"{self.name} is async: use aevaluate_turns() or aevaluate_session()"
            )
        return self._judgement(found)

    async def ajudge(self, subject: Subject) -> Judgement:
        """Ask it without holding up the event loop; what is not async is asked in a thread.

        Raises:
            RuntimeError: it was cancelled, but not by whoever awaits this.
        """
        try:
            return self._judgement(await self._found(subject))
        except CancelledError as error:
            task = current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(f"{self.name} was cancelled from within") from error

    async def _found(self, subject: Subject) -> Any:
        if self._is_strings:
            found = await _asked(self._evaluator, "evaluate_strings", **self._strings(subject))
        elif self._is_runnable:
            found = await self._evaluator.ainvoke(subject.variables(), {"run_name": self.name})
        elif _is_async(self._evaluator):
            found = await self._evaluator(subject)
        else:
            found = await _in_thread(self._evaluator, subject)
        return await found if inspect.isawaitable(found) else found

    def _strings(self, subject: Subject) -> dict[str, str | None]:
        """Its arguments; it warns of those that it has no use for."""
        if subject.prediction is None:
            raise ConfigurationError("there is no output to evaluate")
        given = {"input": subject.input, "reference": subject.reference}
        wanted = {
            name: text
            for name, text in given.items()
            if getattr(self._evaluator, f"requires_{name}", text is not None)
        }
        return {"prediction": subject.prediction, **wanted}

    def _judgement(self, found: Any) -> Judgement:
        fields = _fields(found)
        score = require_score(fields.pop("score", None), self.scale)
        given = [key for key in ANALYSIS_KEYS if isinstance(fields.get(key), str)]
        key = next((key for key in given if fields[key].strip()), None)
        if key is None:
            analysis = f"{self.name} gave {score:g} of {self.scale:g}"
        else:
            analysis = fields.pop(key)
        return Judgement(round(score * PERFECT / self.scale, 6), analysis, fields)


def require_score(score: Any, best: float = PERFECT) -> float:
    """The score, if it is a number from 0 to the best.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(score, bool) and best != PERFECT:
        return best * score
    if not _is_number(score):
        shown = "missing" if score is None else f"not {type(score).__name__}"
        raise ConfigurationError(f"a score is a number from 0 to {best:g}, {shown}")
    value = float(score)
    if math.isnan(value) or not 0 <= value <= best:
        hint = "" if best == PERFECT else "; say what the best score is by scale="
        raise ConfigurationError(f"a score is a number from 0 to {best:g}, not {value:g}{hint}")
    return value


def require_name(name: Any) -> str:
    """The name, if it is a text.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError("an evaluator's name is a text")
    return name


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, Decimal)) and not isinstance(value, bool)


def _scale(scale: float | None, usual: float) -> float:
    if scale is None:
        return usual
    if not _is_number(scale) or not 0 < scale < math.inf:
        raise ConfigurationError(f"scale is the best score that can be given, not {scale!r}")
    return float(scale)


def _name(evaluator: Any) -> str:
    while isinstance(evaluator, partial):
        evaluator = evaluator.func
    own = getattr(evaluator, "evaluation_name", None)
    if not isinstance(own, str) and isinstance(evaluator, Runnable):
        own = evaluator.get_name()
    if not isinstance(own, str):
        own = getattr(evaluator, "__name__", type(evaluator).__name__)
    if own == "<lambda>":
        raise ConfigurationError(
            "a lambda has no name: give one by name=, which tells what it has evaluated already"
        )
    return str(own)


def _fields(found: Any) -> dict[str, Any]:
    if isinstance(found, BaseMessage):
        found = found.text
    if isinstance(found, str):
        found = _parsed(found)
    if isinstance(found, tuple) and len(found) == 2:
        return {"score": found[0], "analysis": found[1]}
    if isinstance(found, BaseModel):
        return found.model_dump()
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return dataclasses.asdict(found)
    if isinstance(found, Mapping):
        return {str(key): value for key, value in found.items()}
    return {"score": found}


def _parsed(text: str) -> Any:
    try:
        return parse_json_markdown(text)
    except ValueError:
        raise ConfigurationError("the answer is a text without a score: JSON is wanted") from None


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


async def _asked(evaluator: Any, method: str, **strings: str | None) -> Any:
    """By its async method, if it has one."""
    own: Callable[..., Awaitable[Any]] | None = getattr(evaluator, f"a{method}", None)
    if own is not None:
        return await own(**strings)
    return await _in_thread(getattr(evaluator, method), **strings)


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The same in a thread; a StopIteration is a RuntimeError, as where a coroutine raises it."""

    def call() -> Any:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            # No future can hold it: whoever awaits it would wait for ever.
            raise RuntimeError(f"{_shown(function)} raised StopIteration") from error

    return await to_thread(call)


def _shown(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _discard(awaitable: Any) -> None:
    """Nobody will await it, and it need not say so."""
    close = getattr(awaitable, "close", None) or getattr(awaitable, "cancel", None)
    if close is not None:
        close()
