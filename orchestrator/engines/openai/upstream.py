"""Requests of one replica on their way to the endpoints that serve it, and the answers on their way back."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import aiohttp

from orchestrator.engines.egress import read_at_most, sendable
from orchestrator.engines.openai import refusals
from orchestrator.engines.openai.endpoint import Endpoint, trouble_of
from orchestrator.engines.openai.refusals import Said
from orchestrator.engines.openai.rename import Renaming
from orchestrator.engines.openai.stream import Malformed, Stream
from orchestrator.errors import RequestError
from orchestrator.workers.wire import BODY_BYTES, Exchange

# How long an upstream may take to end an answer that is complete, so that its connection can be used again.
TRAILER_S: Final = 1.0
MOST_ERROR_BYTES: Final = 64 * 1024
# How often one endpoint may be asked again with less, after it refused some fields.
MOST_LESSONS: Final = 4
# Another endpoint may do better where one answers so.
_ELSEWHERE: Final = frozenset({401, 403, 429, 502, 503, 504, 529})

logger = logging.getLogger(__name__)


class _TryElsewhere(Exception):
    """Nothing was sent to the client, and another endpoint may do better. `again`: so may the same."""

    def __init__(self, error: RequestError, *, again: bool = False) -> None:
        super().__init__(error.what)
        self.error = error
        self.again = again


class Upstream:
    """Handles what is posted to one replica.

    Args:
        model: our name, that the answers get.
        theirs: the name under which the upstream knows it.
        endpoints: where it is served; the one with the least to do is asked
            first, the others where it fails before the client saw anything.
        hide: takes out what must not be shown, whatever an upstream says.
        failed: called when an endpoint did not answer.
    """

    def __init__(
        self,
        model: str,
        theirs: str,
        endpoints: Sequence[Endpoint],
        *,
        hide: Callable[[str], str] = str,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._theirs = theirs
        self._endpoints = endpoints
        self._hide = hide
        self._failed = failed
        self._turn = count()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one exchange.

        Raises:
            RequestError: what the client has to be told.
        """
        fields = _fields(exchange.body)
        path = exchange.path.removeprefix("/v1")
        waiting = self._in_order()
        dropped: set[Endpoint] = set()
        while True:
            endpoint = waiting.popleft()
            try:
                await self._ask(endpoint, path, fields, exchange)
            except _TryElsewhere as failure:
                # A connection that was kept open may have been closed by the other end at the same moment.
                if failure.again and endpoint not in dropped:
                    dropped.add(endpoint)
                    waiting.append(endpoint)
                if not waiting:
                    raise failure.error from None
            else:
                return

    def _in_order(self) -> deque[Endpoint]:
        """Return the endpoints: without trouble before others, idle before busy, equals by turns."""
        turn = next(self._turn) % len(self._endpoints)
        turned = [*self._endpoints[turn:], *self._endpoints[:turn]]
        return deque(sorted(turned, key=lambda each: (each.trouble is not None, each.in_flight)))

    async def _ask(self, endpoint: Endpoint, path: str, fields: dict[str, Any], exchange: Exchange) -> None:
        endpoint.in_flight += 1
        try:
            async with endpoint.awaited():
                said = await self._send(endpoint, path, fields, exchange)
                lessons = 0
                while said is not None and lessons < MOST_LESSONS and endpoint.quirks.learn(said[0], fields):
                    logger.info("%s does not take all defaults of model '%s'", endpoint.place, self._model)
                    lessons += 1
                    said = await self._send(endpoint, path, fields, exchange)
            if said is not None:
                self._refuse(endpoint, *said)
            endpoint.well()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._broke(endpoint, error, exchange)
        except Malformed as error:
            raise refusals.broken(endpoint.place, f"sent {error}") from None
        finally:
            endpoint.in_flight -= 1

    async def _send(
        self, endpoint: Endpoint, path: str, fields: dict[str, Any], exchange: Exchange
    ) -> tuple[Said, str] | None:
        """Send the request once; return an error that came in place of an answer, with its Retry-After."""
        content = endpoint.quirks.applied(fields) | {"model": self._theirs}
        body = json.dumps(content, separators=(",", ":")).encode()
        async with endpoint.session.post(
            endpoint.url(path), data=sendable(body), allow_redirects=False
        ) as answer:
            after = answer.headers.get("Retry-After", "")
            if answer.status != HTTPStatus.OK:
                return self._read(answer.status, await read_at_most(answer, MOST_ERROR_BYTES)), after
            streams = bool(fields.get("stream"))
            if streams and answer.content_type != "application/json":
                said = await self._stream(endpoint, answer, exchange, choices=_choices(fields))
            else:
                said = await self._whole(endpoint, answer, exchange, streams=streams)
            return None if said is None else (self._without_secrets(said), after)

    async def _whole(
        self, endpoint: Endpoint, answer: aiohttp.ClientResponse, exchange: Exchange, *, streams: bool
    ) -> Said | None:
        content = await read_at_most(answer, BODY_BYTES)
        if len(content) > BODY_BYTES:
            raise Malformed(f"an answer of more than {BODY_BYTES} bytes")
        if not content.lstrip().startswith(b"{"):
            raise Malformed("an answer that is not JSON")
        said = refusals.in_answer(content)
        if said is None:
            if streams:
                raise Malformed("a whole answer where a stream was asked for")
            exchange.answer(HTTPStatus.OK, Renaming(self._model)(content))
            endpoint.heard = True
        return said

    async def _stream(
        self, endpoint: Endpoint, answer: aiohttp.ClientResponse, exchange: Exchange, *, choices: int
    ) -> Said | None:
        """Pass a stream on to its end; return an error that came before anything else."""
        stream = Stream(Renaming(self._model), choices=choices)
        async for data in answer.content.iter_any():
            endpoint.heard = True
            self._pass_on(stream.feed(data), stream, exchange)
            if stream.done or stream.error is not None:
                break
            await exchange.drain()
        else:
            self._pass_on(stream.end(), stream, exchange)
        if stream.error is not None:
            if not exchange.streaming:
                return stream.error
            raise refusals.as_refusal(self._without_secrets(stream.error), endpoint.place)
        if not stream.done:
            raise refusals.broken(endpoint.place, "ended the stream before its end")
        await _to_the_end(answer)
        return None

    def _pass_on(self, data: bytes, stream: Stream, exchange: Exchange) -> None:
        if not data:
            return
        if stream.done:
            if not exchange.streaming:
                exchange.open_stream(b"")
            exchange.close_stream(data)
        elif exchange.streaming:
            exchange.send(data)
        else:
            exchange.open_stream(data)

    def _read(self, status: int, body: bytes) -> Said:
        return self._without_secrets(refusals.read(status, body))

    def _without_secrets(self, said: Said) -> Said:
        hide = self._hide
        return Said(
            status=said.status, message=hide(said.message), code=hide(said.code), param=hide(said.param)
        )

    def _refuse(self, endpoint: Endpoint, said: Said, retry_after: str) -> None:
        error = refusals.as_refusal(said, endpoint.place, retry_after)
        if said.status in _ELSEWHERE:
            raise _TryElsewhere(error)
        raise error

    def _broke(self, endpoint: Endpoint, error: Exception, exchange: Exchange) -> None:
        """Take note that the endpoint did not answer, or stopped to; raise what follows from it."""
        found = trouble_of(error, endpoint.place)
        endpoint.note(found)
        self._failed()
        if exchange.streaming:
            raise refusals.broken(endpoint.place, "left in the middle of its answer")
        if isinstance(error, aiohttp.ClientConnectorError):
            raise _TryElsewhere(refusals.unreachable(found.error))
        raise _TryElsewhere(refusals.broken(endpoint.place, "left before it had answered"), again=True)


async def _to_the_end(answer: aiohttp.ClientResponse) -> None:
    """Read what little may follow a complete answer: only then can its connection be used again."""
    if answer.content.at_eof():
        return
    try:
        async with asyncio.timeout(TRAILER_S):
            async for _ in answer.content.iter_any():
                pass
    except (aiohttp.ClientError, TimeoutError):
        answer.close()


def _choices(fields: dict[str, Any]) -> int:
    wanted = fields.get("n")
    return wanted if isinstance(wanted, int) else 1


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError("the body is not a JSON object", status=400, code="invalid_json")
    return fields
