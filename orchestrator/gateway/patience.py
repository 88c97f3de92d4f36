"""How long one request may take: the deadline, the silence of a replica, and a client that leaves."""

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """Bounds a block of work: it ends by itself, or one of its limits ends it, with that limit's error.

    The limits cost nothing per token: one timer runs per request, and looks
    only when it fires whether the replica has been silent for too long.

    Args:
        deadline_s: seconds from now until the work must be done.
        silence_s: seconds a stream that has begun may stay without a byte.
    """

    def __init__(self, *, deadline_s: float, silence_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence_s = silence_s
        self._listening_since: float | None = None
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._cause: Exception | None = None
        self._over = False
        self.deadline_s = deadline_s
        self.ends_at = self._loop.time() + deadline_s
        self.at_deadline: Exception = TimeoutError("the deadline has passed")
        self.at_silence: Exception = TimeoutError("nothing arrived for too long")

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self.ends_at, self._look)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._cause is None:
                raise
            raise self._cause from None

    def end(self, cause: Exception) -> None:
        """End the work with `cause`, unless it has ended already."""
        if self._cause is None and not self._over:
            self._cause = cause
            self._timeout.reschedule(self._loop.time())

    def listen(self) -> None:
        """From now on silence counts; called before each wait for a stream that has begun."""
        now = self._loop.time()
        if self._listening_since is None:
            self._arm(now + self._silence_s)
        self._listening_since = now

    def heard(self) -> None:
        """Something arrived: what passes until the next `listen` is nobody's silence."""
        if self._listening_since is not None:
            self._listening_since = float("inf")

    def _look(self) -> None:
        now = self._loop.time()
        since = self._listening_since
        quiet_at = float("inf") if since is None else since + self._silence_s
        if now >= self.ends_at:
            self.end(self.at_deadline)
        elif now >= quiet_at:
            self.end(self.at_silence)
        else:
            self._arm(min(quiet_at, now + self._silence_s))

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(at, self.ends_at), self._look)
