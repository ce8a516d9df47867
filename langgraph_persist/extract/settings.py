"""How a model is called: what is the same in call after call, worked out once.

The settings are known again by their whole JSON, so one that was changed in place is another one.
Those that orjson cannot tell exactly are worked out each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_128_digest

from langgraph_persist.extract.encode import to_json
from langgraph_persist.extract.guard import first, mapping
from langgraph_persist.extract.redact import without_secrets
from langgraph_persist.extract.schemas import named_tools
from langgraph_persist.extract.text import optional_name, optional_text

MODEL = ("model_name", "model", "model_id", "modelId", "deployment_name")
_MAX_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
_ENDPOINT = ("base_url", "openai_api_base", "api_base", "azure_endpoint", "endpoint_url")
_PROMPT_NAME = ("prompt_name", "lc_hub_repo")
_PROMPT_VERSION = ("prompt_version", "lc_hub_commit_hash")
_BY_LANGCHAIN = ("ls_model_name", "ls_provider", "ls_temperature", "ls_max_tokens")
_INFO = (*_BY_LANGCHAIN, *_PROMPT_NAME, *_PROMPT_VERSION)
_INT = 2**31 - 1
_MEMORY = 256
_LARGEST = 64 << 10
_EXACT = (
    orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)


class Told(NamedTuple):
    """Where the settings of a call are found."""

    serialized: Mapping[str, Any]
    params: Mapping[str, Any]
    options: Mapping[str, Any]
    info: Mapping[str, Any]
    """The metadata."""
    name: str | None


class Settings(NamedTuple):
    """What a call says beside its prompt."""

    fields: dict[str, Any]
    """Columns of ``generations``; not to be changed."""
    endpoint: str | None
    """The URL that the model was told to call, if any."""
    key: bytes | None
    """The same for the same settings; None where that cannot be told."""


_known: dict[bytes, Settings] = {}


def settings(told: Told) -> Settings:
    """The settings of a call."""
    if (key := _key(told)) is None:
        return _read(told, None)
    if (found := _known.get(key)) is None:
        found = _read(told, key)
        if len(_known) >= _MEMORY:
            _known.clear()
        _known[key] = found
    return found


def _key(told: Told) -> bytes | None:
    model = told.serialized.get("id"), told.serialized.get("kwargs")
    info = map(told.info.get, _INFO)
    try:
        data = orjson.dumps([told.name, model, told.params, told.options, *info], option=_EXACT)
    except TypeError:
        return None
    return xxh3_128_digest(data) if len(data) <= _LARGEST else None


def _read(told: Told, key: bytes | None) -> Settings:
    params, info, given = told.params, told.info, mapping(told.serialized.get("kwargs"))
    model = info.get("ls_model_name") or first(params, *MODEL) or first(given, *MODEL)
    fields = {
        "model_name": (named := optional_name(model)),
        "requested_model": named,
        "model_provider": _provider(info, told.serialized, told.name),
        "temperature": _temperature(first(params, "temperature"), info.get("ls_temperature")),
        "max_tokens": _positive(first(params, *_MAX_TOKENS), info.get("ls_max_tokens")),
        "invocation_params": _public_params(params, told.options),
        "streamed": _streamed(params) or _streamed(told.options),
        "prompt_name": optional_name(first(info, *_PROMPT_NAME)),
        "prompt_version": optional_text(first(info, *_PROMPT_VERSION)),
    }
    endpoint = optional_text(first(params, *_ENDPOINT) or first(given, *_ENDPOINT))
    return Settings(fields, endpoint, key)


def _provider(
    info: Mapping[str, Any], serialized: Mapping[str, Any], name: str | None
) -> str | None:
    if found := optional_text(info.get("ls_provider")):
        return found
    path = serialized.get("id")
    if isinstance(path, (list, tuple)) and path:
        name = path[-1]
    text = optional_text(name)
    return text.removeprefix("Chat").removesuffix("Chat").lower() if text else None


def _temperature(*candidates: Any) -> float | None:
    for value in candidates:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _positive(*candidates: Any) -> int | None:
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _INT:
            return value
    return None


def _public_params(params: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    found = {key: value for key, value in {**options, **params}.items() if value is not None}
    return to_json(without_secrets(named_tools(found))) if found else None


def _streamed(params: Mapping[str, Any]) -> bool:
    return params.get("stream") is True or params.get("streaming") is True
