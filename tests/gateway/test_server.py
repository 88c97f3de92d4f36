"""Starting, draining and ending the HTTP server."""

import asyncio
import contextlib
import json
import signal
import socket
import tempfile

import aiohttp
import pytest
import uvloop

from orchestrator.gateway.bind import bind_tcp
from orchestrator.gateway.ports import Receive, Scope, Send
from orchestrator.gateway.server import serve
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, gateway
from tests.gateway.standin import Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = {"model": "fast", "messages": HELLO, "stream": True}


async def test_while_draining_a_stream_runs_to_its_end_and_new_requests_are_refused() -> None:
    go_on = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await go_on.wait()
        await call.chunk(DONE)
        await call.end()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        async with running.session.post(running.url + CHAT, json=STREAM) as response:
            assert await response.content.readuntil(b"\n\n") == TOKEN
            running.stop.set()
            await asyncio.sleep(0)
            refused = await running.chat()
            assert (refused.status, refused.code) == (503, "shutting_down")
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["connection"] == "close"
            ready = await running.ask("GET", "/ready")
            assert (ready.status, ready.json) == (503, {"ready": False, "draining": True})
            assert (await running.ask("GET", "/health")).status == 200
            go_on.set()
            assert await response.content.read() == DONE
        facts = [await running.history.next(), await running.history.next()]
        assert [(fact.status, fact.error) for fact in facts] == [(503, "shutting_down"), (200, "")]


async def test_a_stream_that_outlasts_the_drain_is_ended_with_an_error() -> None:
    stopped = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await call.left()
        stopped.set()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), drain_s=0.1) as running,
    ):
        async with running.session.post(running.url + CHAT, json=STREAM) as response:
            assert await response.content.readuntil(b"\n\n") == TOKEN
            running.stop.set()
            last = await response.content.read()
            assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        async with asyncio.timeout(5):
            await stopped.wait()
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "shutting_down")


async def test_an_answer_that_outlasts_the_drain_is_503() -> None:
    asked = asyncio.Event()

    async def behave(call: Call) -> None:
        asked.set()
        await call.left()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), drain_s=0.1) as running,
    ):
        async with asyncio.TaskGroup() as group:
            reply = group.create_task(running.chat())
            await asked.wait()
            running.stop.set()
        assert (reply.result().status, reply.result().code) == (503, "shutting_down")


async def test_idle_connections_do_not_hold_up_the_end() -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        listener = bind_tcp("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        group.create_task(serve(hello, bound_socket=listener, drain_s=60, stop=stop))
        async with session.get(url) as response:
            assert await response.read() == b"hello"
        stop.set()


async def hello(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def ask_over_unix_socket() -> bytes:
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        path = f"{folder}/s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(serve(hello, bound_socket=listener, drain_s=1, stop=stop))
                async with (
                    aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
                    session.get("http://daemon/") as response,
                ):
                    content = await response.read()
                stop.set()
    return content


async def test_a_unix_socket_is_served_as_well() -> None:
    assert await ask_over_unix_socket() == b"hello"


def test_and_on_the_loop_that_the_daemon_uses() -> None:
    assert uvloop.run(ask_over_unix_socket()) == b"hello"


async def test_signals_stay_the_callers_business() -> None:
    stop = asyncio.Event()
    before = signal.getsignal(signal.SIGTERM)
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        listener = bind_tcp("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        group.create_task(serve(hello, bound_socket=listener, drain_s=1, stop=stop))
        async with session.get(url) as response:
            assert "server" not in response.headers
        assert signal.getsignal(signal.SIGTERM) is before
        stop.set()


async def test_cancelling_leaves_no_listener_and_no_connection() -> None:
    listener = bind_tcp("127.0.0.1", 0)
    port = listener.getsockname()[1]
    asked = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 (ASGI)
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(serve(never, bound_socket=listener, drain_s=60, stop=asyncio.Event()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await asked.wait()
        running.cancel()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert running.cancelled()
