"""An engine that sleeps until it is needed keeps every promise of the one that it stands for."""

import pytest

from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.sleeping import SleepingEngine
from orchestrator.errors import LoadFailed
from tests.builders import running, spec
from tests.engines.conformance import EngineConformance
from tests.engines.test_fake import FakeRig


class SleepingRig(FakeRig):
    def __init__(self) -> None:
        super().__init__()
        self.engine = SleepingEngine("fake", lambda: self.fake)


class TestSleepingEngine(EngineConformance):
    @pytest.fixture
    def rig(self) -> SleepingRig:
        return SleepingRig()


async def test_it_is_not_built_for_what_needs_nothing_of_it() -> None:
    built: list[FakeEngine] = []

    def build() -> FakeEngine:
        built.append(FakeEngine())
        return built[-1]

    engine = SleepingEngine("fake", build)
    engine.on_exit(lambda _replica, _cause: None)
    assert (await engine.observe(), await engine.held()) == ({}, {})
    await engine.ensure_unloaded("r1")
    await engine.reap([])
    await engine.close()
    assert built == []
    with pytest.raises(LoadFailed):
        await engine.ensure_loaded("r1", spec())
    assert built == []


async def test_it_is_built_once_and_told_who_listens() -> None:
    built: list[FakeEngine] = []
    exits: list[str] = []

    def build() -> FakeEngine:
        built.append(FakeEngine(load_s=0.1))
        return built[-1]

    engine = SleepingEngine("fake", build)
    engine.on_exit(lambda replica, _cause: exits.append(replica))
    await engine.ensure_loaded("r1", spec())
    await engine.version(spec())
    assert len(built) == 1
    built[0].die("r1")
    assert exits == ["r1"]


async def test_what_an_earlier_daemon_left_wakes_it() -> None:
    inner = FakeEngine()
    engine = SleepingEngine("fake", lambda: inner)
    await engine.reap([running("r1")])
    assert inner.calls == [("reap", "r1")]
