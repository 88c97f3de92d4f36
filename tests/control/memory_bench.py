"""The loop on a machine with so much memory and no more, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.control.queues import Place
from orchestrator.control.store import Store
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.meter import FakeMeter
from orchestrator.engines.fakes.nature import Nature
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.fleet import Phase
from orchestrator.values.memory import RAM, Memory, Pool, Pools
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec
from orchestrator.values.state import State
from tests.builders import CONFIG, NOW, catalog, spec
from tests.control.inline import Inline

GIB: Final = 1 << 30


def virtual_now() -> datetime:
    return NOW + timedelta(seconds=asyncio.get_running_loop().time())


def on_demand(name: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    """A model that is loaded when somebody asks; its source has its own name."""
    fields: dict[str, Any] = {"location": name, "load": LoadWhen.ON_DEMAND, "idle_s": 600.0}
    return spec(name, **(fields | changes))


def sized(gib: float, **changes: Any) -> Nature:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {"estimate": {RAM: int(gib * GIB)}, "load_s": 1.0}
    return Nature(**(fields | changes))


class Bench:
    """A loop, what it drives, and what it said; memory is looked at as the real one is."""

    def __init__(self, folder: Path, total_gib: float, engines: Sequence[FakeEngine]) -> None:
        self.engine, *_ = engines
        self.facts: list[LifecycleFact] = []
        self.meter = FakeMeter(engines, {RAM: Pool(total=int(total_gib * GIB))}, clock.now)
        self.store = Store.open(folder, config=CONFIG, now=NOW)
        self.generation = 0
        self.looks_s: list[float] = []
        self.look_fails: OSError | None = None
        self.loop = Loop(
            state=State(boot=self.store.boot),
            engines={engine.name: engine for engine in engines},
            store=self.store,
            limits=Limits(),
            look=self.look,
            resync_every_s=60,
            remember=self.facts.append,
            disk=Inline(),
        )

    async def look(self, held: Pools) -> Memory:
        self.looks_s.append(asyncio.get_running_loop().time())
        if self.look_fails:
            raise self.look_fails
        return await self.meter.read(held)

    def edit(self, *specs: ModelSpec) -> None:
        self.generation += 1
        read = Reading(catalog=catalog(*specs, generation=self.generation))
        self.loop.post(CatalogRead(at=clock.now(), reading=read))

    async def settle(self) -> None:
        await asyncio.sleep(0)
        assert await self.loop.settled(500)

    def ask(self, model: str, priority: int = 5) -> Place:
        """Have a request wait for a model."""
        return self.loop.leases.enter(model, priority=priority, arrived_s=asyncio.get_running_loop().time())

    async def served(self, model: str, within_s: float = 100.0) -> float:
        """Ask for a model as a request does, let it go at once, and return how long that took."""
        began_s = asyncio.get_running_loop().time()
        place = self.ask(model)
        async with asyncio.timeout(within_s):
            while not (route := self.loop.leases.table.routes[model]).replica:
                await place.called(within_s)
        lease = self.loop.leases.take(route)
        place.leave()
        lease.release()
        return asyncio.get_running_loop().time() - began_s

    def loaded(self) -> set[str]:
        ready = (r for r in self.loop.state.fleet.replicas.values() if r.phase is Phase.READY)
        return {replica.model for replica in ready}

    def when(self, reason: str, model: str) -> list[float]:
        """Return at which seconds something happened to a model."""
        return [
            (fact.at - NOW).total_seconds()
            for fact in self.facts
            if (fact.reason, fact.model) == (reason, model)
        ]

    def said(self, reason: str, model: str) -> list[str]:
        return [fact.message for fact in self.facts if (fact.reason, fact.model) == (reason, model)]


@asynccontextmanager
async def machine(folder: Path, total_gib: float = 8.0, *others: FakeEngine) -> AsyncIterator[Bench]:
    """Run a loop on a machine; `a`, `b`, … are models of 5 GiB, and `small` one of 1 GiB."""
    bench = Bench(folder, total_gib, [FakeEngine(), *others])
    bench.engine.natures.update({name: sized(5) for name in "abc"} | {"small": sized(1)})
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.loop.run())
        try:
            yield bench
        finally:
            task.cancel()
    bench.store.close()
