"""The engine `openai`: models that somebody else serves, under one or several base URLs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.engines.base import Finding, OnDisk, Progress
from orchestrator.engines.crew import Crew
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError, EngineUnavailable, LoadFailed
from orchestrator.values.fleet import Running
from orchestrator.values.memory import NOTHING, Pools
from orchestrator.values.spec import ModelSpec

if TYPE_CHECKING:
    from orchestrator.engines.openai.endpoints import Endpoints
    from orchestrator.engines.openai.replica import OpenAIReplica

# The pause between two health checks of a replica near by; REMOTE_TIMES as long for others. A guess: mostly a
# request notices a dead endpoint first.
CHECK_EVERY_S: Final = 10.0
# The pause before the check that a failed request causes: long enough that many of them cause few.
CHECK_AFTER_S: Final = 0.2
_HEAVY: Final = "orchestrator.engines.openai.replica"


class OpenAIEngine:
    """Leads to endpoints: nothing is fetched or loaded, and none of this machine's memory is taken.

    Nothing is asked for an answer to warm it up, which may cost money: a
    replica is ready once an endpoint is known to serve its model.

    Args:
        runtime: a private folder for the replicas' sockets; made when missing.
        egress: whether requests may leave the machine's own networks.
        load_deadline_s: within which the endpoints have to answer.
        check_every_s: see CHECK_EVERY_S.
        check_after_s: see CHECK_AFTER_S.

    Raises:
        EngineError: the runtime folder cannot be used.
    """

    name = "openai"

    def __init__(
        self,
        runtime: Path,
        *,
        egress: bool = False,
        load_deadline_s: float = 120.0,
        check_every_s: float = CHECK_EVERY_S,
        check_after_s: float = CHECK_AFTER_S,
    ) -> None:
        self._runtime = RuntimeFolder(runtime)
        self._egress = egress
        self._load_deadline_s = load_deadline_s
        self._check_every_s = check_every_s
        self._check_after_s = check_after_s
        self._crew = Crew()
        self._roster: Roster[OpenAIReplica] = Roster(self._hire)
        self._closed = False

    async def version(self, spec: ModelSpec) -> str:
        """Return what the server calls itself."""
        async with self._endpoints(spec) as endpoints:
            try:
                await endpoints.first_look()
            except EngineUnavailable:
                raise
            except EngineError:
                return ""  # fetching says what is wrong
            return endpoints.server

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Ask whether an endpoint serves the model; there is nothing to fetch."""
        progress(Progress(doing="asking"))
        async with self._endpoints(spec) as endpoints:
            await endpoints.first_look()
        return OnDisk()

    async def newest(self, spec: ModelSpec) -> str:  # noqa: ARG002 (the contract's)
        """Return "": what a name means is the endpoint's business."""
        return ""

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:  # noqa: ARG002 (as above)
        """Return 0: nothing lies here."""
        return 0

    async def estimate(self, spec: ModelSpec) -> Pools:  # noqa: ARG002 (as above)
        """Return nothing: it takes none of this machine's memory."""
        return NOTHING

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a socket that leads to an endpoint that serves the model."""
        await self._prepare(spec)
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """Remove the socket, and end the answers under way."""
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Ask the endpoints now, and return the replicas of those that serve."""
        async with asyncio.TaskGroup() as looks:
            for worker in self._roster:
                looks.create_task(worker.look())
        return self._roster.observe()

    async def held(self) -> Pools:
        """Return nothing, as `estimate`."""
        return NOTHING

    async def reap(self, leftovers: Sequence[Running]) -> None:  # noqa: ARG002 (as above)
        """Remove sockets that nobody listens on; nothing else outlives a daemon."""
        self._runtime.remove_stale({worker.socket for worker in self._roster})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report replicas none of whose endpoints serves any more; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        """Return whether requests may leave, and how the endpoints in use are."""
        reach = "anywhere, where a policy says so" if self._egress else "this machine and its own networks"
        found = [Finding(what="openai: may connect to", ok=True, found=reach)]
        for worker in self._roster:
            for endpoint in worker.endpoints.all if worker.endpoints else ():
                trouble = endpoint.trouble
                found.append(
                    Finding(
                        what=f"openai: {endpoint.place} for '{worker.spec.name}'",
                        ok=trouble is None,
                        found=trouble.what if trouble else endpoint.server or "serves",
                        fix=trouble.fix if trouble else "",
                    )
                )
        return found

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        self._closed = True
        await self._roster.close()
        await self._crew.close()

    @asynccontextmanager
    async def _endpoints(self, spec: ModelSpec) -> AsyncIterator["Endpoints"]:
        await self._prepare(spec)
        from orchestrator.engines.openai.endpoints import Endpoints  # noqa: PLC0415 (see _prepare)

        endpoints = Endpoints(spec, egress=self._egress)
        try:
            yield endpoints
        finally:
            await endpoints.close()

    async def _prepare(self, spec: ModelSpec) -> None:
        """Have ready what only the users of this engine need: its client takes 200 ms and 11 MB."""
        if _HEAVY not in sys.modules:
            await asyncio.to_thread(import_module, _HEAVY)
        if self._closed:
            raise LoadFailed("the engine is closed", where=spec.name)
        if not self._crew.is_open:
            await self._crew.open()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> "OpenAIReplica":
        from orchestrator.engines.openai.replica import OpenAIReplica, Place  # noqa: PLC0415 (see _prepare)

        place = Place(
            runtime=self._runtime,
            crew=self._crew,
            egress=self._egress,
            load_deadline_s=self._load_deadline_s,
            check_every_s=self._check_every_s,
            check_after_s=self._check_after_s,
        )
        return OpenAIReplica(replica, spec, place, on_death)
