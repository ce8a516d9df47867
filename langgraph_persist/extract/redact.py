"""Call parameters without what opens doors."""

from __future__ import annotations

import functools
import re
from typing import Any

from langgraph_persist.extract.shapes import shape_of
from langgraph_persist.redact import redact_secrets

_SECRET = re.compile(
    r"api_?key|secret|passw(or)?d|pwd$|passphrase|credential|authori[sz]ation|bearer|cookie|jwt"
    r"|(private|access|account)_?key|^key$|connection_string|headers?$|(^|_)o?auth$"
    r"|token(_provider)?$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(
    r"([?&](?:[\w.-]{1,40}[_-])?(?:(?:api)?key|sig|signature|[a-z]{0,20}token|code|secret|password)=)"
    r"[^&#\s\"']+",
    re.IGNORECASE,
)
_DEPTH = 20


def without_secrets(value: Any) -> Any:
    """A copy without secret-looking keys at every level, and what opens doors cut out of texts.

    Names of a JSON schema's ``properties`` stay: they describe a tool, they hold no value.
    """
    return _scrubbed(value, _DEPTH, False)


def _scrubbed(value: Any, depth: int, names_only: bool) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (int, float)):
        return value
    if depth == 0:
        return "<nested too deep>"
    if isinstance(value, dict):
        return {
            key: _scrubbed(item, depth - 1, key == "properties" and not names_only)
            for key, item in value.items()
            if names_only or not (isinstance(key, str) and _is_secret(key))
        }
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, depth - 1, False) for item in value]
    return _scrubbed(shape_of(value), depth - 1, False)


def _text(text: str) -> Any:
    if "://" in text:
        text = _QUERY.sub(r"\1[secret]", _USERINFO.sub("", text))
    return redact_secrets(text)


@functools.lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    return _SECRET.search(key.replace("-", "_")) is not None
