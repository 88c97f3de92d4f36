"""Why the live file cannot be used, in words a user can act on.

HistoryError
├── StoreUnavailable   disk full, no permission, no folder: may pass by itself
├── StoreLocked        another process holds the file
├── StoreNewer         written by a newer version: never touched
└── StoreDamaged       not a database, or a broken one: moved aside

DuckDB has no error codes and raises the same classes for all of these, so they are
told apart by its words (docs/history.md#when-it-cannot-be-written).
"""

import re
from pathlib import Path
from typing import Final

from orchestrator.errors import HistoryError


class StoreUnavailable(HistoryError):
    pass


class StoreLocked(HistoryError):
    pass


class StoreNewer(HistoryError):
    pass


class StoreDamaged(HistoryError):
    pass


_RESUMES: Final = "the rows wait in memory and writing resumes by itself"

_IN_THE_WAY: Final = (
    "a file stands where the folder should be",
    "move it away; it is tried again by itself",
)

# (words in the error, what happened, what to do): first match wins.
_ENVIRONMENT: Final = (
    ("No space left on device", "the disk is full", f"free some space; {_RESUMES}"),
    ("Disk quota exceeded", "the disk quota is used up", f"free some space; {_RESUMES}"),
    (
        "File too large",
        "the file may not grow further",
        f"raise the limit on file sizes (ulimit -f); {_RESUMES}",
    ),
    ("Read-only file system", "the file system is read-only", f"mount it writable; {_RESUMES}"),
    ("Permission denied", "permission denied", f"let the daemon's user write there; {_RESUMES}"),
    ("Operation not permitted", "permission denied", f"let the daemon's user write there; {_RESUMES}"),
    ("Too many open files", "too many open files", f"raise the limit (ulimit -n); {_RESUMES}"),
    ("Is a directory", "a folder has the file's name", "move that folder away; it is tried again by itself"),
    ("Not a directory", *_IN_THE_WAY),
    ("File exists", *_IN_THE_WAY),
    ("No such file or directory", "the folder is gone", "it is made again by itself; check what removes it"),
    ("Input/output error", "the disk reports an error", "check the disk; it is tried again by itself"),
    ("Cannot allocate memory", "there is no memory left", "it is tried again by itself"),
    ("Out of Memory", "there is no memory left", "it is tried again by itself"),
)
_LOCK: Final = ("Could not set lock on file", "Unique file handle conflict", "different configuration")
_NEWER: Final = re.compile(r"version number (\d+), but we can only read")
_PID: Final = re.compile(r"PID (\d+)")


def explain(cause: BaseException, path: Path) -> HistoryError:
    """Return the fault behind `cause`, an error met while opening or writing `path`.

    What is neither the environment's fault, nor a lock, nor a newer format is taken for damage.
    """
    text = str(cause)
    if any(words in text for words in _LOCK):
        found = _PID.search(text)
        holder = f"process {found[1]}" if found else "another process"
        return StoreLocked(
            f"{holder} holds the history file open",
            where=str(path),
            fix="end that process; to read the history, open history.duckdb beside it instead",
        )
    if _NEWER.search(text):
        return StoreNewer(
            "the history file was written by a newer DuckDB",
            where=str(path),
            fix="upgrade duckdb, or move the file away to start a new history",
        )
    for words, what, fix in _ENVIRONMENT:
        if words in text:
            return StoreUnavailable(f"the history cannot be written: {what}", where=str(path), fix=fix)
    first = text.strip().splitlines()[0] if text.strip() else type(cause).__name__
    return StoreDamaged(f"the history file is damaged: {first}", where=str(path))
