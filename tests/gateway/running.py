"""A gateway on a port of its own, and a client that calls it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from orchestrator.gateway.app import build
from orchestrator.gateway.bind import bind_tcp
from orchestrator.gateway.server import serve
from orchestrator.values.routing import RoutingTable
from orchestrator.values.settings import Settings
from tests.gateway.fakes import FakeHistory, FakeLeases

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 (any JSON)
        return json.loads(self.content)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass(slots=True)
class Running:
    url: str
    port: int
    leases: FakeLeases
    history: FakeHistory
    session: aiohttp.ClientSession
    stop: asyncio.Event
    ready: tuple[bool, dict[str, object]] = field(default_factory=lambda: (True, {}))

    async def ask(self, method: str, path: str, **arguments: Any) -> Reply:  # noqa: ANN401 (aiohttp's own)
        async with self.session.request(method, self.url + path, **arguments) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, await response.read())

    async def post(self, content: object, path: str = CHAT, **arguments: Any) -> Reply:  # noqa: ANN401 (aiohttp's own)
        return await self.ask("POST", path, json=content, **arguments)

    async def chat(self, model: str = "fast", **fields: Any) -> Reply:  # noqa: ANN401 (any JSON)
        return await self.post({"model": model, "messages": HELLO} | fields)


@asynccontextmanager
async def gateway(
    table: RoutingTable,
    *,
    drain_s: float = 5.0,
    leases: Callable[[RoutingTable], FakeLeases] = FakeLeases,
    **settings: Any,  # noqa: ANN401 (any setting)
) -> AsyncIterator[Running]:
    """Serve this table on a free port of 127.0.0.1 and stop in the end."""
    stop = asyncio.Event()
    fakes, history = leases(table), FakeHistory()
    listener = bind_tcp("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        running = Running(f"http://127.0.0.1:{port}", port, fakes, history, session, stop)
        app = build(Settings(**settings), fakes, history, lambda: running.ready)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(app, bound_socket=listener, drain_s=drain_s, stop=stop))
                try:
                    yield running
                finally:
                    stop.set()
        finally:
            await app.close()
    assert fakes.outstanding == 0, "a lease was not given back"
