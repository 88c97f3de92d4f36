"""HTTP/1.1 on a Unix socket: what a worker needs of it and no more.

One trusted peer, the parent, talks to a worker, so there is no TLS, no compression, no upgrade. Answers are
written straight from the event loop's callbacks: no task, no queue and no wake-up per streamed token. Whoever
makes answers out of what somebody else sends awaits `drain` between them, so that a peer who does not read
slows the sender down in place of filling the memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httptools

from orchestrator.workers.answers import dump, error

BODY_BYTES: Final = 64 * 1024 * 1024
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_JSON: Final = "application/json"
_AHEAD: Final = 16


class Exchange:
    """One request and its answer. Only for the event loop's thread.

    After the peer has left, or the answer is complete, writing does nothing. `gone` is called when the peer
    leaves before the answer is complete. `streaming` is set once a stream has begun.
    """

    __slots__ = ("_connection", "body", "done", "gone", "method", "path", "streaming")

    def __init__(self, connection: "Connection", method: str, path: str, body: bytes) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.body = body
        self.done = False
        self.streaming = False
        self.gone: Callable[[], None] | None = None

    def answer(self, status: int, body: bytes, *, headers: str = "") -> None:
        """Send a whole JSON answer."""
        if self.done:
            return
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {_JSON}\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        self._connection.write(head.encode() + body)
        self.finish()

    def open_stream(self, first: bytes) -> None:
        """Begin a stream of server-sent events."""
        if not self.done:
            self.streaming = True
            self._connection.write(_STREAM + (_chunk(first) if first else b""))

    def send(self, content: bytes) -> None:
        """Send more of a stream; not empty."""
        if not self.done:
            self._connection.write(_chunk(content))

    async def drain(self) -> None:
        """Return when the peer has read enough of what was sent that there is room for more, or has left."""
        if not self.done:
            await self._connection.drain()

    def close_stream(self, content: bytes) -> None:
        """Send the last of a stream, and end it; not empty."""
        if not self.done:
            self._connection.write(_chunk(content) + b"0\r\n\r\n")
            self.finish()

    def finish(self) -> None:
        """Let the connection take its next request."""
        self.done = True
        self._connection.next()

    def peer_left(self) -> None:
        """Take note that nobody listens any more."""
        if not self.done:
            self.done = True
            if self.gone is not None:
                self.gone()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


class Connection(asyncio.Protocol):
    """A connection with one exchange at a time; requests sent ahead wait for their turn."""

    def __init__(self, handle: Callable[[Exchange], None], connections: "Connections") -> None:
        self._handle = handle
        self._all = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._size = 0
        self._ahead: deque[Exchange] = deque()
        self._exchange: Exchange | None = None
        self._room: asyncio.Future[None] | None = None  # there while the peer reads too slowly
        self.closing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._all.closed(self)
        self._transport = None
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.peer_left()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrades are not supported")
        except httptools.HttpParserError as failure:
            self._refuse(400, f"not an HTTP request: {failure}")

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        if self._parser.should_keep_alive() is False:
            self.closing = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path = self._url.partition(b"?")[0].decode(errors="replace")
        body, too_large = b"".join(self._body), self._size > BODY_BYTES
        self._url, self._body, self._size = b"", [], 0
        if too_large:
            self._refuse(413, f"the body is over {BODY_BYTES} bytes")
            return
        self._ahead.append(Exchange(self, method, path, body))
        if len(self._ahead) > _AHEAD:
            self._refuse(400, "too many requests were sent ahead on one connection")
        elif self._exchange is None:
            self._begin()

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        """Send, unless the peer has left."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Return when little enough waits to be sent, or the peer has left."""
        if self._room is not None:
            await asyncio.shield(self._room)  # several may wait for it, and each may be cancelled
        elif self._transport is not None and self._transport.is_closing():
            await asyncio.sleep(0)  # or a sender who never waits for anything else would never hear of it

    def next(self) -> None:
        """Take the next request, or close where the peer or we want to."""
        self._exchange = None
        if self._ahead:
            self._begin()
        elif self.closing:
            self.close()

    def _begin(self) -> None:
        self._exchange = exchange = self._ahead.popleft()
        self._handle(exchange)

    def close(self) -> None:
        """Close, after what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        """Close now, or when the answer under way is complete."""
        self.closing = True
        if self._exchange is None:
            self.close()

    def _refuse(self, status: int, what: str) -> None:
        body = dump(error(what, kind="invalid_request_error", code="invalid_request"))
        self.closing = True
        self._ahead.clear()
        Exchange(self, "", "", b"").answer(status, body)


class Connections:
    """All connections that are open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._none = asyncio.Event()
        self._none.set()

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        self._none.clear()

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none.set()

    async def drain(self) -> None:
        """Close the idle ones now, the others after their answer; return when all are closed."""
        for connection in list(self._open):
            connection.close_when_idle()
        await self._none.wait()

    async def abort(self) -> None:
        """Close all at once, whatever was not sent; return when they are closed."""
        for connection in list(self._open):
            connection.abort()
        await self._none.wait()
