"""An engine without models, for tests: everything takes the event loop's own time, real or virtual."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Final

from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.errors import EngineError, LoadFailed, LoadTimedOut, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec

# Above the largest process number that Linux gives out: nobody can be hit by mistake.
_PIDS: Final = count(10_000_000)


class FakeEngine:
    """Loads in `load_s` seconds, unloads in `unload_s`, and fails as it is told to.

    The durations may be changed at any time and hold from the next verb on.
    `calls` lists every verb with its replica (`fetch`: its model), in order.
    """

    def __init__(
        self,
        name: str = "llama-cpp",
        *,
        load_s: float = 1.0,
        unload_s: float = 0.1,
        load_deadline_s: float = 120.0,
    ) -> None:
        self.name = name
        self.load_s = load_s
        self.unload_s = unload_s
        self.load_deadline_s = load_deadline_s
        self.calls: list[tuple[str, str]] = []
        self._fetch_troubles: dict[str, _Trouble] = {}
        self._load_troubles: dict[str, _Trouble] = {}
        self._roster: Roster[_FakeWorker] = Roster(self._hire)

    def refuse_fetch(self, location: str, error: EngineError, *, times: float = inf) -> None:
        """Let the next `times` fetches of a source's location fail."""
        self._fetch_troubles[location] = _Trouble(error, times)

    def refuse_load(self, location: str, error: EngineError, *, times: float = inf) -> None:
        """Let the next `times` loads of a source's location fail, each after `load_s`."""
        self._load_troubles[location] = _Trouble(error, times)

    def accept(self, location: str) -> None:
        """Let a source's location be fetched and loaded again."""
        self._fetch_troubles.pop(location, None)
        self._load_troubles.pop(location, None)

    def die(self, replica: str, what: str = "killed (SIGKILL)") -> None:
        """Let a ready replica end by itself, as after a crash, a hang or a kill from outside.

        Raises:
            KeyError: there is no such replica.
        """
        self._roster[replica].die(what)

    @property
    def alive(self) -> int:
        """How many pretended processes there are, ready or not."""
        return len(list(self._roster))

    async def ensure_fetched(self, spec: ModelSpec) -> None:
        """Raise what `refuse_fetch` has in store; else return at once."""
        self.calls.append(("fetch", spec.name))
        _raise_trouble(self._fetch_troubles, spec)

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a pretended process after `load_s`."""
        self.calls.append(("load", replica))
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the pretended process within `unload_s`."""
        self.calls.append(("unload", replica))
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the pretended processes that are ready and alive."""
        return self._roster.observe()

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """Note who should be ended; no pretended process outlives this one."""
        self.calls.extend(("reap", running.replica) for running in leftovers)

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report what `die` ends; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        await self._roster.close()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> "_FakeWorker":
        return _FakeWorker(self, replica, spec, on_death)

    def load_outcome(self, spec: ModelSpec) -> None:
        """Raise what a load of `spec` that has taken its time comes to; return where it is well."""
        if self.load_s > self.load_deadline_s:
            raise LoadTimedOut(f"not ready within {self.load_deadline_s:g} s", where=spec.name)
        _raise_trouble(self._load_troubles, spec)


class _FakeWorker:
    """A pretended process: begins with `start`, ends with `stop`, `abandon` or `die`."""

    def __init__(self, engine: FakeEngine, replica: str, spec: ModelSpec, on_death: OnDeath) -> None:
        self.spec = spec
        self.running: Running | None = None
        self.unwanted = False
        self._engine = engine
        self._replica = replica
        self._on_death = on_death
        self._gone = asyncio.Event()

    async def start(self) -> Running:
        with suppress(TimeoutError):  # the time of a load has passed undisturbed
            async with asyncio.timeout(min(self._engine.load_s, self._engine.load_deadline_s)):
                await self._gone.wait()
        if self._gone.is_set():
            raise LoadFailed("unloaded while it was loading", where=self.spec.name)
        self._engine.load_outcome(self.spec)
        self.running = Running(
            replica=self._replica, socket=f"/nowhere/{self._replica}.sock", pid=next(_PIDS), pid_started=0.0
        )
        return self.running

    async def stop(self) -> None:
        self.unwanted = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._engine.unload_s):
                await self._gone.wait()
        self._gone.set()

    async def abandon(self) -> None:
        self.unwanted = True
        self._gone.set()

    def observed(self) -> Running | None:
        return None if self._gone.is_set() else self.running

    def die(self, what: str) -> None:
        if self._gone.is_set():
            return
        self._gone.set()
        if self.running is not None and not self.unwanted:
            self._on_death(ReplicaDied(what, where=self.spec.name))


@dataclass
class _Trouble:
    """An error to raise, as long as `times` lasts."""

    error: EngineError
    times: float


def _raise_trouble(troubles: Mapping[str, _Trouble], spec: ModelSpec) -> None:
    trouble = troubles.get(spec.source.location)
    if trouble is not None and trouble.times > 0:
        trouble.times -= 1
        raise trouble.error
