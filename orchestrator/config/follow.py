"""Follows the configuration folder: a scan after every hint, and every few seconds in any case."""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from orchestrator import clock
from orchestrator.config.scan import Scanner
from orchestrator.config.watch import Watch
from orchestrator.values.catalog import Held, Reading

R = TypeVar("R")

# An editor's save is a burst of events; scanning in its midst would find half of it.
QUIET_S: Final = 0.1
# A folder in which something always happens is scanned all the same.
LONGEST_BURST_S: Final = 1.0
# How long `rescan` waits for what is open to settle: longer than an absence must last.
SETTLE_S: Final = 3.0


class Follower:
    """Owns a scanner; posts each reading that differs from the one before, in order.

    All methods belong to the event loop in which `run` runs.

    Args:
        scanner: used by nobody else from now on.
        post: takes a reading; may be a coroutine function. Called on the event loop.
        every_s: time between scans when there is no hint, in seconds.
        watch: "auto": events of the file system are hints; "poll": there are none.
        now: the clock.
    """

    def __init__(
        self,
        scanner: Scanner,
        *,
        post: Callable[[Reading], Awaitable[None] | None],
        every_s: float = 10.0,
        watch: str = "auto",
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._scanner = scanner
        self._post = post
        self._every_s = every_s
        self._events = watch == "auto"
        self._now = now
        self._hint = asyncio.Event()
        self._asked = False
        self._confirming = False
        self._let_go: tuple[Held, ...] = ()
        self._waiting: list[tuple[asyncio.Future[Reading], float]] = []
        self._last: Reading | None = None

    async def run(self) -> None:
        """Scan at once, then follow until cancelled."""
        loop = asyncio.get_running_loop()

        def hint() -> None:
            with contextlib.suppress(RuntimeError):  # an event may come when the loop is closed already
                loop.call_soon_threadsafe(self._hint.set)

        watch = Watch(hint) if self._events else None
        try:
            while True:
                self._asked = False
                confirming, self._confirming = self._confirming, False
                waiting, self._waiting = self._waiting, []
                try:
                    reading = await _in_thread(partial(self._look, watch, confirming=confirming))
                    await self._pass_on(reading)
                finally:
                    self._waiting = [*waiting, *self._waiting]
                self._answer(waiting, reading)
                await self._pause()
        finally:
            for future, _until in self._waiting:
                future.cancel()
            if watch is not None:
                await _in_thread(watch.close)

    def wake(self) -> None:
        """Have a scan now, without waiting for the folder to be quiet."""
        self._asked = True
        self._hint.set()

    async def rescan(self) -> Reading:
        """Return a reading of a scan that started after this call and has been posted.

        Waits up to SETTLE_S for what that scan leaves open, such as a file that
        has just been deleted. Needs `run` to be running; is cancelled when it ends.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reading] = loop.create_future()
        self._waiting.append((future, loop.time() + SETTLE_S))
        self.wake()
        return await future

    async def confirm_removal(self) -> tuple[Held, ...]:
        """Obey the disappearances that are held now; return them, after the scan that does."""
        self._confirming = True  # the scanner belongs to the thread of a scan, which may be running now
        await self.rescan()
        return self._let_go

    def _look(self, watch: Watch | None, *, confirming: bool) -> Reading:
        if confirming:
            self._let_go = self._scanner.confirm_removal()
        reading = self._scanner.scan(self._now())
        if watch is not None and watch.arm(self._scanner.places()):
            reading = self._scanner.scan(self._now())  # what happened before the new watch was in place
        return reading

    async def _pass_on(self, reading: Reading) -> None:
        if reading is not self._last:
            self._last = reading
            posted = self._post(reading)
            if inspect.isawaitable(posted):
                await posted

    def _answer(self, waiting: list[tuple[asyncio.Future[Reading], float]], reading: Reading) -> None:
        """Answer those of `waiting` for whom nothing is open any more, or who have waited long enough."""
        now = asyncio.get_running_loop().time()
        settled = self._scanner.again_in_s is None
        for entry in waiting:
            future, until = entry
            if settled or now >= until or future.done():
                self._waiting.remove(entry)
                if not future.done():
                    future.set_result(reading)

    async def _pause(self) -> None:
        """Return when it is time for the next scan."""
        again = self._scanner.again_in_s
        if not await self._hinted(self._every_s if again is None else min(again, self._every_s)):
            return
        loop = asyncio.get_running_loop()
        latest = loop.time() + LONGEST_BURST_S
        while not self._asked and (left := latest - loop.time()) > 0:
            self._hint.clear()
            if not await self._hinted(min(QUIET_S, left)):
                return
        self._hint.clear()

    async def _hinted(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._hint.wait()
        except TimeoutError:
            return False
        return True


async def _in_thread(work: Callable[[], R]) -> R:
    """Return the result of `work`, run in a thread; when cancelled, wait for its end all the same."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
