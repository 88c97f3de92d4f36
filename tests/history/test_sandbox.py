import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from orchestrator.errors import HistoryError
from orchestrator.history.allow import Refused, allowed
from orchestrator.history.sandbox import query
from tests.builders import NOW
from tests.history.rows import event, python, request, writing

DEADLINE_S = 3.0
# What a started and killed process may take on a busy machine, beyond the deadline.
SLACK_S = 5.0


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandbox") / "history"
    with writing(folder) as writer:
        for number in range(30):
            model = "fast" if number % 3 else "quality"
            writer.put(
                request(number, model=model, ttft_ms=float(number), at=NOW + timedelta(seconds=number))
            )
        writer.put(event())
    return folder / "history.duckdb"


@pytest.fixture(scope="module")
def treasure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no query may read or change."""
    path = tmp_path_factory.mktemp("outside") / "treasure.csv"
    path.write_text("secret,values\n1,2\n")
    return path


def test_the_example_of_the_front_page(db: Path) -> None:
    found = query(db, "select model, count(*), avg(ttft_ms) from requests group by all order by model")
    assert found.columns == ("model", "count_star()", "avg(ttft_ms)")
    assert found.types == ("VARCHAR", "BIGINT", "DOUBLE")
    assert found.rows == (("fast", 20, 15.0), ("quality", 10, 13.5))
    assert not found.truncated


ORDINARY = [
    "from requests where ts > now() - interval 1 hour",
    "from by_model",
    "from today",
    "from failures",
    "describe requests",
    "show tables",
    "summarize requests",
    "explain select * from requests",
    "explain analyze select count(*) from requests",
    "/* which */ explain (format json) select 1",
    "with slow as (select * from requests where total_ms > 100) select count(*) from slow",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
    "select model, row_number() over (partition by model order by ts) as i from requests qualify i = 1",
    "select * from requests using sample 5",
    "select * from requests r asof join events e on r.model = e.model and r.ts >= e.ts",
    "select date_trunc('hour', ts) as hour, quantile_cont(ttft_ms, [0.5, 0.95]) from requests group by all",
    "select columns('.*_ms') from requests",
    "select * from (pivot requests on model in ('fast', 'quality') using count(*))",
    "select list_transform([1, 2], lambda x: x + 1), unnest(range(3))",
    "select model from requests union all by name select model from events;",
    "from information_schema.tables",
    "values (1), (2)",
]


@pytest.mark.parametrize("sql", ORDINARY)
def test_ordinary_sql_works(db: Path, sql: str) -> None:
    assert query(db, sql).columns


def test_values_come_back_as_json_can_hold_them(db: Path) -> None:
    found = query(
        db,
        "select ts, null, 1.25::decimal(9,2), 12345678901234567890.123::decimal(38,3), 'nan'::double, 1/0,"
        " 'ab'::blob, interval 1 day, {a: [1, 2]}, map {1: date '2026-01-01'},"
        " timestamptz '2026-01-01 01:00+01',"
        " true, 2::hugeint ** 100, uuid() is not null, time '10:00', '290000-01-01'::timestamp"
        " from requests order by ts limit 1",
    )
    json.dumps(found.rows, allow_nan=False)
    assert found.rows[0][:6] == ("2026-11-20T12:00:00", None, 1.25, "12345678901234567890.123", "nan", "inf")
    assert found.rows[0][6:11] == (
        "6162",
        "1 day, 0:00:00",
        {"a": [1, 2]},
        {"1": "2026-01-01"},
        "2026-01-01T00:00:00+00:00",
    )
    assert found.rows[0][11:] == (True, 2.0**100, True, "10:00:00", "290000-01-01 00:00:00")


def test_now_is_in_utc(db: Path) -> None:
    found = query(db, "select now()").rows[0][0]
    assert abs(datetime.fromisoformat(str(found)) - datetime.now(UTC)) < timedelta(minutes=5)  # noqa: TID251 (real time)


def test_more_rows_than_wanted_are_cut_off_and_said(db: Path) -> None:
    assert query(db, "from requests", max_rows=30).truncated is False
    found = query(db, "select decision from requests order by ts", max_rows=2)
    assert (found.rows, found.truncated) == ((("d0",), ("d1",)), True)


def test_a_huge_answer_is_cut_off(db: Path) -> None:
    found = query(db, "select repeat('x', 90000) from range(1000)")
    assert found.truncated
    assert 100 < len(found.rows) < 200
    assert len(str(query(db, "select repeat('x', 200000)").rows[0][0])) == 100_001


# `{treasure}` is an existing file, `{target}` one that must not appear.
REFUSED = [
    "with d as (copy (select 1) to '{target}') select 1",
    "with d as (delete from requests returning *) select 1",
    "with d as (insert into events select * from events returning *) select * from d",
    "explain analyze copy requests to '{target}'",
    "explain analyze delete from requests",
    "explain with d as (copy requests to '{target}') select 1",
    "copy requests to '{target}'",
    "copy requests from '{treasure}'",
    "export database '{target}'",
    "create table t as select 1",
    "create temp table t as select 1",
    "create macro m() as 1",
    "drop table requests",
    "delete from requests",
    "update requests set model = ''",
    "alter table requests add column x int",
    "attach '{target}'",
    "attach ':memory:' as m",
    "use memory",
    "set threads = 8",
    "set enable_external_access = true",
    "reset all",
    "pragma enable_profiling",
    "pragma table_info('requests')",
    "install httpfs",
    "load httpfs",
    "call pragma_version()",
    "checkpoint",
    "vacuum",
    "begin",
    "select 1; select 2",
    "select 1; copy requests to '{target}'",
    "prepare p as select 1",
    "from read_text('{treasure}')",
    "from read_csv('{treasure}')",
    "select content from read_blob('{treasure}')",
    "from '{treasure}'",
    'from "{treasure}"',
    "from '/etc/passwd'",
    "from 'https://example.com/x.csv'",
    "from glob('/etc/*')",
    "from sniff_csv('{treasure}')",
    "from read_duckdb('{treasure}')",
    "from parquet_scan('{treasure}')",
    "from query('select 1')",
    "from query('with d as (copy requests to ''{target}'') select 1')",
    "from query_table('requests')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select (select count(*) from read_text('{treasure}'))",
    "select * from requests where exists (from read_text('{treasure}'))",
    "select getenv('HOME')",
    "select GETENV('HOME')",
    "from duckdb_secrets()",
    "from duckdb_settings()",
    "from duckdb_logs()",
    "from which_secret('x', 'y')",
    "select nextval('x')",
    "select nonsense(",
    "explain",
    "   ",
    "x" * 200_000,
]


@pytest.mark.parametrize("sql", REFUSED)
def test_hostile_sql_is_refused(db: Path, treasure: Path, tmp_path: Path, sql: str) -> None:
    before = db.read_bytes()
    target = tmp_path / "target"
    with pytest.raises(HistoryError) as refused:
        query(db, sql.format(treasure=treasure, target=target) if "{t" in sql else sql, timeout_s=60)
    assert refused.value.fix
    assert "took longer" not in refused.value.what
    assert "secret" not in refused.value.what.replace("duckdb_secrets", "").replace("which_secret", "")
    assert not list(tmp_path.iterdir())
    assert db.read_bytes() == before


@pytest.mark.parametrize("sql", REFUSED[:6] + REFUSED[30:32] + REFUSED[44:47])
def test_the_parsed_tree_alone_refuses_what_could_write_or_hide(sql: str) -> None:
    """The second line of defence, `read_only` and the switched-off access, is not needed for these."""
    with duckdb.connect() as con, pytest.raises((Refused, duckdb.Error)):
        allowed(con, sql)


HUNGRY = [
    "select list_sort(range(200000000))[1]",
    "select len(repeat('x', 2000000000))",
    "select unnest(range(1000000000))",
    "select count(*) from range(1000000000000)",
    "select list_sum(list_transform(range(50000000), lambda x: x * 2))",
    "select count(*) from requests a, requests b, requests c, requests d, requests e, requests f, requests g",
    "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
    "select * from range(100000000) order by hash(range)",
]


@pytest.mark.parametrize("sql", HUNGRY)
def test_a_query_that_would_run_away_is_ended(db: Path, sql: str) -> None:
    began = time.monotonic()
    with pytest.raises(HistoryError) as ended:
        query(db, sql, timeout_s=DEADLINE_S, memory_mb=256)
    assert time.monotonic() - began < DEADLINE_S + SLACK_S
    assert "more than 256 MB" in ended.value.what or "took longer than 3 s" in ended.value.what
    assert ended.value.fix


MISTAKES = [
    (
        "select modle from requests",
        (
            'Referenced column "modle" not found in FROM clause\n'
            "LINE 1: select modle from requests\n"
            "               ^^^^^"
        ),
        'Candidate bindings: "model"',
    ),
    (
        "from request",
        "Table with name request does not exist\nLINE 1: from request\n             ^^^^^^^",
        'Did you mean "requests"?',
    ),
    ("selec 1", 'syntax error at or near "selec"\nLINE 1: selec 1\n        ^^^^^', "the tables are requests"),
    ("select 1; select 2", "only one statement may be run, and these are 2", "run one SELECT"),
    (
        "delete from requests",
        "DELETE is not allowed here: the history can be read, and nothing else",
        "run one SELECT",
    ),
    (
        "pivot requests on model using count(*)",
        "this stands for several statements",
        "pivot requests on model in",
    ),
    ("", "there is no query", "the tables are requests and events"),
]


@pytest.mark.parametrize(("sql", "what", "fix"), MISTAKES)
def test_mistakes_are_explained(db: Path, sql: str, what: str, fix: str) -> None:
    with pytest.raises(HistoryError) as told:
        query(db, sql)
    assert told.value.what == what
    assert told.value.fix.startswith(fix) or fix in told.value.fix


def test_no_history_yet_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no history yet") as told:
        query(tmp_path / "history.duckdb", "select 1")
    assert "orchestrator run" in told.value.fix


def test_a_file_that_is_no_history_is_told(tmp_path: Path) -> None:
    (tmp_path / "history.duckdb").write_bytes(b"rubbish" * 1000)
    with pytest.raises(HistoryError, match="not a valid DuckDB database file"):
        query(tmp_path / "history.duckdb", "select 1")


def test_a_published_file_held_by_another_process_is_told(db: Path, tmp_path: Path) -> None:
    copy = tmp_path / "history.duckdb"
    copy.write_bytes(db.read_bytes())
    script = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    with python(script, str(copy), stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HistoryError, match="open for writing") as told:
            query(copy, "select 1")
        assert "-readonly" in told.value.fix
        holder.stdin.close()


def test_nothing_of_the_environment_reaches_the_query(
    db: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a module in the current folder nor PYTHONPATH is run, and no name from here is needed."""
    (tmp_path / "duckdb.py").write_text("raise SystemExit(9)")
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert query(db, "select 1").rows == ((1,),)


ASK_FOR_LONG = """if True:
    import sys
    from pathlib import Path
    from orchestrator.history.sandbox import query
    print("asking", flush=True)
    query(Path(sys.argv[1]), "select count(*) from range(1000000000000)", timeout_s=2)
"""


@pytest.fixture
def asker(db: Path) -> Iterator[Any]:
    with python(ASK_FOR_LONG, str(db)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        parent = psutil.Process(process.pid)
        while not (started := parent.children()):
            time.sleep(0.01)
        yield process, started[0]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_query_does_not_outlive_who_asked(asker: Any, end: signal.Signals) -> None:  # noqa: ANN401 (two processes)
    process, child = asker
    os.kill(process.pid, end)
    process.wait(20)
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(20)
