"""Text as PostgreSQL can hold it."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The same text with every NUL and lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text.replace("\x00", "\ufffd") if "\x00" in text else text
    return _FORBIDDEN.sub("\ufffd", text)
