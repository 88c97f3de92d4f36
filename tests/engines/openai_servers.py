"""Servers for the tests of what leads to servers: real ones with the shipped models, and scripted ones."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orchestrator.demo
from orchestrator.engines.crew import Crew
from orchestrator.workers.frames import Launch, Ready, decode_report, encode_launch

DEMO = Path(orchestrator.demo.__file__).parent


@contextlib.contextmanager
def worker(folder: Path, name: str) -> Iterator[Path]:
    """Run a worker of ours with a shipped model, as the real server behind an endpoint; give its socket.

    Its model is called `theirs-NAME`.
    """
    path = folder / f"{name}.sock"
    launch = Launch(
        model=f"theirs-{name}",
        path=str(DEMO / f"{name}.gguf"),
        context=128,
        parallel=2,
        socket=str(path),
        threads=1,
    )
    argv = [sys.executable, "-m", "orchestrator.workers.serve"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(encode_launch(launch))
        child.stdin.flush()
        try:
            assert isinstance(decode_report(child.stdout.readline()), Ready)
            yield path
        finally:
            child.terminate()
            child.wait()


class Relay:
    """A TCP port that leads to a worker's socket or another port, and can be taken away and put back.

    Each new connection is held for `hold_s` first, so that a load takes its time.
    """

    def __init__(self, target: Path | int, *, hold_s: float = 0.0) -> None:
        self._target = target
        self._hold_s = hold_s
        self._crew = Crew()
        self._listener: socket.socket | None = None
        self._port = 0
        self.holding = 0
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def open(self) -> None:
        await self._crew.open()
        self.put_back()

    def put_back(self) -> None:
        if self._listener is None:
            self._listener = listener = socket.socket()
            listener.setblocking(False)  # noqa: FBT003 (its signature)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            listener.listen()
            self._port = listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(listener, self._accept)

    async def take_away(self) -> None:
        """Refuse connections, and break those that there are, as the end of a server does."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._crew.close()
        await self._crew.open()

    async def close(self) -> None:
        await self.take_away()
        await self._crew.close()

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        client.setblocking(False)  # noqa: FBT003 (its signature)
        self.accepted += 1
        self._crew.start(self._join(client), name="relay")

    async def _join(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            self.holding += 1
            try:
                await asyncio.sleep(self._hold_s)
            finally:
                self.holding -= 1
            far_reader, far_writer = await self._connect()
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(_pump(reader, far_writer))
                    pumps.create_task(_pump(far_reader, writer))
            finally:
                far_writer.transport.abort()
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(str(self._target))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Asked:
    """One request to a scripted server."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.body)
        return fields


Script = Callable[[Asked, asyncio.Transport], Awaitable[None]]


class Scripted:
    """Does with every request what its script says; `asked` has them all.

    `left` is set when a connection has ended, whoever ended it.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.left = asyncio.Event()
        self.crew = Crew()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def posted(self) -> list[dict[str, Any]]:
        return [asked.fields for asked in self.asked if asked.method == "POST"]


class _Connection(asyncio.Protocol):
    def __init__(self, server: Scripted) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's
        self._server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.left.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        asked = _request(self._data)
        if asked is not None and self._transport is not None:
            self._data = b""
            self._server.asked.append(asked)
            self._server.crew.start(_done(self._server.script(asked, self._transport)), name="script")


async def _done(work: Awaitable[None]) -> None:
    await work


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    made = Scripted(script)
    await made.crew.open()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(made), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.crew.close()


def answer(status: int, body: bytes | object, *headers: str) -> bytes:
    """Return a whole answer; what is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "" if isinstance(body, bytes) else "content-type: application/json\r\n"
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} X\r\n{kind}{lines}content-length: {len(content)}\r\n\r\n".encode() + content


def models(*names: str) -> bytes:
    return answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def _request(data: bytes) -> Asked | None:
    """Return the request that has arrived in full, None where more of it is to come."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not end or len(body) < int(headers.get("content-length", "0")):
        return None
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)
