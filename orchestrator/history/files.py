"""Where the history lies, and how its folder is kept in order; none of it needs the database."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.history.faults import StoreUnavailable, explain

LIVE: Final = "live.duckdb"
PUBLISHED: Final = "history.duckdb"


def make_private(folder: Path) -> None:
    """Have `folder`, for our user alone.

    Raises:
        StoreUnavailable: it cannot be made or closed to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as cause:
        fault = explain(cause, folder)
        raise StoreUnavailable(fault.what, where=str(folder), fix=fault.fix) from cause


def set_aside(folder: Path, now: datetime) -> Path:
    """Move the live file and its log out of the way; return where the file lies now.

    Raises:
        HistoryError: the folder does not let us.
    """
    live = folder / LIVE
    aside = live.with_name(f"{LIVE}.corrupt-{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}")
    try:
        # The log first: killed in between, a log without its file is never replayed into a fresh one.
        with contextlib.suppress(FileNotFoundError):
            live.with_name(f"{LIVE}.wal").rename(aside.with_name(f"{aside.name}.wal"))
        live.rename(aside)
    except OSError as cause:
        raise explain(cause, live) from cause
    return aside


def published_at(folder: Path) -> datetime | None:
    """Return when the published file was made, None where there is none."""
    try:
        return datetime.fromtimestamp((folder / PUBLISHED).stat().st_mtime, UTC)
    except OSError:
        return None


def sweep(folder: Path) -> None:
    """Remove unfinished copies that a killed daemon left.

    A copying child of that daemon may still be writing into one: it then fills a file
    without a name. Only for who holds the live file's lock.
    """
    for leftover in folder.glob(f"{PUBLISHED}.*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
