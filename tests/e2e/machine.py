"""A small machine: the real loop, engine, store and gateway in this process, real workers and real sockets.

What it has of memory is made up, so that little is much; what its workers and hogs take of it is real.
"""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.control.operations import readiness
from orchestrator.control.store import Store
from orchestrator.engines.base import Premises
from orchestrator.engines.children.worker import Worker
from orchestrator.engines.library import Library
from orchestrator.engines.llama.engine import LlamaCppEngine
from orchestrator.engines.memory.weight import weight_of
from orchestrator.engines.roster import OnDeath
from orchestrator.gateway.app import build
from orchestrator.gateway.server import serve
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import Fact, LifecycleFact
from orchestrator.values.memory import RAM, Footprint, Memory, Pool, Pools
from orchestrator.values.settings import Limits, Settings
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.values.state import State
from tests.builders import catalog
from tests.engines.real_time import until

MIB: Final = 1 << 20
# By its name: what it is, and its context for four requests at once, which makes it large.
SIZES: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {"small": ("tiny", 512), "middle": ("small", 4096), "large": ("small", 16_384)}
)
# What one machine has found out of the memory of a launch, the next ones know from the start.
KNOWN: Final[dict[str, Footprint]] = {}
HOG: Final = "import sys; held = b'x' * int(sys.argv[1]); print(flush=True); sys.stdin.read()"


def sized(name: str, size: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    """Return a model that takes so much."""
    location, context = SIZES[size]
    source = Source(written=f"demo:{location}", scheme="demo", location=location)
    return ModelSpec(name=name, engine="llama-cpp", source=source, context=context, **changes)


class Witness(LlamaCppEngine):
    """The engine, which notes when a promise is broken."""

    def __init__(self, machine: "Machine", premises: Premises) -> None:
        super().__init__(premises.runtime / "w", Library(premises, form="gguf"), threads=1)
        self._machine = machine
        self.hired: list[Worker] = []

    async def ensure_unloaded(self, replica: str) -> None:
        leases = self._machine.loop.leases.held.get(replica, 0)
        if leases:
            self._machine.broken.append(f"{replica} is unloaded under {leases} requests")
        await super().ensure_unloaded(replica)

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Worker:
        worker = super()._hire(replica, spec, on_death)
        self.hired.append(worker)
        return worker


class Machine:
    """One that runs; `broken` says which promises were not kept, `told` what happened."""

    def __init__(self, folder: Path, *, total: int, reserve: int, limits: Limits) -> None:
        self.broken: list[str] = []
        self.told: list[LifecycleFact] = []
        self.hogs: list[Process] = []
        self.most_bytes = 0
        self._pool = Pool(total=total, reserve=reserve)
        self._generation = 0
        settings = Settings(wait_for_model_s=limits.wait_s)
        premises = Premises(runtime=folder, cache=folder, settings=settings, environment=os.environ)
        self.engine = Witness(self, premises)
        self.store = Store.open(folder, config=folder, now=clock.now())
        self.loop = Loop(
            state=State(boot=self.store.boot, footprints=dict(KNOWN)),
            engines={self.engine.name: self.engine},
            store=self.store,
            limits=limits,
            look=self._look,
            resync_every_s=2,
            remember=self.told.append,
        )
        self.gateway = build(
            settings, self.loop.leases, self, lambda: readiness(self.loop.leases.table, read=True)
        )
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def put(self, fact: Fact) -> None:
        """Be the history, which nobody reads here."""

    def edit(self, *specs: ModelSpec) -> None:
        self._generation += 1
        documents = catalog(*specs, generation=self._generation)
        self.loop.post(CatalogRead(at=clock.now(), reading=Reading(catalog=documents)))

    async def hog(self, size: int) -> None:
        """Have a program outside take so much, for good or until it is killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOG, str(size), stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        self.hogs.append(process)

    async def relent(self) -> None:
        """End all hogs."""
        hogs, self.hogs = self.hogs, []
        for process in hogs:
            process.kill()
            await process.wait()

    def workers(self) -> list[int]:
        """Return the processes of the workers, those that are starting or stopping included."""
        return list(self._weights())

    def phases(self) -> dict[str, str]:
        return {r.model: str(r.phase) for r in self.loop.state.fleet.replicas.values()}

    def said(self, reason: str) -> list[str]:
        return [f"{fact.model}: {fact.message}" for fact in self.told if fact.reason == reason]

    async def served(self, *models: str) -> None:
        """Return once these are ready, and no other."""
        await until(lambda: self.phases() == dict.fromkeys(models, "ready"))

    async def watch(self) -> None:
        """Look again and again at what the workers take, and note where it is too much."""
        while True:
            weights = await asyncio.to_thread(self._weights)
            taken = sum(weights.values())
            self.most_bytes = max(self.most_bytes, taken)
            if taken > self._pool.most:
                self.broken.append(
                    f"the workers take {taken // MIB} of {self._pool.most // MIB} MiB: {weights}"
                )
            await asyncio.sleep(0.02)

    def _weights(self) -> dict[int, int]:
        found = {worker.pid: weight_of(worker.pid) for worker in tuple(self.engine.hired) if worker.pid}
        return {pid: weight.ram_bytes for pid, weight in found.items() if weight}

    async def _look(self, _held: Pools) -> Memory:
        outside = [weight_of(process.pid) for process in self.hogs]
        taken = sum(weight.own_bytes for weight in outside if weight)
        pool = Pool(total=self._pool.total, reserve=self._pool.reserve, outside=taken)
        return Memory(pools={RAM: pool}, at=clock.now())


@asynccontextmanager
async def small_machine(
    folder: Path, *, total: int, reserve: int, limits: Limits
) -> AsyncIterator[tuple[Machine, aiohttp.ClientSession]]:
    """Run one, with a client of it; in the end nothing of it is left."""
    machine = Machine(folder, total=total, reserve=reserve, limits=limits)
    stop = asyncio.Event()
    try:
        async with aiohttp.ClientSession(machine.url) as session, asyncio.TaskGroup() as tasks:
            looping = tasks.create_task(machine.loop.run())
            watching = tasks.create_task(machine.watch())
            tasks.create_task(serve(machine.gateway, bound_socket=machine.listening, drain_s=1, stop=stop))
            try:
                yield machine, session
            finally:
                KNOWN.update(machine.loop.state.footprints)
                stop.set()
                looping.cancel()
                watching.cancel()
    finally:
        await machine.relent()
        await machine.gateway.close()
        await machine.engine.close()
        machine.store.close()
