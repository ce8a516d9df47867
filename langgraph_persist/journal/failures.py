"""Failures of this package's own code, which must not reach the user's graph."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from types import TracebackType

from langgraph_persist.errors import DurabilityError, JournalClosed

logger = logging.getLogger(__name__)


class Failures:
    """Counts failures by where they happened and their kind; logs each kind once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, where: str, error: BaseException) -> None:
        """Count a failure of ours.

        The log names the line, and not the message: that may quote what a user said.
        """
        kind = f"{where}: {type(error).__name__}"
        if self._is_new(kind):
            frames = traceback.extract_tb(error.__traceback__)
            line = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown line"
            logger.warning("recording failed in %s at %s; counted from now on", kind, line)
            logger.debug("recording failed in %s", kind, exc_info=error)

    def kept(self, where: str, missing: dict[str, str] | None = None) -> Kept:
        """What fails within is counted and goes no further, unless it is the user's to know.

        ``missing`` is where that is to be said, if anywhere.
        """
        return Kept(self, where, missing)

    def refused(self, what: object) -> None:
        """Count what PostgreSQL refused to take."""
        if self._is_new(str(what)):
            logger.warning("PostgreSQL refused %s; left out, and counted from now on", what)

    def _is_new(self, kind: str) -> bool:
        self.counts[kind] += 1
        return self.counts[kind] == 1


class Kept:
    """The block of ``Failures.kept``; a class, since many are entered in every run."""

    __slots__ = ("_failures", "_missing", "_where")

    def __init__(self, failures: Failures, where: str, missing: dict[str, str] | None) -> None:
        self._failures, self._where, self._missing = failures, where, missing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, (DurabilityError, JournalClosed)):
            return False
        self._failures.add(self._where, error)
        if self._missing is not None:
            self._missing[self._where] = f"failed: {type(error).__name__}"
        return True
