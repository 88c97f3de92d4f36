"""The fake engine: it keeps the contract, in virtual time, and fails as told."""

import asyncio
from dataclasses import replace

import pytest
from looptime import LoopTimeProxy

from orchestrator.engines.fake import FakeEngine
from orchestrator.errors import LoadFailed, LoadTimedOut, SourceCorrupt, SourceNotFound
from orchestrator.values.fleet import Running
from tests.builders import spec
from tests.engines.conformance import EngineConformance

pytestmark = pytest.mark.looptime


class FakeRig:
    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.good = spec("fast", location="tiny")
        self.other = spec("better", location="small")
        self.missing = spec("missing", location="nothing")
        self.corrupt = spec("corrupt", location="noise")
        missing = SourceNotFound("no 'demo:nothing'", where="missing")
        corrupt = SourceCorrupt("'demo:noise' is not a model", where="corrupt")
        for location, error in (("nothing", missing), ("noise", corrupt)):
            self.engine.refuse_fetch(location, error)
            self.engine.refuse_load(location, error)

    async def kill(self, running: Running) -> None:
        self.engine.die(running.replica)

    async def answers(self, running: Running) -> bool:
        return running in (await self.engine.observe()).values()

    async def processes(self) -> int:
        return self.engine.alive

    async def load_is_under_way(self) -> None:
        await asyncio.sleep(self.engine.load_s / 2)


class TestFakeEngine(EngineConformance):
    @pytest.fixture
    def rig(self) -> FakeRig:
        return FakeRig()


async def test_a_load_takes_its_time(looptime: LoopTimeProxy) -> None:
    engine = FakeEngine(load_s=3.0, unload_s=0.5)
    await engine.ensure_loaded("r1", spec())
    assert looptime == 3.0
    await engine.ensure_unloaded("r1")
    assert looptime == 3.5
    assert engine.calls == [("load", "r1"), ("unload", "r1")]


async def test_a_load_beyond_the_deadline_ends_at_the_deadline(looptime: LoopTimeProxy) -> None:
    engine = FakeEngine(load_s=300.0, load_deadline_s=120.0)
    with pytest.raises(LoadTimedOut):
        await engine.ensure_loaded("r1", spec())
    assert looptime == 120.0


async def test_loads_fail_as_often_as_told() -> None:
    engine = FakeEngine()
    engine.refuse_load("tiny", LoadFailed("no memory"), times=2)
    for _ in range(2):
        with pytest.raises(LoadFailed):
            await engine.ensure_loaded("r1", spec())
    await engine.ensure_loaded("r1", spec())


async def test_a_location_can_be_accepted_again() -> None:
    engine = FakeEngine()
    engine.refuse_fetch("tiny", SourceNotFound("gone"))
    with pytest.raises(SourceNotFound):
        await engine.ensure_fetched(spec())
    engine.accept("tiny")
    await engine.ensure_fetched(spec())


async def test_another_setting_of_the_same_process_is_the_same_replica() -> None:
    engine = FakeEngine()
    first = await engine.ensure_loaded("r1", spec())
    assert await engine.ensure_loaded("r1", replace(spec(), capabilities=("chat",))) == first
