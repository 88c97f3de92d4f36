"""Holds on replicas: counted, given back once, and never on a replica that takes no new requests."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.leases import Lease, Leases
from orchestrator.values.demand import NO_DEMAND
from tests.gateway.fakes import route, table

START = datetime(2026, 11, 20, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Watched:
    """Leases, and whom they told of what; `now_s` is what their clock says."""

    def __init__(self) -> None:
        self.idle: list[str] = []
        self.suspected: list[str] = []
        self.waited_for: list[str] = []
        self.now_s = 0.0
        self.leases = Leases(
            idle=self.idle.append,
            suspected=self.suspected.append,
            waits=self.waited_for.append,
            now=lambda: at(self.now_s),
        )

    def serve(self, *replicas: str, epoch: int = 1) -> None:
        routes = [route(f"m{n}", f"/run/{name}.sock", replica=name) for n, name in enumerate(replicas)]
        self.leases.publish(table(*routes, route("waiting"), epoch=epoch))

    def take(self, replica: str) -> Lease:
        routes = self.leases.table.routes.values()
        return self.leases.take(next(r for r in routes if r.replica == replica))


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_leases_are_counted_by_replica(watched: Watched) -> None:
    watched.serve("r1", "r2")
    held = [watched.take("r1"), watched.take("r1"), watched.take("r2")]
    assert watched.leases.held == {"r1": 2, "r2": 1}
    assert [lease.replica for lease in held] == ["r1", "r1", "r2"]
    held[0].release()
    assert watched.leases.held == {"r1": 1, "r2": 1}
    held[1].release()
    held[2].release()
    assert watched.leases.held == {}


def test_a_lease_is_given_back_once_however_often_it_is_released(watched: Watched) -> None:
    watched.serve("r1")
    first, _second = watched.take("r1"), watched.take("r1")
    for _ in range(3):
        first.release()
    assert watched.leases.held == {"r1": 1}


def test_the_last_lease_of_a_replica_is_told_once_whether_it_takes_new_requests_or_not(
    watched: Watched,
) -> None:
    watched.serve("r1")
    first, last = watched.take("r1"), watched.take("r1")
    first.release()
    assert watched.idle == []
    last.release()
    last.release()
    assert watched.idle == ["r1"]
    late = watched.take("r1")
    watched.serve("r2", epoch=2)
    late.release()
    assert watched.idle == ["r1", "r1"]


def test_demand_says_since_when_a_replica_of_the_table_has_been_idle(watched: Watched) -> None:
    assert watched.leases.demand() == NO_DEMAND
    watched.serve("r1", "r2")
    watched.now_s = 1
    watched.serve("r1", "r2", "r3", epoch=2)
    assert watched.leases.demand().idle_since == {"r1": at(0), "r2": at(0), "r3": at(1)}
    watched.now_s = 2
    lease, other = watched.take("r1"), watched.take("r1")
    assert watched.leases.demand().idle_since == {"r2": at(0), "r3": at(1)}
    assert watched.leases.demand().leases == {"r1": 2}
    watched.now_s = 3
    lease.release()
    watched.now_s = 4
    other.release()
    assert watched.leases.demand().idle_since == {"r1": at(4), "r2": at(0), "r3": at(1)}


def test_a_replica_that_leaves_the_table_is_not_idle_and_one_that_comes_back_is_so_anew(
    watched: Watched,
) -> None:
    watched.serve("r1", "r2")
    busy = watched.take("r2")
    watched.now_s = 1
    watched.serve(epoch=2)
    assert watched.leases.demand().idle_since == {}
    watched.serve("r1", "r2", epoch=3)
    assert watched.leases.demand().idle_since == {"r1": at(1)}
    watched.serve(epoch=4)
    busy.release()
    assert watched.leases.demand() == NO_DEMAND


def test_demand_is_of_its_moment(watched: Watched) -> None:
    watched.serve("r1")
    before = watched.leases.demand()
    watched.take("r1")
    assert (before.leases, before.idle_since) == ({}, {"r1": at(0)})


def test_no_lease_without_a_replica_or_on_one_that_is_not_in_the_table(watched: Watched) -> None:
    watched.serve("r1")
    old = watched.leases.table.routes["m0"]
    watched.serve("r2", epoch=2)
    with pytest.raises(ValueError, match="no lease on r1: it is not in the routing table"):
        watched.leases.take(old)
    with pytest.raises(ValueError, match="no lease on None"):
        watched.leases.take(watched.leases.table.routes["waiting"])
    assert watched.leases.held == {}


def test_a_suspicion_is_passed_on(watched: Watched) -> None:
    watched.leases.suspect("r1")
    assert watched.suspected == ["r1"]


async def test_a_newer_table_is_there_at_once(watched: Watched) -> None:
    watched.serve("r1", epoch=5)
    assert await watched.leases.changed(4, 0) is watched.leases.table


async def test_everybody_who_waits_for_a_table_gets_the_first_one_that_is_newer(watched: Watched) -> None:
    watched.serve("r1", epoch=1)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(watched.leases.changed(epoch, 10)) for epoch in (1, 1, 2)]
        await asyncio.sleep(1)
        watched.serve("r1", epoch=2)
        await asyncio.sleep(1)
        assert [task.done() for task in waiting] == [True, True, False]
        watched.serve("r2", epoch=3)
    assert [task.result().epoch for task in waiting if task.result()] == [2, 2, 3]  # type: ignore[union-attr]


async def test_waiting_ends_at_its_deadline(watched: Watched) -> None:
    watched.serve("r1", epoch=1)
    began = asyncio.get_running_loop().time()
    assert await watched.leases.changed(1, 7) is None
    assert asyncio.get_running_loop().time() - began == pytest.approx(7)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(["r1", "r2", "r3"])),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("publish"), st.sets(st.sampled_from(["r1", "r2", "r3"]))),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_counts_are_right_after_any_history(steps: list[tuple[str, object]]) -> None:
    watched = Watched()
    taken: list[Lease] = []
    out: set[int] = set()
    routed: set[str] = set()
    expected_idle: list[str] = []
    for number, (step, what) in enumerate(steps):
        if step == "publish" and isinstance(what, set):
            routed = what
            watched.serve(*sorted(what), epoch=number)
        elif step == "take" and isinstance(what, str) and what in routed:
            out.add(len(taken))
            taken.append(watched.take(what))
        elif step == "release" and isinstance(what, int) and what < len(taken):
            lease = taken[what]
            others = [n for n in out - {what} if taken[n].replica == lease.replica]
            if what in out and not others:
                expected_idle.append(lease.replica)
            out.discard(what)
            lease.release()
        busy = Counter(taken[n].replica for n in out)
        demand = watched.leases.demand()
        assert watched.leases.held == demand.leases == busy
        assert demand.idle_since.keys() == routed - busy.keys()
        assert watched.idle == expected_idle
