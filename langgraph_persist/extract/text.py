"""Text that PostgreSQL accepts, taken from objects that may not want to give any."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, cast

from langgraph_persist.database.text import storable

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_REPR_LIMIT = 2_000
_FIRST_WORD = re.compile(r"\A\S*")
_LAST_WORD = re.compile(r"\S*\Z")
_EXCERPT_LIMIT = 256
_EXCERPT = 80
_CUT = " characters]"
NAME_LENGTH = 500
"""Characters; what an index entry surely takes."""


def clean_text(s: str) -> str:
    """The same text with every NUL and lone surrogate replaced by U+FFFD, as a plain ``str``."""
    if type(s) is not str:
        s = str.__str__(s) if is_a(s, str) else safe_str(s)
    return s if s.isascii() and "\x00" not in s else storable(s)


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """``isinstance`` by the real type, without asking the object, which may lie or raise."""
    return issubclass(type(value), kinds)


def class_test(*kinds: type) -> Callable[[type], bool]:
    """Tells whether a class is one of these, asking each once: abstract ones take their time."""

    @functools.lru_cache(maxsize=1024)
    def test(cls: type) -> bool:
        return issubclass(cls, kinds)

    return cast(Callable[[type], bool], test)


def qualified_name(cls: type) -> str:
    """``module.Class``, without ``builtins.``; total even for a class with a hostile metaclass."""
    return clean_text(type.__repr__(cls)[8:-2])


def unreadable(value: Any) -> str:
    """The mark that stands for a value nothing can be read from."""
    return f"<unreadable {qualified_name(type(value))}>"


def safe_str(value: Any) -> str:
    """``str(value)`` cleaned, or a mark when it raises."""
    try:
        return clean_text(str(value))
    except Exception:
        return unreadable(value)


def safe_repr(value: Any) -> str:
    """A ``repr`` that is bounded and names no memory address, so equal things read equal."""
    if vars(object)["__repr__"] is type(value).__repr__:
        return f"<{qualified_name(type(value))}>"
    text = _ADDRESS.sub("", clean_text(repr(value)))
    if len(text) <= _REPR_LIMIT:
        return text
    # Half a word is not known for the secret it may be.
    head = _LAST_WORD.sub("", text[: _REPR_LIMIT // 4])
    tail = _FIRST_WORD.sub("", text[-_REPR_LIMIT * 3 // 4 :])
    return f"{head}\n… {len(text) - len(head) - len(tail)} characters left out …\n{tail}"


def excerpt(text: str | None) -> str | None:
    """A text up to some length whole, a longer one's beginning with a mark that tells its length.

    For columns that show what is stored whole elsewhere.
    """
    if text is None or len(text) <= _EXCERPT_LIMIT:
        return text
    return f"{text[:_EXCERPT].rstrip()} … [{len(text):,}{_CUT}"


def is_excerpt(text: str | None) -> bool:
    """Whether a text may be the beginning of a longer one."""
    return text is not None and text.endswith(_CUT)


def optional_text(value: Any) -> str | None:
    """The cleaned text, or None for None and for what is no text or number."""
    if value is None:
        return None
    if type(value) is str and value.isascii() and "\x00" not in value:
        return value
    if is_a(value, str):
        return clean_text(value)
    if is_a(value, (int, float)) and type(value) is not bool:
        return safe_str(value)
    return None


def optional_name(value: Any) -> str | None:
    """The same, cut to what an index entry surely takes."""
    text = optional_text(value)
    return None if text is None else text[:NAME_LENGTH]


def content_text(content: Any) -> str:
    """The readable text of a message's content: the string, or its text blocks joined."""
    if type(content) is str and content.isascii() and "\x00" not in content:
        return content
    if is_a(content, str):
        return clean_text(content)
    if type(content) not in (list, tuple):
        return ""
    return "".join(map(_block_text, content))


def _block_text(block: Any) -> str:
    if type(block) is dict and type(block.get("type")) is str and block["type"] == "text":
        block = block.get("text")
    return clean_text(block) if is_a(block, str) else ""
