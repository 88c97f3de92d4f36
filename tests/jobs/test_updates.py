"""Sources that move are noticed on time, and what becomes of them is what the file says."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.errors import LoadFailed, SourceUnreachable
from orchestrator.jobs.updates import TICK_S, Updates
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.spec import Apply, ModelSpec, Source, Update
from orchestrator.values.state import Resolution, State
from tests.builders import NOW, spec, state
from tests.control.memory_bench import Bench, machine, sized, virtual_now

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", virtual_now)
    monkeypatch.setattr(clock, "monotonic_s", lambda: asyncio.get_running_loop().time())


def followed(
    apply: Apply = Apply.NOTIFY, *, location: str = "tag", every_s: float | None = HOUR_S
) -> ModelSpec:
    source = Source(written=f"hf:{location}", scheme="hf", location=location)
    return spec(source=source, update=Update(check_every_s=every_s, apply=apply))


@asynccontextmanager
async def watched(folder: Path, *specs: ModelSpec) -> AsyncIterator[Bench]:
    async with machine(folder, 20.0) as bench, asyncio.TaskGroup() as tasks:
        for location in ("tag", "other"):
            bench.engine.natures[location] = sized(1, resolved=f"{location}:1")
        updating = tasks.create_task(Updates(bench.loop).run())
        bench.edit(*specs)
        await bench.settle()
        yield bench
        updating.cancel()


def moves(bench: Bench, to: str = "tag:2", location: str = "tag") -> None:
    bench.engine.natures[location] = replace(bench.engine.natures[location], resolved=to)


def drift(bench: Bench) -> tuple[Truth, str]:
    found = bench.loop.state.models["fast"].conditions[ConditionType.DRIFTED]
    return found.status, found.reason


def resolved(bench: Bench) -> set[str]:
    return {replica.spec.source.resolved for replica in bench.loop.state.fleet.replicas.values()}


NOTHING_NEW = (Truth.FALSE, "AsFetched")


async def test_what_was_fetched_is_known_by_its_digest(tmp_path: Path) -> None:
    async with watched(tmp_path, followed()) as bench:
        assert bench.loop.state.models["fast"].resolution == Resolution(
            written="hf:tag", resolved="tag:1", newest="tag:1"
        )
        assert resolved(bench) == {"tag:1"}


async def test_a_newer_version_takes_over_where_the_file_says_rollout(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.ROLLOUT)) as bench:
        (before,) = bench.loop.state.fleet.replicas
        moves(bench)
        await asyncio.sleep(HOUR_S + 2 * TICK_S)
        await bench.settle()
        assert resolved(bench) == {"tag:2"}
        assert before not in bench.loop.state.fleet.replicas
        assert bench.engine.calls.count(("fetch", "fast")) == 2
        assert bench.said("UpdateFound", "fast") == ["hf:tag has a newer version, which takes over"]
        assert drift(bench) == NOTHING_NEW


async def test_a_newer_version_that_does_not_load_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.ROLLOUT)) as bench:
        (before,) = bench.loop.state.fleet.replicas
        moves(bench)
        bench.engine.refuse_load("tag", LoadFailed("it broke"))
        await asyncio.sleep(2 * HOUR_S)
        assert before in bench.loop.state.fleet.replicas
        assert bench.loop.leases.table.routes["fast"].replica == before


async def test_a_newer_version_is_reported_once_where_the_file_says_notify(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NOTIFY)) as bench:
        moves(bench)
        await asyncio.sleep(5 * HOUR_S)
        assert resolved(bench) == {"tag:1"}
        assert drift(bench) == (Truth.TRUE, "UpdateFound")
        assert len(bench.said("UpdateFound", "fast")) == 1
        assert bench.engine.calls.count(("fetch", "fast")) == 1


async def test_what_has_moved_back_is_no_news(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NOTIFY)) as bench:
        moves(bench)
        await asyncio.sleep(2 * HOUR_S)
        moves(bench, "tag:1")
        await asyncio.sleep(2 * HOUR_S)
        assert drift(bench) == NOTHING_NEW
        assert len(bench.said("UpdateFound", "fast")) == 1


async def test_what_was_reported_takes_over_as_soon_as_the_file_says_rollout(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NOTIFY)) as bench:
        moves(bench)
        await asyncio.sleep(2 * HOUR_S)
        bench.edit(followed(Apply.ROLLOUT))
        await bench.settle()
        assert resolved(bench) == {"tag:2"}


async def test_nothing_is_reported_where_the_file_says_never(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NEVER)) as bench:
        moves(bench)
        await asyncio.sleep(5 * HOUR_S)
        assert (drift(bench), resolved(bench)) == (NOTHING_NEW, {"tag:1"})
        assert bench.said("UpdateFound", "fast") == []


async def test_a_report_is_taken_back_where_the_file_says_never_now(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NOTIFY)) as bench:
        moves(bench)
        await asyncio.sleep(2 * HOUR_S)
        bench.edit(followed(Apply.NEVER))
        await bench.settle()
        assert drift(bench) == NOTHING_NEW


async def test_another_source_is_not_confused_with_the_one_before(tmp_path: Path) -> None:
    async with watched(tmp_path, followed(Apply.NOTIFY)) as bench:
        moves(bench)
        await asyncio.sleep(2 * HOUR_S)
        bench.edit(followed(Apply.NOTIFY, location="other"))
        await bench.settle()
        assert (drift(bench), resolved(bench)) == (NOTHING_NEW, {"other:1"})


async def test_a_check_that_fails_is_logged_and_waits_for_its_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with watched(tmp_path, followed(Apply.ROLLOUT)) as bench:
        moves(bench)
        bench.engine.refuse("newest", "tag", SourceUnreachable("the network is down"), times=1)
        await asyncio.sleep(HOUR_S * 0.1 + 2 * TICK_S)
        assert "fast: cannot look for a newer version: the network is down" in caplog.text
        assert resolved(bench) == {"tag:1"}
        await asyncio.sleep(HOUR_S + 2 * TICK_S)
        assert resolved(bench) == {"tag:2"}


async def test_a_look_that_fails_in_any_other_way_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = replace(followed(Apply.ROLLOUT), api_key="k3y-of-ours")
    async with watched(tmp_path, hidden) as bench:
        ask = bench.engine.newest

        async def newest(_: ModelSpec) -> str:
            monkeypatch.setattr(bench.engine, "newest", ask)
            raise ValueError("nobody thought of k3y-of-ours")

        monkeypatch.setattr(bench.engine, "newest", newest)
        moves(bench)
        await asyncio.sleep(HOUR_S)
        assert "nobody thought of (api_key)" in caplog.text
        assert "k3y-of-ours" not in caplog.text
        await asyncio.sleep(HOUR_S + TICK_S)
        await bench.settle()
        assert resolved(bench) == {"tag:2"}


async def test_who_has_no_engine_or_is_gone_is_not_asked(tmp_path: Path) -> None:
    async with watched(tmp_path, followed()) as bench:
        updates = Updates(bench.loop)
        await updates.check("who")
        bench.edit(replace(followed(), engine="gone"))
        await asyncio.sleep(1)
        await updates.check("fast")


def known(value: ModelSpec, written: str = "hf:tag") -> State:
    return state(value, resolution=Resolution(written=written, resolved="tag:1"))


DUE = [
    ("a followed source is looked at", known(followed()), True),
    ("one that nobody asked to follow is not", known(followed(every_s=None)), False),
    ("one that was never fetched is not", state(followed()), False),
    ("nor one of which only another was fetched", known(followed(), written="hf:other"), False),
    (
        "nor one of a model that is gone",
        state(None, resolution=known(followed()).models["fast"].resolution),
        False,
    ),
]


@pytest.mark.parametrize(("held", "due"), [case[1:] for case in DUE], ids=[case[0] for case in DUE])
async def test_who_is_due(tmp_path: Path, held: State, *, due: bool) -> None:
    async with machine(tmp_path) as bench:
        updates = Updates(bench.loop)
        updates.due(held, NOW)
        later = NOW + timedelta(seconds=HOUR_S * 0.1)
        assert updates.due(held, later) == (["fast"] if due else [])
        assert updates.due(held, later) == [], "not twice"
        assert updates.due(held, later + timedelta(seconds=HOUR_S)) == (["fast"] if due else [])


async def test_first_checks_are_spread(tmp_path: Path) -> None:
    async with machine(tmp_path) as bench:
        firsts = set()
        for _ in range(20):
            updates = Updates(bench.loop)
            updates.due(known(followed()), NOW)
            steps = (n for n in range(361) if updates.due(known(followed()), NOW + timedelta(seconds=n)))
            firsts.add(next(steps))
        assert len(firsts) > 5
