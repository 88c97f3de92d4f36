"""A replica of the openai engine that leads to scripted servers, and who speaks to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.engines.openai.engine import OpenAIEngine
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.openai_servers import STREAM, Asked, Script, Scripted, models, scripted
from tests.engines.real_time import SOON_S

KEY = "sk-very-secret"
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "model": "theirs",
    "choices": [{"message": {"content": "hi"}}],
}
ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}


def of(*endpoints: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    source = Source(written="theirs", scheme="name", location="theirs")
    return spec("ours", engine="openai", source=source, endpoints=endpoints, **changes)


def saying(*replies: bytes) -> Script:
    """Answer each posted request with the next of `replies`, and lists of models as they should be."""
    left = list(replies)

    async def script(asked: Asked, transport: asyncio.Transport) -> None:
        if asked.method == "GET":
            transport.write(models("theirs"))
            return
        reply = left.pop(0)
        transport.write(reply)
        if reply.startswith(STREAM) or not reply:
            transport.close()

    return script


class Client:
    """Speaks to a replica as the gateway does."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def post(
        self, fields: dict[str, Any], path: str = "chat/completions"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        body = json.dumps({"model": "ours", "messages": []} | fields).encode()
        async with self._session.post(f"http://replica/v1/{path}", data=BytesIO(body)) as response:
            yield response

    async def ask(self, **fields: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 (any field)
        async with self.post(fields) as response:
            return response.status, await response.json()

    async def stream(self, **fields: Any) -> bytes:  # noqa: ANN401 (any field)
        async with self.post({"stream": True} | fields) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            return await response.read()


@asynccontextmanager
async def replica(runtime: Path, model: ModelSpec, **changes: Any) -> AsyncIterator[Client]:  # noqa: ANN401
    engine = OpenAIEngine(runtime / "run", **changes)
    try:
        async with asyncio.timeout(SOON_S):
            running = await engine.ensure_loaded("r1", model)
            connector = aiohttp.UnixConnector(running.socket)
            async with aiohttp.ClientSession(connector=connector) as session:
                yield Client(session)
    finally:
        await engine.close()


@asynccontextmanager
async def leading_to(
    runtime: Path,
    *replies: bytes,
    **changes: Any,  # noqa: ANN401 (any field)
) -> AsyncIterator[tuple[Client, Scripted]]:
    async with scripted(saying(*replies)) as server, replica(runtime, of(server.url, **changes)) as client:
        yield client, server


@asynccontextmanager
async def both(
    runtime: Path, first: Script, second: Script
) -> AsyncIterator[tuple[Client, Scripted, Scripted]]:
    """Give a client of a replica that leads to two servers; the first is asked first."""
    async with (
        scripted(first) as one,
        scripted(second) as two,
        replica(runtime, of(one.url, two.url)) as client,
    ):
        yield client, one, two
