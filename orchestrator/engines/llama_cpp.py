"""GGUF models through llama.cpp, each replica in a supervised child process of its own."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.engines.processes import end_leftovers
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.engines.sources import SourceChecks
from orchestrator.engines.worker import Worker, Workplace
from orchestrator.errors import EngineError, LoadFailed, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec

WORKER_MODULE: Final = "orchestrator.workers.serve"
WORKER: Final = (sys.executable, "-m", WORKER_MODULE)


class _Seat:
    """A worker, and what those who wait for it to load need to know."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.settled = asyncio.Event()  # its load has come to an end, one way or another
        self.failure: EngineError | None = None


class LlamaCppEngine:
    """Drives `orchestrator.workers.serve`.

    Args:
        runtime: a private folder for the workers' sockets; made when missing.
        load_deadline_s: from the start of a worker until it is ready and warm.
        hang_deadline_s: how long a worker may stand still before it is killed.
        threads: per worker; None leaves the choice to the worker.
        command: what is started in place of the worker, in tests.

    Raises:
        EngineError: the runtime folder cannot be used.
    """

    name = "llama-cpp"

    def __init__(
        self,
        runtime: Path,
        *,
        load_deadline_s: float = 120.0,
        hang_deadline_s: float = 30.0,
        threads: int | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._place = Workplace(
            argv=tuple(command),
            runtime=RuntimeFolder(runtime),
            threads=threads,
            load_deadline_s=load_deadline_s,
            hang_deadline_s=hang_deadline_s,
        )
        self._checks = SourceChecks()
        self._seats: dict[str, _Seat] = {}
        self._report: Callable[[str, EngineError], None] | None = None
        self._closed = False

    async def ensure_fetched(self, spec: ModelSpec) -> None:
        """Check the model file; it stays where it is."""
        try:
            await self._checks.check(spec.source)
        except EngineError as error:
            error.where = error.where or spec.name
            raise

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a warm worker; a second call joins the first."""
        while (seat := self._seats.get(replica)) is not None:
            if seat.worker.spec.launch != spec.launch:
                raise EngineError(
                    f"replica {replica} was started for other settings",
                    where=spec.name,
                    fix="unload it first",
                )
            await seat.settled.wait()
            if seat.failure is not None:
                raise seat.failure
            if self._seats.get(replica) is not seat or seat.worker.running is None:
                continue  # the load that we joined was cancelled, or the worker has died since
            if not seat.worker.unwanted:
                return seat.worker.running
            await seat.worker.stop()
            self._leave(replica, seat)
        return await self._load(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """End the worker; one that is still loading is killed at once."""
        seat = self._seats.get(replica)
        if seat is None:
            return
        if seat.settled.is_set():
            await seat.worker.stop()
        else:
            await seat.worker.abandon()
            await seat.settled.wait()
        self._leave(replica, seat)

    async def observe(self) -> Mapping[str, Running]:
        """Return the workers that are ready and whose process lives, with their memory of now."""
        observed = ((replica, seat.worker.observed()) for replica, seat in self._seats.items())
        return {replica: running for replica, running in observed if running is not None}

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """Kill workers of an earlier daemon, and remove the sockets that nobody listens on."""
        seats = self._seats.values()
        own = {seat.worker.pid for seat in seats}
        await end_leftovers(leftovers, command=self._place.argv[-1], own=own)
        self._place.runtime.remove_stale({seat.worker.socket for seat in self._seats.values()})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report ends that nobody asked for; a later call replaces the one before."""
        self._report = report

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        self._closed = True
        unloads = (self.ensure_unloaded(replica) for replica in tuple(self._seats))
        results = await asyncio.gather(*unloads, return_exceptions=True)
        for failure in results:
            if isinstance(failure, BaseException):
                raise failure

    async def _load(self, replica: str, spec: ModelSpec) -> Running:
        if self._closed:
            raise LoadFailed("the engine is closed", where=spec.name)
        seat = _Seat(Worker(replica, spec, self._place, lambda cause: self._died(replica, seat, cause)))
        self._seats[replica] = seat
        try:
            return await seat.worker.start()
        except EngineError as failure:
            seat.failure = failure
            raise
        finally:
            if seat.worker.running is None:
                self._leave(replica, seat)
            seat.settled.set()

    def _died(self, replica: str, seat: _Seat, cause: ReplicaDied) -> None:
        self._leave(replica, seat)
        if self._report is not None:
            self._report(replica, cause)

    def _leave(self, replica: str, seat: _Seat) -> None:
        if self._seats.get(replica) is seat:
            del self._seats[replica]
