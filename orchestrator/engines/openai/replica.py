"""A replica of a model that somebody else serves: its endpoints, watched, and the socket that leads there."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from orchestrator.engines.bridge import Bridge
from orchestrator.engines.crew import Crew
from orchestrator.engines.openai.endpoints import Endpoints
from orchestrator.engines.openai.upstream import Upstream
from orchestrator.engines.roster import OnDeath
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import LoadFailed, LoadTimedOut, ReplicaDied, RequestError
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec

# Endpoints beyond one's own networks are asked this many times less often: their owners count requests.
REMOTE_TIMES: Final = 6
# What such an endpoint said is taken for true for so long, in seconds.
FRESH_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all replicas of the engine share.

    `check_every_s` is the pause between two health checks, `check_after_s`
    the shortest one: before the check that follows a failed request.
    """

    runtime: RuntimeFolder
    crew: Crew
    egress: bool
    load_deadline_s: float
    check_every_s: float
    check_after_s: float


class OpenAIReplica:
    """Started once; see `roster.Startable`."""

    def __init__(self, replica: str, spec: ModelSpec, place: Place, on_death: OnDeath) -> None:
        self.spec = spec
        self.socket = place.runtime.socket_of(replica)
        self.running: Running | None = None
        self.unwanted = False
        self.endpoints: Endpoints | None = None
        self._replica = replica
        self._place = place
        self._on_death = on_death
        self._bridge: Bridge | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting: asyncio.Timeout | None = None
        self._failed = asyncio.Event()
        self._looked_s = 0.0

    async def start(self) -> Running:
        """Return once an endpoint is known to serve the model; else nothing is left.

        Raises:
            SourceNotFound, SourceCorrupt, EngineUnavailable, NotAllowed, LoadFailed, LoadTimedOut
        """
        try:
            async with asyncio.timeout(self._place.load_deadline_s) as self._starting:
                return await self._start()
        except TimeoutError:
            if self.unwanted:
                raise LoadFailed("unloaded while it was loading", where=self.spec.name) from None
            raise LoadTimedOut(
                f"not ready within {self._place.load_deadline_s:g} s",
                where=self.spec.name,
                fix="see why its endpoint is slow, or raise `load_deadline` in the settings file",
            ) from None
        finally:
            self._starting = None
            if self.running is None:
                await self._close()

    async def stop(self) -> None:
        """End it; answers under way are cut off."""
        self.unwanted = True
        if self._watch is not None:
            self._watch.cancel()
        await self._close()

    async def abandon(self) -> None:
        """End a load that is under way."""
        self.unwanted = True
        if self._starting is not None:
            self._starting.reschedule(asyncio.get_running_loop().time())

    async def look(self) -> None:
        """Ask its endpoints now, where it is ready and they are not known to be well."""
        if self.running is None or self.unwanted:
            return
        age_s = asyncio.get_running_loop().time() - self._looked_s
        if not self.spec.remote or self._failed.is_set() or age_s > FRESH_S:
            await self._look()

    def observed(self) -> Running | None:
        """Return what was true when its endpoints were asked last."""
        return None if self._has_died() else self.running

    async def _start(self) -> Running:
        self._place.runtime.make()
        self.endpoints = endpoints = Endpoints(self.spec, egress=self._place.egress)
        await endpoints.first_look()
        upstream = Upstream(
            self.spec.name,
            self.spec.source.location,
            endpoints.all,
            hide=endpoints.hide,
            failed=self._failed.set,
        )
        self._bridge = Bridge(self.socket, self.spec.name, upstream.handle, self._health, hide=endpoints.hide)
        try:
            await self._bridge.open()
        except OSError as error:
            raise LoadFailed(f"its socket cannot be made: {error.strerror}", where=self.spec.name) from None
        self._looked_s = asyncio.get_running_loop().time()
        self.running = Running(replica=self._replica, socket=str(self.socket), pid=0, pid_started=0.0)
        self._watch = self._place.crew.start(self._keep_watch(), name=f"watch over {self._replica}")
        return self.running

    async def _look(self) -> None:
        if self.endpoints is not None:
            await self.endpoints.look()
            self._looked_s = asyncio.get_running_loop().time()
        if self._has_died():
            self._failed.set()

    async def _keep_watch(self) -> None:
        """Ask the endpoints again and again, and tell of their end."""
        every_s = self._place.check_every_s * (REMOTE_TIMES if self.spec.remote else 1)
        while not self._has_died():
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._failed.wait()
            await asyncio.sleep(self._place.check_after_s)
            self._failed.clear()
            await self._look()
        reason = self.endpoints.reason if self.endpoints else None
        if reason is not None and not self.unwanted:
            self._on_death(ReplicaDied(reason.what, where=self.spec.name, fix=reason.fix))
        await self._close()

    def _has_died(self) -> bool:
        """True where no endpoint serves any more; one that goes on with an answer does."""
        endpoints = self.endpoints
        return endpoints is None or (endpoints.reason is not None and not endpoints.answering)

    def _health(self) -> Mapping[str, object]:
        endpoints = self.endpoints.all if self.endpoints else ()
        serving = sum(endpoint.trouble is None for endpoint in endpoints)
        if not serving:
            raise RequestError("no endpoint answers", status=503, code="upstream_unreachable")
        return {"endpoints": len(endpoints), "serving": serving}

    async def _close(self) -> None:
        bridge, self._bridge = self._bridge, None
        endpoints, self.endpoints = self.endpoints, None
        if bridge is not None:
            await bridge.close()
        if endpoints is not None:
            await endpoints.close()
