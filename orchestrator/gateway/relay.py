"""One request from its arrival to its row of history, whatever becomes of it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from orchestrator import clock
from orchestrator.errors import RequestError
from orchestrator.gateway import answer, body, refusals
from orchestrator.gateway.body import Endpoint
from orchestrator.gateway.client import Client, ClientGone
from orchestrator.gateway.exchange import Exchange
from orchestrator.gateway.patience import Patience
from orchestrator.gateway.ports import History, Leases
from orchestrator.gateway.record import Record
from orchestrator.gateway.upstream import Upstreams
from orchestrator.values.routing import RoutingTable
from orchestrator.values.settings import Settings

log = logging.getLogger(__name__)

# How long a client that does not read may hold up the error that ends its answer.
FAREWELL_S: Final = 1.0


class Relay:
    """Serves the requests that models answer.

    Args:
        settings: deadlines and the limit of a body.
        leases: the routing table and the holds on replicas.
        history: gets exactly one fact per request.
    """

    def __init__(self, settings: Settings, leases: Leases, history: History) -> None:
        self._settings = settings
        self._leases = leases
        self._history = history
        self._upstreams = Upstreams()
        self._pruned_for: RoutingTable | None = None

    async def handle(self, endpoint: Endpoint, client: Client, admit: Callable[[], None]) -> None:
        """Serve one request to its end.

        Raises nothing but CancelledError, and that only after the client has
        been told: a request is cancelled when the daemon stops.

        Args:
            endpoint: what is asked for.
            client: who asks, and where the answer goes.
            admit: raises RequestError where the request may not be served.
        """
        record = Record(at=clock.now(), started_s=clock.monotonic_s(), endpoint=endpoint.name)
        try:
            await self._conclude(endpoint, client, record, admit)
        finally:
            self._history.put(record.fact(clock.monotonic_s()))
        self._prune()

    async def close(self) -> None:
        """Close every connection to a worker."""
        self._upstreams.close()

    async def _conclude(
        self, endpoint: Endpoint, client: Client, record: Record, admit: Callable[[], None]
    ) -> None:
        deadline_s, silence_s = self._settings.request_deadline_s, self._settings.hang_deadline_s
        patience = Patience(deadline_s=deadline_s, silence_s=silence_s)
        patience.at_deadline = refusals.slow_body(deadline_s)
        patience.at_silence = refusals.silent(silence_s)
        watcher: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            try:
                async with patience:
                    admit()
                    content = await client.body(self._settings.max_body_bytes)
                    watcher = group.create_task(_watch(client, patience))
                    ask = body.parse(content, client.headers, generates=endpoint.generates)
                    record.requested = ask.requested
                    record.stream = ask.stream
                    exchange = Exchange(endpoint, client, record, patience)
                    await exchange.run(ask, self._settings, self._leases, self._upstreams)
            except ClientGone:
                record.status = refusals.CLIENT_LEFT
                record.error = "client_closed_request"
            except RequestError as error:
                if error is patience.at_silence:
                    self._leases.suspect(record.replica)
                await _refuse(client, record, error)
            except asyncio.CancelledError:
                await _refuse(client, record, answer.draining())
                raise
            except Exception:
                log.exception("request %s failed", record.decision)
                await _refuse(client, record, refusals.internal(record.decision))
            finally:
                if watcher is not None:
                    watcher.cancel()

    def _prune(self) -> None:
        """Close the pools of replicas that have left the table, once nothing uses them."""
        table = self._leases.table
        if table is self._pruned_for:
            return
        live = {route.replica for route in table.routes.values() if route.replica is not None}
        if self._upstreams.prune(live):
            self._pruned_for = table


async def _watch(client: Client, patience: Patience) -> None:
    if await client.left():
        patience.end(ClientGone())


async def _refuse(client: Client, record: Record, error: RequestError) -> None:
    if not client.started:
        record.status = error.status
    record.error = error.code
    try:
        async with asyncio.timeout(FAREWELL_S):
            await client.refuse(error, record.headers())
    except TimeoutError:
        log.info("request %s: the client does not read; its connection is closed", record.decision)
