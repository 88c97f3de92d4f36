"""Finding a replica and waiting for one, in virtual time and without a network."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from looptime import LoopTimeProxy

from orchestrator.decide.features import Features
from orchestrator.errors import RequestError
from orchestrator.gateway.boarding import Boarding
from orchestrator.gateway.body import ENDPOINTS, Ask
from orchestrator.gateway.client import Client
from orchestrator.gateway.patience import Patience
from orchestrator.gateway.ports import Message
from orchestrator.gateway.record import Record
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, When
from orchestrator.values.routing import RoutingTable
from orchestrator.values.settings import Settings
from tests.gateway.fakes import FakeLeases, route, table

pytestmark = pytest.mark.looptime

BIG = route("big", unready="it is not loaded", on_demand=True)
LOADED = route("big", "/b", on_demand=True)
SMALL = route("small", "/s")
DAILY = RoutingPolicy(name="daily", default=True, otherwise=("big",), fallback=("small",))


async def silence() -> Message:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def nowhere(_: Message) -> None:
    pass


class Request:
    """One request on its way to a replica."""

    def __init__(self, requested: str = "big", priority: int = 5, **fields: Any) -> None:  # noqa: ANN401 (any JSON)
        self.record = Record(at=datetime(2026, 11, 20, tzinfo=UTC), started_s=0, endpoint="chat")
        self.scope: dict[str, Any] = {"headers": [], "state": {}}
        ask = Ask(
            fields=fields,
            requested=requested,
            stream=False,
            wants_usage=False,
            features=Features(priority=priority),
        )
        client = Client(self.scope, silence, nowhere)
        patience = Patience(deadline_s=100, silence_s=10)
        self.boarding = Boarding(ask, ENDPOINTS[0], client, self.record, patience)

    async def board(self, leases: FakeLeases, **settings: Any) -> str:  # noqa: ANN401 (any setting)
        """Board, give the lease back at once, and return the model."""
        found, lease = await self.boarding.board(leases, Settings(**settings))
        lease.release()
        return found.model


async def test_a_ready_model_is_not_waited_for(looptime: LoopTimeProxy) -> None:
    request = Request()
    assert await request.board(FakeLeases(table(LOADED))) == "big"
    assert looptime == 0
    assert request.record.why == "named by the request"


async def test_a_request_that_comes_as_the_model_gets_ready_boards_after_those_who_wait() -> None:
    leases = FakeLeases(table(BIG))
    order: list[int] = []

    async def go(number: int, priority: int) -> None:
        await Request(priority=priority).board(leases)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number, priority in enumerate((5, 7, 5)):
            tasks.create_task(go(number, priority))
        await leases.waited_for.wait()
        await asyncio.sleep(1)
        leases.publish(LOADED)
        await go(3, 10)  # in this very step, and more urgent
    assert order == [1, 0, 2, 3]


async def test_the_wait_ends_at_its_deadline_with_what_is_known(looptime: LoopTimeProxy) -> None:
    leases = FakeLeases(table(replace(BIG, load_s=70.0)))
    with pytest.raises(RequestError, match="not ready after 30 s: it is not loaded") as raised:
        await Request().board(leases, wait_for_model_s=30.0)
    assert (raised.value.code, raised.value.retry_after_s) == ("model_not_ready", 70)
    assert looptime == 30
    assert leases.waiting == {}


async def test_a_daemon_that_has_just_started_knows_its_models_before_it_answers(
    looptime: LoopTimeProxy,
) -> None:
    leases = FakeLeases(RoutingTable())
    asyncio.get_running_loop().call_later(2, leases.publish, LOADED)
    assert await Request().board(leases) == "big"
    assert looptime == 2
    with pytest.raises(RequestError, match="there is no model 'who'"):
        await Request("who").board(leases)


async def test_a_daemon_that_never_reads_its_files_says_so() -> None:
    with pytest.raises(RequestError, match="has not read its files after 30 s") as raised:
        await Request().board(FakeLeases(RoutingTable()), wait_for_model_s=30.0)
    assert (raised.value.status, raised.value.code) == (503, "not_started")


async def test_a_policy_whose_model_is_late_answers_with_the_next_one_that_is_ready(
    looptime: LoopTimeProxy,
) -> None:
    leases = FakeLeases(table(BIG, SMALL, policies=(DAILY,)))
    request = Request("auto")
    assert await request.board(leases, wait_for_model_s=30.0) == "small"
    assert looptime == 30
    assert request.record.why == (
        "fallback 1 of policy daily (passed over: big: it was not ready in time); waited 30.0 s"
    )


async def test_a_policy_without_a_ready_model_tells_of_the_first_one_it_waited_for() -> None:
    leases = FakeLeases(table(BIG, route("small"), policies=(DAILY,)))
    request = Request("auto")
    with pytest.raises(RequestError, match="model 'big' is not ready after 30 s") as raised:
        await request.board(leases, wait_for_model_s=30.0)
    assert raised.value.code == "model_not_ready"
    assert request.record.policy == "daily"
    assert "small: it was not ready in time" in request.record.why


async def test_a_full_queue_refuses_at_once_and_a_policy_goes_on(looptime: LoopTimeProxy) -> None:
    leases = FakeLeases(table(replace(BIG, load_s=2.5), SMALL, policies=(DAILY,)))
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(Request().board(leases, wait_queue=1))
        await leases.waited_for.wait()
        with pytest.raises(RequestError, match="1 requests wait already") as raised:
            await Request(priority=10).board(leases, wait_queue=1)
        assert (raised.value.status, raised.value.code, raised.value.retry_after_s) == (503, "queue_full", 3)
        request = Request("auto")
        assert await request.board(leases, wait_queue=1) == "small"
        assert "big: its queue is full" in request.record.why
        assert looptime == 0
        leases.publish(LOADED, SMALL, policies=(DAILY,))
    assert first.result() == "big"


async def test_a_queue_that_is_boarding_is_not_full() -> None:
    leases = FakeLeases(table(BIG))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Request().board(leases, wait_queue=1))
        await leases.waited_for.wait()
        leases.publish(LOADED)
        assert await Request().board(leases, wait_queue=1) == "big"


async def test_a_model_that_will_not_get_ready_is_left_for_the_next(looptime: LoopTimeProxy) -> None:
    leases = FakeLeases(table(BIG, SMALL, policies=(DAILY,)))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(Request("auto").board(leases))
        await asyncio.sleep(3)
        leases.publish(replace(BIG, stalled=True), SMALL, policies=(DAILY,))
    assert waiting.result() == "small"
    assert looptime == 3


async def test_a_request_that_moves_to_another_queue_keeps_its_rank() -> None:
    other = route("other")
    daily = replace(DAILY, otherwise=("big", "other"), fallback=())
    leases = FakeLeases(table(BIG, other, policies=(daily,)))
    order: list[str] = []

    async def go(requested: str) -> None:
        await Request(requested).board(leases)
        order.append(requested)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(go("auto"))
        await asyncio.sleep(1)
        tasks.create_task(go("other"))
        await asyncio.sleep(1)
        assert {model: waiting.count for model, waiting in leases.waiting.items()} == {"big": 1, "other": 1}
        leases.publish(replace(BIG, stalled=True), other, policies=(daily,))
        await asyncio.sleep(1)
        assert {model: waiting.count for model, waiting in leases.waiting.items()} == {"other": 2}
        leases.publish(replace(BIG, stalled=True), route("other", "/o"), policies=(daily,))
    assert order == ["auto", "other"]


async def test_a_request_that_came_back_goes_before_those_who_came_later() -> None:
    leases = FakeLeases(table(LOADED))
    first = Request()
    assert await first.board(leases) == "big"
    await asyncio.sleep(1)
    leases.publish(BIG)  # its worker died
    order: list[int] = []

    async def go(number: int, request: Request) -> None:
        await request.board(leases)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(go(2, Request()))
        await leases.waited_for.wait()
        tasks.create_task(go(1, first))
        await asyncio.sleep(1)
        leases.publish(LOADED)
    assert order == [1, 2]


async def test_the_waits_of_one_request_count_together(looptime: LoopTimeProxy) -> None:
    leases = FakeLeases(table(BIG))
    request = Request()
    async with asyncio.TaskGroup() as tasks:
        boarding = tasks.create_task(request.board(leases))
        await asyncio.sleep(20)
        leases.publish(LOADED)
        await boarding
        leases.publish(BIG)
        with pytest.raises(RequestError, match="not ready after 30 s"):
            await request.board(leases)
    assert looptime == 30


async def test_the_server_knows_who_waits_and_nobody_begins_to_while_it_drains() -> None:
    leases = FakeLeases(table(BIG))
    request = Request()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(request.board(leases))
        await leases.waited_for.wait()
        assert request.scope["state"]["waits"]
        leases.publish(LOADED)
    assert not request.scope["state"]["waits"]
    leases.publish(BIG)
    late = Request()
    late.scope["state"]["draining"] = True
    with pytest.raises(RequestError, match="shutting down"):
        await late.board(leases)
    assert leases.waiting == {}


async def test_rules_see_the_length_of_the_prompt() -> None:
    rule = Rule(when=When(estimated_tokens=Bounds(below=100)), use=("small",))
    daily = replace(DAILY, rules=(rule,))
    leases = FakeLeases(table(LOADED, SMALL, policies=(daily,)))
    short = Request("auto", messages=[{"role": "user", "content": "x" * 396}])
    assert await short.board(leases) == "small"
    assert short.record.why == "choice 1 of rule 1 of policy daily (estimated_tokens 99)"
    assert await Request("auto", messages=[{"role": "user", "content": "x" * 400}]).board(leases) == "big"
