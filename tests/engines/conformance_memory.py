"""What every engine promises of memory, of versions, and of its own absence."""

import asyncio

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import EngineUnavailable
from tests.engines.rig import Arrivals, Rig


class MemoryConformance:
    async def test_what_a_replica_takes_at_its_most_is_not_above_the_estimate(self, rig: Rig) -> None:
        await rig.engine.ensure_fetched(rig.good, Arrivals())
        estimated = await rig.engine.estimate(rig.good)
        running = await rig.engine.ensure_loaded("r1", rig.good)
        await rig.fill(running, rig.good)
        taken = (await rig.engine.observe())["r1"].memory
        assert {pool: size for pool, size in taken.items() if size > estimated.get(pool, 0)} == {}

    async def test_an_estimate_is_much_the_same_again_and_again(self, rig: Rig) -> None:
        await rig.engine.ensure_fetched(rig.good, Arrivals())
        first = await rig.engine.estimate(rig.good)
        assert all(pool and size > 0 for pool, size in first.items())
        again = await asyncio.gather(rig.engine.estimate(rig.good), rig.engine.estimate(rig.good))
        for other in again:
            assert other.keys() == first.keys()
            assert all(abs(other[pool] - size) <= size / 20 for pool, size in first.items())

    async def test_an_estimate_loads_nothing(self, rig: Rig) -> None:
        await rig.engine.ensure_fetched(rig.good, Arrivals())
        await rig.engine.estimate(rig.good)
        assert await rig.engine.observe() == {}
        assert await rig.processes() == 0

    async def test_what_is_held_comes_back_when_it_is_unloaded(self, rig: Rig) -> None:
        assert not any((await rig.engine.held()).values())
        await rig.engine.ensure_loaded("r1", rig.good)
        held = await rig.engine.held()
        takes_some = any((await rig.engine.observe())["r1"].memory.values())
        assert any(held.values()) == takes_some
        await rig.engine.ensure_unloaded("r1")
        assert not any((await rig.engine.held()).values())

    async def test_what_is_held_can_be_told_at_any_time(self, rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
            await rig.load_is_under_way()
            assert all(size >= 0 for size in (await rig.engine.held()).values())
            await load
            unload = tasks.create_task(rig.engine.ensure_unloaded("r1"))
            await asyncio.sleep(0)
            assert all(size >= 0 for size in (await rig.engine.held()).values())
            await unload


class PresenceConformance:
    async def test_the_version_of_what_would_run_a_model_is_one_line(self, rig: Rig) -> None:
        version = await rig.engine.version(rig.good)
        assert bool(version) == rig.tells_version
        assert version.strip() == version
        assert "\n" not in version
        assert await rig.engine.version(rig.good) == version

    async def test_a_diagnosis_is_for_people(self, rig: Rig) -> None:
        await _diagnosed(rig.engine)

    async def test_an_absent_engine_is_a_lasting_condition_with_the_way_out(self, rig: Rig) -> None:
        if rig.absent is None:
            return
        engine, spec = rig.absent.engine, rig.absent.spec
        for verb in (engine.version(spec), engine.ensure_loaded("r1", spec)):
            with pytest.raises(EngineUnavailable) as caught:
                await verb
            assert caught.value.lasting
            assert not caught.value.terminal
            assert caught.value.where == spec.name
            assert caught.value.what
            assert caught.value.fix

    async def test_an_absent_engine_does_no_harm(self, rig: Rig) -> None:
        if rig.absent is None:
            return
        engine = rig.absent.engine
        await _diagnosed(engine)
        assert await engine.observe() == {}
        assert not any((await engine.held()).values())
        await engine.ensure_unloaded("r1")
        await engine.reap([])
        await engine.close()


async def _diagnosed(engine: Engine) -> None:
    findings = await engine.diagnose()
    assert findings
    for finding in findings:
        assert finding.what
        assert finding.found
        assert finding.ok or finding.fix
