"""One replica of a command: its process, and the socket that the gateway sees."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from orchestrator.engines.children.processes import started_at
from orchestrator.engines.crew import Crew
from orchestrator.engines.memory.accelerators import Accelerators
from orchestrator.engines.server.attempt import Attempt, Terms, own_socket_of
from orchestrator.engines.server.command import environment_of, program_of
from orchestrator.engines.server.front import Front
from orchestrator.engines.server.health import Outcome, until_hung
from orchestrator.engines.server.tree import tree_of, weight_of_tree
from orchestrator.errors import LoadFailed, LoadTimedOut, ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Pools
from orchestrator.values.spec import ModelSpec

# How many ports are tried where somebody else is quicker.
PORTS_TRIED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all replicas of one engine share.

    `locate` says what stands for `{model}`, and raises EngineError where that is not there or corrupt.
    """

    terms: Terms
    locate: Callable[[ModelSpec], Awaitable[str]]
    crew: Crew
    accelerators: Accelerators
    load_deadline_s: float
    hang_deadline_s: float


class Served:
    """A replica; started once.

    Args:
        on_death: called once, on the event loop, if it ends by itself after
            it was ready; its socket is gone by then.
    """

    def __init__(
        self, replica: str, spec: ModelSpec, shop: Workshop, on_death: Callable[[ReplicaDied], None]
    ) -> None:
        self.spec = spec
        self.running: Running | None = None  # set once it is ready
        self.unwanted = False  # set once somebody has asked for its end
        self.socket = shop.terms.runtime.socket_of(replica)
        self._replica = replica
        self._shop = shop
        self._on_death = on_death
        self._attempt: Attempt | None = None
        self._front: Front | None = None
        self._gone = asyncio.Event()  # set once nothing is left of what was ready

    @property
    def sockets(self) -> tuple[Path, ...]:
        """Where it listens, and where its command may."""
        return (self.socket, own_socket_of(self._shop.terms.runtime, self._replica))

    @property
    def pid(self) -> int:
        return self._attempt.process.pid if self._attempt else 0

    async def start(self) -> Running:
        """Return once it is ready and has answered; where that fails or is cancelled, nothing is left.

        Raises:
            EngineUnavailable, SourceNotFound, LoadFailed, LoadTimedOut
        """
        limit = asyncio.timeout(self._shop.load_deadline_s)
        try:
            async with limit:
                return await self._start()
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._too_late() from None
        finally:
            if self.running is None:
                await self.abandon()

    async def stop(self) -> None:
        """End a ready one politely; it is gone when this returns."""
        self.unwanted = True
        if self._front is not None:
            await self._front.close()
        if self._attempt is not None:
            await self._attempt.stop()
        if self.running is not None:
            await self._gone.wait()

    async def abandon(self) -> None:
        """End it at once: it has nothing to lose."""
        self.unwanted = True
        if self._front is not None:
            await self._front.close()
        if self._attempt is not None:
            await self._attempt.end_at_once()

    def observed(self) -> Running | None:
        """Return what the kernel says of it now; None where it is not ready, or gone. Reads tables."""
        running, attempt = self.running, self._attempt
        if running is None or attempt is None or attempt.process.ended.is_set():
            return None
        family = tree_of(running.pid)
        if attempt.process.command_pid not in family:
            return None
        weight = weight_of_tree(family, self._shop.accelerators)
        return replace(running, memory_bytes=weight.ram_bytes, gpu_bytes=weight.gpu_bytes)

    def held(self) -> Pools:
        """Return what its processes hold now, whether it is ready or not. Reads tables."""
        pid = self.pid
        weight = weight_of_tree(tree_of(pid) if pid else (), self._shop.accelerators)
        return {RAM: weight.own_bytes, **dict(weight.gpu_bytes)}

    async def _start(self) -> Running:
        terms = self._shop.terms
        model = await self._shop.locate(self.spec)
        environment = environment_of(self.spec, terms.home)
        program_of(self.spec, environment)
        for remaining in reversed(range(PORTS_TRIED)):
            self._check_wanted()
            self._attempt = attempt = Attempt(
                self._replica, self.spec, terms, model=model, environment=environment
            )
            try:
                outcome = await attempt.run()
            finally:
                self._check_wanted()  # else its end would be taken for a failure of its own
            if outcome is Outcome.WELL:
                return await self._open(attempt, model)
            if not remaining or not attempt.another_port_may_help(outcome):
                raise attempt.failure(outcome)
            await attempt.end_at_once()
        raise AssertionError  # the last of them returns or raises

    async def _open(self, attempt: Attempt, model: str) -> Running:
        """Open the socket that the gateway sees, and have the server answer once."""
        self._front = front = Front(self.socket, self.spec, attempt.health.place)
        try:
            await front.open(model, await attempt.health.models())
        except LoadFailed:
            self._check_alive(attempt)  # its end says more than that it does not answer
            raise
        except OSError as error:
            raise LoadFailed(f"its socket cannot be made: {error.strerror}", where=self.spec.name) from None
        self._check_alive(attempt)
        pid = attempt.process.pid
        self.running = Running(
            replica=self._replica, socket=str(self.socket), pid=pid, pid_started=started_at(pid)
        )
        self._shop.crew.start(self._watch(attempt, front), name=f"watch over {self._replica}")
        return self.running

    async def _watch(self, attempt: Attempt, front: Front) -> None:
        """Kill it where it hangs; once it is gone, close what is ours, and tell."""
        process = attempt.process

        async def kill_where_it_hangs() -> None:
            deadline_s = self._shop.hang_deadline_s
            process.kill(await until_hung(attempt.health, deadline_s=deadline_s, flowed=front.flowed))

        try:
            async with asyncio.TaskGroup() as tasks:
                pulse = tasks.create_task(kill_where_it_hangs())
                await process.ended.wait()
                pulse.cancel()
            await front.close()
            await attempt.health.close()
            await attempt.end_rest()
            attempt.clear()
            if not self.unwanted:
                cause = process.cause
                self._on_death(ReplicaDied(cause.what, where=self.spec.name, fix=cause.fix))
        finally:
            self._gone.set()

    def _check_wanted(self) -> None:
        if self.unwanted:
            raise LoadFailed("unloaded while it was loading", where=self.spec.name)

    def _check_alive(self, attempt: Attempt) -> None:
        self._check_wanted()
        if attempt.process.ended.is_set():
            raise attempt.failure(Outcome.ENDED)

    def _too_late(self) -> LoadTimedOut:
        state, fix = self._attempt.so_far() if self._attempt else ("it was not started", "")
        return LoadTimedOut(
            f"not ready within {self._shop.load_deadline_s:g} s: {state}",
            where=self.spec.name,
            fix=fix
            or "if it is large or fetches its model first, raise `load_deadline` in the settings file",
        )
