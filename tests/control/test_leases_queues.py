"""Requests that wait for a model: their order, what the plan is told of them, and when they are called."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.leases import Leases
from orchestrator.control.queues import Place
from orchestrator.values.demand import Waiting
from orchestrator.values.routing import Route
from tests.control.test_leases import at
from tests.gateway.fakes import route, table


def nothing(_: str) -> None:
    pass


class Hall:
    """Leases with the models big and small, of which no replica is ready; `now_s` is what the clock says."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.boarded: list[str] = []
        self.now_s = 0.0
        self.leases = Leases(
            idle=nothing, suspected=nothing, waits=self.told.append, now=lambda: at(self.now_s)
        )
        self.epoch = 0
        self.publish(route("big"), route("small"))

    def publish(self, *routes: Route) -> None:
        self.epoch += 1
        self.leases.publish(table(*routes, epoch=self.epoch))

    def enter(self, model: str = "big", priority: int = 5) -> Place:
        self.now_s += 1
        return self.leases.enter(model, priority=priority, arrived_s=self.now_s)

    async def wait(self, name: str, place: Place) -> None:
        """Wait as a request does: look again when called, and board at once where the model is ready."""
        try:
            while self.leases.table.routes[place.model].replica is None:
                await place.called(1000)
            self.boarded.append(name)
        finally:
            place.leave()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_demand_counts_those_who_wait_and_tells_of_the_oldest_of_the_most_urgent(hall: Hall) -> None:
    first = hall.enter()
    hall.enter(priority=8)
    urgent = hall.enter(priority=8)
    hall.enter("small", priority=0)
    assert hall.leases.demand().waiting == {
        "big": Waiting(count=3, since=at(2), priority=8),
        "small": Waiting(count=1, since=at(4), priority=0),
    }
    urgent.leave()
    first.leave()
    assert hall.leases.demand().waiting["big"] == Waiting(count=1, since=at(2), priority=8)
    assert hall.leases.queued("big") == 1
    assert hall.leases.queued("none") == 0


def test_whoever_came_first_counts_as_the_oldest_however_late_it_began_to_wait(hall: Hall) -> None:
    hall.enter()
    hall.now_s = 9
    hall.leases.enter("big", priority=5, arrived_s=0)  # its worker died; it came before the other one
    assert hall.leases.demand().waiting["big"] == Waiting(count=2, since=at(1), priority=5)


def test_told_are_the_first_request_a_more_urgent_one_and_the_leaving_of_the_last(hall: Hall) -> None:
    places = [hall.enter()]
    assert hall.told == ["big"]
    places += [hall.enter(), hall.enter(priority=3)]
    assert hall.told == ["big"]
    places.append(hall.enter(priority=6))
    assert hall.told == ["big"] * 2
    for place in places:
        assert hall.told == ["big"] * 2
        place.leave()
        place.leave()
    assert hall.told == ["big"] * 3
    assert hall.leases.demand().waiting == {}


async def test_all_board_in_the_order_of_priority_and_then_of_arrival(hall: Hall) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name, priority in (("a", 5), ("b", 9), ("c", 5), ("d", 9), ("e", 0)):
            tasks.create_task(hall.wait(name, hall.enter(priority=priority)))
        tasks.create_task(hall.wait("other", hall.enter("small")))
        await asyncio.sleep(1)
        hall.publish(route("big", "/b"), route("small"))
        await asyncio.sleep(1)
        assert hall.boarded == ["b", "d", "a", "c", "e"]
        hall.publish(route("big"), route("small", "/s"))
    assert hall.boarded[5:] == ["other"]


async def test_one_who_comes_while_others_are_being_called_is_called_after_them(hall: Hall) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name in ("a", "b", "c"):
            tasks.create_task(hall.wait(name, hall.enter()))
        await asyncio.sleep(1)
        hall.publish(route("big", "/b"))
        late = hall.enter(priority=10)
        assert await late.called(1000)
        assert hall.boarded == ["a", "b", "c"]
        late.leave()


async def test_a_place_that_was_left_is_not_called(hall: Hall) -> None:
    hall.publish(route("big", "/b"))
    hall.enter().leave()
    await asyncio.sleep(1)
    assert hall.leases.queued("big") == 0


async def test_a_request_that_gives_up_frees_its_place_and_cancels_nothing_for_the_others(hall: Hall) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hall.wait("a", hall.enter()))
        gone = tasks.create_task(hall.wait("b", hall.enter()))
        tasks.create_task(hall.wait("c", hall.enter()))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.sleep(1)
        assert hall.leases.queued("big") == 2
        assert hall.told == ["big"]
        hall.publish(route("big", "/b"))
    assert hall.boarded == ["a", "c"]


async def test_waiting_ends_at_its_deadline(hall: Hall) -> None:
    began = asyncio.get_running_loop().time()
    assert not await hall.enter().called(7)
    assert asyncio.get_running_loop().time() - began == pytest.approx(7)
    hall.publish(route("big", "/b"))  # nobody waits at the place any more


async def test_words_alone_wake_nobody(hall: Hall) -> None:
    place = hall.enter()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(place.called(1000))
        await asyncio.sleep(1)
        loading = replace(route("big"), progress="10 %", unready="it is loading, 10 %", load_s=4.0)
        hall.publish(loading, route("small"))
        await asyncio.sleep(1)
        assert not waiting.done()
        hall.publish(replace(loading, stalled=True), route("small"))
        assert await waiting


async def test_a_thousand_board_in_their_order(hall: Hall) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(1000):
            tasks.create_task(hall.wait(str(number), hall.enter(priority=number % 11)))
        await asyncio.sleep(1)
        assert hall.leases.demand().waiting["big"].count == 1000
        hall.publish(route("big", "/b"))
    order = [int(name) for name in hall.boarded]
    assert order == sorted(range(1000), key=lambda number: (-(number % 11), number))
    assert hall.leases.demand().waiting == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 10)),
        st.tuples(st.just("leave"), st.integers(0, 19)),
        st.tuples(st.just("rest"), st.just(0)),
        st.tuples(st.just("words"), st.just(0)),
    ),
    max_size=30,
)


async def turns() -> None:
    """Let everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def live(hall: Hall, steps: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """Let requests come and leave, then make the model ready; return rank and number of those left over."""
    running: dict[int, tuple[asyncio.Task[None], int]] = {}
    async with asyncio.TaskGroup() as tasks:
        for number, (step, value) in enumerate(steps):
            if step == "enter":
                task = tasks.create_task(hall.wait(str(number), hall.enter(priority=value)))
                running[number] = (task, -value)
            elif step == "leave" and value in running:
                task, _ = running.pop(value)
                await asyncio.sleep(0)  # it has begun to wait
                task.cancel()
            elif step == "rest":
                await turns()
            elif step == "words":
                hall.publish(route("big", unready=f"word {number}"), route("small"))
            await asyncio.sleep(0)
            waiting = hall.leases.demand().waiting.get("big")
            assert (waiting.count if waiting else 0) >= len(running)
        await turns()
        hall.publish(route("big", "/b"))
    return sorted((rank, number) for number, (_, rank) in running.items())


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whoever_stays_boards_once_and_in_order_whatever_the_others_do(steps: list[tuple[str, int]]) -> None:
    hall = Hall()
    left_over = asyncio.run(live(hall, steps))
    assert hall.boarded == [str(number) for _, number in left_over]
    assert hall.leases.demand().waiting == {}
