"""uvicorn's connections, with bounds on what comes before a request's body.

uvicorn with httptools takes a request line and headers of any length and for
any time. Both come before any key is looked at.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seen a piece of up to 256 KiB at a time, so a little more may pass. A guess: four times what browsers send.
HEAD_BYTES: Final = 65_536
HEAD_S: Final = 30.0


class BoundedConnection(HttpToolsProtocol):
    """Refuses a request whose head is too long or too slow, in OpenAI's form."""

    _in_head = True
    _seen = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._seen += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(HEAD_S, self._too_slow)
        super().data_received(data)
        if self._in_head and self._seen > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "head_too_large", f"the headers are longer than {HEAD_BYTES:,} bytes")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._seen = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(400, "invalid_http", "what was sent is not an HTTP request")

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._seen:
            self._refuse(408, "head_too_slow", f"the headers did not arrive within {HEAD_S:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._stop_timer()
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        content = json.dumps({"error": error}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
