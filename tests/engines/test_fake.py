"""The fake engine: it keeps the contract, in virtual time, and fails as told."""

import asyncio
from dataclasses import replace

import pytest
from looptime import LoopTimeProxy

from orchestrator.engines.base import Engine, OnDisk
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.nature import Nature, Verb
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    LoadTimedOut,
    SourceCorrupt,
    SourceNotFound,
)
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec
from tests.builders import spec
from tests.engines.conformance import Absent, Arrivals, EngineConformance

pytestmark = pytest.mark.looptime

TINY = Nature(
    size_bytes=1000, fetch_s=8.0, estimate={"ram": 300, "cuda:0": 100}, peak={"ram": 280}, ready=0.5
)


class FakeRig:
    killed = "killed"
    tells_version = True

    def __init__(self) -> None:
        self.fake = FakeEngine()
        self.engine: Engine = self.fake
        self.fake.natures["tiny"] = replace(TINY, resolved="sha256:1")
        self.good = spec("fast", location="tiny")
        self.other = spec("better", location="small")
        self.missing = spec("missing", location="nothing")
        self.corrupt = spec("corrupt", location="noise")
        absent = FakeEngine()
        absent.engine_version = ""
        self.absent = Absent(engine=absent, spec=self.good)
        missing = SourceNotFound("no 'demo:nothing'", where="missing")
        corrupt = SourceCorrupt("'demo:noise' is not a model", where="corrupt")
        for location, error in (("nothing", missing), ("noise", corrupt)):
            self.fake.refuse_fetch(location, error)
            self.fake.refuse_load(location, error)

    async def kill(self, running: Running) -> None:
        self.fake.die(running.replica)

    async def answers(self, running: Running) -> bool:
        return running.pid in {seen.pid for seen in (await self.engine.observe()).values()}

    async def fill(self, running: Running, spec: ModelSpec) -> None:  # noqa: ARG002 (the suite's)
        self.fake.work(running.replica)

    async def processes(self) -> int:
        return self.fake.alive

    async def load_is_under_way(self) -> None:
        await asyncio.sleep(self.fake.load_s / 2)


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


async def test_a_source_has_a_load_time_of_its_own(looptime: LoopTimeProxy) -> None:
    engine = FakeEngine(load_s=3.0)
    engine.natures["tiny"] = Nature(load_s=7.0)
    await engine.ensure_loaded("r1", spec(location="tiny"))
    assert looptime == 7.0
    await engine.ensure_loaded("r2", spec(location="small"))
    assert looptime == 10.0


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


async def test_every_verb_can_fail() -> None:
    engine, model = FakeEngine(), spec()
    await engine.ensure_loaded("r1", model)
    verbs: dict[Verb, object] = {
        "version": lambda: engine.version(model),
        "fetch": lambda: engine.ensure_fetched(model, Arrivals()),
        "newest": lambda: engine.newest(model),
        "remove": lambda: engine.ensure_removed(model, []),
        "estimate": lambda: engine.estimate(model),
        "load": lambda: engine.ensure_loaded("r2", model),
        "unload": lambda: engine.ensure_unloaded("r1"),
        "observe": engine.observe,
        "held": engine.held,
    }
    for verb, call in verbs.items():
        assert callable(call)
        everywhere = verb in {"observe", "held"}
        engine.refuse(verb, "" if everywhere else "tiny", EngineError(verb), times=1)
        with pytest.raises(EngineError, match=verb):
            await call()
        await call()


async def test_a_location_can_be_accepted_again() -> None:
    engine = FakeEngine()
    engine.refuse_fetch("tiny", SourceNotFound("gone"))
    with pytest.raises(SourceNotFound):
        await engine.ensure_fetched(spec(), Arrivals())
    engine.accept("tiny")
    await engine.ensure_fetched(spec(), Arrivals())


async def test_another_setting_of_the_same_process_is_the_same_replica() -> None:
    engine = FakeEngine()
    first = await engine.ensure_loaded("r1", spec())
    assert await engine.ensure_loaded("r1", replace(spec(), capabilities=("chat",))) == first


async def test_a_fetch_that_is_cancelled_goes_on_where_it_stopped(looptime: LoopTimeProxy) -> None:
    engine, arrivals = FakeEngine(), Arrivals()
    engine.natures["tiny"] = TINY
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await engine.ensure_fetched(spec(), Arrivals())
    assert await engine.ensure_fetched(spec(), arrivals) == OnDisk(size_bytes=1000)
    assert [told.done_bytes for told in arrivals.told] == [500, 750]
    assert looptime == 9.0
    assert await engine.ensure_removed(spec(), [spec("other")]) == 0
    assert await engine.ensure_removed(spec(), []) == 1000


async def test_memory_grows_with_the_load_and_once_more_with_the_first_request() -> None:
    engine = FakeEngine(load_s=4.0)
    engine.natures["tiny"] = TINY
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.ensure_loaded("r1", spec()))
        await asyncio.sleep(2.0)
        assert await engine.held() == {"ram": 70}
    assert await engine.held() == {"ram": 140}
    assert (await engine.observe())["r1"].memory == {"ram": 140}
    engine.work("r1")
    assert await engine.held() == {"ram": 280}


async def test_memory_of_what_has_ended_comes_back_late_where_told() -> None:
    engine = FakeEngine()
    engine.natures["tiny"] = replace(TINY, back_s=5.0)
    for end in (engine.ensure_unloaded, engine.die):
        await engine.ensure_loaded("r1", spec())
        ended = end("r1")
        if ended is not None:
            await ended
        assert await engine.held() == {}
        assert engine.in_use() == {"ram": 140}
        await asyncio.sleep(5.0)
        assert engine.in_use() == {}


async def test_a_load_that_fails_gives_its_memory_back() -> None:
    engine = FakeEngine()
    engine.natures["tiny"] = TINY
    engine.refuse_load("tiny", LoadFailed("no memory"))
    with pytest.raises(LoadFailed):
        await engine.ensure_loaded("r1", spec())
    assert engine.in_use() == {}


async def test_an_engine_that_is_not_installed_can_be_installed() -> None:
    engine = FakeEngine()
    engine.engine_version = ""
    with pytest.raises(EngineUnavailable):
        await engine.ensure_loaded("r1", spec())
    engine.engine_version = "fake 2"
    assert await engine.version(spec()) == "fake 2"
    await engine.ensure_loaded("r1", spec())
