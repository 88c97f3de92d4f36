"""The public HTTP interface: which path is what, and who may ask."""

import difflib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from orchestrator import clock
from orchestrator.errors import RequestError
from orchestrator.gateway import answer, models, refusals
from orchestrator.gateway.body import ENDPOINTS, Endpoint
from orchestrator.gateway.client import Client
from orchestrator.gateway.guard import Guard
from orchestrator.gateway.ports import History, Leases, Readiness, Receive, Scope, Send
from orchestrator.gateway.relay import Relay
from orchestrator.values.choice import Refusal
from orchestrator.values.settings import Settings

MODELS: Final = "/v1/models"
HEALTH: Final = "/health"
READY: Final = "/ready"
LONGEST_SHOWN: Final = 200
POSTS: Final[Mapping[str, Endpoint]] = {endpoint.path: endpoint for endpoint in ENDPOINTS}
GETS: Final = (MODELS, HEALTH, READY)


def build(settings: Settings, leases: Leases, history: History, readiness: Readiness) -> "Gateway":
    """Return the application; it opens nothing before the first request.

    Args:
        settings: keys, allowed hosts and origins, limits and deadlines.
        leases: the routing table and the holds on replicas.
        history: gets one fact per request to a model.
        readiness: whether everything that should be served is, and the particulars for `/ready`.
    """
    return Gateway(settings, leases, history, readiness)


class Gateway:
    """An ASGI application. `close` it after its server has ended."""

    def __init__(self, settings: Settings, leases: Leases, history: History, readiness: Readiness) -> None:
        self._leases = leases
        self._readiness = readiness
        self._guard = Guard(settings)
        self._relay = Relay(settings, leases, history)
        self._created = int(clock.now().timestamp())

    async def close(self) -> None:
        """Close every connection to a worker."""
        await self._relay.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        client = Client(scope, receive, send)
        path, method = scope["path"], scope["method"]
        endpoint = POSTS.get(path) if method == "POST" else None
        if endpoint is not None:
            await self._relay.handle(endpoint, client, lambda: self._admit(scope, client))
            return
        try:
            self._guard.check_place(client.headers)
            client.extra = self._guard.cors(client.headers)
            if method == "OPTIONS" and b"access-control-request-method" in client.headers:
                await client.whole(HTTPStatus.NO_CONTENT, b"", self._guard.preflight(client.headers))
                return
            await self._tell(path, method, scope, client)
        except RequestError as error:
            await client.refuse(error, [])

    def _admit(self, scope: Scope, client: Client) -> None:
        self._guard.check_place(client.headers)
        client.extra = self._guard.cors(client.headers)
        if answer.is_draining(scope):
            client.extra.append((b"connection", b"close"))
            raise answer.draining()
        self._guard.check_key(client.headers)

    async def _tell(self, path: str, method: str, scope: Scope, client: Client) -> None:
        """Answer what needs no model; raise RequestError for what is not there."""
        allowed = _methods(path)
        if not allowed:
            self._guard.check_key(client.headers)
            raise _no_such_path(path)
        if method not in allowed:
            client.extra.append((b"allow", ", ".join(allowed).encode()))
            raise _wrong_method(path, method, allowed)
        if path == HEALTH:
            await client.json(HTTPStatus.OK, {"status": "ok"})
        elif path == READY:
            await self._tell_readiness(scope, client)
        else:
            self._guard.check_key(client.headers)
            await self._tell_models(path, client)

    async def _tell_readiness(self, scope: Scope, client: Client) -> None:
        ready, particulars = self._readiness()
        draining = answer.is_draining(scope)
        status = HTTPStatus.OK if ready and not draining else HTTPStatus.SERVICE_UNAVAILABLE
        await client.json(status, {"ready": ready and not draining, "draining": draining, **particulars})

    async def _tell_models(self, path: str, client: Client) -> None:
        table = self._leases.table
        if path == MODELS:
            await client.json(HTTPStatus.OK, models.listing(table, self._created, self._leases.queued))
            return
        name = path.removeprefix(MODELS + "/")
        entry = models.entry(name, table, self._created, self._leases.queued)
        if isinstance(entry, Refusal):
            raise refusals.not_selected(entry)
        await client.json(HTTPStatus.OK, entry)


def _methods(path: str) -> tuple[str, ...]:
    """Return the methods that the path has; none for a path that does not exist."""
    if path in POSTS:
        return ("POST",)
    return ("GET", "HEAD") if path in GETS or path.startswith(MODELS + "/") else ()


def _no_such_path(path: str) -> RequestError:
    known = [*POSTS, *GETS]
    near = [name for name in known if name == "/v1" + path.rstrip("/") or name == path.rstrip("/")]
    near = near or difflib.get_close_matches(path, known, n=1)
    return RequestError(
        f"there is no {path[:LONGEST_SHOWN]}" + (f"; did you mean {near[0]}?" if near else ""),
        status=404,
        code="path_not_found",
        fix=f"use one of: {', '.join(known)}; the base URL of a client ends in /v1",
    )


def _wrong_method(path: str, method: str, allowed: tuple[str, ...]) -> RequestError:
    return RequestError(
        f"{path} does not answer {method}", status=405, code="method_not_allowed", fix=f"use {allowed[0]}"
    )
