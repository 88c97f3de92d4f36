"""Requests under way while the routing table changes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, Running, gateway
from tests.gateway.standin import Call, StandIn, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

CLIENTS = 8
SWAPS = 20
TOKENS = 12
DONE = b"data: [DONE]\n\n"


def token(revision: str, question: str, place: int) -> bytes:
    return (
        b"data: " + json.dumps({"choices": [{"text": f"{revision} {question} {place}"}]}).encode() + b"\n\n"
    )


def answer(revision: str, question: str) -> bytes:
    return b"".join(token(revision, question, place) for place in range(TOKENS)) + DONE


def serving(revision: str) -> "contextlib.AbstractAsyncContextManager[StandIn]":
    """A worker that puts its revision and the question into every token, and takes a while."""

    async def behave(call: Call) -> None:
        await call.head()
        for place in range(TOKENS):
            await call.chunk(token(revision, call.body["messages"][0]["content"], place))
            await asyncio.sleep(0.001)  # other requests and the next swap come in between
        await call.chunk(DONE)
        await call.end()

    return worker(behave)


async def keep_asking(running: Running, client: int, stop: asyncio.Event) -> int:
    """Stream answers until told to stop; return how many.

    Each must be whole, ours, and of a revision not older than the request.
    """
    count = 0
    while not stop.is_set():
        question = f"client {client} question {count}"
        oldest = running.leases.table.epoch
        body = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": question}]}
        reply = await running.post(body)
        revision = reply.headers["x-orchestrator-revision"]
        assert reply.status == 200
        assert reply.content == answer(revision, question)
        assert int(revision.removeprefix("r")) >= oldest
        count += 1
    return count


async def took_over(standin: StandIn) -> None:
    async with asyncio.timeout(10):
        await standin.asked.wait()


async def test_twenty_swaps_under_eight_streaming_clients_lose_nothing() -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving("r1"))
        running = await stack.enter_async_context(gateway(table(route(socket=first.socket))))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(keep_asking(running, number, stop)) for number in range(CLIENTS)]
            await took_over(first)
            for number in range(2, SWAPS + 2):
                after = await stack.enter_async_context(serving(f"r{number}"))
                new = route(socket=after.socket, replica=f"fast-{number}", revision=f"r{number}")
                running.leases.publish(new)
                await took_over(after)
            stop.set()
        answers = sum(client.result() for client in clients)
        assert answers >= SWAPS
        for _ in range(answers):
            await running.history.next()
        assert {(fact.status, fact.error) for fact in running.history.facts} == {(200, "")}
        assert len({fact.revision for fact in running.history.facts}) == SWAPS + 1


FAULTS = st.sampled_from(
    ["fine", "dies first", "dies in the middle", "hangs", "says 500", "client leaves", "no end"]
)


@contextlib.asynccontextmanager
async def one_socket_per_fault(fault: str) -> AsyncIterator[StandIn]:
    async def behave(call: Call) -> None:
        if fault == "says 500":
            await call.json({"error": {"message": "no", "code": "decode_failed"}}, 500)
            return
        if fault == "dies first":
            call.die()
            return
        await call.head()
        await call.chunk(token("r1", "x", 0))
        if fault == "dies in the middle":
            call.die()
        elif fault in ("hangs", "client leaves"):
            await call.left()
        else:
            await call.chunk(DONE if fault == "fine" else b"data: {")
            await call.end()

    async with worker(behave) as standin:
        yield standin


async def suffer(fault: str) -> tuple[int, str]:
    """Send one stream to a worker with this fault; return what was recorded."""
    async with (
        one_socket_per_fault(fault) as upstream,
        gateway(table(route(socket=upstream.socket)), hang_deadline_s=0.05) as running,
    ):
        body = {"model": "fast", "messages": HELLO, "stream": True}
        async with running.session.post(running.url + CHAT, json=body) as response:
            if fault != "client leaves":
                await response.read()
        fact = await running.history.next()
        assert len(running.history.facts) == 1
        return fact.status, fact.error


RECORDED = {
    "fine": (200, ""),
    "dies first": (502, "replica_died"),
    "dies in the middle": (200, "replica_died"),
    "hangs": (200, "replica_hung"),
    "says 500": (500, "decode_failed"),
    "client leaves": (499, "client_closed_request"),
    "no end": (200, "replica_died"),
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(FAULTS, min_size=1, max_size=6))
def test_whatever_happens_each_request_gives_its_lease_back_and_is_recorded_once(faults: list[str]) -> None:
    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            recorded = [group.create_task(suffer(fault)) for fault in faults]
        assert [task.result() for task in recorded] == [RECORDED[fault] for fault in faults]

    asyncio.run(together())
