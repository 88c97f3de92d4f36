"""The guarded connections for clients that are built on httpx, such as Ollama's.

client = ollama.AsyncClient(host, **httpx_options(session))
"""

from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from types import TracebackType
from typing import Final, Self, TypedDict

import aiohttp
import httpx
from yarl import URL

from orchestrator.engines.egress import sendable

# What aiohttp writes by itself, or what is about this one connection only.
_OWN_HEADERS: Final = frozenset({b"host", b"connection", b"transfer-encoding", b"content-length"})


class HttpxOptions(TypedDict):
    """What makes a client use our connections and no others."""

    transport: httpx.AsyncBaseTransport
    trust_env: bool
    follow_redirects: bool


def httpx_options(session: aiohttp.ClientSession) -> HttpxOptions:
    """Return the arguments for `httpx.AsyncClient`, or for a client that passes them on.

    The session stays the caller's to close, after the client.
    """
    return {"transport": GuardedTransport(session), "trust_env": False, "follow_redirects": False}


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through a session of `Egress.session`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is read as it comes.

        Raises:
            httpx.ConnectError: no connection; the cause is attached.
            httpx.TimeoutException, httpx.NetworkError
        """
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=_headers_for(request),
                data=await _body_of(request),
                allow_redirects=False,
                auto_decompress=False,
                timeout=_timeout_of(request),
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _translated(error, request) from error
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Stream(response, request), request=request
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """The session is not ours to close."""


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.content.iter_any():
                yield data
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        if not self._response.content.is_eof():
            self._response.close()
        self._response.release()


def _headers_for(request: httpx.Request) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.headers.raw
        if name.lower() not in _OWN_HEADERS
    ]


async def _body_of(request: httpx.Request) -> bytes | BytesIO | httpx.AsyncByteStream | None:
    if isinstance(request.stream, httpx.ByteStream):
        content = await request.aread()  # one that follows a redirect was not read yet
        return sendable(content) if content else None
    if isinstance(request.stream, httpx.AsyncByteStream):
        return request.stream
    raise TypeError("a request of an asynchronous client has a body of another kind")


def _timeout_of(request: httpx.Request) -> aiohttp.ClientTimeout:
    asked: Mapping[str, float | None] = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, connect=asked.get("pool"), sock_connect=asked.get("connect"), sock_read=asked.get("read")
    )


def _translated(error: Exception, request: httpx.Request) -> httpx.TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout(str(error), request=request)
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout(str(error), request=request)
    if isinstance(error, aiohttp.ClientConnectorError):
        return httpx.ConnectError(str(error), request=request)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx.RemoteProtocolError(str(error), request=request)
    return httpx.ReadError(str(error), request=request)
