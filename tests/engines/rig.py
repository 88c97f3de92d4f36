"""What the conformance suite asks of the world around an engine, besides the engine itself."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from orchestrator.engines.base import Engine, Progress
from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec
from tests.engines.real_time import SOON_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """An engine whose server, program or package is not there, and a model that would need it."""

    engine: Engine
    spec: ModelSpec


class Rig(Protocol):
    """An engine together with what the suite needs to put it to the test."""

    @property
    def engine(self) -> Engine: ...

    @property
    def good(self) -> ModelSpec:
        """A model that loads."""

    @property
    def other(self) -> ModelSpec:
        """Another revision that loads as well, beside `good`."""

    @property
    def missing(self) -> ModelSpec:
        """A model whose source is not there."""

    @property
    def corrupt(self) -> ModelSpec | None:
        """A model whose source is not a model; None where this engine never sees the weights."""

    @property
    def absent(self) -> Absent | None:
        """None where it cannot be absent."""

    @property
    def killed(self) -> str:
        """A word of the cause with which the end of a replica by `kill` is reported."""

    @property
    def tells_version(self) -> bool:
        """False where what would run a model does not tell its version."""

    async def kill(self, running: Running) -> None:
        """End a replica as the world would, behind the engine's back."""

    async def answers(self, running: Running) -> bool:
        """Return whether a replica answers a request."""

    async def fill(self, running: Running, spec: ModelSpec) -> None:
        """Have a replica take as much memory as it ever will: use all of its context, on all places at once.

        Where the engine cannot tell how much a replica takes, one request will do.
        """

    async def processes(self) -> int:
        """Return how many replicas there really are, ready or not."""

    async def load_is_under_way(self) -> None:
        """Return when a load that has been asked for has begun, long before it is ready."""


class Exits:
    """Records what an engine reports."""

    def __init__(self, engine: Engine) -> None:
        self.reports: list[tuple[str, EngineError]] = []
        self._changed = asyncio.Event()
        engine.on_exit(self._report)

    def _report(self, replica: str, cause: EngineError) -> None:
        self.reports.append((replica, cause))
        self._changed.set()

    async def first(self) -> tuple[str, EngineError]:
        async with asyncio.timeout(SOON_S):
            await self._changed.wait()
        return self.reports[0]


class Arrivals:
    """Records the progress of a fetch; being called off the event loop is an error."""

    def __init__(self) -> None:
        self.told: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        asyncio.get_running_loop()  # raises RuntimeError on any other thread
        self.told.append(progress)
