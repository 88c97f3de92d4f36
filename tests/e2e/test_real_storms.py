"""Fifty storms on real workers: requests, edits, kills and programs outside, all at once."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from orchestrator.control import observe
from orchestrator.decide import admit
from orchestrator.decide.budget import charged, obstacle
from orchestrator.values.memory import RAM
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec
from tests.e2e.machine import MIB, SIZES, Machine, sized, small_machine
from tests.engines.real_time import REAL_TIME, until

STORMS: Final = 50
AT_ONCE: Final = 5
LASTS_S: Final = 2.0
CLIENTS: Final = 6
MOST_KILLS: Final = 2
NAMES: Final = ("a", "b", "c", "d")
TOTAL, RESERVE = 400 * MIB, 40 * MIB
LIMITS: Final = Limits(min_residency_s=0.5, wait_s=20)
DEADLINE_S: Final = 100.0


@dataclass
class Storm:
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    kills: int = 0
    loads: int = 0
    waves: int = 0
    most_bytes: int = 0


class Weather:
    """What happens to one machine."""

    def __init__(self, seed: int, machine: Machine, session: aiohttp.ClientSession) -> None:
        self.storm = Storm(seed)
        self._draw = random.Random(seed)  # noqa: S311 (repeatable on purpose)
        self._machine = machine
        self._session = session
        self._specs = {name: self._any_spec(name) for name in NAMES}
        self._ends_s = 0.0

    async def blow(self) -> Storm:
        machine, storm = self._machine, self.storm
        machine.edit(*self._specs.values())
        await until(lambda: {s.launch for s in self._specs.values()} <= machine.loop.state.fetched)
        self._ends_s = asyncio.get_running_loop().time() + LASTS_S
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            charges = tasks.create_task(self._watch_charges())
            async with asyncio.TaskGroup() as weather:
                weather.create_task(self._trouble())
                for _ in range(CLIENTS):
                    weather.create_task(self._client())
            await self._calm()
            charges.cancel()
        storm.broken += machine.broken
        storm.loads = len(machine.said("Loading"))
        storm.most_bytes = machine.most_bytes
        if storm.outcomes["cut"] + storm.outcomes["replica_died"] > storm.kills * CLIENTS:
            storm.broken.append(f"more answers were cut than workers killed: {storm.outcomes}")
        return storm

    def _any_spec(self, name: str) -> ModelSpec:
        size = self._draw.choice(tuple(SIZES))
        load = LoadWhen.ALWAYS if self._draw.random() < 0.2 else LoadWhen.ON_DEMAND
        return sized(name, size, load=load, idle_s=self._draw.choice([0.5, 600.0]))

    def _is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._ends_s

    async def _client(self) -> None:
        while not self._is_over():
            model, stream = self._draw.choice(NAMES), self._draw.random() < 0.5
            if self._draw.random() < 0.1:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._draw.uniform(0.01, 0.5)):
                        await self._ask(model, stream=stream)
                self.storm.outcomes["left, or was quick"] += 1
                continue
            self.storm.outcomes[await self._ask(model, stream=stream)] += 1

    async def _ask(self, model: str, *, stream: bool) -> str:
        tokens = self._draw.choice([1, 20, 400])
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Uppercase abc"}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": stream,
            "metadata": {"priority": self._draw.choice([5, 5, 9])},
        }
        async with self._session.post("/v1/chat/completions", json=body) as response:
            content = await response.read()
            if response.status != 200:
                return self._refused(response, json.loads(content)["error"])
            if stream:
                return "answered" if b"data: [DONE]" in content else "cut"
            if json.loads(content)["usage"]["completion_tokens"] != tokens:
                self.storm.broken.append(f"{model} answered {content!r}")
            return "answered"

    def _refused(self, response: aiohttp.ClientResponse, error: dict[str, Any]) -> str:
        if response.status == 503 and error["code"] == "model_not_ready":
            assert int(response.headers["Retry-After"]) >= 1
            return "late"
        if response.status == 503 and "whole budget" in error["message"]:
            return "never fits"
        if response.status == 502 and error["code"] == "replica_died":
            return "replica_died"
        self.storm.broken.append(f"{response.status} {error}")
        return "broken"

    async def _trouble(self) -> None:
        while not self._is_over():
            await asyncio.sleep(self._draw.uniform(0.1, 0.6))
            match self._draw.choice(["kill", "edit", "edit", "wave", "relent"]):
                case "kill" if self.storm.kills < MOST_KILLS and (pids := self._machine.workers()):
                    self.storm.kills += 1
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self._draw.choice(sorted(pids)), signal.SIGKILL)
                case "edit":
                    name = self._draw.choice(NAMES)
                    self._specs[name] = self._any_spec(name)
                    self._machine.edit(*self._specs.values())
                case "wave" if not self._machine.hogs:
                    self.storm.waves += 1
                    await self._machine.hog(self._draw.choice([20, 100, 250]) * MIB)
                case "relent":
                    await self._machine.relent()
                case _:
                    pass
        await self._machine.relent()

    async def _watch_charges(self) -> None:
        """Nothing is started that the budget has no room for: charges grow only where there is room."""
        before = 0
        while True:
            state = self._machine.loop.state
            taken = charged(state).get(RAM, 0)
            room = state.memory.pools[RAM].room if RAM in state.memory.pools else TOTAL
            if taken > before and taken > max(room, TOTAL - RESERVE):
                self.storm.broken.append(f"{taken // MIB} MiB are charged of {room // MIB}")
            before = taken
            await asyncio.sleep(0.01)

    async def _calm(self) -> None:
        """Whatever can fit is served when it is asked for, and nothing is left over."""
        loop = self._machine.loop
        for name in NAMES:
            outcome = await self._ask(name, stream=False)
            desired = loop.state.models[name].desired
            fits = desired is not None and not obstacle(loop.state, desired)
            if outcome != "answered" and fits:
                self.storm.broken.append(f"in the calm {name} is {outcome}: {loop.leases.table.routes[name]}")
        if loop.leases.held:
            self.storm.broken.append(f"leases were never returned: {dict(loop.leases.held)}")


async def one(seed: int) -> Storm:
    folder = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    try:
        async with small_machine(folder, total=TOTAL, reserve=RESERVE, limits=LIMITS) as (machine, session):
            storm = await Weather(seed, machine, session).blow()
        if left := machine.workers():
            storm.broken.append(f"workers outlived their engine: {left}")
        return storm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@REAL_TIME
@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, STORMS, AT_ONCE))
async def test_real_storms(
    first: int, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    monkeypatch.setattr(observe, "MEMORY_EVERY_S", 0.3)
    monkeypatch.setattr(admit, "CALM_S", 0.5)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(seed)) for seed in range(first, first + AT_ONCE)]
    storms = [task.result() for task in running]
    total: Counter[str] = Counter()
    for storm in storms:
        total.update(storm.outcomes)
    most = max(storm.most_bytes for storm in storms) // MIB
    figure(
        f"{dict(total)}; {sum(s.loads for s in storms)} loads, {sum(s.kills for s in storms)} kills, "
        f"{sum(s.waves for s in storms)} waves outside; "
        f"the workers took {most} of {(TOTAL - RESERVE) // MIB} MiB at most"
    )
    assert {storm.seed: storm.broken for storm in storms if storm.broken} == {}
