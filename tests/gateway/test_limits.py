"""Deadlines, silence, and clients that leave."""

import asyncio
import contextlib
import json

import pytest

from tests.gateway.answers import TOKEN, check_cut, never
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, gateway
from tests.gateway.standin import Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_before_the_first_byte_is_504(stream: bool) -> None:  # noqa: FBT001 (a parameter)
    async with (
        worker(never) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.1) as running,
    ):
        reply = await running.chat(stream=stream)
        assert (reply.status, reply.code) == (504, "deadline_exceeded")
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.ttft_ms) == (504, "deadline_exceeded", None)


async def test_a_deadline_in_the_middle_of_a_stream_ends_it_with_an_error() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN + TOKEN[:10])
        await call.left()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.2) as running,
    ):
        reply = await running.chat(stream=True)
        check_cut(reply.content, "deadline_exceeded")
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "deadline_exceeded")


async def test_silence_in_the_middle_of_a_stream_ends_it_with_an_error() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await call.left()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), hang_deadline_s=0.1) as running,
    ):
        reply = await running.chat(stream=True)
        check_cut(reply.content, "replica_hung")
        assert (await running.history.next()).error == "replica_hung"
        assert running.leases.suspects == ["fast-1"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_worker_at_once(stream: bool) -> None:  # noqa: FBT001 (a parameter)
    left = asyncio.Event()
    asked = asyncio.Event()

    async def behave(call: Call) -> None:
        if stream:
            await call.head()
            await call.chunk(TOKEN)
        asked.set()
        await call.left()
        left.set()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        body = json.dumps({"model": "fast", "messages": HELLO, "stream": stream}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            await (reader.readuntil(TOKEN) if stream else asked.wait())
            writer.close()
            await left.wait()
        fact = await running.history.next()
        assert (fact.status, fact.error) == (499, "client_closed_request")


async def test_a_client_that_leaves_while_it_waits_for_a_model_is_recorded() -> None:
    async with gateway(table(route())) as running:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(running.chat())
            await running.leases.waited_for.wait()
            asked.cancel()
        fact = await running.history.next()
        assert (fact.status, fact.model) == (499, "")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_recorded() -> None:
    async with gateway(table(route())) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{".encode())
        await writer.drain()
        writer.close()
        assert (await running.history.next()).status == 499


async def test_a_body_that_does_not_come_is_408() -> None:
    async with gateway(table(route()), request_deadline_s=0.1) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{".encode())
        assert b" 408 " in await reader.readline()
        writer.close()
        assert (await running.history.next()).status == 408


async def test_a_client_that_does_not_read_holds_its_worker_no_longer_than_the_deadline() -> None:
    left = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        with contextlib.suppress(ConnectionError):
            while True:
                await call.chunk(TOKEN * 1000)
        left.set()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.3, hang_deadline_s=0.1) as running,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        body = json.dumps({"model": "fast", "messages": HELLO, "stream": True}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            await left.wait()
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "deadline_exceeded")
        writer.close()
