"""`sql`: the history, asked in a disposable child process that can only read it."""

import argparse
import csv
import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Final

from orchestrator.cli import words
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import admin, state
from orchestrator.cli.table import Cell, Column, render
from orchestrator.cli.terminal import Terminal, terminal
from orchestrator.errors import DaemonUnreachable, HistoryError, RequestError
from orchestrator.history.sandbox import Result, query

PUBLISHED: Final = Path("history") / "history.duckdb"
COLUMNS_SQL: Final = """\
select table_name, column_name, data_type from information_schema.columns
where table_name <> 'schema_version' order by table_name, ordinal_position"""
MOST_COLUMNS: Final = 10_000
# DuckDB's names of types whose columns are read more easily aligned to the right.
NUMBERS: Final = frozenset(
    (
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UBIGINT",
        "UINTEGER",
        "DECIMAL",
        "FLOAT",
        "DOUBLE",
    )
)
EXAMPLES: Final = (
    "from by_model",
    "select model, count(*), avg(ttft_ms) from requests group by all",
    "from events order by ts desc limit 20",
)


def execute(args: argparse.Namespace) -> int:
    """Print the answer of one query, or the tables there are."""
    database = _database(args)
    shown = terminal()
    if args.query is None:
        _tables(query(database, COLUMNS_SQL, timeout_s=args.timeout, max_rows=MOST_COLUMNS), shown)
        return Exit.OK
    sql = _text(args.query)
    result = query(database, sql, timeout_s=args.timeout, max_rows=args.max_rows)
    if args.json:
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        shown.out.write(json.dumps(rows, indent=2, default=str) + "\n")
    elif args.csv:
        writer = csv.writer(shown.out, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows(result.rows)
    else:
        _table(result, shown)
    if result.truncated:
        notice = terminal(sys.stderr)
        notice.line(
            f"only the first {words.count(len(result.rows), 'row')}; --max-rows N shows more", "yellow"
        )
    return Exit.OK


def _text(argument: str) -> str:
    """Return the query; `-` stands for what is on standard input."""
    try:
        sql = sys.stdin.read() if argument == "-" else argument
        sql.encode()
    except UnicodeError as error:
        raise HistoryError(
            "the query is not UTF-8", fix="write it in UTF-8, with a locale that says so: LC_ALL=C.UTF-8"
        ) from error
    return sql


def _database(args: argparse.Namespace) -> Path:
    """Return the published history: just now by the daemon, else what was published last.

    Raises:
        HistoryError: nothing was ever published.
    """
    try:
        return Path(admin(args).publish_history()["path"])
    except DaemonUnreachable:
        reason = "no daemon is running"
    except RequestError as refused:
        reason = refused.what
    path = state(args) / PUBLISHED
    if not path.is_file():
        raise HistoryError(
            f"there is no history yet ({reason})",
            where=str(path),
            fix="start the daemon with: orchestrator run",
        )
    terminal(sys.stderr).line(f"{reason}: this is the history as it was published last", "dim")
    return path


def _table(result: Result, shown: Terminal) -> None:
    rows = [[Cell(_shown(value), "dim" if value is None else "") for value in row] for row in result.rows]
    columns = [
        Column(name, right=kind.partition("(")[0] in NUMBERS)
        for name, kind in zip(result.columns, result.types, strict=True)
    ]
    for line in render(shown, columns, rows):
        shown.line(line)
    shown.line(words.count(len(result.rows), "row"), "dim")


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case dict() | list():
            return json.dumps(value, default=str)
        case _:
            return str(value).replace("\n", "\\n")


def _tables(result: Result, shown: Terminal) -> None:
    for name, columns in groupby(result.rows, key=lambda row: str(row[0])):
        shown.line(name, "bold")
        rows = [[Cell(str(column)), Cell(str(kind).lower(), "dim")] for _, column, kind in columns]
        width = max(len(row[0].text) for row in rows)
        for column, kind in rows:
            shown.line(f"  {column.text:<{width}}  {shown.paint(kind.text, kind.style)}")
        shown.line()
    shown.line("examples", "bold")
    for example in EXAMPLES:
        shown.line(f'  orchestrator sql "{example}"')
