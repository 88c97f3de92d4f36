"""Looks whether sources that can move have moved: the part of `update:` that needs a clock."""

import asyncio
import logging
import random
import traceback
from datetime import datetime, timedelta
from typing import Final

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.errors import EngineError
from orchestrator.values.event import SourceMoved
from orchestrator.values.hidden import hiding
from orchestrator.values.state import State

log = logging.getLogger(__name__)

# How often it is looked which checks are due. A machine that slept checks within this after it wakes.
TICK_S: Final = 30.0
CHECK_DEADLINE_S: Final = 60.0


class Updates:
    """Asks each engine what a source means now, as often as its model's file says.

    The first check of a model comes within its interval after the start, at a
    random moment of its first tenth, so that many models do not ask together.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._due: dict[str, datetime] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            for name in self.due(self._loop.state, clock.now()):
                await self.check(name)
            await asyncio.sleep(TICK_S)

    def due(self, state: State, now: datetime) -> list[str]:
        """Return the models to be checked now, and set when they are next."""
        found: list[str] = []
        for name, record in state.models.items():
            desired = record.desired
            every_s = desired.update.check_every_s if desired else None
            known = record.resolution
            fetched = known is not None and desired is not None and known.written == desired.source.written
            if every_s is None or not fetched:
                self._due.pop(name, None)
                continue
            first = now + timedelta(seconds=every_s * 0.1 * random.random())  # noqa: S311 (spreads load)
            if self._due.setdefault(name, first) <= now:
                self._due[name] = now + timedelta(seconds=every_s)
                found.append(name)
        return found

    async def check(self, name: str) -> None:
        """Ask what the source of one model means now, and tell the loop; a failure waits for its turn."""
        record = self._loop.state.models.get(name)
        if record is None or record.document is None:
            return
        spec = record.document.value
        engine = self._loop.engines.get(spec.engine)
        if engine is None:
            return
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                newest = await engine.newest(spec)
        except (EngineError, TimeoutError) as error:
            said = hiding(spec)(str(error)) or "no answer in time"
            log.warning("%s: cannot look for a newer version: %s", name, said)
            return
        except Exception as error:  # noqa: BLE001 (a look that fails must not end the daemon)
            trace = hiding(spec)("".join(traceback.format_exception(error)))
            log.error("%s: the look for a newer version has a bug\n%s", name, trace)  # noqa: TRY400 (hidden)
            return
        self._loop.post(SourceMoved(at=clock.now(), model=name, newest=newest))
