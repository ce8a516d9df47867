"""What evaluators and users said, as the record may hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from langgraph_persist.errors import ConfigurationError
from langgraph_persist.extract import clean_text, to_json_bytes
from langgraph_persist.journal import Journal
from langgraph_persist.journal.capture import limited

SEALED = "$sealed"
"""Where the encrypted part of an evaluation's details is."""


class Content:
    """Redacts, shortens and encrypts as the settings of the database say."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def text(self, text: str | None) -> str | None:
        """A text for a column of that type; None where no content is kept."""
        if text is None or not self._journal.keeps_content:
            return None
        capture, seal = self._journal.capture, self._journal.seal
        kept = limited(capture.clean_text(clean_text(text)), capture.max_bytes)
        return kept if seal is None else orjson.dumps(seal.close(orjson.dumps(kept))).decode()

    def json(self, value: Any) -> Any:
        """A JSON value for a jsonb column; None where no content is kept."""
        if value is None or not self._journal.keeps_content:
            return None
        capture, seal = self._journal.capture, self._journal.seal
        data = capture.fitting(capture.clean_json(to_json_bytes(value)))
        return orjson.Fragment(data) if seal is None else seal.close(data)

    def details(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluator said besides score and analysis, to stand beside these."""
        kept = self.json(dict(details)) if details else None
        if kept is None:
            return {}
        if self._journal.seal is not None:
            return {SEALED: kept}
        found = json.loads(orjson.dumps(kept))
        return found if isinstance(found, dict) else {"details": found}


def require_json(name: str, value: Any) -> None:
    """Refuses what JSON has no form for.

    Raises:
        ConfigurationError: it holds something else, or itself.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} must be JSON: {error}") from None


def require_object(name: str, value: Any) -> dict[str, Any]:
    """The same for an object, which is what a mapping becomes."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is a mapping, not {type(value).__name__}")
    found = dict(value)
    require_json(name, found)
    return found
