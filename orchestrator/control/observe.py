"""Asking the world: what the engines really run, and what memory there is."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from orchestrator import clock
from orchestrator.engines.base import Engine
from orchestrator.errors import EngineError
from orchestrator.values.event import Event, MemoryRead, Observed
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Memory, Pools, added

log = logging.getLogger(__name__)

OBSERVE_DEADLINE_S: Final = 10.0
# How often the memory is looked at; programs outside may take it at any time.
MEMORY_EVERY_S: Final = 5.0
MEMORY_WAITED_FOR_S: Final = 0.5


class Observer:
    """Posts what it sees: on timers, and soon after somebody asks for it.

    Args:
        engines: by name.
        look: says what memory there is, given what all replicas hold of it.
        post: receives the events.
        resync_every_s: how often the engines are asked what they really run.
        hurried: whether somebody waits for memory.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        look: Callable[[Pools], Awaitable[Memory]],
        *,
        post: Callable[[Event], None],
        resync_every_s: float,
        hurried: Callable[[], bool],
    ) -> None:
        self._engines = engines
        self._memory = look
        self._post = post
        self._resync_every_s = resync_every_s
        self._hurried = hurried
        self._look = asyncio.Event()
        self._weigh = asyncio.Event()

    def look_soon(self) -> None:
        """Have the engines asked soon."""
        self._look.set()

    def weigh_soon(self) -> None:
        """Have the memory looked at soon."""
        self._weigh.set()

    async def resync(self) -> None:
        """Ask the engines what they really run, until cancelled."""
        while True:
            spread = 0.9 + 0.2 * random.random()  # noqa: S311 (spreads load; nothing to guess)
            await _within(self._look, self._resync_every_s * spread)
            self._look.clear()
            at = clock.now()
            running: dict[str, Mapping[str, Running]] = {}
            for name, engine in self._engines.items():
                try:
                    async with asyncio.timeout(OBSERVE_DEADLINE_S):
                        running[name] = await engine.observe()
                except Exception as error:  # noqa: BLE001 (who cannot look now looks again; nothing ends)
                    log.warning("engine %s cannot be observed: %s", name, _said(error))
            self._post(Observed(at=at, running=running, draw=random.random()))  # noqa: S311 (as above)

    async def watch_memory(self) -> None:
        """Look at the memory, until cancelled: often while somebody waits for it."""
        while True:
            self._weigh.clear()  # what is given back from here on may be missed by this look
            at = clock.now()
            try:
                held = added(await self._held())
                async with asyncio.timeout(OBSERVE_DEADLINE_S):
                    memory = await self._memory(held)
            except Exception as error:  # noqa: BLE001 (as above)
                log.warning("the memory cannot be looked at: %s", _said(error))
            else:
                self._post(MemoryRead(at=at, memory=replace(memory, at=at)))
            await _within(self._weigh, MEMORY_WAITED_FOR_S if self._hurried() else MEMORY_EVERY_S)

    async def _held(self) -> list[Pools]:
        held: list[Pools] = []
        for name, engine in self._engines.items():
            try:
                async with asyncio.timeout(OBSERVE_DEADLINE_S):
                    held.append(await engine.held())
            except Exception as error:  # noqa: BLE001 (what it holds counts as others' use)
                log.warning("engine %s cannot tell what it holds: %s", name, _said(error))
        return held


def _said(error: Exception) -> str:
    """Return what went wrong, with its kind where it is nothing that an engine says."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) if isinstance(error, EngineError | OSError) else f"{type(error).__name__}: {error}"


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, and no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
