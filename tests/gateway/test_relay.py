"""The request path against a worker whose answers the test writes: what passes, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelState, Sampling
from tests.gateway.answers import ANSWER, DONE, TOKEN, USAGE, plain, streaming
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, gateway
from tests.gateway.standin import Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]


async def test_a_stream_passes_byte_for_byte_but_for_the_counts_nobody_asked_for() -> None:
    async with worker(streaming) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True)
        assert (reply.status, reply.content) == (200, TOKEN + TOKEN + DONE)
        assert reply.headers["content-type"] == "text/event-stream"
        fact = await running.history.next()
        assert (fact.endpoint, fact.requested, fact.model, fact.revision) == ("chat", "fast", "fast", "r1")
        assert (fact.replica, fact.stream, fact.status, fact.error) == ("fast-1", True, 200, "")
        assert (fact.prompt_tokens, fact.cached_tokens, fact.completion_tokens) == (3, 1, 2)
        assert fact.ttft_ms is not None
        assert fact.queue_ms is not None
        assert fact.queue_ms >= 7.0
        assert 0 < fact.ttft_ms <= fact.total_ms


async def test_a_stream_keeps_the_counts_that_were_asked_for() -> None:
    async with worker(streaming) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True, stream_options={"include_usage": True})
        assert reply.content == TOKEN + TOKEN + USAGE + DONE


async def test_an_answer_in_one_piece_passes_byte_for_byte() -> None:
    async with worker(plain) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat()
        assert (reply.status, reply.json) == (200, ANSWER)
        fact = await running.history.next()
        assert (fact.stream, fact.prompt_tokens, fact.cached_tokens, fact.completion_tokens) == (
            False,
            3,
            1,
            2,
        )


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
async def test_each_endpoint_reaches_the_same_path_of_the_worker(path: str) -> None:
    async def behave(call: Call) -> None:
        await call.json({"path": call.path, "body": call.body})

    fast = route(socket="", sampling=Sampling(temperature=0.5))
    async with (
        worker(behave) as upstream,
        gateway(table(replace(fast, socket=upstream.socket, replica="x"))) as running,
    ):
        reply = await running.post({"model": "fast", "input": "hello"}, path)
        defaults = {} if path == "/v1/embeddings" else {"temperature": 0.5}
        assert reply.json == {"path": path, "body": {"model": "fast", "input": "hello"} | defaults}


async def test_every_answer_says_what_served_it_and_why() -> None:
    policy = RoutingPolicy(name="daily", default=True, otherwise=("big", "fast"))
    async with (
        worker(plain) as upstream,
        gateway(table(route("big"), route(socket=upstream.socket), policies=(policy,))) as running,
    ):
        reply = await running.chat("auto")
        fact = await running.history.next()
        assert reply.headers["x-orchestrator-model"] == fact.model == "fast"
        assert reply.headers["x-orchestrator-revision"] == fact.revision == "r1"
        assert reply.headers["x-orchestrator-policy"] == fact.policy == "daily"
        assert reply.headers["x-orchestrator-decision"] == fact.decision
        assert int(fact.decision, 16) < 16**16
        assert len(fact.decision) == 16
        why = "choice 2 of policy daily (passed over: big: not ready: it is loading)"
        assert reply.headers["x-orchestrator-why"] == fact.why == why
        assert "deprecation" not in reply.headers


async def test_a_deprecated_model_says_so() -> None:
    async with worker(plain) as upstream:
        old = route(socket=upstream.socket, state=ModelState.DEPRECATED)
        async with gateway(table(old)) as running:
            assert (await running.chat()).headers["deprecation"] == "true"


async def test_an_error_of_the_worker_passes_with_its_status_and_code() -> None:
    error = {
        "error": {
            "message": "too long",
            "type": "invalid_request_error",
            "param": None,
            "code": "context_full",
        }
    }

    async def behave(call: Call) -> None:
        await call.json(error, 400)

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True)
        assert (reply.status, reply.json) == (400, error)
        assert reply.headers["x-orchestrator-revision"] == "r1"
        fact = await running.history.next()
        assert (fact.status, fact.error) == (400, "context_full")


async def test_an_error_of_the_worker_that_is_no_json_passes_too() -> None:
    async def behave(call: Call) -> None:
        await call.head(500, "text/plain", retry_after="3")
        await call.chunk(b"oh")
        await call.end()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat()
        assert (reply.status, reply.content, reply.headers["retry-after"]) == (500, b"oh", "3")
        assert (await running.history.next()).error == "upstream_error"


async def test_an_error_inside_a_stream_passes_and_is_recorded() -> None:
    error = b'data: {"error":{"message":"no","type":"server_error","param":null,"code":"decode_failed"}}\n\n'

    async def behave(call: Call) -> None:
        await call.stream(TOKEN, error)

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True)
        assert (reply.status, reply.content) == (200, TOKEN + error)
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "decode_failed")
        assert running.leases.suspects == []


async def test_a_refusal_is_recorded_and_says_what_is_known() -> None:
    async with gateway(table(route("big"))) as running:
        reply = await running.chat("bigg")
        assert (reply.status, reply.code, reply.json["error"]["param"]) == (404, "model_not_found", "model")
        assert "did you mean 'big'?" in reply.json["error"]["message"]
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.requested, fact.model) == (404, "model_not_found", "bigg", "")
        assert reply.headers["x-orchestrator-decision"] == fact.decision
        assert reply.headers["x-orchestrator-model"] == ""


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_413_and_the_connection_goes_on(announced: bool) -> None:  # noqa: FBT001 (a parameter)
    async def pieces() -> AsyncIterator[bytes]:  # a body without an announced length
        for _ in range(100):
            yield b"x" * 10_000

    async with (
        worker(plain) as upstream,
        gateway(table(route(socket=upstream.socket)), max_body_bytes=1000) as running,
    ):
        reply = await running.ask("POST", CHAT, data=b"x" * 1_000_000 if announced else pieces())
        assert (reply.status, reply.code) == (413, "body_too_large")
        assert (await running.history.next()).status == 413
        assert (await running.chat()).status == 200


async def test_a_model_that_is_loading_is_waited_for() -> None:
    async with worker(plain) as upstream, gateway(table(route())) as running, asyncio.TaskGroup() as group:
        asked = group.create_task(running.chat())
        await running.leases.waited_for.wait()
        running.leases.publish(route(unready="it is warming"))
        running.leases.publish(route(socket=upstream.socket))
        reply = await asked
        assert reply.status == 200
        assert reply.headers["x-orchestrator-why"].startswith("named by the request; waited ")


async def test_a_model_that_does_not_get_ready_is_503_with_the_reason() -> None:
    async with gateway(table(route()), wait_for_model_s=0.05) as running:
        reply = await running.chat()
        assert (reply.status, reply.code) == (503, "model_not_ready")
        assert "it is loading" in reply.json["error"]["message"]
        assert int(reply.headers["retry-after"]) > 0
        assert reply.headers["x-orchestrator-model"] == "fast"
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.model, fact.revision) == (503, "model_not_ready", "", "")


async def test_the_deadline_passing_while_a_model_loads_is_503_too() -> None:
    async with gateway(table(route()), request_deadline_s=0.05) as running:
        reply = await running.chat()
        assert (reply.status, reply.code) == (503, "model_not_ready")


async def test_a_stalled_model_is_503_at_once() -> None:
    async with gateway(table(route(stalled=True, unready="its file is gone"))) as running:
        reply = await running.chat()
        assert (reply.status, reply.code) == (503, "model_unavailable")
        assert "its file is gone" in reply.json["error"]["message"]
