"""What goes to an endpoint and what comes back; the servers are scripted."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.engines.openai_client import ANSWER, both, leading_to, of, replica, saying
from tests.engines.openai_servers import STREAM, Asked, answer, models, scripted
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME


async def test_only_the_name_changes_on_the_way_there_and_back(runtime: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"model": {"type": "string"}}}}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": '"model":"ours"'}, image]}],
        "tools": tools,
        "tool_choice": "auto",
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "seed": 12345678901234567890,
        "temperature": 0.1,
        "metadata": {"model": "kept"},
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"model":"theirs"}'}}
    given = ANSWER | {
        "choices": [{"message": {"content": None, "tool_calls": [call]}}],
        "usage": {"total_tokens": 3},
    }
    async with leading_to(runtime, answer(200, given)) as (client, server):
        status, got = await client.ask(**asked)
    assert status == 200
    assert got == given | {"model": "ours"}
    assert server.posted() == [{"model": "theirs"} | asked]
    assert server.asked[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize("path", ["completions", "embeddings"])
async def test_the_other_kinds_of_request_have_their_own_path(runtime: Path, path: str) -> None:
    async with leading_to(runtime, answer(200, {"model": "theirs", "data": []})) as (client, server):
        async with client.post({"input": "x"}, path) as response:
            assert await response.json() == {"model": "ours", "data": []}
        assert server.asked[-1].path == f"/v1/{path}"


async def test_a_stream_comes_through(runtime: Path) -> None:
    events = (
        b': hello\n\ndata: {"model":"theirs","a":1}\r\n\r\ndata: {"model":"theirs","a":2}\n\ndata: [DONE]\n\n'
    )
    async with leading_to(runtime, STREAM + events) as (client, _):
        got = await client.stream()
    assert got == b'data: {"model":"ours","a":1}\n\ndata: {"model":"ours","a":2}\n\ndata: [DONE]\n\n'


async def test_a_client_that_leaves_ends_the_upstream_s_work(runtime: Path) -> None:
    async def think(asked: Asked, transport: asyncio.Transport) -> None:
        if asked.method == "GET":
            transport.write(models("theirs").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            transport.close()
        elif asked.fields.get("stream"):
            transport.write(STREAM + b'data: {"a":1}\n\n')

    for stream in (False, True):
        async with scripted(think) as server, replica(runtime, of(server.url)) as client:
            await server.left.wait()
            server.left.clear()
            async with asyncio.TaskGroup() as tasks:
                request = tasks.create_task(client.ask(stream=stream))
                await until(lambda: bool(server.posted()))
                request.cancel()
            async with asyncio.timeout(1):
                await server.left.wait()


async def test_a_client_that_does_not_read_holds_up_the_upstream(runtime: Path) -> None:
    written = 0
    full = asyncio.Event()
    event = b'data: {"model":"theirs","text":"%b"}\n\n' % (b"x" * 60_000)

    async def pour(asked: Asked, transport: asyncio.Transport) -> None:
        nonlocal written
        if asked.method == "GET":
            transport.write(models("theirs"))
            return
        transport.write(STREAM)
        for _ in range(2000):  # 120 MB
            if transport.get_write_buffer_size() > 2_000_000:
                full.set()
                return
            transport.write(event)
            written += 1
            await asyncio.sleep(0)

    async with (
        scripted(pour) as server,
        replica(runtime, of(server.url)) as client,
        client.post({"stream": True}),
    ):
        await full.wait()
    assert written < 1000


async def test_a_connection_is_used_again(runtime: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    done = chunked + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    async with leading_to(runtime, answer(200, ANSWER), done, answer(200, ANSWER)) as (client, server):
        assert (await client.ask())[0] == 200
        assert await client.stream() == b"data: [DONE]\n\n"
        assert (await client.ask())[0] == 200
        assert server.connections == 1


async def test_requests_go_to_the_endpoint_with_the_least_to_do(runtime: Path) -> None:
    release = asyncio.Event()

    async def slow(asked: Asked, transport: asyncio.Transport) -> None:
        if asked.method == "GET":
            transport.write(models("theirs"))
            return
        await release.wait()
        transport.write(answer(200, ANSWER))

    async with both(runtime, slow, slow) as (client, first, second), asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(client.ask())
        await until(lambda: len(first.posted()) + len(second.posted()) == 6)
        assert (len(first.posted()), len(second.posted())) == (3, 3)
        release.set()


async def test_large_bodies_and_answers_come_through(runtime: Path) -> None:
    text = "x" * 3_000_000
    large = ANSWER | {"choices": [{"message": {"content": text}}]}
    async with leading_to(runtime, answer(200, large)) as (client, server):
        status, got = await client.ask(messages=[{"role": "user", "content": text}])
    assert (status, got["model"]) == (200, "ours")
    assert got["choices"][0]["message"]["content"] == text
    assert server.posted()[0]["messages"][0]["content"] == text


async def test_what_a_base_url_carries_is_used_and_not_shown(runtime: Path) -> None:
    async with scripted(saying(answer(200, ANSWER), answer(500, b""))) as server:
        base = re.sub("^http://(.*)/v1$", r"http://me:pass@\1/deep/v1/?api-version=1&key=secret", server.url)
        async with replica(runtime, of(base)) as client:
            assert (await client.ask())[0] == 200
            _, got = await client.ask()
    assert server.asked[-1].path == "/deep/v1/chat/completions?api-version=1&key=secret"
    assert server.asked[-1].headers["authorization"].startswith("Basic ")
    shown = json.dumps(got)
    assert not any(secret in shown for secret in ("pass", "secret", "me:"))
