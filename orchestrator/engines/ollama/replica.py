"""One replica: the socket that the gateway sees, and the servers behind it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.clock import monotonic_s
from orchestrator.engines.bridge import Bridge
from orchestrator.engines.crew import Crew
from orchestrator.engines.ollama.places import Places
from orchestrator.engines.ollama.relay import Relay, Silence
from orchestrator.engines.ollama.site import Site
from orchestrator.errors import EngineError, EngineUnavailable, LoadFailed, LoadTimedOut, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.hidden import hiding
from orchestrator.values.spec import ModelSpec

logger = logging.getLogger(__name__)

# A server that was lost is tried again after this long, in seconds.
RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all replicas of the engine share; durations in seconds."""

    crew: Crew
    load_deadline_s: float
    silence: Silence
    watch_s: float


class Replica:
    """Started once. It lives as long as one of its servers holds the model.

    Args:
        path: where its socket lies.
        on_death: called once, on the event loop, if it ends by itself after
            it was ready; its socket is gone by then.
    """

    def __init__(
        self,
        replica: str,
        spec: ModelSpec,
        path: Path,
        *,
        sites: Sequence[Site],
        terms: Terms,
        on_death: Callable[[ReplicaDied], None],
    ) -> None:
        self.spec = spec
        self.running: Running | None = None
        self.unwanted = False
        self.path = path
        self.sites = sites
        self._replica = replica
        self._terms = terms
        self._on_death = on_death
        self._places = Places(sites, spec.parallel)
        relay = Relay(spec.name, self._places, terms.silence, self._lost)
        self._bridge = Bridge(path, spec.name, relay, hide=hiding(spec))
        self._limit: asyncio.Timeout | None = None
        self._settled = asyncio.Event()  # the start has come to its end
        self._ending = asyncio.Lock()
        self._look_now = asyncio.Event()
        self._hung: set[Site] = set()
        self._watch: asyncio.Task[None] | None = None
        self._retry_at_s = 0.0

    async def start(self) -> Running:
        """Return once a server has it and has answered; where that fails or is cancelled, nothing is left.

        Raises:
            EngineError
        """
        try:
            return await self._start()
        except TimeoutError:
            if self.unwanted:
                raise LoadFailed("unloaded while it was loading", where=self.spec.name) from None
            raise LoadTimedOut(
                f"not ready within {self._terms.load_deadline_s:g} s",
                where=self.spec.name,
                fix="if the model is large and the disk slow, raise `load_deadline` in the settings file",
            ) from None
        except EngineError as error:
            error.where = error.where or self.spec.name
            raise
        finally:
            self._limit = None
            try:
                if self.running is None:
                    await self._end()
            finally:
                self._settled.set()

    async def stop(self) -> None:
        """End what is under way and let go of the model on every server; with proof.

        Raises:
            EngineError: a server does not let go of it; it may be asked again.
        """
        self.unwanted = True
        if self._watch is not None:
            self._watch.cancel()
        await self._end()

    async def abandon(self) -> None:
        """End it while it loads."""
        self.unwanted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0.0)
        await self._settled.wait()

    def observed(self) -> Running | None:
        """Return it as it was when it was last looked at; None where it is not ready, or gone."""
        return None if self.unwanted else self.running

    async def look(self) -> str:
        """Return why it is gone, as the world is now; "" while a server holds it."""
        reasons = await asyncio.gather(*(self._look_at(site) for site in self.sites))
        return "" if not all(reasons) else "; ".join(dict.fromkeys(reasons))

    async def _start(self) -> Running:
        async with asyncio.timeout(self._terms.load_deadline_s) as self._limit:
            if self.unwanted:
                raise LoadFailed("unloaded while it was loading", where=self.spec.name)
            found = await asyncio.gather(*(_tried(site) for site in self.sites))
            failures = [failure for failure in found if failure is not None]
            if len(failures) == len(self.sites):
                raise _worst(failures)
            for site, failure in zip(self.sites, found, strict=True):
                if failure is not None:
                    await site.release()
            try:
                await self._bridge.open()
            except OSError as error:
                raise LoadFailed(
                    f"its socket cannot be made: {error.strerror}",
                    where=self.spec.name,
                    fix="check the runtime folder",
                ) from None
        self.running = Running(replica=self._replica, socket=str(self.path), pid=0, pid_started=0.0)
        self._retry_at_s = monotonic_s() + RETRY_S
        self._watch = self._terms.crew.start(self._watch_over(), name=f"watch over {self._replica}")
        return self.running

    async def _watch_over(self) -> None:
        """Look after the servers until none holds the model any more."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._terms.watch_s):
                    await self._look_now.wait()
            self._look_now.clear()
            await self._free_what_hangs()
            reason = await self.look()
            if reason:
                break
            await self._take_up_again()
        if not self.unwanted:
            self.unwanted = True
            try:
                await self._end()
            except EngineError as error:
                logger.warning("%s: %s", self._replica, error.what)
                for site in self.sites:
                    site.forsake()
            self._on_death(ReplicaDied(reason, where=self.spec.name, fix="see the Ollama server's log"))

    async def _look_at(self, site: Site) -> str:
        if not site.loaded:
            return f"{site.server.url} does not hold it"
        reason = await site.check()
        if reason:
            site.loaded, site.unsure = False, True  # a request may have it loaded again by now
        return reason

    async def _free_what_hangs(self) -> None:
        """Unload where an answer has stopped: once its request is hung up, a stuck runner can be ended."""
        while self._hung:
            site = self._hung.pop()
            site.loaded = False
            with suppress(EngineError):
                await site.release()

    async def _take_up_again(self) -> None:
        """Load again where it was lost, while other servers go on answering."""
        if monotonic_s() < self._retry_at_s or all(site.loaded for site in self.sites):
            return
        for site in self.sites:
            if not site.loaded and not site.in_flight:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._terms.load_deadline_s):
                        await _again(site)
        self._retry_at_s = monotonic_s() + RETRY_S
        self._places.wake()

    def _lost(self, site: Site, hangs: bool) -> None:  # noqa: FBT001 (the relay's)
        site.unsure = True
        if hangs:
            self._hung.add(site)
        self._look_now.set()

    async def _end(self) -> None:
        async with self._ending:
            await self._bridge.close()
            found = await asyncio.gather(*(_released(site) for site in self.sites))
        for failure in found:
            if failure is not None:
                raise failure


async def _tried(site: Site) -> EngineError | None:
    try:
        await site.load()
    except EngineError as failure:
        return failure
    return None


async def _again(site: Site) -> None:
    with suppress(EngineError):
        await site.release()
        await site.load()


async def _released(site: Site) -> EngineError | None:
    try:
        await site.release()
    except EngineError as failure:
        return failure
    return None


def _worst(failures: Sequence[EngineError]) -> EngineError:
    """Return the failure that says most: of a server that has answered, if there is one."""
    return next((each for each in failures if not isinstance(each, EngineUnavailable)), failures[0])
