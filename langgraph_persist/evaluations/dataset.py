"""Rows as lines of JSON, in a file that is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from langgraph_persist.errors import ConfigurationError
from langgraph_persist.extract import to_json_bytes

File: TypeAlias = str | os.PathLike[str] | IO[str] | IO[bytes]


def write_lines(file: File, rows: Iterable[dict[str, Any]]) -> int:
    """Write each row as a line; returns how many there were.

    A path's file is replaced once all of it is written; into an open file they go as they come.
    """
    count = 0
    with _opened(file) as out:
        is_text = hasattr(out, "encoding")
        for row in rows:
            line = _line(row)
            out.write(line.decode() if is_text else line)
            count += 1
    return count


_ENDS = {end.encode(): f"\\u{ord(end):04x}".encode() for end in "\x85\u2028\u2029"}
"""What some readers take for the end of a line."""


def _line(row: dict[str, Any]) -> bytes:
    data = to_json_bytes(row)
    for end, escaped in _ENDS.items():
        data = data.replace(end, escaped)
    return data + b"\n"


@contextmanager
def _opened(file: File) -> Iterator[IO[Any]]:
    if not isinstance(file, (str, os.PathLike)):
        if not callable(getattr(file, "write", None)):
            raise ConfigurationError(f"export to a path or an open file, not {type(file).__name__}")
        yield file
        return
    path = Path(file).resolve()
    if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
        with path.open("wb") as out:
            yield out
        return
    with _replaced(path) as out:
        yield out


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of another one at the end of the block, if it ends well."""
    new = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with new.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
