"""A pretended process of the fake engine."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Final, Protocol

from orchestrator.engines.fakes.nature import Nature
from orchestrator.engines.roster import OnDeath
from orchestrator.errors import LoadFailed, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.memory import NOTHING, RAM, Pools
from orchestrator.values.spec import ModelSpec

# Above the largest process number that Linux gives out: nobody can be hit by mistake.
_PIDS: Final = count(10_000_000)


class Home(Protocol):
    """What a pretended process asks of its engine."""

    unload_s: float

    def nature_of(self, spec: ModelSpec) -> Nature:
        """Return what a source is like."""

    def load_takes_s(self, spec: ModelSpec) -> float:
        """Return how long a load takes."""

    def load_outcome(self, spec: ModelSpec) -> None:
        """Raise what a load comes to where it fails."""

    def gave_up(self, spec: ModelSpec, taken: Pools) -> None:
        """Note that a process has ended that took so much."""


class FakeWorker:
    """It begins with `start` and ends with `stop`, `abandon` or `die`."""

    def __init__(self, home: Home, replica: str, spec: ModelSpec, on_death: OnDeath) -> None:
        self.spec = spec
        self.replica = replica
        self.running: Running | None = None
        self.unwanted = False
        self.worked = False  # set by whoever pretends that it has answered a request
        self._home = home
        self._on_death = on_death
        self._gone = asyncio.Event()
        self._began_s: float | None = None

    async def start(self) -> Running:
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        try:
            with suppress(TimeoutError):  # the time of a load has passed undisturbed
                async with asyncio.timeout(self._home.load_takes_s(self.spec)):
                    await self._gone.wait()
            if self._gone.is_set():
                raise LoadFailed("unloaded while it was loading", where=self.spec.name)
            self._home.load_outcome(self.spec)
            self.running = Running(
                replica=self.replica,
                socket=f"/nowhere/{self.replica}.sock",
                pid=next(_PIDS),
                pid_started=0.0,
            )
            return self.running
        finally:
            if self.running is None:
                self._end()

    async def stop(self) -> None:
        self.unwanted = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._home.unload_s):
                await self._gone.wait()
        self._end()

    async def abandon(self) -> None:
        self.unwanted = True
        self._end()

    def taken(self) -> Pools:
        """Return what it takes now: it grows while it loads, and once more when it first works."""
        if self._gone.is_set():
            return NOTHING
        nature = self._home.nature_of(self.spec)
        if self.running is not None:
            return nature.taken(1.0 if self.worked else nature.ready)
        if self._began_s is None:
            return NOTHING
        age_s = asyncio.get_running_loop().time() - self._began_s
        takes_s = self._home.load_takes_s(self.spec)
        return nature.taken(nature.ready * min(age_s / takes_s, 1.0) if takes_s else nature.ready)

    def observed(self) -> Running | None:
        if self._gone.is_set() or self.running is None:
            return None
        taken = dict(self.taken())
        ram_bytes = taken.pop(RAM, 0)
        return replace(self.running, memory_bytes=ram_bytes, gpu_bytes=tuple(taken.items()))

    def die(self, what: str) -> None:
        if self._gone.is_set():
            return
        was_ready = self.running is not None and not self.unwanted
        self._end()
        if was_ready:
            self._on_death(ReplicaDied(what, where=self.spec.name))

    def _end(self) -> None:
        if not self._gone.is_set():
            taken = self.taken()
            self._gone.set()
            self._home.gave_up(self.spec, taken)
