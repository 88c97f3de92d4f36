"""An engine that is built when it is first needed: most daemons never use most of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from orchestrator.engines.base import Engine, Finding, OnDisk, Progress
from orchestrator.errors import EngineError, LoadFailed
from orchestrator.values.fleet import Running
from orchestrator.values.memory import NOTHING, Pools
from orchestrator.values.spec import ModelSpec


class SleepingEngine:
    """Stands in for an engine and hands every verb on to it.

    Until a verb needs it, it is not there: nothing runs, nothing is held.

    Args:
        name: the engine's.
        build: makes it; called once, in a thread, because importing takes a while.
    """

    def __init__(self, name: str, build: Callable[[], Engine]) -> None:
        self.name = name
        self._build = build
        self._engine: Engine | None = None
        self._waking = asyncio.Lock()
        self._report: Callable[[str, EngineError], None] | None = None
        self._closed = False

    async def version(self, spec: ModelSpec) -> str:
        return await (await self._awake()).version(spec)

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        return await (await self._awake()).ensure_fetched(spec, progress)

    async def newest(self, spec: ModelSpec) -> str:
        return await (await self._awake()).newest(spec)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        return await (await self._awake()).ensure_removed(spec, keep)

    async def estimate(self, spec: ModelSpec) -> Pools:
        return await (await self._awake()).estimate(spec)

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        if self._closed:
            raise LoadFailed("the engine is closed", where=spec.name)
        return await (await self._awake()).ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        if self._engine is not None:
            await self._engine.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        return {} if self._engine is None else await self._engine.observe()

    async def held(self) -> Pools:
        return NOTHING if self._engine is None else await self._engine.held()

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """End what is left over; an engine that left nothing sleeps on, and so do the sockets it left."""
        if leftovers or self._engine is not None:
            await (await self._awake()).reap(leftovers)

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        self._report = report
        if self._engine is not None:
            self._engine.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        return await (await self._awake()).diagnose()

    async def close(self) -> None:
        self._closed = True
        async with self._waking:
            if self._engine is not None:
                await self._engine.close()

    async def _awake(self) -> Engine:
        async with self._waking:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._build)
                if self._report is not None:
                    self._engine.on_exit(self._report)
        return self._engine
