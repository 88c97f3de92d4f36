"""What comes before a request's body: its size, its time, its form."""

import asyncio
import json
import time
from typing import Any

import pytest

from orchestrator.gateway import heads
from tests.gateway.fakes import route, table
from tests.gateway.running import Running, gateway

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]


async def answer_to(running: Running, *pieces: bytes) -> bytes:
    """Send pieces until the connection is closed, and return what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return await reader.read()
    finally:
        writer.close()


def status_and_error(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split(b" ")[1]), json.loads(content)["error"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * heads.HEAD_BYTES,
        b"GET /health HTTP/1.1\r\nX: " + b"a" * heads.HEAD_BYTES,
        b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * (heads.HEAD_BYTES // 6),
    ],
    ids=["path", "one header", "many headers"],
)
async def test_a_head_without_end_is_refused(head: bytes) -> None:
    async with gateway(table(route("fast"))) as running:
        status, error = status_and_error(await answer_to(running, head))
        assert (status, error["code"]) == (431, "head_too_large")


async def test_a_head_is_counted_for_each_request_anew() -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"
    async with gateway(table(route("fast"))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for _ in range(4):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()


async def test_what_is_not_http_is_refused_in_the_form_of_all_errors() -> None:
    async with gateway(table(route("fast"))) as running:
        status, error = status_and_error(await answer_to(running, b"nonsense\r\n\r\n"))
        assert (status, error["code"]) == (400, "invalid_http")


async def test_a_head_that_takes_too_long_is_refused_and_silence_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "HEAD_S", 0.2)
    async with gateway(table(route("fast"))) as running:
        began_s = time.monotonic()
        status, error = status_and_error(await answer_to(running, b"GET /health HTTP/1.1\r\n"))
        assert (status, error["code"]) == (408, "head_too_slow")
        assert await answer_to(running) == b""
        assert time.monotonic() - began_s < 5


async def test_a_connection_may_be_silent_between_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_S", 0.1)
    async with gateway(table(route("fast"))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for _ in range(2):
            writer.write(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.3)
        writer.close()
