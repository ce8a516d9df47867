"""The operating system's user that runs PostgreSQL, which refuses to run as root."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple, TypedDict

from langgraph_persist.errors import EmbeddedServerError


class Identity(TypedDict, total=False):
    """The arguments of subprocess that start a program as another user."""

    user: int
    group: int
    extra_groups: list[int]


class Account(NamedTuple):
    """The user that runs the server; ``switch`` is empty when it is the current one."""

    name: str
    switch: Identity

    def give(self, path: Path) -> None:
        """Makes something we created belong to the server."""
        if sys.platform != "win32" and self.switch:
            os.chown(path, self.switch["user"], self.switch["group"])


def server_account(data: Path) -> Account:
    """The current user or, as root, the data's owner, else ``postgres``, else ``nobody``."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return Account("", {})
    if data.exists():
        owner = data.stat()
        if owner.st_uid == 0:
            raise EmbeddedServerError(
                f"{data} belongs to root, as which PostgreSQL refuses to run;"
                f" give it to an unprivileged user: chown -R nobody '{data}'"
            )
        return _account(f"uid {owner.st_uid}", owner.st_uid, owner.st_gid)
    return _existing_account()


def _existing_account() -> Account:
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root and there is no user 'postgres' or 'nobody' to run it"
        " as; run as an unprivileged user, add one of these, or pass a PostgreSQL URL."
    )


def _account(name: str, uid: int, gid: int) -> Account:
    return Account(name, {"user": uid, "group": gid, "extra_groups": []})
