"""One storm: requests, edits, crashes, failing loads and programs outside, all at once, in virtual time.

The loop, the plan, the leases and the store are the real ones; the engine and the machine's memory are the
fakes that pass the engines' conformance suite.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.control.store import Store
from orchestrator.decide.budget import obstacle
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.meter import FakeMeter
from orchestrator.engines.fakes.nature import Nature
from orchestrator.errors import LoadFailed
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Memory, Pool, Pools
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec
from orchestrator.values.state import State
from tests.builders import CONFIG, NOW, catalog, spec
from tests.control.inline import Inline

MIB: Final = 1 << 20
TOTAL, RESERVE = 10_000 * MIB, 1_000 * MIB
LASTS_S: Final = 60.0
WAITS_S: Final = 30.0
# Shorter than the drain deadline: no request may be cut.
LONGEST_ANSWER_S: Final = 8.0
# Virtual time does not move for less.
INSTANT_S: Final = 1e-4
NAMES: Final = ("a", "b", "c", "d", "e")


class Watched(FakeEngine):
    """Checks every promise of the plan at the moment it could be broken."""

    def __init__(self, held: Callable[[str], int], promised: Callable[[], int], broken: list[str]) -> None:
        super().__init__()
        self._leases_on = held
        self._promised = promised
        self._broken = broken
        self._peaks: dict[str, int] = {}

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        self._peaks[replica] = self.nature_of(spec).most.get(RAM, 0)
        if sum(self._peaks.values()) > self._promised():
            self._broken.append(f"the load of {replica} exceeds the budget: {self._peaks}")
        try:
            return await super().ensure_loaded(replica, spec)
        except BaseException:
            self._peaks.pop(replica, None)
            raise

    async def ensure_unloaded(self, replica: str) -> None:
        if self._leases_on(replica):
            self._broken.append(f"{replica} is unloaded under {self._leases_on(replica)} requests")
        await super().ensure_unloaded(replica)
        self._peaks.pop(replica, None)

    def die(self, replica: str, what: str = "killed (SIGKILL)") -> None:
        self._peaks.pop(replica, None)
        super().die(replica, what)


@dataclass
class Storm:
    """What one run did; `broken` says which promises were not kept."""

    seed: int
    broken: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    loads: int = 0
    crashes: int = 0
    pressure: int = 0


async def storm(seed: int, folder: Path) -> Storm:
    """Run one storm on virtual time, then calm, and say what was broken."""
    return await _House(seed, folder).run()


class _House:
    def __init__(self, seed: int, folder: Path) -> None:
        self.draw = random.Random(seed)  # noqa: S311 (repeatable on purpose)
        self.told = Storm(seed)
        self.ends_s = asyncio.get_running_loop().time() + LASTS_S
        self.seen_outside = 0
        self.engine = Watched(
            lambda replica: self.loop.leases.held.get(replica, 0),
            lambda: TOTAL - RESERVE - self.seen_outside,
            self.told.broken,
        )
        pool = Pool(total=TOTAL, reserve=RESERVE)
        self.meter = FakeMeter([self.engine], {RAM: pool}, clock.now)
        for location in ("small", "middle", "large"):
            self.engine.natures[location] = self.nature(location)
        self.store = Store.open(folder, config=CONFIG, now=NOW)
        self.generation = 0
        self.specs = {name: self.any_spec(name) for name in NAMES}
        self.loop = Loop(
            state=State(boot=self.store.boot),
            engines={self.engine.name: self.engine},
            store=self.store,
            limits=Limits(drain_s=30, min_residency_s=3),
            look=self.look,
            resync_every_s=10,
            remember=lambda _: None,
            disk=Inline(),
        )

    def nature(self, location: str) -> Nature:
        size = {"small": 1_000, "middle": 2_500, "large": 5_000}[location] * MIB
        return Nature(
            estimate={RAM: size},
            peak={RAM: int(size * 0.95)},
            load_s=self.draw.uniform(0.3, 3.0),
            back_s=self.draw.choice([0.0, 0.0, 0.7]),
        )

    def any_spec(self, name: str) -> ModelSpec:
        always = self.draw.random() < 0.3
        return spec(
            name,
            location=self.draw.choice(["small", "middle", "large"]),
            load=LoadWhen.ALWAYS if always else LoadWhen.ON_DEMAND,
            idle_s=self.draw.choice([5.0, 20.0, 600.0]),
            pinned=always and self.draw.random() < 0.2,
        )

    async def look(self, held: Pools) -> Memory:
        memory = await self.meter.read(held)
        self.seen_outside = memory.pools[RAM].outside
        return memory

    def edit(self) -> None:
        self.generation += 1
        documents = catalog(*self.specs.values(), generation=self.generation)
        self.loop.post(CatalogRead(at=clock.now(), reading=Reading(catalog=documents)))

    async def run(self) -> Storm:
        try:
            async with asyncio.TaskGroup() as tasks:
                looping = tasks.create_task(self.loop.run())
                self.edit()
                async with asyncio.TaskGroup() as weather:
                    for _ in range(self.draw.randint(2, 8)):
                        weather.create_task(self.client())
                    weather.create_task(self.trouble())
                await self.calm()
                looping.cancel()
        finally:
            self.store.close()
        self.told.loads = sum(verb == "load" for verb, _ in self.engine.calls)
        return self.told

    async def client(self) -> None:
        clock_s = asyncio.get_running_loop().time
        while clock_s() < self.ends_s:
            await asyncio.sleep(self.draw.uniform(0, 3))
            model = self.draw.choice(NAMES)
            patience_s = WAITS_S if self.draw.random() < 0.9 else self.draw.uniform(0.1, 2)
            outcome = await self.request(model, patience_s, priority=self.draw.choice([5, 5, 5, 9]))
            self.told.outcomes[outcome] += 1

    async def request(self, model: str, patience_s: float, *, priority: int) -> str:
        """Do as the gateway does: look, take or wait; sent again where the worker died first."""
        leases, loop = self.loop.leases, asyncio.get_running_loop()
        arrived_s = loop.time()
        place = None
        try:
            while True:
                route = leases.table.routes.get(model)
                left_s = arrived_s + patience_s - loop.time()
                if route is not None and route.replica and (place or not leases.queued(model)):
                    lease = leases.take(route)
                    if place:
                        place.leave()
                    place = None
                    try:
                        if await self.answered(route.replica):
                            return "answered"
                    finally:
                        lease.release()
                    continue
                if route is not None and route.stalled:
                    return "refused"
                if left_s <= INSTANT_S:
                    return "late"
                place = place or leases.enter(model, priority=priority, arrived_s=arrived_s)
                await place.called(left_s)
        finally:
            if place:
                place.leave()

    async def answered(self, replica: str) -> bool:
        try:
            self.engine.work(replica)
            await asyncio.sleep(self.draw.uniform(0.05, LONGEST_ANSWER_S))
            self.engine.work(replica)
        except KeyError:
            self.loop.leases.suspect(replica)
            await asyncio.sleep(0.1)
            return False
        return True

    async def trouble(self) -> None:
        clock_s = asyncio.get_running_loop().time
        while clock_s() < self.ends_s:
            await asyncio.sleep(self.draw.uniform(0.2, 5))
            match self.draw.choice(["crash", "refuse", "press", "press", "edit", "edit", "reload"]):
                case "crash" if ready := sorted(await self.engine.observe()):
                    self.told.crashes += 1
                    self.engine.die(self.draw.choice(ready))
                case "refuse":
                    location = self.draw.choice(["small", "middle", "large"])
                    self.engine.refuse_load(location, LoadFailed("not this time"), times=1)
                case "press":
                    self.told.pressure += 1
                    self.meter.pressure[RAM] = self.draw.choice([0, 500, 2_000, 4_000, 8_500]) * MIB
                case "edit":
                    name = self.draw.choice(NAMES)
                    self.specs[name] = self.any_spec(name)
                    self.edit()
                case _:
                    pass

    async def calm(self) -> None:
        """Take all trouble away: whatever can fit must be served again when it is asked for."""
        self.meter.pressure.clear()
        for location in ("small", "middle", "large"):
            self.engine.accept(location)
        await asyncio.sleep(400)  # longer than any retry waits
        self.generation += 1
        self.edit()
        await asyncio.sleep(60)
        for name in NAMES:
            desired = self.loop.state.models[name].desired
            outcome = await self.request(name, WAITS_S, priority=5)
            # What can never fit is refused, unless an earlier revision of it still serves.
            hopeless = desired is not None and bool(obstacle(self.loop.state, desired))
            if outcome != "answered" and not (hopeless and outcome == "refused"):
                self.told.broken.append(f"in the calm {name} is {outcome}: {self.what_is()}")
        if over := self.meter.overdrawn():
            self.told.broken.append(f"in the calm more is taken than there is: {over}")
        if self.loop.leases.held:
            self.told.broken.append(f"leases were never returned: {dict(self.loop.leases.held)}")

    def what_is(self) -> str:
        """The fleet and the files in one line, for a message."""
        fleet = [
            f"{r.id} {r.spec.source.location} {r.phase}" for r in self.loop.state.fleet.replicas.values()
        ]
        files = [
            f"{s.name} {s.source.location} {s.load}{' pinned' if s.pinned else ''}"
            for s in self.specs.values()
        ]
        files += [
            f"{n} stable {r.stable.source.location}" for n, r in self.loop.state.models.items() if r.stable
        ]
        why = {name: route.unready for name, route in self.loop.leases.table.routes.items() if route.unready}
        return f"{fleet}, {files}, {why}"


def virtual_now() -> datetime:
    return NOW + timedelta(seconds=asyncio.get_running_loop().time())


def summary(storms: Sequence[Storm]) -> str:
    total: Counter[str] = Counter()
    for each in storms:
        total.update(each.outcomes)
    return (
        f"{len(storms)} storms: {sum(total.values())} requests {dict(total)}, "
        f"{sum(s.loads for s in storms)} loads, {sum(s.crashes for s in storms)} crashes, "
        f"{sum(s.pressure for s in storms)} changes outside, "
        f"{sum(len(s.broken) for s in storms)} promises broken"
    )
