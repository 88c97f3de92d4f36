"""Models in MLX's form through mlx-lm, each replica in a supervised child process of its own."""

import asyncio
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Finding
from orchestrator.engines.children.engine import WorkerEngine
from orchestrator.engines.children.launching import Workplace, redacted
from orchestrator.engines.library import Library
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
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


class MlxEngine(WorkerEngine):
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
        place = Workplace(
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
        super().__init__(place, library, accelerators or NvidiaDriver())
        self._version_of = version_of

    async def version(self, spec: ModelSpec) -> str:
        """Return the versions of mlx-lm and of mlx."""
        return await asyncio.to_thread(self._versions, spec.name)

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return an upper bound from the headers of the weights, the configuration and the vocabulary."""
        return {RAM: await asyncio.to_thread(self._peak_bytes, spec)}

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a warm worker."""
        await asyncio.to_thread(self._versions, spec.name)
        return await super().ensure_loaded(replica, spec)

    async def held(self) -> Pools:
        """Return what the workers' processes have of their own, and Metal for them at least."""
        held = dict(await super().held())
        device_bytes = sum(worker.device_bytes for worker in self._roster)
        return held | {RAM: max(held.get(RAM, 0), device_bytes)} if device_bytes else held

    async def diagnose(self) -> Sequence[Finding]:
        """Say whether mlx is installed."""
        try:
            return (Finding(what="mlx", ok=True, found=await asyncio.to_thread(self._versions, "")),)
        except EngineUnavailable as absent:
            return (Finding(what="mlx", ok=False, found=absent.what, fix=absent.fix),)

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
