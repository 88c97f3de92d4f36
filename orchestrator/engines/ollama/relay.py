"""Answers one request on a replica's socket, with the help of one of its servers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from orchestrator.clock import monotonic_s
from orchestrator.engines.egress import read_at_most, sendable
from orchestrator.engines.ollama.answer import Form, Listener
from orchestrator.engines.ollama.options import Wanted
from orchestrator.engines.ollama.places import NoSite, Places
from orchestrator.engines.ollama.request import wanted_of
from orchestrator.engines.ollama.site import Site
from orchestrator.engines.ollama.words import as_refusal
from orchestrator.errors import RequestError
from orchestrator.workers import answers
from orchestrator.workers.answers import dump
from orchestrator.workers.fields import BadRequest
from orchestrator.workers.wire import BODY_BYTES, Exchange

_OK: Final = 200
_NOT_FOUND: Final = 404
_SERVER: Final = 500
_ERROR_BYTES: Final = 64 * 1024
_JSON: Final = {"content-type": "application/json"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How long a server may say nothing, in seconds: before the first line of an answer, and between two."""

    first_s: float
    next_s: float


class _Elsewhere(Exception):
    """This server does not answer; nothing was sent to the client yet."""

    def __init__(self, refusal: RequestError) -> None:
        super().__init__(refusal.what)
        self.refusal = refusal


class Relay:
    """Handles the exchanges of one replica.

    Args:
        model: the model's own name.
        places: where requests can go.
        lost: told of a server that has not answered as one that holds the
            model would; True where it hangs.
    """

    def __init__(
        self, model: str, places: Places, silence: Silence, lost: Callable[[Site, bool], None]
    ) -> None:
        self._model = model
        self._places = places
        self._silence = silence
        self._lost = lost

    async def __call__(self, exchange: Exchange) -> None:
        """Answer; as long as nothing was sent to the client, another server is tried where one fails."""
        try:
            wanted = wanted_of(exchange.path, exchange.body)
        except BadRequest as error:
            raise RequestError(str(error), status=400, code=error.code, param=error.param) from None
        came_s = monotonic_s()
        tried: dict[Site, RequestError] = {}
        while True:
            try:
                site = await self._places.take(tried.keys())
            except NoSite:
                raise next(reversed(tried.values()), _GONE) from None
            try:
                return await self._ask(site, wanted, exchange, queue_ms=(monotonic_s() - came_s) * 1e3)
            except _Elsewhere as elsewhere:
                tried[site] = elsewhere.refusal
            finally:
                self._places.give_back(site)

    async def _ask(self, site: Site, wanted: Wanted, exchange: Exchange, *, queue_ms: float) -> None:
        answer = _Embedding if wanted.path == "/api/embed" else _Text
        once = answer(self._model, site, wanted, exchange, queue_ms)
        limit = asyncio.timeout(self._silence.first_s)
        try:
            async with limit:
                await self._hear(once, limit)
        except TimeoutError:
            if not limit.expired():
                raise
            self._lost(site, True)  # noqa: FBT003 (it hangs)
            what = f"{site.server.url} has said nothing for {self._heard_s(once):g} s"
            refusal = RequestError(what, status=504, code="upstream_silent")
        except RequestError as error:
            refusal = error
            if error.status >= _SERVER or error.code == _MISSING:
                self._lost(site, False)  # noqa: FBT003 (it has answered)
        except (aiohttp.ClientError, OSError) as error:
            logger.debug("%s: %s", site.server.url, error)
            self._lost(site, False)  # noqa: FBT003 (it has hung up)
            what = f"{site.server.url} does not answer"
            refusal = RequestError(what, status=503, code="upstream_unreachable")
        else:
            return
        if refusal.status < _SERVER or once.begun:
            raise refusal
        raise _Elsewhere(refusal)

    def _heard_s(self, once: "_Text | _Embedding") -> float:
        return self._silence.next_s if once.heard else self._silence.first_s

    async def _hear(self, once: "_Text | _Embedding", limit: asyncio.Timeout) -> None:
        """Send the request, take the answer. Leaving closes the connection, which stops the server's work."""
        loop = asyncio.get_running_loop()
        site, wanted = once.site, once.wanted
        stocked = site.stocked
        if stocked is None:
            raise _GONE
        body = sendable(dump(wanted.body_for(stocked.name, stops=stocked.stops, context=site.spec.context)))
        url = f"{site.server.url}{wanted.path}"
        async with site.server.session.post(url, data=body, headers=_JSON, allow_redirects=False) as answer:
            if answer.status == _NOT_FOUND:
                raise RequestError(f"{site.server.url} does not have it any more", status=503, code=_MISSING)
            if answer.status != _OK:
                said = await read_at_most(answer, _ERROR_BYTES)
                raise as_refusal(answer.status, said, site.server.url)
            async for line in _lines(answer.content):
                limit.reschedule(None)  # the client's own pace is not the server's silence
                await once.take(line)
                limit.reschedule(loop.time() + self._silence.next_s)
        once.end()


class _Text:
    """A chat or a plain completion under way."""

    def __init__(self, model: str, site: Site, wanted: Wanted, exchange: Exchange, queue_ms: float) -> None:
        self.site = site
        self.wanted = wanted
        self.heard = False
        self._exchange = exchange
        self._queue_ms = queue_ms
        self._listener = Listener(site.server.url)
        self._form = Form(model, legacy=wanted.legacy)

    @property
    def begun(self) -> bool:
        """True once the client has been sent something."""
        return self._exchange.streaming or self._exchange.done

    async def take(self, line: bytes) -> None:
        piece = self._listener.line(line)
        self.heard = True
        content = self._form.piece(piece) if self.wanted.stream else b""
        if content:
            self._send(content)
            await self._exchange.drain()

    def end(self) -> None:
        self._listener.check_complete()
        if not self.wanted.stream:
            self._exchange.answer(200, self._form.whole(self._listener, queue_ms=self._queue_ms))
            return
        last = self._form.closing(self._listener, queue_ms=self._queue_ms, usage=self.wanted.include_usage)
        self._send(b"")
        self._exchange.close_stream(last)

    def _send(self, content: bytes) -> None:
        if not self._exchange.streaming:
            self._exchange.open_stream(self._form.opening())
        if content:
            self._exchange.send(content)


class _Embedding:
    """Vectors under way: one line, which may be long."""

    begun = False

    def __init__(
        self,
        model: str,
        site: Site,
        wanted: Wanted,
        exchange: Exchange,
        queue_ms: float,  # noqa: ARG002 (as _Text)
    ) -> None:
        self.site = site
        self.wanted = wanted
        self.heard = False
        self._model = model
        self._exchange = exchange
        self._said: dict[str, Any] = {}

    async def take(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("error"):
            raise as_refusal(502, line, self.site.server.url)
        self._said = said

    def end(self) -> None:
        vectors = self._said.get("embeddings")
        if not isinstance(vectors, list) or len(vectors) != len(self.wanted.body["input"]):
            what = f"{self.site.server.url}: the vectors are not all there"
            raise RequestError(what, status=502, code="upstream_failed")
        tokens = int(self._said.get("prompt_eval_count") or 0)
        found = answers.embeddings(self._model, vectors, tokens=tokens, as_base64=self.wanted.as_base64)
        self._exchange.answer(200, dump(found))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines; what comes after the last line's end is one too.

    Raises:
        RequestError: one has no end.
    """
    pieces, size = list[bytes](), 0
    async for data in content.iter_any():
        first, *more = data.split(b"\n")
        pieces.append(first)
        size += len(first)
        if size > BODY_BYTES:
            raise RequestError("the server sends a line without end", status=502, code="upstream_failed")
        if more:
            *whole, rest = b"".join(pieces), *more
            pieces, size = [rest], len(rest)
            for line in whole:
                if line.strip():
                    yield line
    last = b"".join(pieces)
    if last.strip():
        yield last


_MISSING: Final = "model_not_loaded"
_GONE: Final = RequestError("the model is not loaded on any server", status=503, code=_MISSING)
