"""The way of work from the event loop to the batch thread, and what is known of its progress on the way."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from orchestrator.workers.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Vital:
    """`progress_age_ms` is the time since the last step or idle moment: a stuck decode lets it grow.

    `memory_bytes` is what Metal's own counters say of this process, which its resident memory does not show;
    0 elsewhere.
    """

    active: int
    queued: int
    steps: int
    progress_age_ms: float
    memory_bytes: int = 0


class QueueFull(Exception):
    """Too many requests wait already."""


class Inbox:
    """Work that waits for the batch thread, and all that has not ended yet: at most `limit` pieces."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._live: set[Work] = set()
        self._beat_s = time.monotonic()
        self._idle = True

    # Called by the event loop.

    def submit(self, work: Work) -> None:
        """Have it done, in the order of submission.

        Raises:
            QueueFull: the work is not taken.
        """
        if len(self._live) >= self._limit:
            raise QueueFull
        self._live.add(work)
        self._queue.put(work)

    def cancel(self, work: Work) -> None:
        """Mark it; the thread meets it again, marked."""
        work.cancelled = True
        self._queue.put(work)

    def vital(self, *, active: int, steps: int, memory_bytes: int = 0) -> Vital:
        """Return how the thread is doing, of which these figures are its own."""
        age_s = 0.0 if self._idle else time.monotonic() - self._beat_s
        return Vital(
            active=active,
            queued=max(len(self._live) - active, 0),
            steps=steps,
            progress_age_ms=round(age_s * 1e3, 1),
            memory_bytes=memory_bytes,
        )

    @property
    def empty(self) -> bool:
        """True where nothing is left to do."""
        return not self._live

    def wake(self) -> None:
        """Let a thread that waits in `take` look around."""
        self._queue.put(None)

    # Called by the batch thread.

    def take(self, *, idle: bool) -> Iterator[Work]:
        """Yield what has come, cancelled work again; wait for something where the thread is idle."""
        try:
            while True:
                self._idle = idle
                work = self._queue.get(block=idle)
                if idle:
                    self._beat_s = time.monotonic()
                self._idle = idle = False
                if work is not None:
                    yield work
        except Empty:
            pass

    def beat(self) -> None:
        """Record that a step has been done."""
        self._beat_s = time.monotonic()

    def forget(self, work: Work) -> bool:
        """Record that it has ended; return whether it had not before."""
        known = work in self._live
        self._live.discard(work)
        return known
