"""What is shipped is whole, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import langgraph_persist

ROOT = Path(__file__).parent.parent
SQL = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sql").rglob("*.sql")}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=source)
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as a packager would."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that has the wheel, and from here only what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    offline = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(*pip, "install", *offline, wheel, cwd=folder)
    return python


def run_installed(python: Path, code: str, cwd: Path) -> list[str]:
    """What the code prints, with this environment's other packages in reach."""
    packages = sysconfig.get_path("purelib")
    return run(python, "-c", code, cwd=cwd, PYTHONPATH=packages).splitlines()


def test_sdist_has_what_a_packager_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", ".ci/run"}
    assert wanted | SQL <= names
    assert {"langgraph_persist/py.typed", "tests/conftest.py", "examples/quickstart.py"} <= names


def test_wheel_has_the_package_its_sql_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"langgraph_persist/{name}" for name in SQL} <= names
    assert "langgraph_persist/py.typed" in names
    info = f"langgraph_persist-{VERSION}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"langgraph_persist", info}


def test_installed_wheel_finds_its_sql(installed: Path, tmp_path: Path) -> None:
    code = """
import langgraph_persist
from langgraph_persist.database.queries import load, sql_folder
print(langgraph_persist.__file__)
print(sql_folder())
print(*sorted(load("history")))
"""
    package, folder, statements = run_installed(installed, code, tmp_path)
    assert Path(package).is_relative_to(installed.parent.parent)
    assert Path(folder) == Path(package).parent / "sql"
    assert "workflows" in statements.split()


def test_installed_wheel_migrates_a_database(
    installed: Path, tmp_path: Path, database: str
) -> None:
    code = f"""
from langgraph_persist import Persist
from langgraph_persist.errors import NotRecorded
with Persist({database!r}) as persist:
    try:
        persist.history.last()
    except NotRecorded as error:
        print(type(error).__name__)
"""
    assert run_installed(installed, code, tmp_path) == ["NotRecorded"]


def test_all_names_what_is_public() -> None:
    public = {
        name
        for name in dir(langgraph_persist)
        if not name.startswith("_") and not isinstance(getattr(langgraph_persist, name), ModuleType)
    }
    assert set(langgraph_persist.__all__) - {"errors", "__version__"} == public


@pytest.mark.parametrize("heavy", ["sqlalchemy", "alembic", "typer", "starlette", "scipy", "rich"])
def test_import_leaves_out_what_a_running_graph_does_not_need(heavy: str) -> None:
    code = f"import sys, langgraph_persist; print({heavy!r} in sys.modules)"
    assert run(sys.executable, "-c", code, cwd=ROOT).strip() == "False"
