"""The child that runs one query: reads the request from standard input, answers on standard output, ends.

Native code can neither be interrupted nor held to a memory limit from inside
(`list_sort(range(200000000))` ran for 60 s and took 15 GB with a limit of 2 GB), so the
kernel does it: this process may not outlive its deadline, grow, or write to any file.
"""

import datetime as dt
import json
import math
import os
import re
import resource
import signal
import sys
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import duckdb

# Address space that Python and DuckDB need before the query takes any, in MB; measured
# 0.8 GB on Linux x86-64, most of it never touched.
BASE_MB: Final = 1536
# Longest text of one value and of all rows, in characters: the parent holds them too.
VALUE_LIMIT: Final = 100_000
ANSWER_LIMIT: Final = 16_000_000

_PREFIX: Final = re.compile(r"^(?:[A-Z][A-Za-z ]* Error|FATAL Error|TransactionContext Error): ")

# How DuckDB refuses what `_run` has switched off.
_OUTSIDE: Final = (
    "external access is disabled",
    "disabled by configuration",
    "is disabled through configuration",
)


def main() -> NoReturn:
    """Run the request. The process ends here whatever happens, without tidying up: nothing is worth it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints must not mix with the answer
    request = json.load(sys.stdin)
    _limit(request["memory_mb"], request["timeout_s"])
    try:
        answer = json.dumps(_run(request))
    except MemoryError:
        answer = json.dumps(_too_big(request["memory_mb"]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Values outside Python's range, such as the year 290000.
        answer = json.dumps({"error": f"a value cannot be shown: {error}", "fix": "cast it: value::varchar"})
    answers.write(answer)
    answers.flush()
    os._exit(0)


def _limit(memory_mb: int, timeout_s: float) -> None:
    """Have the kernel hold this process. macOS ignores RLIMIT_AS: there the deadline alone bounds it."""
    cpu_s = math.ceil(timeout_s) + 1
    for what, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, (memory_mb + BASE_MB) << 20),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):
            if what != resource.RLIMIT_AS:
                raise
    # The parent kills at the deadline; this is for a parent that was killed itself.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_s + 1)


def _run(request: dict[str, object]) -> dict[str, object]:
    sys.modules["pytz"] = _utc_only()
    import duckdb  # noqa: PLC0415 -- after the limits, so that they hold for it

    from orchestrator.history.allow import Refused, allowed  # noqa: PLC0415 -- imports duckdb

    try:
        con = duckdb.connect(
            str(request["db"]),
            read_only=True,
            config={
                "threads": 1,
                "memory_limit": f"{request['memory_mb']}MB",
                "temp_directory": "",
                "home_directory": "/nonexistent",
                "secret_directory": "/nonexistent",
                "allow_persistent_secrets": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        con.execute("set enable_progress_bar = false")
        con.execute("set timezone = 'UTC'")
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
        statement = allowed(con, str(request["sql"]))
        con.execute("begin transaction read only")
        con.execute(statement)
        return _answer(con, int(str(request["max_rows"])))
    except Refused as refused:
        return {"error": refused.what, "fix": refused.fix}
    except duckdb.OutOfMemoryException:
        return _too_big(request["memory_mb"])
    except duckdb.Error as error:
        return _explained(str(error), request["memory_mb"])


def _answer(con: "duckdb.DuckDBPyConnection", max_rows: int) -> dict[str, object]:
    head = con.description or []
    rows: list[list[object]] = []
    size = 0
    truncated = False
    while (found := con.fetchone()) is not None:
        values = [_plain(value) for value in found]
        size += sum(len(value) if isinstance(value, str) else 16 for value in values)
        if len(rows) >= max_rows or size > ANSWER_LIMIT:
            truncated = True
            break
        rows.append(values)
    return {
        "columns": [column[0] for column in head],
        "types": [str(column[1]) for column in head],
        "rows": rows,
        "truncated": truncated,
    }


def _plain(value: object) -> object:
    """Return `value` as JSON can hold it: instants in ISO 8601, exact decimals as numbers, bytes in hex."""
    plain: object = value
    match value:
        case None | bool() | int():
            pass
        case float():
            plain = value if math.isfinite(value) else str(value)
        case str():
            plain = value if len(value) <= VALUE_LIMIT else f"{value[:VALUE_LIMIT]}…"
        case dt.datetime() | dt.date() | dt.time():
            plain = value.isoformat()
        case Decimal():
            near = float(value)
            plain = near if Decimal(repr(near)) == value else str(value)
        case bytes() | bytearray():
            plain = _plain(value.hex())
        case dict():
            plain = {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [_plain(item) for item in value]
        case _:
            plain = _plain(str(value))
    return plain


def _too_big(memory_mb: object) -> dict[str, object]:
    return {
        "error": f"the query needs more than {memory_mb} MB",
        "fix": "select fewer rows, or aggregate them",
    }


def _advice(lines: list[str], paragraphs: list[str]) -> str:
    """Return what DuckDB proposes, on one line: what stands under the first line, the query apart."""
    more = [line for part in paragraphs if not part.startswith("LINE ") for line in part.splitlines()]
    return " ".join(line.strip() for line in (*lines, *more))


def _explained(text: str, memory_mb: object) -> dict[str, object]:
    """Return DuckDB's error without its wrapping, its own advice as the fix."""
    if "Out of Memory" in text or "bad_alloc" in text or "Allocation failure" in text:
        return _too_big(memory_mb)
    paragraphs = [part.strip("\n") for part in text.split("\n\n") if part.strip()]
    lines = paragraphs[0].splitlines() if paragraphs else [text]
    what = _PREFIX.sub("", lines[0]).rstrip("!. ")
    if "Could not set lock on file" in what:
        return {
            "error": "another process has the published history open for writing",
            "fix": "end it, and open the file read-only: duckdb -readonly",
        }
    if any(words in text for words in _OUTSIDE):
        return {
            "error": "files, networks and settings cannot be reached from here",
            "fix": "select from the history's own tables",
        }
    place = [part for part in paragraphs[1:] if part.startswith("LINE ")]
    return {"error": "\n".join([what, *place]), "fix": _advice(lines[1:], paragraphs[1:])}


class _Utc(dt.tzinfo):
    """UTC with the two methods that pytz adds."""

    def utcoffset(self, _at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta()

    def dst(self, _at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta()

    def tzname(self, _at: dt.datetime | None) -> str:
        return "UTC"

    def localize(self, at: dt.datetime) -> dt.datetime:
        return at.replace(tzinfo=self)

    def normalize(self, at: dt.datetime) -> dt.datetime:
        return at


def _utc_only() -> ModuleType:
    """Return a stand-in for pytz, which duckdb wants for instants with a zone: here all are in UTC."""
    module = ModuleType("pytz")
    vars(module).update(utc=_Utc(), timezone=lambda _name: _Utc())
    return module


if __name__ == "__main__":
    main()
