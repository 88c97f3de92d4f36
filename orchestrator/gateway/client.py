"""The client's side of one request: its body, its leaving, and what it has been sent."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.gateway import answer, sse
from orchestrator.gateway.answer import JSON, Headers
from orchestrator.gateway.ports import Receive, Scope, Send


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class Client:
    """Sends one answer.

    `extra` are headers that the answer carries whatever it is. `started` is
    True once the status line has left: from then on an error can only be told
    inside the answer. `ended` is True once the whole answer has left.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.extra: Headers = []
        self.started = False
        self.ended = False
        self._receive = receive
        self._send = send
        self._state: dict[str, Any] = scope.setdefault("state", {})

    def waits(self, *, waits: bool) -> None:
        """Tell the server whether the request waits for a model: such a one is cancelled when it drains."""
        self._state["waits"] = waits

    @property
    def draining(self) -> bool:
        """True where the server drains; see `gateway/server.py`."""
        return bool(self._state.get("draining"))

    async def body(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Of a body that is too long nothing is kept, and the rest of it is left
        to the server, which discards it: closing the connection at once would
        reach many clients as a broken pipe instead of as an answer.

        Raises:
            ClientGone: the client left before its end.
            RequestError: it is longer than the limit (413).
        """
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise _too_long(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > limit_bytes:
                raise _too_long(limit_bytes)
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def left(self) -> bool:
        """Wait until the client has closed its connection; False where it was the end of the answer.

        Only after `body`, which reads from the same place.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass
        return not self.ended

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer of unknown length."""
        self.started = True
        start = {"type": "http.response.start", "status": status, "headers": [*headers, *self.extra]}
        await self._send(start)

    async def pass_on(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """End an answer that was started."""
        self.ended = True
        await self._send({"type": "http.response.body", "body": data})

    async def whole(self, status: int, content: bytes, headers: Headers) -> None:
        """Send an answer of one piece."""
        length = (b"content-length", str(len(content)).encode())
        await self.start(status, [*headers, length] if content else headers)
        await self.finish(content)

    async def json(self, status: int, content: Mapping[str, Any]) -> None:
        await self.whole(status, json.dumps(content).encode(), [JSON])

    async def refuse(self, error: RequestError, headers: Headers) -> None:
        """Tell an error: as the answer, or as the last event of a stream that has begun, without `[DONE]`."""
        if self.ended:
            return
        content = answer.error_body(error)
        if self.started:
            await self.finish(sse.event(content))
        else:
            all_headers = [JSON, *answer.error_headers(error), *headers]
            await self.whole(error.status, json.dumps(content).encode(), all_headers)


def _too_long(limit_bytes: int) -> RequestError:
    return RequestError(
        f"the body is longer than {limit_bytes:,} bytes",
        status=413,
        code="body_too_large",
        fix="send less, or raise `max_body:` in orchestrator.yaml",
    )
