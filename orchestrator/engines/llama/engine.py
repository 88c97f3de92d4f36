"""GGUF models through llama.cpp, each replica in a supervised child process of its own."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from orchestrator.engines.base import Finding
from orchestrator.engines.children.engine import WorkerEngine
from orchestrator.engines.children.worker import Workplace
from orchestrator.engines.library import Library
from orchestrator.engines.llama import build as llama_build
from orchestrator.engines.llama.build import Build
from orchestrator.engines.llama.doctor import findings
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.values.memory import Pools
from orchestrator.values.spec import ModelSpec

WORKER: Final = (sys.executable, "-m", "orchestrator.workers.serve")


class LlamaCppEngine(WorkerEngine):
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
        place = Workplace(
            argv=tuple(command),
            runtime=RuntimeFolder(runtime),
            path_of=self._path_of,
            threads=threads,
            load_deadline_s=load_deadline_s,
            hang_deadline_s=hang_deadline_s,
        )
        super().__init__(place, library, accelerators or NvidiaDriver())
        self._build = build

    async def version(self, spec: ModelSpec) -> str:
        """Return the installed package's version and what it was built for."""
        return str(llama_build.check(await asyncio.to_thread(self._build), spec))

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Let llama.cpp go through the motions in a short-lived child."""
        return (await dry_run(spec, self._place)).pools

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the installed package, and start a worker on the smallest model that is shipped."""
        return await findings(await asyncio.to_thread(self._build), self._place)

    def _path_of(self, spec: ModelSpec) -> Path:
        """Return the model file, where there is a llama.cpp that can load it. Reads files: from a thread."""
        llama_build.check(self._build(), spec)
        return self._library.path_of(spec)
