"""Which process this is, and whether one that was on this machine is gone.

A process id alone says little: it is given again, and hosts and containers may share a name. So an
instance is known by the boot of the kernel, the namespace of process ids and the time at which the
process started; where the kernel does not tell these, no process is ever called gone.
"""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from pathlib import Path

_PARTS = re.compile(r".*:(\d+)@(.+)\.(\d+)", re.DOTALL)
_ENDED = ("Z", "X", "x")


def instance_id() -> str:
    """This process: its host, its process id, and what tells it from any other such."""
    return _instance(os.getpid())


def here() -> str | None:
    """What the ids of all instances on this machine have in common; None where that is unknown."""
    machine = _machine(os.getpid())
    return None if machine is None else f"@{machine}."


def is_gone(instance: str | None) -> bool:
    """Whether an instance was on this machine and has ended."""
    parts = _PARTS.fullmatch(instance or "")
    if parts is None or parts[2] != _machine(os.getpid()):
        return False
    pid, started = int(parts[1]), parts[3]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # it may be another user's
    found = _stat(pid)
    return found is not None and (found[1] != started or found[0] in _ENDED)


@cache
def _instance(pid: int) -> str:
    name = f"{socket.gethostname()}:{pid}"
    machine, stat = _machine(pid), _stat(pid)
    return f"{name}@{machine}.{stat[1]}" if machine and stat else name


@cache
def _machine(pid: int) -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    return f"{boot.replace('-', '')[:16]}.{namespace}"


def _stat(pid: int) -> tuple[str, str] | None:
    """A process's state, and when it started; None if that cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The second field is the command in parentheses, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else None
