"""A replica's socket inside the daemon: who may ask what, and that nobody waits or works for nothing."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from orchestrator.engines.bridge import Bridge, Handle
from orchestrator.errors import RequestError
from orchestrator.workers.wire import Exchange
from tests.engines.real_time import REAL_TIME, SOON_S

pytestmark = REAL_TIME

CHAT = "http://bridge/v1/chat/completions"


@asynccontextmanager
async def serving(folder: Path, handle: Handle) -> AsyncIterator[Bridge]:
    bridge = Bridge(folder / "b.sock", "ours", handle)
    await bridge.open()
    try:
        async with asyncio.timeout(SOON_S):
            yield bridge
    finally:
        await bridge.close()


@asynccontextmanager
async def client_of(bridge: Bridge) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(bridge.path))) as session:
        yield session


async def echo(exchange: Exchange) -> None:
    exchange.answer(200, b'{"path":"%b","got":%b}' % (exchange.path.encode(), exchange.body))


async def test_what_is_posted_reaches_the_handler(runtime: Path) -> None:
    async with serving(runtime, echo) as bridge, client_of(bridge) as client:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            async with client.post(f"http://bridge{path}", data=b'{"a":1}') as answer:
                assert answer.status == 200
                assert await answer.json() == {"path": path, "got": {"a": 1}}


async def test_health_and_models_are_the_bridge_s_own(runtime: Path) -> None:
    async with serving(runtime, echo) as bridge, client_of(bridge) as client:
        async with client.get("http://bridge/health") as answer:
            assert await answer.json() == {"status": "ok"}
        async with client.get("http://bridge/v1/models") as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["ours"]


async def test_health_says_what_the_engine_says(runtime: Path) -> None:
    ill = RequestError("no endpoint answers", status=503, code="upstream_unreachable")
    says: list[RequestError | dict[str, object]] = [{"endpoints": 2}, ill]

    def health() -> dict[str, object]:
        said = says.pop(0)
        if isinstance(said, RequestError):
            raise said
        return said

    bridge = Bridge(runtime / "b.sock", "ours", echo, health)
    await bridge.open()
    async with client_of(bridge) as client:
        async with client.get("http://bridge/health") as answer:
            assert await answer.json() == {"status": "ok", "endpoints": 2}
        async with client.get("http://bridge/health") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "upstream_unreachable"
    await bridge.close()


async def test_other_paths_and_methods_are_refused(runtime: Path) -> None:
    async with serving(runtime, echo) as bridge, client_of(bridge) as client:
        async with client.get(CHAT) as answer:
            assert answer.status == 405
        async with client.post("http://bridge/v1/responses", data=b"{}") as answer:
            assert answer.status == 404


async def test_only_this_user_can_connect(runtime: Path) -> None:
    async with serving(runtime, echo) as bridge:
        assert stat.S_IMODE(bridge.path.stat().st_mode) == 0o600
    assert not bridge.path.exists()


async def test_a_socket_that_was_left_over_is_replaced(runtime: Path) -> None:
    (runtime / "b.sock").touch()
    async with (
        serving(runtime, echo) as bridge,
        client_of(bridge) as client,
        client.post(CHAT, data=b"1") as answer,
    ):
        assert answer.status == 200


async def test_a_refusal_is_in_openai_s_form(runtime: Path) -> None:
    async def refuse(_: Exchange) -> None:
        raise RequestError("too many", status=429, code="rate_limited", fix="wait", retry_after_s=7)

    async with (
        serving(runtime, refuse) as bridge,
        client_of(bridge) as client,
        client.post(CHAT, data=b"{}") as answer,
    ):
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "7"
        assert await answer.json() == {
            "error": {
                "message": "too many. Fix: wait",
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limited",
            }
        }


async def test_a_refusal_within_a_stream_is_its_last_event(runtime: Path) -> None:
    async def break_off(exchange: Exchange) -> None:
        exchange.open_stream(b"data: {}\n\n")
        raise RequestError("it broke", status=502, code="upstream_broke")

    async with (
        serving(runtime, break_off) as bridge,
        client_of(bridge) as client,
        client.post(CHAT, data=b"{}") as answer,
    ):
        first, last, rest = (await answer.read()).split(b"\n\n")
    assert (first, rest) == (b"data: {}", b"")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_broke"


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_handler_that_fails_is_an_answer_and_not_a_silence(
    runtime: Path, caplog: pytest.LogCaptureFixture, *, streaming: bool
) -> None:
    async def fail(exchange: Exchange) -> None:
        if streaming:
            exchange.open_stream(b"data: {}\n\n")
        raise ZeroDivisionError

    async with serving(runtime, fail) as bridge, client_of(bridge) as client:
        for _ in range(2):  # one failure does not end the bridge
            async with client.post(CHAT, data=b"{}") as answer:
                assert answer.status == (200 if streaming else 500)
                assert b"internal_error" in await answer.read()
    assert "ZeroDivisionError" in caplog.text


async def test_a_client_that_leaves_cancels_its_handler_at_once(runtime: Path) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def think(_: Exchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(runtime, think) as bridge:
        _, writer = await asyncio.open_unix_connection(str(bridge.path))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}")
        await begun.wait()
        writer.close()
        await cancelled.wait()


async def test_closing_ends_handlers_and_connections(runtime: Path) -> None:
    begun = asyncio.Event()

    async def think(_: Exchange) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(runtime, think) as bridge:
        reader, writer = await asyncio.open_unix_connection(str(bridge.path))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}")
        await begun.wait()
        await bridge.close()
        assert b"shutting_down" in await reader.read()
        writer.close()
        with pytest.raises(OSError, match="No such file"):
            await asyncio.open_unix_connection(str(bridge.path))
        await bridge.close()


async def test_a_slow_reader_holds_up_the_handler_and_not_the_memory(runtime: Path) -> None:
    piece, pieces, sent = b"x" * 65_536, 400, 0
    held = asyncio.Event()

    async def pour(exchange: Exchange) -> None:
        nonlocal sent
        exchange.open_stream(b"")
        for _ in range(pieces):
            exchange.send(piece)
            sent += 1
            waiting = asyncio.get_running_loop().call_later(0.2, held.set)
            await exchange.drain()
            waiting.cancel()
        exchange.close_stream(b"end")

    async with serving(runtime, pour) as bridge:
        reader, writer = await asyncio.open_unix_connection(str(bridge.path), limit=1024)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}")
        await held.wait()
        assert sent < 40
        received, data = 0, b""
        while not data.endswith(b"0\r\n\r\n"):
            data = await reader.read(1 << 20)
            received += len(data)
        assert sent == pieces
        assert received > pieces * len(piece)
        writer.close()


async def test_a_slow_reader_that_leaves_ends_the_wait(runtime: Path) -> None:
    ended = asyncio.Event()

    async def pour(exchange: Exchange) -> None:
        exchange.open_stream(b"")
        try:
            while not exchange.done:
                exchange.send(b"x" * 65_536)
                await exchange.drain()
        finally:
            ended.set()

    async with serving(runtime, pour) as bridge:
        reader, writer = await asyncio.open_unix_connection(str(bridge.path))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}")
        await reader.read(1)
        writer.transport.abort()
        await ended.wait()


async def test_requests_on_one_connection_follow_each_other(runtime: Path) -> None:
    async with serving(runtime, echo) as bridge:
        reader, writer = await asyncio.open_unix_connection(str(bridge.path))
        one = b"POST /v1/completions HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\n\r\n%b"
        writer.write(one % b"1" + one % b"2" + one % b"3")
        for number in (b"1", b"2", b"3"):
            assert number + b"}" in await reader.readuntil(b"}")
        writer.close()


async def test_errors_are_told_without_what_must_not_be_shown(runtime: Path) -> None:
    async def refuse(exchange: Exchange) -> None:
        if exchange.path != "/v1/completions":
            exchange.open_stream(b'data: {"a":1}\n\n')
        raise RequestError("no s3cret", status=400, code="s3cret", fix="take s3cret out", param="s3cret")

    bridge = Bridge(runtime / "b.sock", "ours", refuse, hide=lambda text: text.replace("s3cret", "***"))
    await bridge.open()
    try:
        async with client_of(bridge) as client:
            for path in ("/v1/completions", "/v1/chat/completions"):
                async with client.post(f"http://bridge{path}", data=b"{}") as answer:
                    said = await answer.text()
                assert "no ***. Fix: take *** out" in said
                assert "s3cret" not in said
    finally:
        await bridge.close()
