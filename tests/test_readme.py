"""The README is true: its Python runs, its SQL gives what it shows, its commands exist.

A ``text`` block is the output of the block before it. Ids, times and durations differ from run to
run, so they are compared by their form.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

ROOT = Path(__file__).parent.parent
VARYING = re.compile(r"\b\d+\.\d+\b")


class Block(NamedTuple):
    language: str
    code: str
    output: str | None


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks, each with the ``text`` block that follows it."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for index, (language, code) in enumerate(fences):
        if language != "text":
            following = fences[index + 1] if index + 1 < len(fences) else ("", "")
            yield Block(language, code, following[1] if following[0] == "text" else None)


BLOCKS = list(blocks((ROOT / "README.md").read_text("utf-8")))
COMMANDS = [line for b in BLOCKS if b.language == "bash" for line in b.code.splitlines()]


def cells(table: str) -> list[list[str]]:
    """The words of a text or table: rules left out, what varies masked."""
    lines = (VARYING.sub("0.0", line.strip()) for line in table.splitlines())
    return [re.split(r"\s*\|\s*|\s{2,}", line) for line in lines if set(line) - set("-+ ")]


def as_table(cursor: psycopg.Cursor[tuple[object, ...]]) -> str:
    """A result the way psql prints it."""
    head = [column.name for column in cursor.description or ()]
    shown = {None: "", True: "t", False: "f"}
    rows = [
        [shown[v] if v is None or isinstance(v, bool) else str(v) for v in row] for row in cursor
    ]
    return "\n".join(" | ".join(row) for row in (head, *rows))


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "python", "sql"}


def test_code_gives_what_is_shown(
    database: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LANGGRAPH_PERSIST_URL", database)
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        if block.language == "python":
            code = compile(block.code, "README.md", "exec", dont_inherit=True)
            exec(code, namespace)
            printed = capsys.readouterr().out
        elif block.language == "sql":
            with psycopg.connect(database) as conn:
                printed = as_table(conn.execute(block.code.encode()))
        else:
            continue
        if block.output is not None:
            assert cells(printed) == cells(block.output)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    program, *arguments = command.split()
    if program == "make":
        make = shutil.which("make")
        assert make is not None
        subprocess.run([make, "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == ".venv/bin/python":
        assert (ROOT / arguments[0]).is_file()
    else:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert [program, *arguments] == ["pip", "install", project["name"]]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_contents_are_its_sections() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    contents = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", text)
    anchors = [re.sub(r"[^\w -]", "", section.lower()).replace(" ", "-") for section in sections]
    assert contents == list(zip(sections, anchors, strict=True))


def test_every_test_it_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text("utf-8")))
    defined = {
        name
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert named
    assert named <= defined
