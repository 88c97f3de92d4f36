"""Which replica has which worker: one load at a time, and every end noticed."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from orchestrator.errors import EngineError, LoadFailed, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec

OnDeath = Callable[[ReplicaDied], None]


class Startable(Protocol):
    """What runs one replica; started once."""

    spec: ModelSpec
    running: Running | None  # set once it is ready
    unwanted: bool  # set once somebody has asked for its end

    async def start(self) -> Running:
        """Return once it is ready; where that fails or is cancelled, nothing is left of it."""

    async def stop(self) -> None:
        """End it politely; it is gone when this returns."""

    async def abandon(self) -> None:
        """End it at once, also while it starts; it is gone when this returns."""

    def observed(self) -> Running | None:
        """Return what is true of it now; None where it is not ready, or gone."""


W = TypeVar("W", bound=Startable)


class _Entry(Generic[W]):
    """A worker, and what those who wait for its load need to know."""

    def __init__(self, worker: W) -> None:
        self.worker = worker
        self.settled = asyncio.Event()  # its load has come to an end, one way or another
        self.failure: EngineError | None = None


class Roster(Generic[W]):
    """The verbs of an engine that has one worker per replica.

    Args:
        hire: makes the worker for a replica; the worker calls its last
            argument, once, if it ends by itself after it was ready.
    """

    def __init__(self, hire: Callable[[str, ModelSpec, OnDeath], W]) -> None:
        self._hire = hire
        self._entries: dict[str, _Entry[W]] = {}
        self._report: Callable[[str, EngineError], None] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[W]:
        return iter([entry.worker for entry in self._entries.values()])

    def __getitem__(self, replica: str) -> W:
        return self._entries[replica].worker

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report ends that nobody asked for; a later call replaces the one before."""
        self._report = report

    def observe(self) -> Mapping[str, Running]:
        """Return the replicas that are ready and alive."""
        observed = ((replica, entry.worker.observed()) for replica, entry in self._entries.items())
        return {replica: running for replica, running in observed if running is not None}

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a ready worker; a second call joins the first and shares its error."""
        while (entry := self._entries.get(replica)) is not None:
            if entry.worker.spec.launch != spec.launch:
                raise EngineError(
                    f"replica {replica} was started for other settings",
                    where=spec.name,
                    fix="unload it first",
                )
            await entry.settled.wait()
            if entry.failure is not None:
                raise entry.failure
            if self._entries.get(replica) is not entry or entry.worker.running is None:
                continue  # the load that we joined was cancelled, or the worker has died since
            if not entry.worker.unwanted:
                return entry.worker.running
            await entry.worker.stop()
            self._strike(replica, entry)
        return await self._load(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the worker; one that is still loading is ended at once."""
        entry = self._entries.get(replica)
        if entry is None:
            return
        if entry.settled.is_set():
            await entry.worker.stop()
        else:
            await entry.worker.abandon()
            await entry.settled.wait()
        self._strike(replica, entry)

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        self._closed = True
        unloads = (self.ensure_unloaded(replica) for replica in tuple(self._entries))
        for result in await asyncio.gather(*unloads, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _load(self, replica: str, spec: ModelSpec) -> Running:
        if self._closed:
            raise LoadFailed("the engine is closed", where=spec.name)
        entry: _Entry[W] = _Entry(self._hire(replica, spec, lambda cause: self._died(replica, entry, cause)))
        self._entries[replica] = entry
        try:
            return await entry.worker.start()
        except EngineError as failure:
            entry.failure = failure
            raise
        finally:
            if entry.worker.running is None:
                self._strike(replica, entry)
            entry.settled.set()

    def _died(self, replica: str, entry: _Entry[W], cause: ReplicaDied) -> None:
        self._strike(replica, entry)
        if self._report is not None:
            self._report(replica, cause)

    def _strike(self, replica: str, entry: _Entry[W]) -> None:
        if self._entries.get(replica) is entry:
            del self._entries[replica]
