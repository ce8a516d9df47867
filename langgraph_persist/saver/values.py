"""Which channel values may stand in the checkpoint's own JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from langgraph_persist.checks import methods

T = TypeVar("T")

LONGEST_TEXT = 1_000
"""Characters; a longer text is stored once a version, not again in every checkpoint."""


def checked_serde(serde: T) -> T:
    """A serializer, as upstream's savers take it, or None for their own.

    Raises:
        ConfigurationError: it is none.
    """
    if serde is None:
        return serde
    return methods("serde", serde, ("dumps_typed", "loads_typed"), ("dumps", "loads"))


def encrypts(serde: object) -> bool:
    """Whether a serializer encrypts what it is given."""
    return isinstance(serde, EncryptedSerializer) or bool(getattr(serde, "encrypts", False))


def split(
    values: Mapping[str, Any], *, inline: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Channel values for the checkpoint's own JSON, if any may stand there, and for blobs."""
    plain: dict[str, Any] = {}
    rich: dict[str, Any] = {}
    for channel, value in values.items():
        if isinstance(value, _DeltaSnapshot):
            rich[channel], plain[channel] = value, True
        elif inline and survives_jsonb(value) and not _is_long(value):
            plain[channel] = value
        else:
            rich[channel] = value
    return plain, rich


def may_be_inline_elsewhere(value: Any) -> bool:
    """Whether stock, or a saver that does not encrypt, may have put a value into the JSON."""
    return isinstance(value, (str, int, float))


def _is_long(value: Any) -> bool:
    return type(value) is str and len(value) > LONGEST_TEXT


def survives_jsonb(value: Any) -> bool:
    """Whether a value comes back from jsonb equal and of its own type."""
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is str:
        return "\x00" not in value and (value.isascii() or is_unicode(value))
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    # jsonb's numbers are decimal: a float without a fraction in sight comes back as an int.
    return bool(kind is float and abs(value) < 1e15 and (value or math.copysign(1, value) > 0))


def odd_items(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The items of checkpoint metadata that jsonb would refuse or change."""
    return {k: v for k, v in metadata.items() if not (survives_jsonb(k) and _is_json(v))}


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(survives_jsonb(k) and _is_json(v) for k, v in value.items())
    if kind in (list, tuple):
        return all(map(_is_json, value))
    return kind not in (str, int, float) or survives_jsonb(value)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
