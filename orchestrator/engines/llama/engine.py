"""GGUF models through llama.cpp, each replica in a supervised child process of its own."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.engines.base import Finding, OnDisk, Progress
from orchestrator.engines.children.processes import end_leftovers
from orchestrator.engines.children.worker import Worker, Workplace
from orchestrator.engines.library import Library
from orchestrator.engines.llama import build as llama_build
from orchestrator.engines.llama.build import Build
from orchestrator.engines.llama.doctor import findings
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.engines.memory import weighing
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Pools
from orchestrator.values.spec import ModelSpec

WORKER: Final = (sys.executable, "-m", "orchestrator.workers.serve")


class LlamaCppEngine:
    """Drives `orchestrator.workers.serve`.

    Args:
        runtime: a private folder for the workers' sockets; made when missing.
        library: has the model files, and knows where they lie.
        load_deadline_s: from the start of a worker until it is ready and warm.
        hang_deadline_s: how long a worker may stand still before it is killed.
        threads: per worker; None leaves the choice to the worker.
        command: what is started in place of the worker, in tests.
        build: tells which llama-cpp-python there is; another one in tests.
        accelerators: the GPUs whose memory counts; others in tests.

    Raises:
        EngineError: the runtime folder cannot be used.
    """

    name = "llama-cpp"

    def __init__(  # noqa: PLR0913 (wired in one place)
        self,
        runtime: Path,
        library: Library,
        *,
        load_deadline_s: float = 120.0,
        hang_deadline_s: float = 30.0,
        threads: int | None = None,
        command: Sequence[str] = WORKER,
        build: Callable[[], Build | None] = llama_build.installed,
        accelerators: Accelerators | None = None,
    ) -> None:
        self._place = Workplace(
            argv=tuple(command),
            runtime=RuntimeFolder(runtime),
            path_of=self._path_of,
            threads=threads,
            load_deadline_s=load_deadline_s,
            hang_deadline_s=hang_deadline_s,
        )
        self._library = library
        self._build = build
        self._accelerators = accelerators or NvidiaDriver()
        self._roster: Roster[Worker] = Roster(self._hire)

    async def version(self, spec: ModelSpec) -> str:
        """Return the installed package's version and what it was built for."""
        return str(llama_build.check(await asyncio.to_thread(self._build), spec))

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the model file; what the user has put somewhere stays there."""
        return await self._library.ensure(spec, progress)

    async def newest(self, spec: ModelSpec) -> str:
        """Ask the hub, where the source names something that moves there."""
        return await self._library.newest(spec)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete it from the cache."""
        return await self._library.remove(spec, keep)

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Let llama.cpp go through the motions in a short-lived child."""
        return (await dry_run(spec, self._place)).pools

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

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the installed package, and start a worker on the smallest model that is shipped."""
        return await findings(await asyncio.to_thread(self._build), self._place)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        await self._roster.close()

    def _path_of(self, spec: ModelSpec) -> Path:
        """Return the model file, where there is a llama.cpp that can load it. Reads files: from a thread."""
        llama_build.check(self._build(), spec)
        return self._library.path_of(spec)

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Worker:
        return Worker(replica, spec, self._place, on_death)
