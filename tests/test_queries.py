"""Every statement in ``sql/queries`` parses, finds its columns and takes its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection

from langgraph_persist.database import queries as loader
from langgraph_persist.database.queries import Schemas, load, queries, quote, sql_folder
from tests.conftest import drop_database, make_migrated_database

AREAS = sorted(path.stem for path in (sql_folder() / "queries").glob("*.sql"))
STATEMENTS = [(area, name) for area in AREAS for name in load(area)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty queries folder that the loader reads instead of the real one."""
    (tmp_path / "queries").mkdir()
    (tmp_path / "fragments.sql").write_text("-- few --\n-- Not many.\nLIMIT 3\n")
    monkeypatch.setattr(loader, "sql_folder", lambda: tmp_path)
    load.cache_clear()
    yield tmp_path / "queries"
    load.cache_clear()


def numbered(sql: str) -> str:
    """The statement with ``$n`` in place of psycopg's placeholders."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1] or f"{len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%(?:\((\w+)\))?[sbt]", number, sql).replace("%%", "%")


def test_statements_are_read_by_name(folder: Path) -> None:
    (folder / "a.sql").write_text(
        "-- one --\n-- Says one.\nSELECT 1\n\n-- two --\n-- Says two.\nSELECT 2 -- two --\n"
    )
    assert load("a") == {
        "one": "-- Says one.\nSELECT 1",
        "two": "-- Says two.\nSELECT 2 -- two --",
    }


def test_a_name_used_twice_is_refused(folder: Path) -> None:
    (folder / "a.sql").write_text("-- one --\nSELECT 1\n-- one --\nSELECT 2\n")
    with pytest.raises(ValueError, match="names a statement twice"):
        load("a")


def test_fragments_stand_where_they_are_named(folder: Path) -> None:
    (folder / "a.sql").write_text("-- one --\n-- Says some.\nTABLE a {{> few}}\n")
    assert load("a") == {"one": "-- Says some.\nTABLE a LIMIT 3"}


def test_fragments_may_want_others(folder: Path) -> None:
    fragments = folder.parent / "fragments.sql"
    first = "\n-- first --\n-- The first few.\nORDER BY 1 {{> few}}\n"
    fragments.write_text(fragments.read_text() + first)
    (folder / "a.sql").write_text("-- one --\nTABLE a {{> first}}\n")
    assert load("a") == {"one": "TABLE a ORDER BY 1 LIMIT 3"}


def test_a_fragment_that_is_not_there_is_refused(folder: Path) -> None:
    (folder / "a.sql").write_text("-- one --\n-- Says some.\nTABLE a {{> many}}\n")
    with pytest.raises(ValueError, match=r"queries/a.sql wants a fragment many that is not there"):
        load("a")


def test_every_fragment_is_used_more_than_once() -> None:
    fragments = (sql_folder() / "fragments.sql").read_text("utf-8")
    files = (sql_folder() / "queries").glob("*.sql")
    text = fragments + "".join(path.read_text("utf-8") for path in files)
    names = re.findall(r"^-- (\w+) --$", fragments, re.M)
    assert names
    assert [name for name in names if text.count(f"{{{{> {name}}}}}") < 2] == []


def test_schema_markers_become_quoted_names(folder: Path) -> None:
    (folder / "b.sql").write_text("-- one --\nTABLE {{schema}}.a, {{checkpoint_schema}}.b\n")
    schemas = Schemas(record='the "record"', checkpoints="public")
    assert queries("b", schemas) == {"one": 'TABLE "the ""record""".a, "public".b'}


@pytest.mark.parametrize(("area", "name"), STATEMENTS)
def test_statement_says_its_purpose(area: str, name: str) -> None:
    assert re.match(r"-- [A-Z].*[.:]$", load(area)[name].splitlines()[0])


@pytest.mark.parametrize(("area", "name"), STATEMENTS)
def test_statement_is_accepted_by_the_server(migrated: str, area: str, name: str) -> None:
    sql = numbered(queries(area, Schemas())[name])
    is_utility = sql.partition("\n")[2].startswith("LOCK")
    with psycopg.connect(migrated) as conn:
        conn.execute((sql if is_utility else f"PREPARE checked AS {sql}").encode())


EVERY_RUN = [
    *(("record", name) for name in ("sessions", "workflows", "workflow_runs", "messages")),
    *(("record", name) for name in ("nodes", "generations", "state_values")),
    *(("usage", name) for name in ("count_workflows", "count_runs", "count_calls")),
]


def test_what_every_run_executes_reads_no_whole_table(migrated_anew: str) -> None:
    """Not on a database that was never analyzed either, whose tables seem to be small."""
    read: set[str] = set()
    with psycopg.connect(migrated_anew) as conn:
        conn.execute("SET plan_cache_mode = force_generic_plan")
        for area, name in EVERY_RUN:
            sql = numbered(queries(area, Schemas())[name])
            arguments = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", sql))))
            conn.execute(f"PREPARE {name} AS {sql}".encode())
            plan = conn.execute(f"EXPLAIN EXECUTE {name} ({arguments})".encode()).fetchall()
            read |= {seen[1] for (line,) in plan if (seen := re.search(r"Seq Scan on (\w+)", line))}
    assert read <= {"users", "organizations"}


def test_no_marker_is_left_over() -> None:
    left = [(area, name) for area, name in STATEMENTS if "{{" in queries(area, Schemas())[name]]
    assert not left


def test_quote_doubles_quotes(migrated: str) -> None:
    name = 'odd "name"; --'
    with psycopg.connect(migrated) as conn:
        cursor = conn.execute(f"SELECT 1 AS {quote(name)}".encode())
        assert cursor.description is not None
        assert cursor.description[0].name == name


_UNSET = dict.fromkeys(
    ["thread_id", "id", "turn", "plan_id", "user", "feedback_type", "min_rating", "max_rating"]
)
_UNSET |= dict.fromkeys(["since", "until", "before", "before_id", "evaluation_type", "evaluator"])
_UNSET |= dict.fromkeys(["min_score", "max_score", "status"])
FEW = [
    ("feedback", "feedback", {"user": "u7"}, "feedback_user_id_idx"),
    ("feedback", "feedback", {"plan_id": UUID(int=1)}, "feedback_plan_id_idx"),
    ("feedback", "feedback", {"feedback_type": "bug"}, "feedback_feedback_type_idx"),
    ("evaluations", "evaluations", {"evaluator": "ann"}, "evaluations_evaluator_idx"),
    (
        "evaluations",
        "evaluations",
        {"evaluation_type": "HOLISTIC_FLOW"},
        "evaluations_holistic_flow_(key|idx)",
    ),
    ("evaluations", "evaluations", {"min_score": 99.5}, "evaluations_score_idx"),
    ("evaluations", "evaluations", {"max_score": 0.5}, "evaluations_score_idx"),
    ("evaluations", "evaluations", {"user": "u7"}, "sessions_user_id_updated_at_idx"),
    ("listing", "recorded_threads", {"status": "expired"}, "sessions_ended_idx"),
]


@pytest.fixture(scope="module")
def filled(server_url: str) -> Iterator[Connection[Any]]:
    """A database with thousands of sessions, each with a user, an evaluation and feedback."""
    url = make_migrated_database(server_url)
    with psycopg.connect(url) as conn:
        conn.execute("SET search_path = langgraph_persist")
        for statement in (
            "INSERT INTO users (id, username) SELECT md5(n::text)::uuid, 'u' || n"
            " FROM generate_series(1, 4000) AS n",
            "INSERT INTO sessions (thread_id, user_id, turns)"
            " SELECT n::text, md5(n::text)::uuid, 1 FROM generate_series(1, 4000) AS n",
            "INSERT INTO workflows (thread_id, id, turn, name, started_at)"
            " SELECT n::text, md5(n::text)::uuid, 1, 'w', now() FROM generate_series(1, 4000) AS n",
            "INSERT INTO evaluations (thread_id, turn, evaluation_type, details, evaluator)"
            " SELECT n::text, 1, 'TURN_EVAL',"
            " jsonb_build_object('score', 1 + n % 99, 'analysis', ''), 'judge'"
            " FROM generate_series(1, 4000) AS n",
            "INSERT INTO feedback (thread_id, user_id, rating, feedback_type)"
            " SELECT n::text, md5(n::text)::uuid, 3, 'rating' FROM generate_series(1, 4000) AS n",
            "ANALYZE",
        ):
            conn.execute(statement.encode())
        yield conn
        conn.rollback()
    drop_database(server_url, url)


@pytest.mark.plain_postgres("a cluster's plans say nothing of its nodes")
@pytest.mark.parametrize(("area", "name", "asked", "index"), FEW)
def test_a_list_of_few_is_found_by_an_index(
    filled: Connection[Any], area: str, name: str, asked: dict[str, Any], index: str
) -> None:
    sql = "EXPLAIN " + queries(area, Schemas())[name]
    found = filled.execute(sql.encode(), _UNSET | asked | {"limit": 50}, prepare=False)
    plan = "\n".join(line for (line,) in found)
    assert re.search(index, plan), plan
