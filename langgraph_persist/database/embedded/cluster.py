"""The data directory of the embedded server: made once, whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langgraph_persist.database.embedded.account import Account, server_account
from langgraph_persist.database.embedded.binaries import Binaries, find_binaries
from langgraph_persist.errors import EmbeddedServerError

SUPERUSER = "postgres"
START_PATIENCE = 120.0  # seconds; a crash's recovery may have much log to replay
STOP_PATIENCE = 60.0

_BUILTIN_LOCALE_SINCE = 17
_LOG_KEPT = 10 * 1024 * 1024
_LITTLE_ROOM = 64 * 1024 * 1024
_LONGEST_DATA_PATH = 1000  # PostgreSQL's MAXPGPATH is 1024
_CONF = """
# langgraph-persist: reachable only by its owner, also when started by hand
listen_addresses = '{listen}'
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 200
log_checkpoints = off
jit = off
"""


class Cluster:
    """The files below the directory and the programs that work on them."""

    def __init__(self, home: Path, *, unix: bool) -> None:
        self.home = home
        self.unix = unix
        self.data = home / "pgdata"
        self.log = home / "postgres.log"
        self.password = home / "password"

    def prepare(self) -> None:
        """Makes the directory, private and ignored by git."""
        if not self.home.exists():
            self.home.parent.mkdir(parents=True, exist_ok=True)
            self.home.mkdir(mode=0o700, exist_ok=True)
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def equip(self) -> tuple[Account, Binaries]:
        """Who runs the server, by which programs; the data directory exists afterwards."""
        account = server_account(self.data)
        made_by = self._made_by()
        binaries = find_binaries(account, made_by, self.data)
        if made_by is None:
            self._initialise(account, binaries)
        return account, binaries

    def _made_by(self) -> int | None:
        """The major version of PostgreSQL that made the data; None if there are none yet."""
        if not self.data.exists():
            return None
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, ValueError):
            raise EmbeddedServerError(
                f"{self.data} is not a PostgreSQL data directory; move it away."
            ) from None

    def _initialise(self, account: Account, binaries: Binaries) -> None:
        for left_over in self.home.glob("pgdata.new-*"):  # its maker was killed
            shutil.rmtree(left_over, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="pgdata.new-", dir=self.home))
        try:
            account.give(fresh)
            self._initdb(fresh, account, binaries)
            with (fresh / "postgresql.conf").open("a") as conf:
                conf.write(_CONF.format(**self._listening()))
                conf.flush()
                os.fsync(conf.fileno())
            fresh.rename(self.data)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        sync_folder(self.home)

    def _listening(self) -> dict[str, str]:
        if self.unix:
            return {"listen": "", "socket": "."}
        return {"listen": "127.0.0.1", "socket": ""}

    def _initdb(self, fresh: Path, account: Account, binaries: Binaries) -> None:
        with data_argument(fresh, account) as (path, fds):
            made = subprocess.run(
                [binaries.program("initdb"), "-D", path, *self._initdb_options(binaries.major)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=fresh.anchor,
                env=environment(),
                errors="replace",
                pass_fds=fds,
                **account.switch,
            )
        if made.returncode != 0:
            raise self.failure("initdb could not make the database", made.stdout)

    def _initdb_options(self, major: int) -> list[str]:
        options = [f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C", "--data-checksums"]
        if major >= _BUILTIN_LOCALE_SINCE:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.unix:  # only the owner can reach the socket: its folder has mode 0700
            return [*options, "--auth-local=trust", "--auth-host=reject"]
        self.password.write_text(secrets.token_hex(24))
        self.password.chmod(0o600)
        return [*options, "--auth=scram-sha-256", f"--pwfile={self.password}"]

    def log_size(self) -> int:
        """Where the log ends; one that has grown large is put aside first."""
        try:
            size = self.log.stat().st_size
        except FileNotFoundError:
            return 0
        if size > _LOG_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
            return 0
        return size

    def log_since(self, start: int) -> str:
        """What the log says from an earlier ``log_size`` on."""
        try:
            with self.log.open("rb") as log:
                log.seek(start)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def failure(self, what: str, output: str) -> EmbeddedServerError:
        """The error that says what failed, where the log is, how it ends, and what to do."""
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-12:])
        free = shutil.disk_usage(self.home).free
        full = free < _LITTLE_ROOM or "No space left" in output
        room = f" Only {free >> 20} MB are free on this disk: make room." if full else ""
        return EmbeddedServerError(f"{what} in {self.home}.{room} Log: {self.log}\n{tail}")


@contextmanager
def explained(home: Path) -> Iterator[None]:
    """Turns the system's refusals below the directory into one error that says what to do."""
    try:
        yield
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded PostgreSQL cannot use {home}: {error}; {_advice(error, home)},"
            " or choose another directory, or pass a PostgreSQL URL."
        ) from error


def _advice(error: OSError, home: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"make it writable for this process{_owner(home)}"
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        return "use a file system that has file locks"
    return "check the path"


def _owner(home: Path) -> str:
    """Whose the nearest existing part of the directory is, as a remark."""
    for path in (home / "pgdata", home, *home.parents):
        try:
            return f" ({path} belongs to {path.owner()})"
        except (OSError, KeyError, NotImplementedError):
            continue
    return ""


@contextmanager
def data_argument(data: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name of the data directory that works for the account, and what it must inherit for it.

    Root's directories may be closed to everybody else (/root is), and we do not open them. But
    a directory opened by root can be inherited, and PostgreSQL takes /proc/self/fd/N as its name.
    """
    needed = account.switch or len(os.fsencode(data)) > _LONGEST_DATA_PATH
    if not (needed and sys.platform == "linux"):
        yield str(data), ()
        return
    fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}", (fd,)
    finally:
        os.close(fd)


def environment() -> dict[str, str]:
    """This process's environment without what would configure PostgreSQL behind our back."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def sync_folder(folder: Path) -> None:
    """Makes a rename inside the folder survive a power failure."""
    if sys.platform != "win32":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
