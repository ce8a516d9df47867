"""How far an evaluation is, shown on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from langgraph_persist.errors import ConfigurationError


@contextmanager
def progress(total: int, what: str, shown: bool | None) -> Iterator[Callable[[], None]]:
    """A bar on stderr for the block; what it gives is called for each step.

    Args:
        total: how many steps there are.
        what: what is done.
        shown: None for where stderr is a terminal and rich is installed.

    Raises:
        ConfigurationError: it is to be shown, and rich is not installed.
    """
    installed = find_spec("rich") is not None
    if shown and not installed:
        raise ConfigurationError(
            "a progress bar needs rich: pip install 'langgraph-persist[progress]'"
        )
    if not (sys.stderr.isatty() and installed if shown is None else shown) or not total:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
