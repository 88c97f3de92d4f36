"""The writing thread: takes facts from the inbox, stores them, publishes, and survives every fault."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from orchestrator import clock
from orchestrator.errors import HistoryError
from orchestrator.history.faults import StoreDamaged
from orchestrator.history.files import PUBLISHED, published_at, set_aside, sweep
from orchestrator.history.inbox import Close, Copied, Flush, Inbox, Publish
from orchestrator.history.live import LiveFile
from orchestrator.history.publish import Publisher
from orchestrator.values.fact import Fact, LifecycleFact, RequestFact

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

# Rows per transaction; 1000 take about 5 ms, of which the interpreter is held for most. A guess.
BATCH: Final = 1000
# Seconds between tries while the history cannot be written: doubled from the first to the last.
RETRY_FIRST_S: Final = 0.5
RETRY_LAST_S: Final = 30.0
# How old the published copy may get while new rows come, in seconds.
PUBLISH_EVERY_S: Final = 60.0
# ... and the share of time that copying may take, for files that take long to copy.
PUBLISH_SHARE: Final = 0.01
# Seconds before the first copy, so that it does not compete with the daemon's start.
PUBLISH_FIRST_S: Final = 5.0
# A file that opens, yet fails this often without storing anything, is damaged after all.
DAMAGED_AFTER: Final = 3


class Scribe:
    """Owns the live file. `run` is the thread; the other members may be read from anywhere."""

    def __init__(self, folder: Path, inbox: Inbox) -> None:
        self.written = 0
        self.failed_rows = 0
        self.fault: HistoryError | None = None
        self.publish_fault: HistoryError | None = None
        self.notice: HistoryError | None = None
        self.published_at: datetime | None = None
        self._folder = folder
        self._inbox = inbox
        self._backlog: deque[Fact] = deque()
        self._store: LiveFile | None = None
        # Rows in the file, and facts in the batch, before the last append: (0, 0) once it was answered.
        self._doubt = (0, 0)
        self._breaks = 0
        self._retry_at = 0.0
        self._retry_s = 0.0
        self._flushes: list[Future[None]] = []
        self._asked: list[Future[Path]] = []
        self._riding: list[Future[Path]] = []
        self._publisher = Publisher()
        self._copying = False
        self._fresh = False
        self._publish_at = 0.0
        self._closing = False

    def run(self) -> None:
        """Work until a `Close` comes; whoever waits for something is always answered."""
        self._attempt(self._write)
        while not (self._closing and not self._copying):
            self._attempt(self._turn)
        self._answer_all(HistoryError("the history is closed"))
        if self._store is not None:
            self._store.close()

    def _turn(self) -> None:
        for message in self._inbox.take(self._idle_s()):
            self._note(message)
        self._write()
        self._publish()

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do `step`; what it should have caught is told like every other fault, and tried again."""
        try:
            step()
        except Exception as bug:  # noqa: BLE001 -- a lost thread would be a history that stops in silence
            _log.exception("history: a step failed in a way that was not foreseen")
            if self._store is not None:
                self._store.broken = True  # nobody knows what it has heard and answered
            what = f"the history failed: {type(bug).__name__}: {bug}"
            self._fail(HistoryError(what, fix="it is tried again by itself; please report this"))
            self._answer_all(self.fault or HistoryError(what))

    def _idle_s(self) -> float | None:
        now = clock.monotonic_s()
        times = []
        if self.fault is not None:
            times.append(self._retry_at)
        elif not self._fresh and not self._copying:
            times.append(self._publish_at)
        return max(0.0, min(times) - now) if times else None

    def _note(self, message: object) -> None:
        match message:
            case RequestFact() | LifecycleFact():
                self._backlog.append(message)
            case Flush(done=done):
                self._flushes.append(done)
            case Publish(done=done):
                self._asked.append(done)
            case Copied():
                self._copied(message)
            case Close():
                self._closing = True
            case _:
                self.failed_rows += 1
        self._inbox.held = len(self._backlog)

    # Writing

    def _write(self) -> None:
        """Store the backlog, opening the file first where needed; answer those who wait for that."""
        asked = self._flushes or self._asked or self._closing
        if self.fault is not None and not asked and clock.monotonic_s() < self._retry_at:
            return
        try:
            store = self._store or self._open()
            while self._backlog:
                batch = [self._backlog[i] for i in range(min(BATCH, len(self._backlog)))]
                self._doubt = (store.rows, len(batch))
                failed = store.append(batch)
                self._stored(len(batch), failed)
                if failed:
                    self._notice(
                        f"{failed} rows could not be stored: {store.refusal}", fix="please report this"
                    )
            if self.fault is not None:
                _log.info("history: rows are stored again, %d so far", self.written)
            self.fault, self._retry_s = None, 0.0
        except HistoryError as fault:
            self._fail(fault)
        for done in self._flushes:
            _settle(done, self.fault, None)
        self._flushes = []

    def _stored(self, facts: int, failed: int) -> None:
        """Let the oldest `facts` of the backlog go: they are on disk, or never will be."""
        for _ in range(facts):
            self._backlog.popleft()
        self._inbox.held = len(self._backlog)
        self._doubt = (0, 0)
        self.failed_rows += failed
        self.written += facts - failed
        self._fresh = False

    def _settle_doubt(self, rows: int) -> None:
        """Find out whether the batch was stored that the file's process took and never answered for.

        A batch is one transaction and nobody else writes, so the number of rows tells.
        """
        before, facts = self._doubt
        if before < rows <= before + facts:
            self._stored(facts, failed=before + facts - rows)

    def _open(self) -> LiveFile:
        """Open the live file; one that is damaged is moved aside and a fresh one started."""
        if self._breaks >= DAMAGED_AFTER:
            damage = f"the history file failed {self._breaks} times in a row"
            self._keep(set_aside(self._folder, clock.now()), damage)
        try:
            opened = LiveFile(self._folder)
        except StoreDamaged as fault:
            self._keep(set_aside(self._folder, clock.now()), fault.what)
            opened = LiveFile(self._folder)
        sweep(self._folder)
        self._settle_doubt(opened.rows)
        self._store = opened
        self._fresh = False
        self.published_at = published_at(self._folder)
        self._publish_at = clock.monotonic_s() + PUBLISH_FIRST_S
        return opened

    def _keep(self, aside: Path, damage: str) -> None:
        """Tell where a damaged file lies now."""
        self._breaks = 0
        self._notice(
            f"{damage}; it is kept as {aside.name} and a new one is started",
            where=str(aside),
            fix="its rows are not in the new file; `duckdb` may still read some of them",
        )

    def _notice(self, what: str, *, where: str = "", fix: str = "") -> None:
        """Tell, until the end, of something that went wrong and is over."""
        self.notice = HistoryError(what, where=where, fix=fix)
        _log.warning("history: %s", self.notice)

    def _fail(self, fault: HistoryError) -> None:
        now = clock.monotonic_s()
        if self.fault is None or self.fault.what != fault.what:
            _log.warning("history: rows wait in memory: %s", fault)
        if self.fault is None or now >= self._retry_at:  # a try that somebody asked for does not count
            self._retry_s = min(RETRY_LAST_S, max(RETRY_FIRST_S, 2 * self._retry_s))
            self._retry_at = now + self._retry_s
        self.fault = fault
        # A file under copy must not change, and closing checkpoints it: wait for the copy.
        if self._store is not None and self._store.broken and not self._copying:
            self._store.close()
            self._store = None
            if isinstance(fault, StoreDamaged):
                self._breaks += 1

    # Publishing

    def _publish(self) -> None:
        """Answer those who want a fresh copy, or start one: when asked, when due, and at the end."""
        if self.fault is not None:
            for done in self._asked:
                _settle(done, self.fault, self._folder)
            self._asked = []
            return
        if self._asked and not self._copying and not (self._folder / PUBLISHED).is_file():
            self._fresh = False  # somebody removed it
        if self._fresh:
            if self._copying:
                self._riding += self._asked
            else:
                for done in self._asked:
                    _settle(done, None, self._folder / PUBLISHED)
            self._asked = []
        due = self._closing or clock.monotonic_s() >= self._publish_at
        if self._store is None or self._fresh or self._copying or not (self._asked or due):
            return
        try:
            self._store.checkpoint()
        except HistoryError as fault:
            self._fail(fault)
            self._publish()
            return
        self._breaks = 0
        self._publisher.start(self._store.path, lambda took_s, fault: self._inbox.send(Copied(took_s, fault)))
        self._fresh = self._copying = True
        self._riding, self._asked = self._asked, []

    def _copied(self, end: Copied) -> None:
        self._copying = False
        self.publish_fault = end.fault
        self._publish_at = clock.monotonic_s() + max(PUBLISH_EVERY_S, end.took_s / PUBLISH_SHARE)
        if end.fault is None:
            self.published_at = published_at(self._folder)
        elif not self._closing:
            self._fresh = False
        for done in self._riding:
            _settle(done, end.fault, self._folder / PUBLISHED)
        self._riding = []

    def _answer_all(self, fault: HistoryError) -> None:
        for done in self._flushes:
            _settle(done, fault, None)
        for waiting in (*self._asked, *self._riding):
            _settle(waiting, fault, self._folder)
        self._flushes, self._asked, self._riding = [], [], []


def _settle(done: "Future[T]", fault: HistoryError | None, result: T) -> None:
    """Answer `done`; whoever has stopped waiting for it has cancelled it."""
    with suppress(InvalidStateError):
        if fault is None:
            done.set_result(result)
        else:
            done.set_exception(fault)
