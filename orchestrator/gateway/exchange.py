"""The conversation between one client and the worker that answers it."""

import json
from http import HTTPStatus
from typing import Final

from orchestrator import clock
from orchestrator.errors import ReplicaDied
from orchestrator.gateway import body, refusals, sse
from orchestrator.gateway.boarding import Boarding
from orchestrator.gateway.body import Ask, Endpoint
from orchestrator.gateway.client import Client
from orchestrator.gateway.connection import Connection
from orchestrator.gateway.patience import Patience
from orchestrator.gateway.ports import Leases
from orchestrator.gateway.record import Headers, Record
from orchestrator.gateway.upstream import Unreachable, Upstreams
from orchestrator.values.routing import Route
from orchestrator.values.settings import Settings

# A request that was sent and never answered may itself be what kills the
# worker, so it is not sent for ever.
MAX_SENDS: Final = 3
PASSED_HEADERS: Final = (b"content-type", b"retry-after")


class Exchange:
    """One request's way to a worker and the answer's way back."""

    def __init__(self, endpoint: Endpoint, client: Client, record: Record, patience: Patience) -> None:
        self._endpoint = endpoint
        self._client = client
        self._record = record
        self._patience = patience

    async def run(self, ask: Ask, settings: Settings, leases: Leases, upstreams: Upstreams) -> None:
        """Have the request answered, by another worker where one dies before the client saw anything.

        Raises:
            RequestError: what the client has to be told.
        """
        self._patience.at_deadline = refusals.too_late(settings.request_deadline_s)
        boarding = Boarding(ask, self._endpoint, self._client, self._record, self._patience)
        sends = 0
        while True:
            epoch = leases.table.epoch
            route, lease = await boarding.board(leases, settings)
            if sends:
                self._record.why += "; sent again, its worker had died"
            try:
                await self._send(ask, route, upstreams)
            except Unreachable:
                leases.suspect(self._record.replica)
            except ReplicaDied:
                leases.suspect(self._record.replica)
                sends += 1
                if self._client.ended:
                    return
                if self._client.started or sends == MAX_SENDS:
                    raise refusals.died(route.model, sends) from None
                continue
            else:
                return
            finally:
                lease.release()
            await boarding.pause(leases, settings, epoch)

    async def _send(self, ask: Ask, route: Route, upstreams: Upstreams) -> None:
        content = body.for_worker(ask, route.model, route.sampling, generates=self._endpoint.generates)
        pool = upstreams.of(route.replica or "", route.socket or "")
        self._record.queue_ms = self._record.ms_since_arrival(clock.monotonic_s())
        async with pool.post(self._endpoint.path, content) as response:
            kind = response.headers.get(b"content-type", b"")
            if response.status == HTTPStatus.OK and kind.startswith(b"text/event-stream"):
                await self._stream(response, keep_usage=ask.wants_usage)
            else:
                await self._whole(response)

    async def _whole(self, response: Connection) -> None:
        content = await response.read()
        self._record.status = response.status
        self._record.usage = sse.trailing_object(content, "usage")
        self._record.timings = sse.trailing_object(content, "timings")
        if response.status >= HTTPStatus.BAD_REQUEST:
            self._record.error = _error_code(content)
        self._first_byte()
        await self._client.whole(response.status, content, self._headers(response))

    async def _stream(self, response: Connection, *, keep_usage: bool) -> None:
        tap = sse.Tap(keep_usage=keep_usage)
        try:
            await self._pour(response, tap)
        finally:
            self._record.usage, self._record.timings = tap.usage, tap.timings
            self._record.error = tap.error
        if self._client.ended:
            return
        if not tap.error:
            raise ReplicaDied("the worker ended the stream before its end")
        await self._client.finish(tap.rest())

    async def _pour(self, response: Connection, tap: sse.Tap) -> None:
        """Pass the stream on until it ends; the answer is finished here only if the stream was complete."""
        client, patience = self._client, self._patience
        while data := await response.readany():
            patience.heard()
            if client.ended:
                continue  # only so that the connection can be used again
            passing = tap.feed(data)
            if not client.started and (passing or tap.done):
                self._record.status = response.status
                self._first_byte()
                await client.start(
                    response.status, [*self._headers(response), (b"cache-control", b"no-cache")]
                )
            if tap.done:
                await client.finish(passing + tap.rest())
            elif passing:
                await client.pass_on(passing)
            if client.started:
                patience.listen()

    def _first_byte(self) -> None:
        self._record.ttft_ms = self._record.ms_since_arrival(clock.monotonic_s())

    def _headers(self, response: Connection) -> Headers:
        passed = [(name, response.headers[name]) for name in PASSED_HEADERS if name in response.headers]
        return passed + self._record.headers()


def _error_code(content: bytes) -> str:
    try:
        return sse.code_of(sse.as_object(json.loads(content)).get("error"))
    except ValueError:
        return "upstream_error"
