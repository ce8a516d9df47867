"""What the record holds of what was said: all of it, parts, or nothing but structure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from langgraph_persist.checks import count, instance
from langgraph_persist.errors import ConfigurationError
from langgraph_persist.journal.failures import Failures

MAX_BYTES = 10 << 20
"""By default a single value of the record takes no more."""

LARGEST = 128 << 20
"""No value of the record takes more, whatever users allow: PostgreSQL's jsonb ends at 256 MiB."""

BACKSLASH = ord("\\")
_BEGINNING = 500
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
# An escaped NUL is one whose backslash is not itself escaped.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_REPLACEMENT = rb"\1" + "\ufffd".encode()

Redactor: TypeAlias = Callable[[Any], Any]
"""Gives a JSON value (a string, a number, a list, a dict) as the record may hold it.

It is asked of each, from the inside out; unless it has a true attribute ``goes_inside``. The keys
of a dict are not asked of by themselves, since most are names: they are in the dict.
"""

Mode: TypeAlias = Literal["full", "structure"]


@dataclass(frozen=True, slots=True)
class Capture:
    """What may be recorded, as the user wants it."""

    content: bool = True
    """Whether anything that users, models, tools and nodes said is kept."""
    channels: frozenset[str] = frozenset()
    """Channels whose values are left out of states, inputs and outputs."""
    nodes: frozenset[str] = frozenset()
    """Nodes of which, and of all within them, only structure is kept."""
    redactors: tuple[Redactor, ...] = ()
    max_bytes: int = MAX_BYTES
    failures: Failures = field(default_factory=Failures, compare=False)

    @classmethod
    def of(
        cls,
        mode: Mode = "full",
        exclude: Mapping[str, Iterable[str]] | None = None,
        redact: Redactor | Iterable[Redactor] | None = None,
        max_payload_bytes: int | None = None,
    ) -> Capture:
        """The settings as users give them.

        Raises:
            ConfigurationError: one of them makes no sense.
        """
        if mode not in ("full", "structure"):
            raise ConfigurationError(f'capture is "full" or "structure", not {mode!r}')
        instance("exclude", exclude, (Mapping, type(None)), 'a mapping of "channels" and "nodes"')
        excluded = {kind: _names(kind, names) for kind, names in (exclude or {}).items()}
        limit = MAX_BYTES if max_payload_bytes is None else max_payload_bytes
        count("max_payload_bytes", limit, least=1)
        several = redact if isinstance(redact, Iterable) else () if redact is None else (redact,)
        redactors = (redact,) if callable(redact) else tuple(several)
        if not all(map(callable, redactors)):
            raise ConfigurationError("redact is a callable, or a list of callables")
        return cls(
            content=mode == "full",
            channels=excluded.get("channels", frozenset()),
            nodes=excluded.get("nodes", frozenset()),
            redactors=redactors,
            max_bytes=min(limit, LARGEST),
        )

    def joined(self, other: Capture) -> Capture:
        """What both of them allow."""
        limits = {self.max_bytes, other.max_bytes} - {MAX_BYTES}
        return Capture(
            content=self.content and other.content,
            channels=self.channels | other.channels,
            nodes=self.nodes | other.nodes,
            redactors=tuple(dict.fromkeys((*self.redactors, *other.redactors))),
            max_bytes=min(limits, default=MAX_BYTES),
        )

    def clean(self, value: Any) -> Any:
        """A JSON value as it may be kept; nothing of it where a redactor raises."""
        try:
            for redact in self.redactors:
                whole = getattr(redact, "goes_inside", False)
                value = redact(value) if whole else _inside_out(redact, value)
        except Exception as error:
            self.failures.add("redact", error)
            return f"<redaction failed: {type(error).__name__}>"
        return value

    def clean_json(self, data: bytes) -> bytes:
        """The same for a value as JSON."""
        if not self.redactors:
            return data
        try:
            # Not orjson, which reads large integers as floats.
            return without_nul(_dumps(self.clean(json.loads(data))))
        except Exception as error:
            self.failures.add("redact", error)
            return orjson.dumps(f"<redaction failed: {type(error).__name__}>")

    def clean_text(self, text: str) -> str:
        """The same for a text."""
        if not self.redactors:
            return text
        found = self.clean(text)
        if not isinstance(found, str):
            return f"<redacted to {type(found).__name__}>"
        return _FORBIDDEN.sub("\ufffd", found)

    def fitting(self, data: bytes) -> bytes:
        """A value as JSON, or what stands for one that is too large: its size and beginning."""
        return data if len(data) <= self.max_bytes else too_large(data)


EVERYTHING = Capture()


def _inside_out(redact: Redactor, value: Any) -> Any:
    """A value redacted, after all that lies inside of it."""
    if isinstance(value, list):
        value = [_inside_out(redact, item) for item in value]
    elif isinstance(value, dict):
        value = {key: _inside_out(redact, item) for key, item in value.items()}
    return redact(value)


def _names(kind: str, names: Iterable[str]) -> frozenset[str]:
    if kind not in ("channels", "nodes"):
        raise ConfigurationError(f'exclude has "channels" and "nodes", not {kind!r}')
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"exclude[{kind!r}] is a list of names, not {names!r:.100}")
    return frozenset(names)


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


ERROR_LIMITS = {"error_message": 10_000, "error_traceback": 32_000}
"""Characters that are stored of an error, by column."""


def limited(text: str, limit: int) -> str:
    """At most about ``limit`` characters, the middle left out with a mark that says so."""
    if len(text) <= limit:
        return text
    head = limit // 4
    tail = limit - head
    return f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[-tail:]}"


def without_nul(data: bytes) -> bytes:
    """JSON as jsonb takes it: each NUL as U+FFFD."""
    # A single byte is found, or missed, ten times as fast, and by its number at once.
    return _NUL.sub(_REPLACEMENT, data) if BACKSLASH in data and b"\\u0000" in data else data


def too_large(data: bytes) -> bytes:
    """What stands for a value that takes too many bytes."""
    begins = data[: _BEGINNING * 4].decode(errors="ignore")[:_BEGINNING]
    return left_out(f"{len(data):,} bytes", bytes=len(data), begins=begins)


def left_out(reason: str, **more: Any) -> bytes:
    """What stands, as JSON, for a value that is not kept."""
    return orjson.dumps({"$left_out": reason, **more})
