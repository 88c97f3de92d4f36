"""The fake machine: memory that engines share with others, in virtual time."""

import asyncio

import pytest

from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.meter import FakeMeter
from orchestrator.engines.fakes.nature import Nature
from orchestrator.values.memory import Pool
from tests.builders import NOW, spec

pytestmark = pytest.mark.looptime


def machine(**nature: object) -> tuple[FakeEngine, FakeEngine, FakeMeter]:
    one, other = FakeEngine("one"), FakeEngine("other")
    for engine in (one, other):
        engine.natures["tiny"] = Nature(**({"estimate": {"ram": 300}} | nature))  # type: ignore[arg-type]  # any field
    pools = {"ram": Pool(total=1000, reserve=100), "cuda:0": Pool(total=50)}
    return one, other, FakeMeter([one, other], pools, lambda: NOW)


async def test_what_is_held_is_not_outside_and_the_rest_is() -> None:
    one, other, meter = machine()
    meter.pressure["ram"] = 200
    await one.ensure_loaded("r1", spec())
    await other.ensure_loaded("r2", spec())
    memory = await meter.read({"ram": 600})
    assert memory.at == NOW
    assert memory.pools["ram"] == Pool(total=1000, reserve=100, outside=200)
    assert memory.pools["cuda:0"] == Pool(total=50)
    assert (await meter.read(await one.held())).pools["ram"].outside == 500


async def test_memory_that_comes_back_late_is_outside_until_then() -> None:
    one, _, meter = machine(back_s=5.0)
    await one.ensure_loaded("r1", spec())
    await one.ensure_unloaded("r1")
    assert (await meter.read(await one.held())).pools["ram"].outside == 300
    await asyncio.sleep(5.0)
    assert (await meter.read(await one.held())).pools["ram"].outside == 0


async def test_more_than_there_is_room_for_is_told() -> None:
    one, other, meter = machine()
    await one.ensure_loaded("r1", spec())
    await other.ensure_loaded("r2", spec())
    assert meter.overdrawn() == {}
    meter.pressure["ram"] = 301
    assert meter.overdrawn() == {"ram": 1}
    meter.pressure["ram"] = 5000
    assert meter.overdrawn() == {"ram": 600}
    await one.close()
    await other.close()
    assert meter.overdrawn() == {}


async def test_a_peak_above_the_estimate_is_seen() -> None:
    one, _, meter = machine(peak={"ram": 950}, ready=0.5)
    await one.ensure_loaded("r1", spec())
    assert meter.overdrawn() == {}
    one.work("r1")
    assert meter.overdrawn() == {"ram": 50}
