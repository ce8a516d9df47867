"""Reads the JSON of checkpoints, several times as fast as psycopg does by itself."""

from __future__ import annotations

import json
from typing import Any

import orjson
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

_LARGE = 2.0**63


class JsonbLoader(Loader):
    """Loads binary jsonb, integers of any size among it, as stock may have written them."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        text = memoryview(data)[1:]  # after the format's version
        found = orjson.loads(text)
        # What is beyond 64 bits orjson takes for a float; a checkpoint has numbers in its values.
        where = found.get("channel_values", found) if isinstance(found, dict) else found
        return json.loads(bytes(text)) if _has_large_number(where) else found


def _has_large_number(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return bool(abs(value) >= _LARGE)
    if kind is dict:
        return any(map(_has_large_number, value.values()))
    return kind is list and any(map(_has_large_number, value))
