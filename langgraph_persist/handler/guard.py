"""Keeps this package's own failures out of the user's graph."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from langgraph_persist.errors import DurabilityError, JournalClosed
from langgraph_persist.extract.guard import Unread, reports
from langgraph_persist.handler.ids import resolve

F = TypeVar("F", bound=Callable[..., Any])


def guarded(event: F) -> F:
    """A method that is told of an event, as :func:`guard` has it."""
    safe = guard(event)

    @functools.wraps(event)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return safe(self, args, kwargs)

    return cast(F, method)


def guard(event: Callable[..., Any]) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]:
    """An event with the ids of the record, whose failures are counted and never raised.

    What it was about is recorded all the same, with a mark that this event is missing. The one
    exception that is raised is :class:`JournalClosed`, which is the caller's mistake. A durability
    error is left to the end of the run, which waits for the commit and tells.
    """

    name = event.__name__
    starts = name.endswith("_start")

    def safe(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if sys.is_finalizing():
            # A generator left open is closed at the very end, when nothing can be written.
            return None
        span = None
        unread = Unread(self.failures)
        token = reports.set(unread)
        try:
            if "run_id" in kwargs:
                resolve(kwargs, starts)
                span = None if starts else self.missed.spans.get(kwargs["run_id"])
            else:
                span = self.missed.concerned(args, kwargs)
            if span is not None:
                unread.missing = span.root.run.missing
            return event(self, *args, **kwargs)
        except JournalClosed:
            raise
        except DurabilityError:
            return None
        except Exception as error:
            self.failures.add(name, error)
            return self.make_up(name, error, span, args, kwargs)
        except BaseException:
            # Somebody stops the process, or this thread, in the midst of it.
            self.cut_short(span or self.missed.concerned(args, kwargs))
            raise
        finally:
            reports.reset(token)
            if span is None and unread.missing:
                self.missed.lacks(self.missed.concerned(args, kwargs), unread.missing)

    return safe
