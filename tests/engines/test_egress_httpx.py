"""Clients that are built on httpx connect through the guard; Ollama's own client is the example."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import ollama
import pytest

from orchestrator.engines.egress import Egress
from orchestrator.engines.egress_httpx import httpx_options
from tests.egress_watch import Seen, watching
from tests.engines.openai_servers import STREAM, Asked, Script, answer, scripted
from tests.engines.real_time import REAL_TIME, SOON_S

pytestmark = REAL_TIME

TAGS = {"models": [{"model": "gemma3:1b", "size": 1}]}


def replying(reply: bytes) -> Script:
    async def script(asked: Asked, transport: asyncio.Transport) -> None:
        del asked
        transport.write(reply)
        if reply.startswith(STREAM):
            transport.close()

    return script


@asynccontextmanager
async def plain_client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        Egress(anywhere=False).session() as session,
        httpx.AsyncClient(**httpx_options(session)) as client,
    ):
        yield client


async def test_a_client_of_ollama_s_works_through_it() -> None:
    async with scripted(replying(answer(200, TAGS))) as server, Egress(anywhere=False).session() as session:
        client = ollama.AsyncClient(server.url, **httpx_options(session))
        listed = await client.list()
        assert [each.model for each in listed.models] == ["gemma3:1b"]
        await client.list()
    assert server.connections == 1
    assert server.asked[0].headers["user-agent"].startswith("ollama-python/")


async def test_lines_come_as_they_are_sent() -> None:
    lines = b'{"status":"pulling"}\n{"status":"success"}\n'
    async with scripted(replying(STREAM + lines)) as server, Egress(anywhere=False).session() as session:
        client = ollama.AsyncClient(server.url, **httpx_options(session))
        told = [part.status async for part in await client.pull("x", stream=True)]
    assert told == ["pulling", "success"]
    assert server.asked[0].fields["model"] == "x"


async def test_a_body_may_be_large_or_come_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"

    async with scripted(replying(answer(200, {}))) as server, plain_client() as client:
        large = b"x" * 2_000_000
        assert (await client.post(server.url, content=large)).status_code == 200
        assert server.asked[0].body == large
        assert (await client.post(server.url, content=pieces())).status_code == 200
        assert server.asked[1].headers["transfer-encoding"] == "chunked"


async def test_statuses_and_headers_are_the_server_s() -> None:
    reply = answer(404, {"error": "model 'x' not found"}, "x-mark: 7")
    async with scripted(replying(reply)) as server, Egress(anywhere=False).session() as session:
        client = ollama.AsyncClient(server.url, **httpx_options(session))
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            await client.show("x")
        assert caught.value.status_code == 404
        async with httpx.AsyncClient(**httpx_options(session)) as plain:
            assert (await plain.get(server.url)).headers["x-mark"] == "7"


@pytest.mark.parametrize(
    "host", ["http://8.8.8.8:11434", "8.8.8.8", "https://ollama.com", "[::ffff:8.8.8.8]"]
)
async def test_a_host_that_lies_beyond_is_not_connected_to(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://1.1.1.1:3128")
    with watching() as seen:
        async with Egress(anywhere=False).session() as session:
            client = ollama.AsyncClient(host, **httpx_options(session))
            with pytest.raises((ConnectionError, httpx.ConnectError)):
                await client.list()
    assert seen == Seen()


async def test_a_redirect_is_an_answer_like_another() -> None:
    reply = answer(307, b"", "location: http://8.8.8.8/api/tags")
    with watching() as seen:
        async with scripted(replying(reply)) as server, Egress(anywhere=False).session() as session:
            client = ollama.AsyncClient(server.url, **httpx_options(session))
            with pytest.raises(ollama.ResponseError):
                await client.list()
            async with httpx.AsyncClient(**httpx_options(session) | {"follow_redirects": True}) as willing:
                with pytest.raises(httpx.ConnectError):
                    await willing.get(server.url)
    assert seen.away == []


async def silence(asked: Asked, transport: asyncio.Transport) -> None:
    """Let the client wait."""


async def hang_up(asked: Asked, transport: asyncio.Transport) -> None:
    del asked
    transport.close()


async def break_off(asked: Asked, transport: asyncio.Transport) -> None:
    del asked
    transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
    transport.close()


@pytest.mark.parametrize(
    ("script", "error"),
    [(silence, httpx.ReadTimeout), (hang_up, httpx.RemoteProtocolError), (break_off, httpx.ReadError)],
)
async def test_failures_are_httpx_s_own(script: Script, error: type[Exception]) -> None:
    async with scripted(script) as server, plain_client() as client:
        with pytest.raises(error):
            await client.get(
                server.url, timeout=httpx.Timeout(SOON_S, read=0.2 if script is silence else SOON_S)
            )


async def test_leaving_a_stream_closes_its_connection() -> None:
    async def endless(asked: Asked, transport: asyncio.Transport) -> None:
        del asked
        transport.write(STREAM + b"line\n")

    async with scripted(endless) as server, plain_client() as client:
        async with client.stream("GET", server.url) as response:
            assert await anext(response.aiter_raw()) == b"line\n"
        async with asyncio.timeout(1):
            await server.left.wait()
