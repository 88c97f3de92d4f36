"""The request path against a worker whose answers the test writes."""

import asyncio

import pytest

from tests.gateway.fakes import route, table
from tests.gateway.running import gateway
from tests.gateway.standin import Call, worker

pytestmark = pytest.mark.looptime(False)

USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
TOKEN = b'data: {"id":"x","choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def test_a_stream_passes_byte_for_byte_but_for_the_usage_nobody_asked_for() -> None:
    async def behave(call: Call) -> None:
        await call.stream(TOKEN, TOKEN[:20], TOKEN[20:] + USAGE[:40], USAGE[40:] + DONE)

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True)
        assert reply.status == 200
        assert reply.content == TOKEN + TOKEN + DONE
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.prompt_tokens, fact.completion_tokens) == (200, "", 3, 2)
        print(reply.headers)
        print(fact)
