"""Commands that serve the OpenAI API, each replica a supervised process behind a bridge of its own."""

import asyncio
import logging
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.engines.base import Finding, OnDisk, Premises, Progress
from orchestrator.engines.children.processes import end_leftovers
from orchestrator.engines.crew import Crew
from orchestrator.engines.library import Library
from orchestrator.engines.memory.accelerators import NvidiaDriver
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.engines.server.attempt import Terms
from orchestrator.engines.server.command import (
    PROGRAMS,
    Home,
    environment_of,
    program_of,
    search_path,
    version_of,
)
from orchestrator.engines.server.health import WRONG_PATH_S
from orchestrator.engines.server.ports import Ports
from orchestrator.engines.server.process import GUARD
from orchestrator.engines.server.replica import Served, Workshop
from orchestrator.engines.server.tree import end_marked
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError, SourceNotFound
from orchestrator.values.fleet import Running
from orchestrator.values.memory import NOTHING, RAM, Pools, added
from orchestrator.values.spec import ModelSpec, Source

# How long a command has between SIGTERM and SIGKILL, in seconds. A guess: requests have been drained before,
# and servers with several processes need a few seconds to end them in order.
GRACE_S: Final = 10.0
# Over the size of the model's files: what a server takes for its cache and its computation, and for itself.
# Guesses that no command can be held to; `memory:` overrides them, and what was measured replaces them. With
# a model of 250 KB llama-server took 27 MB, llama_cpp.server 82 MB, and transformers with PyTorch 840 MB.
FACTOR: Final = 1.2
FILE_BYTES: Final = 512 * 1024 * 1024
FOLDER_BYTES: Final = 2048 * 1024 * 1024
# The kind of source that this machine does not fetch: the command does what it likes with the text.
BARE: Final = "name"

logger = logging.getLogger(__name__)


class ServerEngine:
    """Drives any command that serves the OpenAI API.

    Args:
        premises: its settings give the deadlines.
        grace_s: what a command has between SIGTERM and SIGKILL.
        wrong_path_s: how long a server may answer 404 at its health path.
    """

    name = "server"

    def __init__(
        self, premises: Premises, *, grace_s: float = GRACE_S, wrong_path_s: float = WRONG_PATH_S
    ) -> None:
        settings = premises.settings
        self._runtime = RuntimeFolder(premises.runtime)
        self._home = Home(
            own=premises.environment,
            temporary=self._runtime.temporary,
            compiled=premises.cache / "compiled",
            offline=settings.offline,
        )
        self._files = Library(premises, form="gguf")
        self._folders = Library(premises, form="mlx")
        self._crew = Crew()
        self._mark = secrets.token_hex(4)  # tells this daemon's processes from those of another one
        terms = Terms(
            runtime=self._runtime,
            ports=Ports(),
            home=self._home,
            mark=self._mark,
            egress=settings.egress,
            wrong_path_s=wrong_path_s,
            grace_s=grace_s,
        )
        self._shop = Workshop(
            terms=terms,
            locate=self._locate,
            crew=self._crew,
            accelerators=NvidiaDriver(),
            load_deadline_s=settings.load_deadline_s,
            hang_deadline_s=settings.hang_deadline_s,
        )
        self._roster: Roster[Served] = Roster(self._hire)
        self._closed = False
        self._unbounded: set[str] = set()  # models whose missing estimate has been told

    async def version(self, spec: ModelSpec) -> str:
        """Return where the command's program lies and since when; a Python module's is Python's own."""
        program = program_of(spec, environment_of(spec, self._home))
        with suppress(OSError):  # it is being replaced at this very moment
            return version_of(program)
        return ""

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have what `{model}` stands for; a bare name is the command's own business."""
        library = self._library(spec)
        if library is not None:
            return await library.ensure(spec, progress)
        if spec.quantize:
            raise SourceNotFound(
                f"source '{spec.source.written}' is the command's own business, and `quantize` needs a file",
                where=spec.name,
                fix="use a source such as hf:ORG/REPO/FILE, or remove `quantize`",
            )
        return OnDisk()

    async def newest(self, spec: ModelSpec) -> str:
        """Return what the source means now; "" for a bare name: only the command knows."""
        library = self._library(spec)
        return "" if library is None else await library.newest(spec)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete what was fetched here; what a command has fetched itself is left alone."""
        library = self._library(spec)
        return 0 if library is None else await library.remove(spec, keep)

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return a bound from the size of the model's files, in the RAM; nothing for a bare name.

        What a command does with a name cannot be known, so that such a model
        is admitted as if it took nothing until it has been measured: `memory:`
        is the way to bound it, and a warning in the log says so.
        """
        library = self._library(spec)
        if library is None:
            self._warn_unbounded(spec)
            return NOTHING
        path = await asyncio.to_thread(library.path_of, spec)
        try:
            size_bytes = await asyncio.to_thread(_size_of, path)
        except OSError as error:
            what = f"source '{spec.source.written}' cannot be read: {error.strerror}"
            raise EngineError(what, where=spec.name, fix="see whether the file is still there") from None
        base_bytes = FILE_BYTES if library is self._files else FOLDER_BYTES
        return {RAM: round(size_bytes * FACTOR) + base_bytes}

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a command that serves, and has answered."""
        if not self._crew.is_open and not self._closed:
            await self._crew.open()
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the command with all that it has started."""
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the replicas whose guard and command live, with what all their processes take."""
        replicas = list(self._roster)
        seen = await asyncio.to_thread(lambda: [each.observed() for each in replicas])
        return {running.replica: running for running in seen if running is not None}

    async def held(self) -> Pools:
        """Return what all processes take and would not give back, those of loads under way included."""
        replicas = list(self._roster)
        return await asyncio.to_thread(lambda: added(each.held() for each in replicas))

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """End the guards of an earlier daemon, which end the rest, and what has lost its guard."""
        own = [each.pid for each in self._roster]
        await end_leftovers(leftovers, command=GUARD, own=own)
        await asyncio.to_thread(end_marked, leftovers, own=f"{self._mark}:")
        self._runtime.remove_stale({path for each in self._roster for path in each.sockets})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report ends that nobody asked for; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        """List known servers; none is needed, and what a command lacks its model's condition says."""
        path = search_path(self._home.own)
        known = [name for name in PROGRAMS if await asyncio.to_thread(shutil.which, name, path=path)]
        found = (
            ", ".join(known) or f"none of {', '.join(PROGRAMS)}; any other that speaks OpenAI's API will do"
        )
        return (Finding(what="servers on the PATH", ok=True, found=found),)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        self._closed = True
        await self._roster.close()
        await self._crew.close()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Served:
        return Served(replica, spec, self._shop, on_death)

    def _library(self, spec: ModelSpec) -> Library | None:
        if spec.source.scheme == BARE:
            return None
        return self._folders if _is_folder(spec.source) else self._files

    async def _locate(self, spec: ModelSpec) -> str:
        """Return what stands for `{model}`, checked: what is here and untouched takes no time."""
        library = self._library(spec)
        if library is None:
            return spec.source.location
        await library.ensure(spec, lambda _: None)
        return str(await asyncio.to_thread(library.path_of, spec))

    def _warn_unbounded(self, spec: ModelSpec) -> None:
        if spec.memory_bytes is None and spec.name not in self._unbounded:
            self._unbounded.add(spec.name)
            logger.warning(
                "model '%s': what its command will take cannot be known before it has run; "
                "set `memory:` in its file to keep it inside the budget",
                spec.name,
            )


def _is_folder(source: Source) -> bool:
    """Say whether a source is a folder of safetensors rather than a GGUF file.

    A repository without a file in it is one, unless its name says GGUF, as
    those that hold the same model in many sizes do.
    """
    if source.scheme == "file":
        return Path(source.location).is_dir()
    path = source.location.partition("@")[0]
    return source.scheme == "hf" and path.count("/") == 1 and "gguf" not in path.lower()


def _size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
