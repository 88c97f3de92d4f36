"""Which server takes a request: one that holds the model, and of those the least busy one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from orchestrator.engines.ollama.site import Site


class NoSite(Exception):
    """No server is left to ask."""


class Places:
    """So many requests at once for each server; the others wait here, first come first served.

    A server has as many places as `parallel` says. How many of them it works on at once is its own setting
    (OLLAMA_NUM_PARALLEL, which is 1 unless somebody has set it); the rest wait in it. A request that
    waits here goes to whichever server is free first, and one whose client leaves costs no server anything.
    """

    def __init__(self, sites: Sequence[Site], parallel: int) -> None:
        self._sites = sites
        self._parallel = max(parallel, 1)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, tried: AbstractSet[Site]) -> Site:
        """Return a server with a place for one request, which has to be given back.

        Raises:
            NoSite: every server that there is has been tried.
        """
        queued = bool(self._waiting)
        while True:
            able = [site for site in self._sites if site.stocked is not None and site not in tried]
            if not able:
                raise NoSite
            holding = [site for site in able if site.loaded] or able
            best = min(holding, key=lambda site: site.in_flight)
            if best.in_flight < self._parallel and not queued:
                best.in_flight += 1
                return best
            await self._turn()
            queued = False

    def give_back(self, site: Site) -> None:
        """Let the next request have the place."""
        site.in_flight -= 1
        self.wake()

    def wake(self) -> None:
        """Let the first of those who wait look again: a place, or a server, may have come free."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _turn(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._waiting.remove(waiter)
                self.wake()  # the place that this one was told of is for the next
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
