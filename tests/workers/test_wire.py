import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.workers import wire
from orchestrator.workers.wire import Connection, Connections, Exchange

pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (the plugin's signature): sockets take real time

GET = b"GET /%b HTTP/1.1\r\nhost: w\r\n\r\n"


class Server:
    """Keeps the exchanges for the test to answer."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[Exchange] = asyncio.Queue()
        self.connections = Connections()

    @asynccontextmanager
    async def running(self, path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(
            lambda: Connection(self.taken.put_nowait, self.connections), str(path / "s")
        )
        reader, writer = await asyncio.open_unix_connection(str(path / "s"))
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()
            server.close()
            await self.connections.drain()


async def body_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return await reader.readexactly(int(lengths[0].split(b":")[1]))


async def test_requests_sent_ahead_are_answered_in_their_order(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer):
        writer.write(GET % b"1" + GET % b"2" + GET % b"3")
        for number in (b"1", b"2", b"3"):
            exchange = await server.taken.get()
            assert exchange.path == f"/{number.decode()}"
            assert server.taken.empty()
            exchange.answer(200, number)
            assert await body_of(reader) == number


async def test_a_body_may_come_in_pieces_and_chunks(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (_, writer):
        writer.write(b"POST /a?b=c HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab")
        await writer.drain()
        writer.write(b"c\r\n2\r\nde\r\n0\r\n\r\n")
        exchange = await server.taken.get()
        assert (exchange.method, exchange.path, exchange.body) == ("POST", "/a", b"abcde")


async def test_a_peer_that_leaves_is_noticed_once_and_writing_on_does_nothing(folder: Path) -> None:
    server, gone = Server(), asyncio.Event()
    async with server.running(folder) as (_, writer):
        writer.write(GET % b"1")
        exchange = await server.taken.get()
        exchange.gone = gone.set
        exchange.open_stream(b"data")
        writer.close()
        async with asyncio.timeout(5):
            await gone.wait()
        exchange.send(b"more")
        exchange.close_stream(b"end")
        assert exchange.done


async def test_a_complete_answer_is_not_taken_for_a_peer_that_left(folder: Path) -> None:
    server, gone = Server(), asyncio.Event()
    async with server.running(folder) as (reader, writer):
        writer.write(GET % b"1")
        exchange = await server.taken.get()
        exchange.gone = gone.set
        exchange.answer(200, b"x")
        await body_of(reader)
    assert not gone.is_set()


async def test_what_is_not_http_is_refused_and_the_connection_closed(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer):
        writer.write(b"\x16\x03\x01hello\r\n\r\n")
        assert b"400 Bad Request" in await reader.read()


async def test_a_body_over_the_limit_is_refused(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n" % (wire.BODY_BYTES + 1))
        part = b"x" * (1 << 20)
        for _ in range(wire.BODY_BYTES // len(part)):
            writer.write(part)
            await writer.drain()
        writer.write(b"x")
        assert b"413 " in await reader.readuntil(b"\r\n\r\n")
        assert server.taken.empty()


async def test_a_client_that_asks_first_is_told_to_go_on(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"x")
        assert (await server.taken.get()).body == b"x"


async def test_connection_close_is_obeyed(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
        (await server.taken.get()).answer(200, b"x")
        assert (await reader.read()).endswith(b"x")


async def test_draining_closes_idle_connections_now_and_others_after_their_answer(folder: Path) -> None:
    server = Server()
    async with server.running(folder) as (reader, writer), asyncio.TaskGroup() as tasks:
        writer.write(GET % b"1")
        exchange = await server.taken.get()
        drained = tasks.create_task(server.connections.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        exchange.answer(200, b"last")
        assert (await reader.read()).endswith(b"last")
        async with asyncio.timeout(5):
            await drained
