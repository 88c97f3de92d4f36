"""One worker child from its start until its process is gone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from orchestrator.engines.children.child import Child
from orchestrator.engines.children.launching import Workplace, babble, command_of, redacted, refusal
from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.children.probe import Probe
from orchestrator.engines.children.processes import offer_to_oom_killer, started_at
from orchestrator.engines.memory.weight import Weight, weight_of
from orchestrator.engines.sockets import remove
from orchestrator.errors import LoadFailed, LoadTimedOut, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.frames import Failed, decode_report

__all__ = ["Worker", "Workplace"]

# A child that closes its output without a word is about to end; so long is its end waited for, in seconds.
LAST_WORDS_S: Final = 1.0


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
        self._reserved_bytes = 0
        self._own_bytes = 0  # when it became ready
        self._probe: Probe | None = None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def device_bytes(self) -> int:
        """What Metal's own counters say it takes; the kernel's figure may leave that out."""
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

    def observed(self, weight: Weight | None = None) -> Running | None:
        """Return what the kernel says of it now; None where it is not ready, or gone.

        Args:
            weight: what was just read; read here where there is none.
        """
        if self.running is None or self._child is None or self._child.has_ended:
            return None
        weight = weight or weight_of(self.running.pid)
        if weight is None:
            return None
        # What it has set aside counts from the start: others may not be given it.
        grown = weight.own_bytes - self._own_bytes
        to_come = max(self._reserved_bytes - max(grown, 0), 0)
        return replace(self.running, memory_bytes=weight.ram_bytes + to_come, gpu_bytes=weight.gpu_bytes)

    async def _start(self) -> Running:
        path = await asyncio.to_thread(self._place.path_of, self.spec)
        self._place.runtime.make()
        remove(self.socket)  # one that an earlier process has left would be taken for a live one
        log = LogTail(self._replica, lambda line: redacted(line, self.spec, path))
        try:
            self._child = await Child.start(
                command_of(self._place.argv, self.spec, self._place, path=path, socket=str(self.socket)),
                log,
                self._ended,
            )
        except OSError as error:
            raise LoadFailed(
                f"no process could be started: {error.strerror}",
                where=self.spec.name,
                fix="check the limits on processes and memory",
            ) from None
        offer_to_oom_killer(self._child.pid)
        if not self.unwanted:
            self._reserved_bytes = await self._check_answer(await self._child.answer(), path)
        started = started_at(self._child.pid)
        weight = weight_of(self._child.pid)
        self._own_bytes = weight.own_bytes if weight else 0
        if self.unwanted or self._child.has_ended or not started:
            raise await self._stillborn()
        self.running = Running(
            replica=self._replica, socket=str(self.socket), pid=self._child.pid, pid_started=started
        )
        self._probe = Probe(
            str(self.socket), hang_deadline_s=self._place.hang_deadline_s, on_hang=self._child.kill
        )
        return self.running

    async def _check_answer(self, line: bytes, path: Path) -> int:
        """Return what a worker that says in `line` that it is ready has set aside; else raise why not."""
        if not line:
            raise await self._stillborn()
        try:
            report = decode_report(line)
        except ValueError:
            raise babble(line, self.spec, path) from None
        if isinstance(report, Failed):
            raise refusal(report, self.spec, self._place, path)
        return report.reserved_bytes

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
