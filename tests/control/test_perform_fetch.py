"""Fetching, calling off and deleting: every outcome is an event, and nobody deletes what is still written."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.control.perform import Performer
from orchestrator.engines.base import OnDisk, Progress
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.nature import Nature
from orchestrator.errors import EngineError, EngineUnavailable, SourceUnreachable
from orchestrator.values.action import CallOff, Fetch, Remove
from orchestrator.values.event import Event, Fetched, FetchFailed, Removed, RemoveFailed
from orchestrator.values.memory import RAM, Footprint
from orchestrator.values.spec import ModelSpec
from tests.builders import NOW, spec

BIG = spec(location="big")
FETCH = Fetch(model="fast", spec=BIG, why="")
CALL_OFF = CallOff(model="fast", why="")
REMOVE = Remove(model="fast", spec=BIG, keep=(), why="")
NATURE = Nature(size_bytes=100, fetch_s=40.0, resolved="sha256:ab", estimate={RAM: 7})
LEARNT = Footprint(estimated={RAM: 7}, measured={RAM: 5}, load_s=2.0, engine_version="fake 1")


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(seconds=asyncio.get_running_loop().time()))
    monkeypatch.setattr(clock, "monotonic_s", lambda: asyncio.get_running_loop().time())


class Estimating(FakeEngine):
    """Counts its estimates, and knows what its weights exclude."""

    def __init__(self) -> None:
        super().__init__()
        self.natures["big"] = NATURE
        self.estimated: list[ModelSpec] = []

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        return replace(await super().ensure_fetched(spec, progress), exclusive="blob")

    async def estimate(self, spec: ModelSpec) -> dict[str, int]:
        self.estimated.append(spec)
        return dict(await super().estimate(spec))


class Bench:
    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = engine or Estimating()
        self.events: list[Event] = []
        self.performer = Performer({self.engine.name: self.engine}, self.events.append)

    async def perform(self, *steps: Fetch | CallOff | Remove | float) -> None:
        """Start the actions, with the pauses between them, and wait until nothing is under way."""
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    self.performer.start(tasks, step)

    @property
    def fetches(self) -> int:
        return self.engine.calls.count(("fetch", "fast"))


async def test_a_fetch_says_what_is_here_and_what_it_will_take() -> None:
    engine = Estimating()
    bench = Bench(engine)
    await bench.perform(FETCH)
    assert bench.events == [
        Fetched(
            at=NOW + timedelta(seconds=asyncio.get_running_loop().time()),
            model="fast",
            launch=BIG.launch,
            resolved="sha256:ab",
            size_bytes=100,
            footprint=Footprint(estimated={RAM: 7}, engine_version="fake 1", exclusive="blob"),
        )
    ]
    assert [each.source.resolved for each in engine.estimated] == ["sha256:ab"], "of what was fetched"


@pytest.mark.parametrize(
    ("case", "known", "estimates", "expected"),
    [
        ("nothing is known", None, 1, {"estimated": {RAM: 7}, "engine_version": "fake 1"}),
        ("it is known for this version", LEARNT, 0, {}),
        (
            "it is known for another version, of which nothing holds any more",
            replace(LEARNT, engine_version="fake 0"),
            1,
            {"measured": {}, "load_s": None},
        ),
        (
            "it was measured and never estimated",
            replace(LEARNT, estimated={}),
            1,
            {},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_known_of_this_version_is_not_estimated_again(
    case: str, known: Footprint | None, estimates: int, expected: dict[str, Any]
) -> None:
    engine = Estimating()
    bench = Bench(engine)
    await bench.perform(replace(FETCH, known=known))
    (event,) = bench.events
    assert isinstance(event, Fetched)
    assert len(engine.estimated) == estimates, case
    base = known or Footprint()
    wanted = replace(base, estimated={RAM: 7}, engine_version="fake 1", exclusive="blob")
    assert event.footprint == replace(wanted, **expected)


async def test_how_far_it_is_can_be_seen_while_it_is_under_way_and_no_longer() -> None:
    bench = Bench()
    assert bench.performer.progress("fast") is None
    async with asyncio.TaskGroup() as tasks:
        bench.performer.start(tasks, FETCH)
        for done, rate in ((0, 0), (25, 2.5), (50, 2.5), (75, 2.5)):
            await asyncio.sleep(9.5)
            headway = bench.performer.progress("fast")
            assert headway is not None
            assert headway.news == Progress(doing="downloading", done_bytes=done, total_bytes=100)
            assert headway.rate == pytest.approx(rate)
            assert headway.left_s == (pytest.approx((100 - done) / rate) if rate else None)
    assert bench.performer.progress("fast") is None


async def test_a_fetch_that_is_called_off_tells_nothing_and_goes_on_where_it_was() -> None:
    bench = Bench()
    await bench.perform(FETCH, 25.0, CALL_OFF)
    assert bench.events == []
    assert bench.performer.progress("fast") is None
    began = asyncio.get_running_loop().time()
    await bench.perform(FETCH)
    assert [type(event) for event in bench.events] == [Fetched]
    assert asyncio.get_running_loop().time() - began == pytest.approx(20, abs=0.1), "the rest of it"


async def test_what_is_not_fetched_can_be_called_off() -> None:
    bench = Bench()
    await bench.perform(CALL_OFF)
    assert bench.events == []


async def test_a_newer_fetch_of_a_model_takes_the_place_of_the_older() -> None:
    bench = Bench()
    other = spec(location="other")
    bench.engine.natures["other"] = Nature(size_bytes=10, fetch_s=10.0)
    async with asyncio.TaskGroup() as tasks:
        bench.performer.start(tasks, FETCH)
        await asyncio.sleep(5)
        bench.performer.start(tasks, Fetch(model="fast", spec=other, why=""))
        await asyncio.sleep(1)
        headway = bench.performer.progress("fast")
        assert headway is not None
        assert headway.news.total_bytes == 10, "the end of the older one takes nothing from the newer"
    (event,) = bench.events
    assert isinstance(event, Fetched)
    assert event.launch == other.launch


async def test_an_engine_that_is_not_installed_is_asked_for_nothing_else() -> None:
    bench = Bench()
    bench.engine.engine_version = ""
    await bench.perform(FETCH)
    (event,) = bench.events
    assert isinstance(event, FetchFailed)
    assert (event.reason, event.lasting, event.fix) == ("EngineUnavailable", True, "install the fake")
    assert bench.fetches == 0


async def test_an_estimate_that_fails_is_a_failure_of_the_fetch() -> None:
    bench = Bench()
    bench.engine.refuse("estimate", "big", EngineError("the header cannot be read"))
    await bench.perform(FETCH)
    (event,) = bench.events
    assert isinstance(event, FetchFailed)
    assert event.message == "the header cannot be read"


class Buggy(FakeEngine):
    """Fails in ways that an engine must not."""

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        raise ZeroDivisionError(spec.name, progress)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        raise ZeroDivisionError(spec.name, keep)


async def test_a_bug_in_fetching_is_an_event_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Buggy())
    await bench.perform(FETCH)
    (event,) = bench.events
    assert isinstance(event, FetchFailed)
    assert (event.reason, event.terminal, event.lasting) == ("Bug", False, False)
    assert event.message.startswith("ZeroDivisionError")
    assert "fetch for fast failed in a way nobody thought of" in caplog.text


async def test_an_engine_that_nobody_has_cannot_fetch() -> None:
    bench = Bench()
    await bench.perform(Fetch(model="fast", spec=spec(engine="mlx"), why=""))
    (event,) = bench.events
    assert isinstance(event, FetchFailed)
    assert (event.reason, event.terminal) == ("EngineUnknown", True)


async def test_what_was_fetched_is_deleted_and_the_freed_bytes_are_told() -> None:
    bench = Bench()
    await bench.perform(FETCH)
    await bench.perform(REMOVE)
    assert bench.events[1:] == [Removed(at=clock.now(), model="fast", freed_bytes=100)]


async def test_what_another_model_uses_stays() -> None:
    bench = Bench()
    await bench.perform(FETCH)
    await bench.perform(replace(REMOVE, keep=(spec("other", location="big"),)))
    assert bench.events[1:] == [Removed(at=clock.now(), model="fast", freed_bytes=0)]


async def test_a_removal_waits_for_the_end_of_a_fetch_that_is_called_off() -> None:
    engine = Unhurried()
    bench = Bench(engine)
    async with asyncio.TaskGroup() as tasks:
        bench.performer.start(tasks, FETCH)
        await asyncio.sleep(5)
        bench.performer.start(tasks, CALL_OFF)
        bench.performer.start(tasks, REMOVE)
    assert engine.order == ["fetch ends", "removed"]
    assert [type(event) for event in bench.events] == [Removed]


class Unhurried(FakeEngine):
    """Writes on for a while after it was told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            self.order.append("fetch ends")
        raise AssertionError(spec, progress)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        self.order.append("removed")
        return await super().ensure_removed(spec, keep)


@pytest.mark.parametrize("error", [EngineUnavailable("it is not running"), SourceUnreachable("not now")])
async def test_a_removal_that_fails_is_an_event(error: EngineError, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.engine.refuse("remove", "big", error)
    await bench.perform(REMOVE)
    assert bench.events == [RemoveFailed(at=clock.now(), model="fast", message=error.what)]
    assert "removal of demo:big failed" in caplog.text


async def test_a_bug_in_a_removal_is_an_event() -> None:
    bench = Bench(Buggy())
    await bench.perform(REMOVE)
    (event,) = bench.events
    assert isinstance(event, RemoveFailed)
    assert event.message.startswith("ZeroDivisionError")
