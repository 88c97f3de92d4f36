"""The history as the daemon sees it: facts go in, and nothing ever waits for the disk."""

import asyncio
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from orchestrator.errors import HistoryError
from orchestrator.history.files import PUBLISHED
from orchestrator.history.inbox import Close, Flush, Inbox, Publish
from orchestrator.history.scribe import Scribe
from orchestrator.values.fact import Fact

T = TypeVar("T")

# Facts kept in memory while they cannot be written: about 100 MB at the worst, 13 minutes at 128 a second.
CAPACITY: Final = 100_000

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus:
    """How the history is doing.

    `ok` says whether rows are being stored. `error` is what is wrong or was wrong and what
    to do about it; a file that was moved aside as damaged is told here while `ok` is true again.
    `written`, `dropped` (the queue was full) and `failed_rows` (the database refused them)
    count since the start; `queued` is how many wait now. `path` is the published file,
    `published_at` when it was made, None where there is none yet.
    """

    ok: bool
    written: int
    queued: int
    dropped: int
    failed_rows: int
    error: str | None
    path: Path
    published_at: datetime | None


class HistoryWriter:
    """Writes facts to `<folder>/live.duckdb` in the background and publishes `<folder>/history.duckdb`."""

    def __init__(self, folder: Path, *, capacity: int = CAPACITY) -> None:
        self._folder = folder
        self._inbox = Inbox(capacity)
        self._scribe = Scribe(folder, self._inbox)
        self._thread = threading.Thread(target=self._scribe.run, name="history", daemon=True)
        self._open = True

    def start(self) -> None:
        """Start writing. Returns at once, whatever state the folder is in."""
        self._thread.start()

    def put(self, fact: Fact) -> None:
        """Take `fact` for writing. Never waits and never raises; a full queue drops it and counts it."""
        if self._open:
            self._inbox.offer(fact)
        else:
            self._inbox.dropped += 1

    def status(self) -> HistoryStatus:
        scribe = self._scribe
        fault = scribe.fault or scribe.publish_fault or scribe.notice
        return HistoryStatus(
            ok=scribe.fault is None and self._open,
            written=scribe.written,
            queued=self._inbox.waiting(),
            dropped=self._inbox.dropped,
            failed_rows=scribe.failed_rows,
            error=None if fault is None else str(fault),
            path=self._folder / PUBLISHED,
            published_at=scribe.published_at,
        )

    async def flush(self, within_s: float) -> None:
        """Return when every fact put before the call is on disk (or counted as refused or dropped).

        Raises:
            HistoryError: it cannot be written now, or not within `within_s` seconds.
        """
        done: Future[None] = Future()
        await self._ask(Flush(done), done, within_s)

    async def publish(self, within_s: float) -> Path:
        """Return the published file once it holds every fact put before the call.

        Raises:
            HistoryError: it could not be made, or not within `within_s` seconds; an older one may be there.
        """
        done: Future[Path] = Future()
        return await self._ask(Publish(done), done, within_s)

    def close(self, within_s: float) -> None:
        """Write what is queued, publish, and give the file back; blocks up to `within_s` seconds.

        May be called twice, and without `start`. Facts that cannot be written by then are
        lost, and the log says how many.
        """
        if self._open:
            self._open = False
            self._inbox.send(Close())
        if self._thread.ident is None:
            return
        self._thread.join(within_s)
        status = self.status()
        if self._thread.is_alive():
            _log.warning("history: not closed within %g s, %d rows may be lost", within_s, status.queued)
        elif status.queued:
            _log.warning("history: %d rows are lost: %s", status.queued, status.error)

    async def _ask(self, command: Flush | Publish, done: Future[T], within_s: float) -> T:
        if not self._open or not self._thread.is_alive():
            raise HistoryError("the history is not running", fix="start the daemon")
        self._inbox.send(command)
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.wrap_future(done)
        except TimeoutError as late:
            raise HistoryError(
                f"the history took longer than {within_s:g} s",
                where=str(self._folder),
                fix="try again; is the disk slow?",
            ) from late
