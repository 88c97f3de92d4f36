"""Actions meet an engine: every outcome comes back as an event, and nothing else gets out."""

import asyncio
from datetime import timedelta

import pytest

from orchestrator import clock
from orchestrator.control.perform import Performer
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.fakes.nature import Verb
from orchestrator.errors import (
    DiskFull,
    EngineError,
    EngineUnavailable,
    LoadFailed,
    ReplicaDied,
    SourceNotFound,
)
from orchestrator.values.action import CallOff, Fetch, Load, Remove, Unload
from orchestrator.values.event import (
    Event,
    FetchFailed,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    UnloadFailed,
)
from orchestrator.values.spec import ModelSpec
from tests.builders import NOW, spec

TINY = spec(location="tiny")
LOAD = Load(model="fast", replica="r1", spec=TINY, why="")
FETCH = Fetch(model="fast", spec=TINY, why="")
UNLOAD = Unload(model="fast", replica="r1", engine="llama-cpp", why="")


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(seconds=asyncio.get_running_loop().time()))


class Bench:
    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = engine or FakeEngine()
        self.events: list[Event] = []
        self.performer = Performer({self.engine.name: self.engine}, self.events.append)

    async def perform(self, *actions: Fetch | CallOff | Load | Unload | Remove) -> None:
        """Start the actions and wait until nothing is under way."""
        async with asyncio.TaskGroup() as tasks:
            for action in actions:
                self.performer.start(tasks, action)

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]


def elapsed_s(event: Event) -> float:
    return (event.at - NOW).total_seconds()


async def test_a_load_says_where_it_runs_and_how_long_it_took() -> None:
    bench = Bench(FakeEngine(load_s=3))
    began = asyncio.get_running_loop().time()
    await bench.perform(LOAD)
    (event,) = bench.events
    assert isinstance(event, ReplicaLoaded)
    assert (event.replica, event.running.replica) == ("r1", "r1")
    assert event.running == (await bench.engine.observe())["r1"]
    assert elapsed_s(event) == pytest.approx(began + 3)
    assert bench.engine.calls == [("load", "r1")]
    assert event.load_s >= 0


async def test_an_unload_ends_the_replica_and_says_so() -> None:
    bench = Bench()
    await bench.perform(LOAD)
    await bench.perform(UNLOAD)
    assert bench.events[1:] == [ReplicaUnloaded(at=clock.now(), replica="r1")]
    assert bench.engine.alive == 0


async def test_an_unload_of_what_is_gone_already_is_well() -> None:
    bench = Bench()
    await bench.perform(UNLOAD)
    assert bench.kinds == [ReplicaUnloaded]


FAILURES: list[tuple[EngineError, tuple[str, str, bool, bool, str]]] = [
    (
        SourceNotFound("no such file", where="fast", fix="look for it"),
        ("SourceNotFound", "no such file", True, False, "look for it"),
    ),
    (LoadFailed("it broke", fix="mend it"), ("LoadFailed", "it broke", False, False, "mend it")),
    (
        EngineUnavailable("it is not running", fix="start it"),
        ("EngineUnavailable", "it is not running", False, True, "start it"),
    ),
    (DiskFull("no room"), ("DiskFull", "no room", False, True, "")),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=[type(each).__name__ for each, _ in FAILURES])
@pytest.mark.parametrize("verb", ["fetch", "load"])
async def test_a_failure_of_the_engine_is_an_event_with_its_cause(
    verb: Verb, error: EngineError, expected: tuple[str, str, bool, bool, str]
) -> None:
    bench = Bench()
    bench.engine.refuse(verb, "tiny", error)
    await bench.perform(LOAD if verb == "load" else FETCH)
    (event,) = bench.events
    if verb == "load":
        assert isinstance(event, ReplicaLost)
        assert event.replica == "r1"
    else:
        assert isinstance(event, FetchFailed)
        assert (event.model, event.launch) == ("fast", TINY.launch)
    assert (event.reason, event.message, event.terminal, event.lasting, event.fix) == expected
    assert event.at == clock.now()
    assert 0 <= event.draw < 1


async def test_failures_are_spread_by_chance() -> None:
    bench = Bench()
    for _ in range(10):
        bench.performer.lost("r1", LoadFailed("it broke"))
    draws = {event.draw for event in bench.events if isinstance(event, ReplicaLost)}
    assert len(draws) == 10


class Buggy(FakeEngine):
    """Fails in ways that an engine must not."""

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> object:  # type: ignore[override]
        raise ZeroDivisionError(f"{replica} {spec.name}")

    async def ensure_unloaded(self, replica: str) -> None:
        raise ZeroDivisionError(replica)


async def test_a_bug_in_an_engine_is_an_event_and_harms_no_other_action(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Buggy())
    await bench.perform(LOAD)
    (event,) = bench.events
    assert isinstance(event, ReplicaLost)
    assert (event.reason, event.message, event.terminal) == ("Bug", "ZeroDivisionError: r1 fast", False)
    assert "load of r1 failed in a way nobody thought of" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_an_unload_that_fails_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Buggy())
    await bench.perform(UNLOAD)
    assert bench.events == [UnloadFailed(at=clock.now(), replica="r1", message="ZeroDivisionError: r1")]
    assert "unload of r1 failed" in caplog.text


class Stubborn(FakeEngine):
    async def ensure_unloaded(self, replica: str) -> None:
        raise EngineError("it will not go", where=replica, fix="kill it")


async def test_an_engine_that_will_not_unload_is_told_in_one_sentence() -> None:
    bench = Bench(Stubborn())
    await bench.perform(UNLOAD)
    assert bench.events == [UnloadFailed(at=clock.now(), replica="r1", message="it will not go")]


async def test_an_engine_that_nobody_has_is_terminal_and_names_those_there_are() -> None:
    bench = Bench()
    await bench.perform(Load(model="fast", replica="r1", spec=spec(engine="mlx"), why=""))
    (event,) = bench.events
    assert isinstance(event, ReplicaLost)
    assert (event.reason, event.message, event.terminal) == (
        "EngineUnknown",
        "there is no engine 'mlx'",
        True,
    )


async def test_an_unload_calls_off_the_load_and_only_the_unload_is_told() -> None:
    bench = Bench(FakeEngine(load_s=60))
    async with asyncio.TaskGroup() as tasks:
        bench.performer.start(tasks, LOAD)
        await asyncio.sleep(5)
        assert bench.engine.alive == 1
        began = asyncio.get_running_loop().time()
        bench.performer.start(tasks, UNLOAD)
    assert bench.kinds == [ReplicaUnloaded]
    assert asyncio.get_running_loop().time() - began < 1
    assert bench.engine.alive == 0


async def test_an_unload_in_the_same_instant_as_the_load_calls_it_off() -> None:
    bench = Bench(FakeEngine(load_s=60))
    await bench.perform(LOAD, UNLOAD)
    assert bench.kinds[-1] is ReplicaUnloaded
    assert ReplicaLoaded not in bench.kinds
    assert bench.engine.alive == 0


async def test_calling_off_one_load_leaves_the_others_alone() -> None:
    bench = Bench(FakeEngine(load_s=10))
    async with asyncio.TaskGroup() as tasks:
        bench.performer.start(tasks, LOAD)
        bench.performer.start(tasks, Load(model="fast", replica="r2", spec=TINY, why=""))
        await asyncio.sleep(1)
        bench.performer.start(tasks, UNLOAD)
    assert [(type(e), e.replica) for e in bench.events if isinstance(e, ReplicaLoaded | ReplicaUnloaded)] == [
        (ReplicaUnloaded, "r1"),
        (ReplicaLoaded, "r2"),
    ]


async def test_cancelling_everything_leaves_nothing_behind_and_tells_nothing() -> None:
    bench = Bench(FakeEngine(load_s=60))
    task = asyncio.get_running_loop().create_task(bench.perform(LOAD))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.events == []
    assert bench.engine.alive == 0


async def test_what_ends_by_itself_is_told_with_its_cause() -> None:
    bench = Bench()
    bench.engine.on_exit(bench.performer.lost)
    await bench.perform(LOAD)
    bench.engine.die("r1", "crashed (SIGSEGV)")
    event = bench.events[-1]
    assert isinstance(event, ReplicaLost)
    assert (event.reason, event.message) == (ReplicaDied.__name__, "crashed (SIGSEGV)")


async def test_what_the_file_hides_is_in_no_event_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    hidden = "k3y-of-ours"
    secretive = spec(location="tiny", api_key=hidden)
    bench = Bench()
    bench.engine.refuse_load("tiny", LoadFailed(f"no {hidden}", fix=f"mend {hidden}"), times=1)
    bench.engine.refuse_fetch("tiny", SourceNotFound(f"no {hidden}", fix=f"mend {hidden}"), times=1)
    load = Load(model="fast", replica="r1", spec=secretive, why="")
    await bench.perform(load)
    await bench.perform(Fetch(model="fast", spec=secretive, why=""))
    await bench.perform(load)
    bench.performer.lost("r1", ReplicaDied(f"killed over {hidden}"))
    told = [event for event in bench.events if isinstance(event, ReplicaLost | FetchFailed)]
    assert [event.message for event in told] == ["no (api_key)", "no (api_key)", "killed over (api_key)"]
    assert [event.fix for event in told] == ["mend (api_key)", "mend (api_key)", ""]
    assert hidden not in caplog.text
