"""A worker's socket with an answer that a test writes: for faults that a real one does not show on demand."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class Call:
    """One request as the worker sees it, and the ways in which it can answer.

    `number` counts the requests of this worker from 1.
    """

    def __init__(
        self,
        number: int,
        path: str,
        body: dict[str, Any],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.number = number
        self.path = path
        self.body = body
        self._reader, self._writer = streams

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self._write("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self._write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def stream(self, *chunks: bytes) -> None:
        """Answer with these bytes, in these pieces."""
        await self.head()
        for data in chunks:
            await self.chunk(data)
        await self.end()

    async def json(self, content: object, status: int = 200, **headers: str) -> None:
        await self.head(status, "application/json", **headers)
        await self.chunk(json.dumps(content).encode())
        await self.end()

    def die(self) -> None:
        """Break the connection, as a killed process does."""
        self._writer.transport.abort()

    async def left(self) -> None:
        """Return when the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


Behaviour = Callable[[Call], Awaitable[None]]


class StandIn:
    """What the worker was asked, and how it answers; `behaviour` may be replaced at any time."""

    def __init__(self, socket: str, behaviour: Behaviour) -> None:
        self.socket = socket
        self.behaviour = behaviour
        self.bodies: list[dict[str, Any]] = []
        self.accepted = 0
        self.asked = asyncio.Event()  # set when the first request has come
        self.lonely = asyncio.Event()  # set when the last connection has gone
        self._writers: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._writers[writer] = task
        self.accepted += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._answer(reader, writer)
        finally:
            del self._writers[writer]
            writer.close()
            if not self._writers:
                self.lonely.set()

    async def kill(self) -> None:
        """Break every connection, those that wait for a request included, and wait for their ends."""
        tasks = tuple(self._writers.values())
        for writer in self._writers:
            writer.transport.abort()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].partition("\r\n")[0])
        self.bodies.append(json.loads(await reader.readexactly(size)))
        self.asked.set()
        call = Call(len(self.bodies), head.split()[1], self.bodies[-1], (reader, writer))
        await self.behaviour(call)


@asynccontextmanager
async def worker(behaviour: Behaviour) -> AsyncIterator[StandIn]:
    """Run a stand-in on a socket of its own; it is killed in the end."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        socket = f"{folder}/w.sock"
        standin = StandIn(socket, behaviour)
        server = await asyncio.start_unix_server(standin.connected, socket, limit=1 << 26, backlog=2048)
        try:
            yield standin
        finally:
            server.close()
            await standin.kill()
