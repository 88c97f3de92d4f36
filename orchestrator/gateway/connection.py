"""One connection to a worker: HTTP/1.1 over its Unix socket, one request at a time.

Written by hand because this is the whole cost of the gateway: against aiohttp's client
it saves about a third of the time that the gateway adds (benchmarks/gateway.py). It speaks to
workers only, whose answers have a length or come in chunks; an answer that just ends
with its connection counts as broken.
"""

import asyncio
from typing import Final, cast

import httptools

from orchestrator.errors import ReplicaDied

# What a slow client lets pile up per request before the worker is made to wait.
MOST_BUFFERED_BYTES: Final = 128 * 1024


class Connection(asyncio.Protocol):
    """Sends a request and reads its answer.

    `status` and `headers` (names in lower case) belong to the last answer
    whose head has arrived.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._has_head = False
        self._complete = True
        self._kept = False
        self._paused = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """True where the last answer has been read to its end and both sides want to go on."""
        return self._complete and not self._pieces and self._kept and self.is_open

    def send(self, request: bytes) -> None:
        """Begin a request; `head` and `readany` give its answer."""
        self.headers = {}
        self._pieces.clear()
        self._buffered_bytes = 0
        self._has_head = self._complete = False
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is not None:
            self._transport.write(request)

    async def head(self) -> None:
        """Return when the answer's head has arrived.

        Raises:
            ReplicaDied: the connection broke first.
        """
        while not self._has_head:
            await self._news()

    async def readany(self) -> bytes:
        """Return what has arrived of the body since the last call; b"" at its end.

        Raises:
            ReplicaDied: the connection broke before the end.
        """
        while not self._pieces:
            if self._complete:
                return b""
            await self._news()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered_bytes = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def read(self) -> bytes:
        """Return the rest of the body; raise as `readany` does."""
        pieces = []
        while data := await self.readany():
            pieces.append(data)
        return b"".join(pieces)

    def close(self) -> None:
        """Close at once; a worker that is still answering stops."""
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        if not self.is_open:
            raise ReplicaDied("the worker closed the connection in the middle of an answer")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._transport = None
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._complete or self._parser is None:
            self.close()  # bytes that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        if self._buffered_bytes > MOST_BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._parser is not None:
            self.status = self._parser.get_status_code()
            self._kept = self._parser.should_keep_alive()  # the parser forgets it at the message's end
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        self._complete = True
