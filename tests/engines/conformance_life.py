"""What every engine promises of a replica's life: loading, answering, ending."""

import asyncio
from collections.abc import Awaitable

import pytest

from orchestrator.errors import EngineError, LoadFailed, ReplicaDied
from orchestrator.values.fleet import Running
from tests.engines.rig import Exits, Rig


class LifeConformance:
    async def test_a_load_that_cannot_succeed_is_an_engine_error_and_leaves_nothing(self, rig: Rig) -> None:
        for spec in (rig.missing, rig.corrupt or rig.missing):
            with pytest.raises(EngineError) as caught:
                await rig.engine.ensure_loaded("r1", spec)
            assert caught.value.terminal
        assert await rig.engine.observe() == {}
        assert await rig.processes() == 0

    async def test_a_loaded_replica_answers_and_is_observed(self, rig: Rig) -> None:
        running = await rig.engine.ensure_loaded("r1", rig.good)
        assert running.replica == "r1"
        assert await rig.answers(running)
        observed = await rig.engine.observe()
        assert set(observed) == {"r1"}
        seen = observed["r1"]
        assert (seen.socket, seen.pid, seen.pid_started) == (running.socket, running.pid, running.pid_started)

    async def test_loading_again_changes_nothing(self, rig: Rig) -> None:
        first = await rig.engine.ensure_loaded("r1", rig.good)
        assert await rig.engine.ensure_loaded("r1", rig.good) == first
        assert await rig.processes() == 1

    async def test_loads_of_one_replica_at_once_make_one(self, rig: Rig) -> None:
        loads = (rig.engine.ensure_loaded("r1", rig.good) for _ in range(5))
        found = await asyncio.gather(*loads)
        assert len(set(found)) == 1
        assert await rig.processes() == 1

    async def test_one_id_is_not_two_things(self, rig: Rig) -> None:
        await rig.engine.ensure_loaded("r1", rig.good)
        with pytest.raises(EngineError):
            await rig.engine.ensure_loaded("r1", rig.other)
        assert set(await rig.engine.observe()) == {"r1"}

    async def test_two_replicas_are_independent(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        first, second = await asyncio.gather(
            rig.engine.ensure_loaded("r1", rig.good), rig.engine.ensure_loaded("r2", rig.other)
        )
        assert first.socket != second.socket
        await rig.kill(first)
        assert (await exits.first())[0] == "r1"
        assert await rig.answers(second)
        assert set(await rig.engine.observe()) == {"r2"}

    async def test_unloading_what_is_not_there_changes_nothing(self, rig: Rig) -> None:
        await rig.engine.ensure_unloaded("r1")

    async def test_an_unloaded_replica_is_gone_and_can_be_loaded_again(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        running = await rig.engine.ensure_loaded("r1", rig.good)
        await rig.engine.ensure_unloaded("r1")
        assert await rig.processes() == 0
        assert not await rig.answers(running)
        assert await rig.engine.observe() == {}
        await rig.engine.ensure_unloaded("r1")
        assert await rig.answers(await rig.engine.ensure_loaded("r1", rig.good))
        assert exits.reports == []

    async def test_unloads_of_one_replica_at_once_are_one(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        await rig.engine.ensure_loaded("r1", rig.good)
        await asyncio.gather(*(rig.engine.ensure_unloaded("r1") for _ in range(3)))
        assert await rig.processes() == 0
        assert exits.reports == []

    async def test_a_load_during_an_unload_is_a_new_one(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        first = await rig.engine.ensure_loaded("r1", rig.good)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rig.engine.ensure_unloaded("r1"))
            await asyncio.sleep(0)
            load = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
        second = load.result()
        assert second.pid != first.pid or not second.pid
        assert await rig.answers(second)
        assert await rig.processes() == 1
        assert exits.reports == []

    async def test_cancelling_a_load_leaves_nothing(self, rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
            await rig.load_is_under_way()
            load.cancel()
        assert await rig.processes() == 0
        assert await rig.engine.observe() == {}
        assert await rig.answers(await rig.engine.ensure_loaded("r1", rig.good))

    async def test_cancelling_one_of_two_loads_does_not_hurt_the_other(self, rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
            await rig.load_is_under_way()
            second = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
            third = tasks.create_task(rig.engine.ensure_loaded("r1", rig.good))
            await asyncio.sleep(0)
            first.cancel()
        assert second.result() == third.result()
        assert await rig.answers(second.result())
        assert await rig.processes() == 1

    async def test_unloading_ends_a_load(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(_failure_of(rig.engine.ensure_loaded("r1", rig.good)))
            await rig.load_is_under_way()
            await rig.engine.ensure_unloaded("r1")
            assert await rig.processes() == 0
        failure = load.result()
        assert isinstance(failure, LoadFailed)
        assert "unloaded" in failure.what
        assert exits.reports == []

    async def test_a_kill_from_outside_is_reported_once_with_its_cause(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        running = await rig.engine.ensure_loaded("r1", rig.good)
        await rig.kill(running)
        replica, cause = await exits.first()
        assert replica == "r1"
        assert isinstance(cause, ReplicaDied)
        assert rig.killed in cause.what
        assert cause.where == rig.good.name
        assert await rig.engine.observe() == {}
        await rig.engine.ensure_unloaded("r1")
        assert len(exits.reports) == 1

    async def test_a_dead_replica_can_be_loaded_again_under_its_id(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        await rig.kill(await rig.engine.ensure_loaded("r1", rig.good))
        await exits.first()
        assert await rig.answers(await rig.engine.ensure_loaded("r1", rig.good))

    async def test_what_is_observed_is_true_even_before_the_report(self, rig: Rig) -> None:
        await rig.kill(await rig.engine.ensure_loaded("r1", rig.good))
        assert await rig.engine.observe() == {}

    async def test_closing_unloads_everything_and_loads_under_way_too(self, rig: Rig) -> None:
        exits = Exits(rig.engine)
        await rig.engine.ensure_loaded("r1", rig.good)
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(_failure_of(rig.engine.ensure_loaded("r2", rig.other)))
            await rig.load_is_under_way()
            await rig.engine.close()
            assert await rig.processes() == 0
        assert isinstance(load.result(), LoadFailed)
        await rig.engine.close()
        with pytest.raises(EngineError):
            await rig.engine.ensure_loaded("r3", rig.good)
        assert exits.reports == []

    async def test_reaping_spares_the_engine_s_own(self, rig: Rig) -> None:
        running = await rig.engine.ensure_loaded("r1", rig.good)
        await rig.engine.reap([running])
        assert await rig.answers(running)


async def _failure_of(load: Awaitable[Running]) -> EngineError | None:
    try:
        await load
    except EngineError as failure:
        return failure
    return None
