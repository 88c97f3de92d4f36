"""An engine without models, for tests: everything takes the event loop's own time, real or virtual.

What a source is like (`Nature`) is told by its location. Nothing here starts a thread, a task or a process.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final

from orchestrator.engines.base import Finding, OnDisk, Progress
from orchestrator.engines.fakes.nature import Nature, Verb
from orchestrator.engines.fakes.worker import FakeWorker
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.errors import EngineError, EngineUnavailable, LoadTimedOut
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Pools, added
from orchestrator.values.spec import ModelSpec

# A fetch tells how far it is as often as this, in parts of the whole.
_PARTS: Final = 4


class FakeEngine:
    """Loads in `load_s` seconds, unloads in `unload_s`, and fails as it is told to.

    The durations and `natures` (by a source's location) may be changed at any
    time and hold from the next verb on. `calls` lists every verb that changes
    something with its replica (`fetch`, `remove`: its model), in order.
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
        self.engine_version = "fake 1"
        self.natures: dict[str, Nature] = {}
        self.calls: list[tuple[str, str]] = []
        self._fetched: dict[str, int] = {}  # by location, the bytes that are here
        self._troubles: dict[tuple[Verb, str], _Trouble] = {}
        self._roster: Roster[FakeWorker] = Roster(self._hire)
        self._late: list[tuple[float, Pools]] = []  # memory of the dead, and when it comes back

    def refuse(self, verb: Verb, location: str, error: EngineError, *, times: float = inf) -> None:
        """Let the next `times` calls of a verb for a location fail, fetches and loads after their time."""
        self._troubles[verb, location] = _Trouble(error, times)

    def refuse_fetch(self, location: str, error: EngineError, *, times: float = inf) -> None:
        """Let the next `times` fetches of a source's location fail."""
        self.refuse("fetch", location, error, times=times)

    def refuse_load(self, location: str, error: EngineError, *, times: float = inf) -> None:
        """Let the next `times` loads of a source's location fail, each after `load_s`."""
        self.refuse("load", location, error, times=times)

    def accept(self, location: str) -> None:
        """Let every verb succeed again for a source's location."""
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key[1] != location}

    def die(self, replica: str, what: str = "killed (SIGKILL)") -> None:
        """Let a ready replica end by itself, as after a crash, a hang or a kill from outside.

        Raises:
            KeyError: there is no such replica.
        """
        self._roster[replica].die(what)

    def work(self, replica: str) -> None:
        """Let a replica have answered a request: it takes all of its peak from now on.

        Raises:
            KeyError: there is no such replica.
        """
        self._roster[replica].worked = True

    @property
    def alive(self) -> int:
        """How many pretended processes there are, ready or not."""
        return len(list(self._roster))

    def in_use(self) -> Pools:
        """Return what the machine sees taken: what is held, and what the dead have not given back yet."""
        now_s = asyncio.get_running_loop().time()
        self._late = [(until_s, taken) for until_s, taken in self._late if until_s > now_s]
        return added([self._held(), *(taken for _, taken in self._late)])

    async def version(self, spec: ModelSpec) -> str:
        """Return `engine_version`; where that is "", the engine is not installed."""
        self._raise_trouble("version", spec.source.location)
        self._check_installed(spec)
        return self.engine_version

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Take `fetch_s` for what is not here yet; a cancelled fetch goes on where it stopped."""
        self.calls.append(("fetch", spec.name))
        nature, here = self.nature_of(spec), self._fetched.get(spec.source.location, 0)
        step = -(-nature.size_bytes // _PARTS)
        while here < nature.size_bytes:
            progress(Progress(doing="downloading", done_bytes=here, total_bytes=nature.size_bytes))
            await asyncio.sleep(nature.fetch_s * min(step, nature.size_bytes - here) / nature.size_bytes)
            here = min(here + step, nature.size_bytes)
            self._fetched[spec.source.location] = here
        self._raise_trouble("fetch", spec.source.location)
        return OnDisk(resolved=nature.resolved, size_bytes=here)

    async def newest(self, spec: ModelSpec) -> str:
        """Return what the source's nature says."""
        self._raise_trouble("newest", spec.source.location)
        return self.nature_of(spec).resolved

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Forget what was fetched, where nothing in `keep` has the same location."""
        self.calls.append(("remove", spec.name))
        self._raise_trouble("remove", spec.source.location)
        if any(other.source.location == spec.source.location for other in keep):
            return 0
        return self._fetched.pop(spec.source.location, 0)

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return the nature's estimate."""
        self._raise_trouble("estimate", spec.source.location)
        return self.nature_of(spec).estimate

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a pretended process after the nature's `load_s`, or the engine's."""
        self.calls.append(("load", replica))
        self._check_installed(spec)
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the pretended process within `unload_s`."""
        self.calls.append(("unload", replica))
        worker = next((each for each in self._roster if each.replica == replica), None)
        if worker is not None:
            self._raise_trouble("unload", worker.spec.source.location)
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the pretended processes that are ready and alive."""
        self._raise_trouble("observe", "")
        return self._roster.observe()

    async def held(self) -> Pools:
        """Return what the pretended processes take now."""
        self._raise_trouble("held", "")
        return self._held()

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """Note who should be ended; no pretended process outlives this one."""
        self.calls.extend(("reap", running.replica) for running in leftovers)

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report what `die` ends; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        """Say whether it is installed."""
        installed = bool(self.engine_version)
        fix = "" if installed else "install the fake"
        return [Finding(what=self.name, ok=installed, found=self.engine_version or "not installed", fix=fix)]

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        await self._roster.close()

    def nature_of(self, spec: ModelSpec) -> Nature:
        """Return what the spec's source is like; by default it takes no memory and no fetching."""
        return self.natures.get(spec.source.location, Nature())

    def load_takes_s(self, spec: ModelSpec) -> float:
        """Return how long a load of `spec` takes, whatever comes of it; the deadline at most."""
        load_s = self.nature_of(spec).load_s
        return min(self.load_s if load_s is None else load_s, self.load_deadline_s)

    def load_outcome(self, spec: ModelSpec) -> None:
        """Raise what a load of `spec` that has taken its time comes to; return where it is well."""
        if self.load_takes_s(spec) >= self.load_deadline_s:
            raise LoadTimedOut(f"not ready within {self.load_deadline_s:g} s", where=spec.name)
        self._raise_trouble("load", spec.source.location)

    def gave_up(self, spec: ModelSpec, taken: Pools) -> None:
        """Note that a pretended process has ended that took so much."""
        back_s = self.nature_of(spec).back_s
        if back_s and taken:
            self._late.append((asyncio.get_running_loop().time() + back_s, taken))

    def _held(self) -> dict[str, int]:
        return added(worker.taken() for worker in self._roster)

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> FakeWorker:
        return FakeWorker(self, replica, spec, on_death)

    def _check_installed(self, spec: ModelSpec) -> None:
        if not self.engine_version:
            raise EngineUnavailable("it is not installed", where=spec.name, fix="install the fake")

    def _raise_trouble(self, verb: Verb, location: str) -> None:
        trouble = self._troubles.get((verb, location))
        if trouble is not None and trouble.times > 0:
            trouble.times -= 1
            raise trouble.error


class _Trouble:
    """An error to raise, as long as `times` lasts."""

    def __init__(self, error: EngineError, times: float) -> None:
        self.error = error
        self.times = times
