"""Ask the history, with SQL that anybody may have written."""

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from orchestrator.errors import HistoryError
from orchestrator.history.children import command

SQL_LIMIT: Final = 100_000

_TABLES: Final = "the tables are requests and events; the views by_model, today and failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a query.

    `types` are DuckDB's names. Values are what JSON can hold: instants as ISO 8601 texts
    (UTC where they have no zone), other types as texts. `truncated`: there were more rows.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool


class _Answer(TypedDict, total=False):
    """What the child says: an answer, or an error with its fix."""

    columns: list[str]
    types: list[str]
    rows: list[list[object]]
    truncated: bool
    error: str
    fix: str


def query(
    db: Path, sql: str, *, timeout_s: float = 10.0, max_rows: int = 1000, memory_mb: int = 512
) -> Result:
    """Run one reading statement on the published file `db` in a process of its own; blocks.

    Whatever `sql` says, nothing is written anywhere, no other file or network is read, and
    when this returns, after `timeout_s` seconds at the latest (and a moment), nothing of it
    runs any more. `memory_mb` bounds its memory (on macOS for most queries only: the kernel
    there has no such limit).

    Raises:
        HistoryError: there is no history, the SQL is wrong or not allowed, or a limit was met.
    """
    if not db.is_file():
        raise HistoryError("there is no history yet", where=str(db), fix="start the daemon: orchestrator run")
    if len(sql) > SQL_LIMIT:
        raise HistoryError(f"the query is longer than {SQL_LIMIT} characters", fix="write a shorter one")
    if not sql.strip():
        raise HistoryError("there is no query", fix=_TABLES)
    request = {
        "db": str(db.absolute()),
        "sql": sql,
        "timeout_s": timeout_s,
        "max_rows": max_rows,
        "memory_mb": memory_mb,
    }
    answer = _ask(json.dumps(request), timeout_s)
    if "error" in answer:
        raise HistoryError(answer["error"], fix=answer["fix"] or _TABLES)
    return Result(
        columns=tuple(answer["columns"]),
        types=tuple(answer["types"]),
        rows=tuple(tuple(row) for row in answer["rows"]),
        truncated=answer["truncated"],
    )


def _ask(request: str, timeout_s: float) -> _Answer:
    child = subprocess.Popen(  # noqa: S603 -- our own interpreter and code, no shell
        command("orchestrator.history.jail"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={},
        cwd="/",
        start_new_session=True,
    )
    try:
        out, err = child.communicate(request, timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        raise HistoryError(
            f"the query took longer than {timeout_s:g} s and was ended",
            fix="ask for less: a shorter time, fewer rows",
        ) from late
    finally:
        _end(child)
    if child.returncode == 0:
        answer: _Answer = json.loads(out)
        return answer
    if child.returncode in (-signal.SIGXCPU, -signal.SIGALRM):
        raise HistoryError(f"the query took longer than {timeout_s:g} s and was ended", fix="ask for less")
    if child.returncode < 0:
        raise HistoryError(
            f"the query's process was ended by {signal.Signals(-child.returncode).name}",
            fix="it most likely needed too much memory: select fewer rows, or aggregate them",
        )
    last = err.strip().splitlines()[-1] if err.strip() else f"it ended with {child.returncode}"
    raise HistoryError(
        f"the query's process failed: {last}", fix="check that the duckdb package can be imported"
    )


def _end(child: subprocess.Popen[str]) -> None:
    """End the child and all it may have started, and wait for its end."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
