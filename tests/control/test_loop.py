"""The loop with a fake engine, a real store, and hours that pass in milliseconds."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.control.store import Store, peek
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import LoadFailed, SourceNotFound, StateError
from orchestrator.values.catalog import Catalog, Reading
from orchestrator.values.event import CatalogRead, ReloadAsked
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.fleet import Phase
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec, ModelState
from orchestrator.values.state import State
from tests.builders import CONFIG, NOW, catalog, plenty, spec
from tests.control.inline import Inline

OLD, NEW = spec(location="tiny"), spec(location="small")


class Bench:
    """A loop, what it drives, and what it said."""

    def __init__(self, folder: Path, engine: FakeEngine) -> None:
        self.engine = engine
        self.folder = folder
        self.facts: list[LifecycleFact] = []
        self.store = Store.open(folder, config=CONFIG, now=NOW)
        self.generation = 0
        self.loop = Loop(
            state=State(boot=self.store.boot),
            engines={engine.name: engine},
            store=self.store,
            limits=Limits(drain_s=30),
            look=plenty,
            resync_every_s=60,
            remember=self.facts.append,
            disk=Inline(),
        )

    def edit(self, *specs: ModelSpec) -> None:
        self.generation += 1
        self.loop.post(
            CatalogRead(at=clock.now(), reading=Reading(catalog=catalog(*specs, generation=self.generation)))
        )

    async def settle(self) -> None:
        await asyncio.sleep(0)
        assert await self.loop.settled(500)

    def phases(self) -> dict[str, Phase]:
        return {r.spec.source.location: r.phase for r in self.loop.state.fleet.replicas.values()}

    async def ready(self, location: str) -> str:
        """Wait for a ready replica from this location; return its id."""
        for _ in range(10_000):
            for replica in self.loop.state.fleet.replicas.values():
                if replica.spec.source.location == location and replica.phase is Phase.READY:
                    return replica.id
            await asyncio.sleep(0.1)
        raise TimeoutError(location)

    async def empty(self) -> None:
        """Wait until no replica is left."""
        for _ in range(10_000):
            if not self.loop.state.fleet.replicas:
                return
            await asyncio.sleep(0.1)
        raise TimeoutError

    @property
    def serving(self) -> str | None:
        return self.loop.leases.table.routes["fast"].revision

    def said(self, reason: str) -> list[str]:
        return [fact.message for fact in self.facts if fact.reason == reason]


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(seconds=asyncio.get_running_loop().time()))


@asynccontextmanager
async def running(folder: Path, engine: FakeEngine | None = None) -> AsyncIterator[Bench]:
    bench = Bench(folder, engine or FakeEngine())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.loop.run())
        try:
            yield bench
        finally:
            task.cancel()
    bench.store.close()


async def test_a_file_becomes_a_served_model(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        assert bench.phases() == {"tiny": Phase.READY}
        assert bench.serving == OLD.revision
        assert bench.said("Ready") == [f"revision {OLD.revision} is ready after 1.00 s"]


async def test_a_swap_moves_new_requests_first_and_unloads_when_the_last_lease_is_back(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        lease = bench.loop.leases.take(bench.loop.leases.table.routes["fast"])
        bench.edit(NEW)
        await asyncio.sleep(0.5)
        assert bench.serving == OLD.revision
        await asyncio.sleep(1)
        assert bench.serving == NEW.revision
        assert bench.phases() == {"tiny": Phase.DRAINING, "small": Phase.READY}
        await asyncio.sleep(10)
        assert bench.phases() == {"tiny": Phase.DRAINING, "small": Phase.READY}
        lease.release()
        lease.release()  # once more does nothing
        await bench.settle()
        assert bench.phases() == {"small": Phase.READY}


async def test_a_lease_that_is_never_returned_ends_at_the_drain_deadline(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        bench.loop.leases.take(bench.loop.leases.table.routes["fast"])
        bench.edit(NEW)
        await asyncio.sleep(1.5)
        await asyncio.sleep(29)
        assert "tiny" in bench.phases()
        await asyncio.sleep(1.5)
        assert bench.phases() == {"small": Phase.READY}
        assert any("drain deadline" in why for why in bench.said("Unloading"))


async def test_a_crash_is_answered_at_once_and_a_crash_loop_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        for _ in range(5):
            replica = await bench.ready("tiny")
            bench.engine.die(replica)
            await asyncio.sleep(0.01)
        await asyncio.sleep(3600)
        assert bench.phases() == {}
        route = bench.loop.leases.table.routes["fast"]
        assert route.stalled
        assert "5 failures in a row" in route.unready
        bench.loop.post(ReloadAsked(at=clock.now()))
        await bench.settle()
        assert bench.phases() == {"tiny": Phase.READY}


async def test_failures_far_apart_are_no_loop(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        for _ in range(12):
            await asyncio.sleep(200)
            (replica,) = bench.loop.state.fleet.replicas
            bench.engine.die(replica)
            await asyncio.sleep(2)
            assert bench.phases() == {"tiny": Phase.READY}


async def test_a_revision_that_cannot_load_is_left_alone_and_the_old_one_serves(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.engine.refuse_fetch("small", SourceNotFound("there is no such file"))
        bench.edit(OLD)
        await bench.settle()
        bench.edit(NEW)
        await asyncio.sleep(3600)
        assert bench.serving == OLD.revision
        assert [call for call in bench.engine.calls if call[0] == "fetch"] == [("fetch", "fast")] * 2
        assert bench.said("SourceNotFound") == ["there is no such file"]


async def test_a_passing_failure_is_tried_again_with_growing_waits(tmp_path: Path) -> None:
    async with running(tmp_path, FakeEngine(load_s=0.0)) as bench:
        bench.engine.refuse_load("tiny", LoadFailed("not now"), times=4)
        began = clock.now()
        bench.edit(OLD)
        await bench.ready("tiny")
        # Waits of about 1, 2, 4 and 8 s, each scaled into [0.5, 1).
        assert 7.5 <= (clock.now() - began).total_seconds() <= 16
        assert bench.said("LoadFailed") == ["not now"] * 4


async def test_the_last_good_revision_comes_back_after_a_crash_while_the_new_one_does_not_load(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as bench:
        bench.engine.refuse_load(
            "small",
            LoadFailed(
                "broken",
            ),
        )
        bench.edit(OLD)
        await bench.settle()
        bench.edit(NEW)
        await asyncio.sleep(2)
        bench.engine.refuse_load("small", SourceNotFound("it is gone altogether"))
        await asyncio.sleep(100)
        (replica,) = bench.loop.state.fleet.replicas
        bench.engine.die(replica)
        await asyncio.sleep(3)
        assert bench.serving == OLD.revision


async def test_an_edit_during_a_load_calls_the_load_off(tmp_path: Path) -> None:
    async with running(tmp_path, FakeEngine(load_s=50)) as bench:
        bench.edit(OLD)
        await asyncio.sleep(10)
        bench.edit(NEW)
        await asyncio.sleep(1)
        assert bench.phases() == {"small": Phase.STARTING}
        await bench.settle()
        assert bench.phases() == {"small": Phase.READY}
        assert bench.engine.alive == 1


async def test_an_edit_during_a_swap_is_followed_and_what_serves_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path, FakeEngine(load_s=50)) as bench:
        bench.edit(OLD)
        await bench.settle()
        (serves,) = bench.loop.state.fleet.replicas
        bench.edit(NEW)
        await asyncio.sleep(10)
        bench.edit(spec(location="third"))
        await asyncio.sleep(1)
        assert bench.phases() == {"tiny": Phase.READY, "third": Phase.STARTING}
        bench.edit(OLD)
        await bench.settle()
        assert list(bench.loop.state.fleet.replicas) == [serves]
        assert bench.engine.alive == 1
        assert [call for call in bench.engine.calls if call == ("unload", serves)] == []


async def test_what_dies_unnoticed_is_found_within_one_resync(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        (replica,) = bench.loop.state.fleet.replicas
        bench.engine.on_exit(lambda _replica, _cause: None)
        bench.engine.die(replica)
        await asyncio.sleep(70)
        assert bench.phases() == {"tiny": Phase.READY}
        assert replica not in bench.loop.state.fleet.replicas


async def test_a_suspected_replica_is_looked_at_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        (replica,) = bench.loop.state.fleet.replicas
        bench.engine.on_exit(lambda _replica, _cause: None)
        bench.engine.die(replica)
        await asyncio.sleep(0.01)
        bench.loop.leases.suspect(replica)
        await asyncio.sleep(0.01)
        assert replica not in bench.loop.state.fleet.replicas


async def test_a_stray_replica_is_unloaded(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        await bench.engine.ensure_loaded("who-1.1", NEW)
        bench.edit(OLD)
        await asyncio.sleep(70)
        assert bench.engine.alive == 1
        assert ("unload", "who-1.1") in bench.engine.calls


async def test_nothing_is_performed_that_is_not_on_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as bench:
        seen: list[set[tuple[str, Phase]]] = []
        ensure_loaded = bench.engine.ensure_loaded

        async def watched(replica: str, wanted: ModelSpec) -> Any:  # noqa: ANN401 (as the engine's)
            seen.append({(left.replica, left.phase) for left in peek(tmp_path, CONFIG).leftovers})
            return await ensure_loaded(replica, wanted)

        monkeypatch.setattr(bench.engine, "ensure_loaded", watched)
        bench.edit(OLD)
        await bench.settle()
        assert seen == [{("fast-1.1", Phase.STARTING)}]


async def test_a_full_disk_stops_actions_and_not_service_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        save = bench.store.save

        def full(*_: State) -> None:
            raise StateError("the disk is full")

        monkeypatch.setattr(bench.store, "save", full)
        bench.edit(NEW)
        await asyncio.sleep(100)
        assert bench.serving == OLD.revision
        assert str(bench.loop.unsaved) == "the disk is full"
        assert ("fetch", "fast") in bench.engine.calls
        assert bench.phases() == {"tiny": Phase.READY}
        monkeypatch.setattr(bench.store, "save", save)
        await asyncio.sleep(5)
        assert bench.serving == NEW.revision
        assert bench.loop.unsaved is None


async def test_absent_unloads_and_a_removed_file_forgets(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        bench.edit(spec(location="tiny", state=ModelState.ABSENT))
        await bench.settle()
        assert bench.phases() == {}
        assert "fast" not in bench.loop.leases.table.routes
        bench.edit()
        await bench.settle()
        assert bench.loop.state.models == {}
        assert peek(tmp_path, CONFIG).stable == {}


async def test_before_the_files_were_read_nothing_is_said_of_any_model(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        await asyncio.sleep(30)  # the memory is looked at meanwhile
        assert bench.loop.state.memory.at is not None
        assert (bench.loop.leases.table.epoch, bench.loop.has_read) == (0, False)
        bench.edit()
        await bench.settle()
        assert (bench.loop.leases.table.epoch, bench.loop.has_read) == (1, True)


@pytest.mark.parametrize("idle_s", [60.0, 61.0, 62.0, 63.0, 64.0])
async def test_what_falls_due_between_a_plan_and_the_wait_after_it_is_not_slept_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle_s: float
) -> None:
    calls = itertools.count()

    def late_and_slow() -> datetime:
        """A clock that is a little behind the timers, and that moves on between two looks at it."""
        loop_s = asyncio.get_running_loop().time()
        return NOW + timedelta(seconds=loop_s * 0.99 + next(calls) * 0.02)

    monkeypatch.setattr(clock, "now", late_and_slow)
    async with running(tmp_path) as bench:
        bench.edit(spec(location="tiny", load=LoadWhen.ON_DEMAND, idle_s=idle_s))
        place = bench.loop.leases.enter("fast", priority=5, arrived_s=0)
        await bench.ready("tiny")
        place.leave()
        began_s = asyncio.get_running_loop().time()
        await bench.empty()
        assert asyncio.get_running_loop().time() - began_s < idle_s


async def test_a_reading_that_changes_nothing_publishes_no_table(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        epoch = bench.loop.leases.table.epoch
        bench.loop.post(CatalogRead(at=clock.now(), reading=Reading(catalog=bench.loop.state.catalog)))
        await bench.settle()
        assert bench.loop.leases.table.epoch == epoch


async def test_waiting_for_a_table_ends_with_the_next_one_or_the_deadline(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        leases = bench.loop.leases
        bench.edit(OLD)
        await bench.settle()
        epoch = leases.table.epoch
        assert await leases.changed(epoch, 5) is None
        bench.edit(NEW)
        table = await leases.changed(epoch, 5)
        assert table is not None
        assert table.epoch > epoch
        assert await leases.changed(epoch, 5) is not None


async def test_no_lease_on_a_replica_that_takes_no_new_requests(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.edit(OLD)
        await bench.settle()
        old = bench.loop.leases.table.routes["fast"]
        bench.edit(NEW)
        await bench.settle()
        with pytest.raises(ValueError, match="not in the routing table"):
            bench.loop.leases.take(old)


def test_an_empty_catalog_is_a_catalog() -> None:
    assert Catalog().default_policy is None
