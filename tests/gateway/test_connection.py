"""The client of the workers' sockets, fed by hand."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ReplicaDied
from orchestrator.gateway.connection import MOST_BUFFERED_BYTES, Connection


class FakeTransport(asyncio.Transport):
    """Keeps what was written; tells the connection of its end as a real one does."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self._connection = connection
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self._closing = True
        self._connection.connection_lost(None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connected() -> tuple[Connection, FakeTransport]:
    connection = Connection()
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    return connection, transport


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


BODY = "data: é語🙂\n\ndata: [DONE]\n\n".encode()
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:7], BODY[7:20], BODY[20:]))
    + b"0\r\n\r\n"
)
WITH_LENGTH = b"HTTP/1.1 400 Bad\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}"


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_an_answer_is_the_same_wherever_its_bytes_are_cut(cuts: list[int]) -> None:
    async def read() -> None:
        connection, transport = connected()
        connection.send(b"one")
        for piece in split(CHUNKED, cuts):
            connection.data_received(piece)
        await connection.head()
        assert (connection.status, connection.headers[b"content-type"]) == (200, b"text/event-stream")
        assert await connection.read() == BODY
        assert await connection.readany() == b""
        assert connection.reusable
        connection.send(b"two")
        for piece in split(WITH_LENGTH, cuts):
            connection.data_received(piece)
        await connection.head()
        assert (connection.status, connection.headers) == (
            400,
            {b"retry-after": b"3", b"content-length": b"2"},
        )
        assert await connection.read() == b"{}"
        assert transport.written == b"onetwo"

    asyncio.run(read())


@given(st.integers(0, len(CHUNKED) - 1))
def test_a_connection_that_breaks_anywhere_before_the_end_says_so(place: int) -> None:
    async def read() -> None:
        connection, _ = connected()
        connection.send(b"")
        connection.data_received(CHUNKED[:place])
        connection.connection_lost(None)
        await connection.head()
        await connection.read()

    with pytest.raises(ReplicaDied):
        asyncio.run(read())


async def test_who_waits_is_woken_by_the_end_of_the_connection() -> None:
    connection, transport = connected()
    connection.send(b"")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(fails(connection))
        await asyncio.sleep(0)
        transport.abort()
    assert waiting.done()


async def fails(connection: Connection) -> None:
    with pytest.raises(ReplicaDied):
        await connection.head()


@pytest.mark.parametrize(
    "garbage", [b"hello\r\n\r\n", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", CHUNKED + b"HTTP/9"]
)
async def test_what_is_no_answer_ends_the_connection(garbage: bytes) -> None:
    connection, transport = connected()
    connection.send(b"")
    connection.data_received(garbage)
    connection.data_received(b"more")
    assert transport.is_closing()
    assert not connection.reusable


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    connection, transport = connected()
    connection.data_received(WITH_LENGTH)
    assert transport.is_closing()


@pytest.mark.parametrize(
    "last", [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", CHUNKED[:-5]]
)
async def test_a_connection_is_not_used_again_after_a_close_or_in_the_middle(last: bytes) -> None:
    connection, _ = connected()
    connection.send(b"")
    connection.data_received(last)
    await connection.head()
    assert not connection.reusable


async def test_a_connection_with_an_unread_answer_is_not_used_again() -> None:
    connection, _ = connected()
    connection.send(b"")
    connection.data_received(WITH_LENGTH)
    await connection.head()
    assert not connection.reusable
    await connection.read()
    assert connection.reusable


async def test_a_worker_that_is_faster_than_its_client_is_made_to_wait() -> None:
    connection, transport = connected()
    connection.send(b"")
    much = b"x" * (MOST_BUFFERED_BYTES + 1)
    connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.data_received(b"%x\r\n%b\r\n" % (len(much), much))
    assert not transport.reading
    assert await connection.readany() == much
    assert transport.reading
