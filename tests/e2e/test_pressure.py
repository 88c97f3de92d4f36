"""A program outside takes the memory: models make room in order, and come back."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from orchestrator.control import observe
from orchestrator.decide import admit
from orchestrator.decide.budget import charged
from orchestrator.values.memory import RAM
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen
from tests.e2e.machine import MIB, Machine, sized, small_machine
from tests.engines.real_time import REAL_TIME, until

TOTAL, RESERVE = 600 * MIB, 60 * MIB
MODELS = (
    sized("idle", "middle", load=LoadWhen.ON_DEMAND),
    sized("also", "small", load=LoadWhen.ON_DEMAND),
    sized("stable", "large"),
    sized("pinned", "small", pinned=True),
)


async def ask(session: aiohttp.ClientSession, model: str, tokens: int = 16) -> int:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Uppercase abc"}],
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    async with session.post("/v1/chat/completions", json=body) as response:
        answer = await response.json()
        if response.status == 200:
            assert answer["usage"]["completion_tokens"] == tokens
        return response.status


def beyond(machine: Machine, wanted: int) -> int:
    """Return how much a hog has to take so that replicas have to give back so much."""
    outside = sum(pool.outside for pool in machine.loop.state.memory.pools.values())
    return TOTAL - RESERVE - outside - charged(machine.loop.state)[RAM] + wanted


@REAL_TIME
async def test_programs_outside_push_models_out_in_order_and_they_come_back(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    monkeypatch.setattr(observe, "MEMORY_EVERY_S", 0.3)
    monkeypatch.setattr(admit, "CALM_S", 1.5)
    async with small_machine(short_folder, total=TOTAL, reserve=RESERVE, limits=Limits()) as (
        machine,
        session,
    ):
        machine.edit(*MODELS)
        await machine.served("stable", "pinned")
        assert await ask(session, "idle") == await ask(session, "also") == 200
        await until(lambda: machine.loop.state.memory.at is not None and len(machine.workers()) == 4)

        # A small wave moves nothing: half of the reserve may be eaten.
        await machine.hog(beyond(machine, RESERVE // 4))
        await asyncio.sleep(1)
        assert set(machine.phases()) == {"idle", "also", "stable", "pinned"}

        # First those that are there for nobody; what they are doing is finished.
        async with asyncio.TaskGroup() as tasks:
            long = tasks.create_task(ask(session, "idle", tokens=2000))
            await until(lambda: bool(machine.loop.leases.held))
            await machine.hog(beyond(machine, 60 * MIB))
        assert long.result() == 200
        await machine.served("also", "stable", "pinned")
        assert "idle: revision" in machine.said("Draining")[0]
        assert "other programs take the memory that it needs" in machine.said("Draining")[0]

        # Then those that are always loaded, and never what is pinned.
        await machine.hog(beyond(machine, 200 * MIB))
        await machine.served("pinned")
        assert await ask(session, "pinned") == 200

        # Whoever asks for one that has no room waits, and gets it once there is some.
        clock_s = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(ask(session, "stable"))
            await asyncio.sleep(1)
            assert not asked.done()
            began = clock_s()
            await machine.relent()
        assert asked.result() == 200
        took_s = clock_s() - began
        await machine.served("stable", "pinned")
        assert await ask(session, "also") == 200
        assert machine.broken == []
        figure(f"served again {took_s:.2f} s after the program had gone")
