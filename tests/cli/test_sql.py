"""`sql` on a real history file, in its real child process."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from orchestrator.history.schema import STEPS
from tests.cli.admin_server import Script
from tests.cli.conftest import Shell

EVENTS = """
insert into events values
    (timestamp '2026-11-20 12:00:00', 'normal', 'Ready', 'loaded', 'fast', '3f2a91bc04de', 'fast-1', 4),
    (timestamp '2026-11-20 12:00:01', 'warning', 'LoadFailed', 'not a GGUF file', 'quality', '', '', 12)
"""
BY_DAEMON = {"published_at": datetime(2026, 11, 20, tzinfo=UTC).isoformat(), "rows": 2}


def _history(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(path) as connection:
        for step in STEPS:
            connection.execute(step)
        connection.execute(EVENTS)
    return path


@pytest.fixture
def published(shell: Shell) -> Path:
    return _history(shell.home / "state" / "orchestrator" / "history" / "history.duckdb")


def test_a_running_daemon_is_asked_for_a_fresh_history(shell: Shell, daemon: Script) -> None:
    path = _history(shell.home / "elsewhere" / "history.duckdb")
    daemon.answers["POST /v1/history/publish"] = (200, BY_DAEMON | {"path": str(path)})
    done = shell("sql", "select model, generation from events order by ts", "--socket", "admin.sock")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "model    generation\nfast              4\nquality          12\n2 rows\n"


def test_without_a_daemon_the_last_published_history_answers(shell: Shell, published: Path) -> None:
    assert published.is_file()
    done = shell("sql", "select count(*) as n from events")
    assert done.returncode == 0
    assert done.stdout == "n\n2\n1 row\n"
    assert "no daemon is running" in done.stderr


def test_a_daemon_that_cannot_publish_leaves_the_last_published_history(
    shell: Shell, published: Path, daemon: Script
) -> None:
    error = {"message": "the disk is full", "fix": "make room"}
    daemon.answers["POST /v1/history/publish"] = (503, {"error": error})
    done = shell("sql", "select count(*) as n from events", "--socket", "admin.sock")
    assert (done.returncode, done.stdout) == (0, "n\n2\n1 row\n")
    assert "the disk is full" in done.stderr
    assert published.is_file()


def test_a_query_that_is_no_utf_8_is_one_error(shell: Shell, published: Path) -> None:
    assert published.is_file()
    done = shell("sql", "select '\udcff'")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the query is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_history_at_all_is_said_with_the_fix(shell: Shell) -> None:
    done = shell("sql", "select 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no history yet" in done.stderr
    assert "fix: start the daemon with: orchestrator run" in done.stderr


@pytest.mark.usefixtures("published")
def test_without_a_query_the_tables_are_shown_with_examples_that_work(shell: Shell) -> None:
    done = shell("sql")
    assert done.returncode == 0
    assert "\nevents\n  ts" in done.stdout
    assert "schema_version" not in done.stdout
    examples = [line.split('"')[1] for line in done.stdout.splitlines() if "orchestrator sql" in line]
    assert len(examples) == 3
    for example in examples:
        assert shell("sql", example).returncode == 0


@pytest.mark.usefixtures("published")
def test_json_and_csv_for_programs(shell: Shell) -> None:
    query = "select model, generation, null as nothing from events order by ts"
    rows = json.loads(shell("sql", query, "--json").stdout)
    assert rows == [
        {"model": "fast", "generation": 4, "nothing": None},
        {"model": "quality", "generation": 12, "nothing": None},
    ]
    table = list(csv.reader(io.StringIO(shell("sql", query, "--csv").stdout)))
    assert table == [["model", "generation", "nothing"], ["fast", "4", ""], ["quality", "12", ""]]


@pytest.mark.usefixtures("published")
def test_a_query_may_come_from_standard_input(shell: Shell) -> None:
    assert shell("sql", "-", "--csv", stdin="select 6 * 7 as answer\n").stdout == "answer\n42\n"


@pytest.mark.usefixtures("published")
def test_more_rows_than_asked_for_are_left_out_and_that_is_said(shell: Shell) -> None:
    done = shell("sql", "select * from range(5) t(n)", "--csv", "--max-rows", "2")
    assert (done.returncode, done.stdout) == (0, "n\n0\n1\n")
    assert "only the first 2 rows" in done.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("selct 1", "error"),
        ("delete from events", "error"),
        ("select * from read_text('/etc/passwd')", "error"),
        ("select sum(a.range * b.range) from range(1e9::bigint) a, range(1e9::bigint) b", "error"),
    ],
)
@pytest.mark.usefixtures("published")
def test_what_is_wrong_or_forbidden_is_an_error_with_exit_code_1(query: str, said: str, shell: Shell) -> None:
    done = shell("sql", query, "--timeout", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
