"""What engines share that have a worker child per replica, and weights in the library."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.engines.base import OnDisk, Progress
from orchestrator.engines.children.launching import Workplace
from orchestrator.engines.children.processes import end_leftovers
from orchestrator.engines.children.worker import Worker
from orchestrator.engines.library import Library
from orchestrator.engines.memory import weighing
from orchestrator.engines.memory.accelerators import Accelerators
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Pools
from orchestrator.values.spec import ModelSpec


class WorkerEngine:
    """The verbs that do not differ: `version`, `estimate` and `diagnose` are the engine's own.

    Args:
        place: what all workers share.
        library: has the weights, and knows where they lie.
        accelerators: what is asked of GPUs' memory.
    """

    def __init__(self, place: Workplace, library: Library, accelerators: Accelerators) -> None:
        self._place = place
        self._library = library
        self._accelerators = accelerators
        self._roster: Roster[Worker] = Roster(self._hire)

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the weights; what the user has put somewhere stays there."""
        return await self._library.ensure(spec, progress)

    async def newest(self, spec: ModelSpec) -> str:
        """Ask the hub, where the source names something that moves there."""
        return await self._library.newest(spec)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete it from the cache."""
        return await self._library.remove(spec, keep)

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a warm worker."""
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the worker, and remove its socket."""
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the workers that are ready and whose process lives, with their memory of now."""
        return await weighing.observe(self._roster, self._accelerators)

    async def held(self) -> Pools:
        """Return what the workers' processes have of their own, without pages of files."""
        return await weighing.held(self._roster, self._accelerators)

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """Kill workers of an earlier daemon, and remove the sockets that nobody listens on."""
        own = [worker.pid for worker in self._roster]
        await end_leftovers(leftovers, command=self._place.argv[-1], own=own)
        self._place.runtime.remove_stale({worker.socket for worker in self._roster})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report ends that nobody asked for; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        await self._roster.close()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Worker:
        return Worker(replica, spec, self._place, on_death)
