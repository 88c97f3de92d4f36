"""Facts with defaults, and ways to look at what was stored."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psutil

from orchestrator.history.writer import HistoryWriter
from orchestrator.values.fact import LifecycleFact, RequestFact, Severity
from tests.builders import NOW

ROOT = Path(__file__).resolve().parents[2]


def request(number: int = 0, **changes: Any) -> RequestFact:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "at": NOW,
        "decision": f"d{number}",
        "endpoint": "chat",
        "requested": "auto",
        "model": "fast",
        "revision": "r1",
        "replica": "fast-1",
        "policy": "default",
        "why": "the only one",
        "stream": True,
        "status": 200,
        "error": "",
        "queue_ms": 1.5,
        "ttft_ms": 20.25,
        "total_ms": 101.5,
        "prompt_tokens": 12,
        "cached_tokens": 4,
        "completion_tokens": 40,
    }
    return RequestFact(**(fields | changes))


def event(**changes: Any) -> LifecycleFact:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "at": NOW,
        "severity": Severity.NORMAL,
        "reason": "Ready",
        "message": "fast is ready",
        "model": "fast",
        "revision": "r1",
        "replica": "fast-1",
        "generation": 3,
    }
    return LifecycleFact(**(fields | changes))


def read(db: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return what the file says, read as any notebook would."""
    with duckdb.connect(db, read_only=True) as con:
        return con.execute(sql).fetchall()


def count(db: Path) -> int:
    return int(read(db, "select count(*) from requests")[0][0])


@contextmanager
def writing(folder: Path, *, capacity: int = 100_000) -> Iterator[HistoryWriter]:
    writer = HistoryWriter(folder, capacity=capacity)
    writer.start()
    try:
        yield writer
    finally:
        writer.close(20)


def python(script: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401 (Popen's)
    """Start another process with this package on its path."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def keeper_of(pid: int) -> int | None:
    """Return the process that holds the live file for the daemon `pid`, None where there is none now."""
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "orchestrator.history.keeper" in child.cmdline():
                return child.pid
    return None
