"""On demand, inside the memory budget: the loop in virtual time on a machine that is too small."""

import asyncio
import logging
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.control.observe import MEMORY_EVERY_S, MEMORY_WAITED_FOR_S
from orchestrator.decide.evict import LOADS_WORTH
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import EngineError
from orchestrator.values.memory import RAM
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelState
from tests.builders import spec
from tests.control.memory_bench import GIB, Bench, machine, on_demand, sized, virtual_now

A, B = on_demand("a"), on_demand("b")


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", virtual_now)
    monkeypatch.setattr(clock, "monotonic_s", lambda: asyncio.get_running_loop().time())


async def test_on_demand_is_fetched_at_once_and_loaded_when_somebody_asks(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A)
        await bench.settle()
        assert bench.engine.calls == [("fetch", "a")]
        assert bench.loop.leases.table.routes["a"].unready == "it is loaded when a request asks for it"
        assert await bench.served("a") == pytest.approx(1.0, abs=0.1), "the load and nothing else"
        assert bench.said("Loading", "a") == [f"revision {A.revision} loads: a request waits for it"]


async def test_the_load_time_is_learnt_and_told(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A)
        await bench.settle()
        assert bench.loop.leases.table.routes["a"].load_s is None
        await bench.served("a")
        assert bench.loop.leases.table.routes["a"].load_s == pytest.approx(1.0, abs=0.01)


async def test_on_demand_is_unloaded_after_its_idle_time_and_not_before(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(on_demand("a", idle_s=30.0))
        await bench.settle()
        await bench.served("a")
        await asyncio.sleep(20)
        await bench.served("a")  # the time begins anew
        await asyncio.sleep(29)
        assert bench.loaded() == {"a"}
        await asyncio.sleep(2)
        assert bench.loaded() == set()
        assert bench.said("Draining", "a") == [f"revision {A.revision}: nobody has used it for 30 s"]
        assert await bench.served("a") < 2, "and it comes back when it is asked for"


async def test_a_request_that_lasts_keeps_its_model(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(on_demand("a", idle_s=30.0), B)
        await bench.settle()
        await bench.served("a")
        lease = bench.loop.leases.take(bench.loop.leases.table.routes["a"])
        bench.ask("b")
        await asyncio.sleep(300)
        assert bench.engine.alive == 1
        assert bench.when("Unloading", "a") == [], "it gives way only when its request has ended"
        lease.release()
        await asyncio.sleep(3)
        assert bench.loaded() == {"b"}


async def test_what_somebody_asks_for_takes_the_place_of_what_nobody_uses(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A, B)
        await bench.settle()
        await bench.served("a")
        await asyncio.sleep(60)
        assert await bench.served("b") < 2
        assert bench.loaded() == {"b"}
        assert bench.said("Draining", "a") == [f"revision {A.revision}: its memory is needed for 'b'"]


async def test_memory_is_looked_at_at_once_after_an_unload(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A, B)
        await bench.settle()
        await bench.served("a")
        await asyncio.sleep(60 + MEMORY_EVERY_S / 2)
        await bench.served("b")
        (unloaded,), (loading,) = bench.when("Unloaded", "a"), bench.when("Loading", "b")
        assert loading - unloaded < 0.01
        assert any(unloaded <= look <= loading for look in bench.looks_s), "and not on trust"


async def test_memory_that_comes_back_late_is_waited_for(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.engine.natures["a"] = sized(5, back_s=3.0)
        bench.edit(A, B)
        await bench.settle()
        await bench.served("a")
        await asyncio.sleep(60)
        await bench.served("b")
        (unloaded,), (loading,) = bench.when("Unloaded", "a"), bench.when("Loading", "b")
        assert 2.99 <= loading - unloaded <= 3.0 + 2 * MEMORY_WAITED_FOR_S


async def test_nobody_looks_often_while_nobody_waits(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A)
        await bench.settle()
        before = len(bench.looks_s)
        await asyncio.sleep(100)
        assert len(bench.looks_s) - before <= 100 / MEMORY_EVERY_S + 1


async def test_two_clients_who_take_turns_make_progress_without_thrashing(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(A, B)
        await bench.settle()
        waits: list[float] = []

        async def client(model: str) -> None:
            while asyncio.get_running_loop().time() < 300:
                waits.append(await bench.served(model))
                await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as clients:
            clients.create_task(client("a"))
            clients.create_task(client("b"))
        loads = sum(verb == "load" for verb, _ in bench.engine.calls)
        stays_s = max(Limits().min_residency_s, LOADS_WORTH * 1.0)
        assert loads <= 300 / stays_s + 2, "at most one swap per residency"
        assert len(waits) > 500
        assert max(waits) <= 15, "the residency, the unload and the load"


async def test_one_engine_that_cannot_tell_what_it_holds_stops_no_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    mute = FakeEngine("mlx")
    mute.refuse("held", "", EngineError("nobody is in"))
    async with machine(tmp_path, 8.0, mute) as bench:
        bench.edit(A)
        await bench.settle()
        assert await bench.served("a") < 2
        assert "engine mlx cannot tell what it holds: nobody is in" in caplog.text


async def test_while_the_memory_cannot_be_looked_at_nothing_that_takes_some_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with machine(tmp_path) as bench:
        bench.look_fails = OSError("no /proc here")
        bench.engine.natures["free"] = sized(0)
        bench.edit(spec("a", location="a"), spec("free", location="free"))
        await asyncio.sleep(100)
        assert bench.loaded() == {"free"}
        assert "the memory cannot be looked at: no /proc here" in caplog.text
        bench.look_fails = None
        await bench.settle()
        assert bench.loaded() == {"a", "free"}


async def test_what_can_never_fit_is_told_with_its_figures_and_not_tried(tmp_path: Path) -> None:
    async with machine(tmp_path, 4.0) as bench:
        bench.edit(spec("a", location="a"))
        await bench.settle()
        route = bench.loop.leases.table.routes["a"]
        assert route.stalled
        assert route.unready.startswith("it needs 5.0 GiB of memory, and 4.0 GiB of memory is the whole")
        assert bench.engine.calls == [("fetch", "a")]


async def test_programs_outside_push_out_what_is_on_demand_first_and_it_comes_back(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        resident = spec("small", location="small")
        bench.edit(A, resident)
        await bench.settle()
        await bench.served("a")
        bench.meter.pressure[RAM] = 6 * GIB
        await asyncio.sleep(2 * MEMORY_EVERY_S)
        assert bench.loaded() == {"small"}
        assert bench.said("Draining", "a") == [
            f"revision {A.revision}: other programs take the memory that it needs"
        ]
        bench.meter.pressure[RAM] = 0
        await asyncio.sleep(60)
        assert bench.loaded() == {"small"}, "on demand comes back when it is asked for"
        assert await bench.served("a") < 2


async def test_a_resident_model_that_was_pushed_out_comes_back_by_itself(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(spec("a", location="a"))
        await bench.settle()
        bench.meter.pressure[RAM] = 6 * GIB
        await asyncio.sleep(2 * MEMORY_EVERY_S)
        assert bench.loaded() == set()
        assert bench.loop.leases.table.routes["a"].unready == "it waits for memory that others hold"
        bench.meter.pressure[RAM] = 0
        await asyncio.sleep(60)
        assert bench.loaded() == {"a"}


async def test_a_pinned_model_stays_whatever_happens(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(spec("a", location="a", pinned=True), B)
        await bench.settle()
        assert bench.loop.leases.table.routes["b"].stalled, "it can never fit beside what stays"
        bench.meter.pressure[RAM] = 6 * GIB
        await asyncio.sleep(100)
        assert bench.loaded() == {"a"}


async def test_an_edit_from_always_to_on_demand_and_back_moves_no_replica(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(spec("a", location="a"))
        await bench.settle()
        (before,) = bench.loop.state.fleet.replicas
        bench.edit(A)
        await bench.settle()
        bench.edit(spec("a", location="a", load=LoadWhen.ALWAYS))
        await bench.settle()
        assert list(bench.loop.state.fleet.replicas) == [before]


async def test_a_swap_for_which_both_do_not_fit_is_made_in_place(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.edit(spec("a", location="a"))
        await bench.settle()
        newer = spec("a", location="b")
        bench.edit(newer)
        await bench.settle()
        assert bench.loaded() == {"a"}
        assert bench.loop.leases.table.routes["a"].revision == newer.revision
        older = spec("a", location="a").revision
        why = f"revision {newer.revision} takes its place: both do not fit into memory"
        assert bench.said("Draining", "a") == [f"revision {older}: {why}"]


async def absent(bench: Bench, name: str) -> None:
    bench.edit(spec(name, location=name, state=ModelState.ABSENT))
    await bench.settle()


async def test_an_absent_model_is_unloaded_then_deleted_and_the_freed_bytes_are_told(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.engine.natures["a"] = sized(5, size_bytes=3 * GIB)
        bench.edit(spec("a", location="a"))
        await bench.settle()
        await absent(bench, "a")
        assert [verb for verb, _ in bench.engine.calls] == ["fetch", "load", "unload", "remove"]
        assert bench.said("Removed", "a") == ["3.0 GiB freed on the disk"]
        await absent(bench, "a")
        assert bench.engine.calls.count(("remove", "a")) == 1, "and not again and again"


async def test_what_a_download_has_left_of_an_absent_model_is_deleted_too(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        bench.engine.natures["a"] = sized(5, size_bytes=4 * GIB, fetch_s=400.0)
        bench.edit(spec("a", location="a"))
        await asyncio.sleep(250)
        assert bench.loop.performer.progress("a") is not None
        await absent(bench, "a")
        assert bench.loop.performer.progress("a") is None
        assert bench.said("Removed", "a") == ["2.0 GiB freed on the disk"]
