"""One worker child from its start until its process is gone."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orchestrator
from orchestrator.engines.child import Child, Command
from orchestrator.engines.environment import worker_environment
from orchestrator.engines.logtail import LogTail
from orchestrator.engines.probe import Probe
from orchestrator.engines.processes import memory_of, offer_to_oom_killer, started_at
from orchestrator.engines.sockets import RuntimeFolder, remove
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    LoadTimedOut,
    ReplicaDied,
    SourceCorrupt,
    SourceNotFound,
)
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.frames import (
    Failed,
    FailureKind,
    Launch,
    decode_report,
    encode_launch,
)

PACKAGE: Final = Path(orchestrator.__file__).resolve().parent
# A child that closes its output without a word is about to end; so long is its end waited for, in seconds.
LAST_WORDS_S: Final = 1.0

_REFUSALS: Final[Mapping[FailureKind, tuple[type[EngineError], str]]] = MappingProxyType(
    {
        FailureKind.NOT_FOUND: (SourceNotFound, "correct the path, or put the file there"),
        FailureKind.CORRUPT: (SourceCorrupt, "get the file again, and pin its sha256"),
        FailureKind.UNKNOWN_ARCHITECTURE: (SourceCorrupt, "use a newer {package}, or another model"),
        FailureKind.OUT_OF_MEMORY: (LoadFailed, "lower `context` or `parallel`, or unload other models"),
        FailureKind.UNAVAILABLE: (EngineUnavailable, "{install}"),
        FailureKind.FAILED: (LoadFailed, "the daemon's log at level debug has all that the worker said"),
    }
)
_OF_SOURCES: Final = frozenset({SourceNotFound, SourceCorrupt})


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all workers of one engine share. `path_of` says where the weights of a spec lie.

    `loads_with` is the worker's runtime, `package` what that stands on, and `install` the command that
    brings it.
    """

    argv: tuple[str, ...]
    runtime: RuntimeFolder
    path_of: Callable[[ModelSpec], Path]
    threads: int | None
    load_deadline_s: float
    hang_deadline_s: float
    loads_with: str = "llama-cpp"
    package: str = "llama-cpp-python"
    install: str = "python -m pip install --force-reinstall llama-cpp-python"


class Worker:
    """One replica's process; started once.

    Args:
        on_death: called once, on the event loop, if the process ends by itself
            after it was ready.
    """

    def __init__(
        self, replica: str, spec: ModelSpec, place: Workplace, on_death: Callable[[ReplicaDied], None]
    ) -> None:
        self.spec = spec
        self.socket = place.runtime.socket_of(replica)
        self.running: Running | None = None  # set once it is ready
        self.unwanted = False  # set once somebody has asked for its end
        self._replica = replica
        self._place = place
        self._on_death = on_death
        self._child: Child | None = None
        self._probe: Probe | None = None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def device_bytes(self) -> int:
        """What Metal's own counters say it takes, where it has them; the kernel's figure may leave that out."""
        return self._probe.memory_bytes if self._probe else 0

    async def start(self) -> Running:
        """Return once it is ready and warm; where that fails or is cancelled, no process is left.

        Raises:
            SourceNotFound, SourceCorrupt, LoadFailed, LoadTimedOut
        """
        limit = asyncio.timeout(self._place.load_deadline_s)
        try:
            async with limit:
                return await self._start()
        except TimeoutError:
            if not limit.expired():
                raise
            raise LoadTimedOut(
                f"not ready within {self._place.load_deadline_s:g} s",
                where=self.spec.name,
                fix="if the model is large and the disk slow, raise `load_deadline` in the settings file",
            ) from None
        finally:
            if self.running is None:
                await self.abandon()

    async def stop(self) -> None:
        """End a ready process politely; it is gone when this returns."""
        self.unwanted = True
        if self._probe is not None:
            self._probe.stop()
        if self._child is not None:
            await self._child.stop()

    async def abandon(self) -> None:
        """End the process at once: it has nothing to lose."""
        self.unwanted = True
        if self._child is not None:
            self._child.kill()
            await self._child.ended()

    def observed(self) -> Running | None:
        """Return what the kernel says of it now; None where it is not ready, or gone."""
        if self.running is None or self._child is None or self._child.has_ended:
            return None
        memory_bytes = memory_of(self.running.pid)
        if memory_bytes is None:
            return None
        return replace(self.running, memory_bytes=max(memory_bytes, self.device_bytes))

    async def _start(self) -> Running:
        path = await asyncio.to_thread(self._place.path_of, self.spec)
        self._place.runtime.make()
        remove(self.socket)  # one that an earlier process has left would be taken for a live one
        log = LogTail(self._replica, lambda line: self._redact(line, path))
        try:
            self._child = await Child.start(self._command(path), log, self._ended)
        except OSError as error:
            raise LoadFailed(
                f"no process could be started: {error.strerror}",
                where=self.spec.name,
                fix="check the limits on processes and memory",
            ) from None
        offer_to_oom_killer(self._child.pid)
        if not self.unwanted:
            await self._check_answer(await self._child.answer(), path)
        started = started_at(self._child.pid)
        if self.unwanted or self._child.has_ended or not started:
            raise await self._stillborn()
        self.running = Running(
            replica=self._replica, socket=str(self.socket), pid=self._child.pid, pid_started=started
        )
        self._probe = Probe(
            str(self.socket), hang_deadline_s=self._place.hang_deadline_s, on_hang=self._child.kill
        )
        return self.running

    def _command(self, path: Path) -> Command:
        runtime = self._place.runtime
        launch = Launch(
            model=self.spec.name,
            path=str(path),
            context=self.spec.context,
            parallel=self.spec.parallel,
            socket=str(self.socket),
            threads=self._place.threads,
            runtime=self._place.loads_with,
        )
        return Command(
            argv=self._place.argv,
            environment=worker_environment(os.environ, package=PACKAGE, temporary=runtime.temporary),
            # Python puts the working directory first in its search path: it must be nobody else's.
            folder=runtime.temporary,
            message=encode_launch(launch),
        )

    def _redact(self, text: str, path: Path) -> str:
        """Put the source as written in place of the resolved one, which may hold a secret."""
        return text.replace(str(path), self.spec.source.written)

    async def _check_answer(self, line: bytes, path: Path) -> None:
        """Return when `line` says that the worker is ready; else raise why it is not."""
        if not line:
            raise await self._stillborn()
        try:
            report = decode_report(line)
        except ValueError:
            said = self._redact(line[:80].decode(errors="replace"), path)
            raise LoadFailed(
                f"the worker said {said!r} in place of its report",
                where=self.spec.name,
                fix="reinstall the package: the daemon and its worker are not of one version",
            ) from None
        if isinstance(report, Failed):
            raise self._refusal(report, path)

    def _refusal(self, report: Failed, path: Path) -> EngineError:
        leaf, fix = _REFUSALS[report.kind]
        said = self._redact(report.message, path)
        what = f"source '{self.spec.source.written}': {said}" if leaf in _OF_SOURCES else said
        known = fix.format(package=self._place.package, install=self._place.install)
        return leaf(what, where=self.spec.name, fix=known)

    async def _stillborn(self) -> LoadFailed:
        """Return why the process is gone before it was ready."""
        if self.unwanted:
            return LoadFailed("unloaded while it was loading", where=self.spec.name)
        if self._child is None or not await self._child.wait_ended(within_s=LAST_WORDS_S):
            return LoadFailed("the worker closed its output without a word", where=self.spec.name)
        cause = self._child.cause
        return LoadFailed(f"the worker never got ready: {cause.what}", where=self.spec.name, fix=cause.fix)

    def _ended(self) -> None:
        if self._probe is not None:
            self._probe.stop()
        remove(self.socket)
        if self.running is not None and not self.unwanted and self._child is not None:
            cause = self._child.cause
            self._on_death(ReplicaDied(cause.what, where=self.spec.name, fix=cause.fix))
