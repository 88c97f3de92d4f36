"""Models in MLX's form through mlx-lm, each replica in a supervised child process of its own."""

import asyncio
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Finding, OnDisk, Progress
from orchestrator.engines.children.launching import Workplace, redacted
from orchestrator.engines.children.processes import end_leftovers
from orchestrator.engines.children.worker import Worker
from orchestrator.engines.library import Library
from orchestrator.engines.memory import weighing
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError, EngineUnavailable, SourceCorrupt, SourceNotFound
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Pools
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.mlx.folder import read_folder
from orchestrator.workers.mlx.memory import peak_bytes

WORKER: Final = (sys.executable, "-m", "orchestrator.workers.serve")
PACKAGES: Final = ("mlx-lm", "mlx")
_PIP: Final = f"{sys.executable} -m pip install"
_VERSION: Final = ">=0.32,<0.33"
_INSTALL: Final = MappingProxyType(
    {
        ("Darwin", "arm64"): f"{_PIP} 'mlx-lm{_VERSION}'",
        ("Linux", "x86_64"): f"{_PIP} 'mlx[cpu]{_VERSION}' 'mlx-lm{_VERSION}'",
        ("Linux", "aarch64"): f"{_PIP} 'mlx[cpu]{_VERSION}' 'mlx-lm{_VERSION}'",
    }
)
# What brings mlx to this machine.
INSTALL: Final = _INSTALL.get(
    (platform.system(), platform.machine()),
    "MLX runs on Apple silicon, and on Linux: use another engine on this machine, such as llama-cpp",
)

_REFUSED: Final[Mapping[FailureKind, tuple[type[EngineError], str]]] = MappingProxyType(
    {
        FailureKind.NOT_FOUND: (SourceNotFound, "name a folder with config.json and model*.safetensors"),
        FailureKind.CORRUPT: (SourceCorrupt, "copy or download the folder again"),
    }
)


class MlxEngine:
    """Drives `orchestrator.workers.serve` with mlx-lm in it; this process never imports mlx.

    Args:
        runtime: a private folder for the workers' sockets; made when missing.
        library: has the model folders, and knows where they lie.
        load_deadline_s: from the start of a worker until it is ready and warm.
        hang_deadline_s: how long a worker may stand still before it is killed.
        version_of: tells the version of an installed package; another one in tests.
        accelerators: the GPUs whose memory counts; others in tests.

    Raises:
        EngineError: the runtime folder cannot be used.
    """

    name = "mlx"

    def __init__(
        self,
        runtime: Path,
        library: Library,
        *,
        load_deadline_s: float = 120.0,
        hang_deadline_s: float = 30.0,
        version_of: Callable[[str], str] = metadata.version,
        accelerators: Accelerators | None = None,
    ) -> None:
        self._place = Workplace(
            argv=WORKER,
            runtime=RuntimeFolder(runtime),
            path_of=library.path_of,
            threads=None,
            load_deadline_s=load_deadline_s,
            hang_deadline_s=hang_deadline_s,
            loads_with="mlx",
            package="mlx-lm",
            install=INSTALL,
        )
        self._library = library
        self._version_of = version_of
        self._accelerators = accelerators or NvidiaDriver()
        self._roster: Roster[Worker] = Roster(self._hire)

    async def version(self, spec: ModelSpec) -> str:
        """Return the versions of mlx-lm and of mlx."""
        return await asyncio.to_thread(self._versions, spec.name)

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the model's folder; what the user has put somewhere stays there."""
        return await self._library.ensure(spec, progress)

    async def newest(self, spec: ModelSpec) -> str:
        """Ask the hub, where the source names something that moves there."""
        return await self._library.newest(spec)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete it from the cache."""
        return await self._library.remove(spec, keep)

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return an upper bound from the headers of the weights, the configuration and the vocabulary."""
        return {RAM: await asyncio.to_thread(self._peak_bytes, spec)}

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a warm worker."""
        await asyncio.to_thread(self._versions, spec.name)
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the worker, and remove its socket."""
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the workers that are ready and whose process lives, with their memory of now."""
        return await weighing.observe(self._roster, self._accelerators)

    async def held(self) -> Pools:
        """Return what the workers' processes have of their own, and Metal for them at least."""
        held = dict(await weighing.held(self._roster, self._accelerators))
        device_bytes = sum(worker.device_bytes for worker in self._roster)
        return held | {RAM: max(held.get(RAM, 0), device_bytes)} if device_bytes else held

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """Kill workers of an earlier daemon, and remove the sockets that nobody listens on."""
        own = [worker.pid for worker in self._roster]
        await end_leftovers(leftovers, command=self._place.argv[-1], own=own)
        self._place.runtime.remove_stale({worker.socket for worker in self._roster})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report ends that nobody asked for; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        """Say whether mlx is installed."""
        try:
            return (Finding(what="mlx", ok=True, found=await asyncio.to_thread(self._versions, "")),)
        except EngineUnavailable as absent:
            return (Finding(what="mlx", ok=False, found=absent.what, fix=absent.fix),)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        await self._roster.close()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Worker:
        return Worker(replica, spec, self._place, on_death)

    def _versions(self, where: str) -> str:
        """Return what is installed of it.

        Raises:
            EngineUnavailable: not all that is needed.
        """
        found = []
        for package in PACKAGES:
            try:
                found.append(f"{package} {self._version_of(package)}")
            except metadata.PackageNotFoundError:
                raise EngineUnavailable(f"{package} is not installed", where=where, fix=INSTALL) from None
        return ", ".join(found)

    def _peak_bytes(self, spec: ModelSpec) -> int:
        path = self._library.path_of(spec)
        try:
            forms = "json" in spec.capabilities
            return peak_bytes(read_folder(path), context=spec.context, parallel=spec.parallel, forms=forms)
        except LoadRefused as refused:
            leaf, fix = _REFUSED.get(refused.kind, (EngineError, "check the disk that it lies on"))
            said = redacted(str(refused), spec, path)
            raise leaf(f"source '{spec.source.written}': {said}", where=spec.name, fix=fix) from None
        except (ArithmeticError, TypeError, ValueError):  # numbers that no model has
            what = f"source '{spec.source.written}': its config.json makes no sense"
            raise SourceCorrupt(what, where=spec.name, fix="copy or download the folder again") from None
