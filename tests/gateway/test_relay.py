"""The request path against a worker whose answers the test writes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelState, Sampling
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, gateway
from tests.gateway.standin import Behaviour, Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

COUNTS = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}
TIMINGS = {"queue_ms": 7.0, "predicted_per_second": 90.0}
ANSWER = {"id": "x", "choices": [{"message": {"content": "a"}}], "usage": COUNTS, "timings": TIMINGS}
TOKEN = b'data: {"id":"x","choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = (
    b"data: " + json.dumps({"id": "x", "choices": [], "usage": COUNTS, "timings": TIMINGS}).encode() + b"\n\n"
)
DONE = b"data: [DONE]\n\n"


async def plain(call: Call) -> None:
    await call.json(ANSWER)


async def streaming(call: Call) -> None:
    await call.stream(TOKEN, TOKEN[:20], TOKEN[20:] + USAGE[:40], USAGE[40:] + DONE)


async def never(call: Call) -> None:
    await call.left()


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
        await running.leases.publish(route(unready="it is warming"))
        await running.leases.publish(route(socket=upstream.socket))
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


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_before_the_first_byte_is_504(stream: bool) -> None:  # noqa: FBT001 (a parameter)
    async with (
        worker(never) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.1) as running,
    ):
        reply = await running.chat(stream=stream)
        assert (reply.status, reply.code) == (504, "deadline_exceeded")
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.ttft_ms) == (504, "deadline_exceeded", None)


async def test_a_deadline_in_the_middle_of_a_stream_ends_it_with_an_error() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN + TOKEN[:10])
        await call.left()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.2) as running,
    ):
        reply = await running.chat(stream=True)
        check_cut(reply.content, "deadline_exceeded")
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "deadline_exceeded")


async def test_silence_in_the_middle_of_a_stream_ends_it_with_an_error() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await call.left()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), hang_deadline_s=0.1) as running,
    ):
        reply = await running.chat(stream=True)
        check_cut(reply.content, "replica_hung")
        assert (await running.history.next()).error == "replica_hung"
        assert running.leases.suspects == ["fast-1"]


def check_cut(content: bytes, code: str) -> None:
    """One whole token, then one error event in OpenAI's form, and no end mark."""
    assert content.startswith(TOKEN)
    last = content.removeprefix(TOKEN)
    assert last.startswith(b"data: ")
    assert last.endswith(b"\n\n")
    assert json.loads(last[6:])["error"]["code"] == code


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_worker_at_once(stream: bool) -> None:  # noqa: FBT001 (a parameter)
    left = asyncio.Event()
    asked = asyncio.Event()

    async def behave(call: Call) -> None:
        if stream:
            await call.head()
            await call.chunk(TOKEN)
        asked.set()
        await call.left()
        left.set()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        body = json.dumps({"model": "fast", "messages": HELLO, "stream": stream}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            await (reader.readuntil(TOKEN) if stream else asked.wait())
            writer.close()
            await left.wait()
        fact = await running.history.next()
        assert (fact.status, fact.error) == (499, "client_closed_request")


async def test_a_client_that_leaves_while_it_waits_for_a_model_is_recorded() -> None:
    async with gateway(table(route())) as running:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await running.chat()
        fact = await running.history.next()
        assert (fact.status, fact.model) == (499, "")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_recorded() -> None:
    async with gateway(table(route())) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{".encode())
        await writer.drain()
        writer.close()
        assert (await running.history.next()).status == 499


async def test_a_body_that_does_not_come_is_408() -> None:
    async with gateway(table(route()), request_deadline_s=0.1) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{".encode())
        assert b" 408 " in await reader.readline()
        writer.close()
        assert (await running.history.next()).status == 408


async def test_a_client_that_does_not_read_holds_its_worker_no_longer_than_the_deadline() -> None:
    left = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        with contextlib.suppress(ConnectionError):
            while True:
                await call.chunk(TOKEN * 1000)
        left.set()

    async with (
        worker(behave) as upstream,
        gateway(table(route(socket=upstream.socket)), request_deadline_s=0.3, hang_deadline_s=0.1) as running,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        body = json.dumps({"model": "fast", "messages": HELLO, "stream": True}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            await left.wait()
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "deadline_exceeded")
        writer.close()


def dies(*, before: int, then: Behaviour, after_head: bool = False) -> Behaviour:
    """A worker that dies under its first requests and then behaves."""

    async def behave(call: Call) -> None:
        if call.number > before:
            await then(call)
            return
        if after_head:
            await call.head()
        call.die()

    return behave


@pytest.mark.parametrize("after_head", [True, False])
@pytest.mark.parametrize(("stream", "wanted"), [(True, streaming), (False, plain)])
async def test_a_worker_that_dies_before_the_first_byte_costs_the_client_nothing(
    stream: bool,  # noqa: FBT001 (a parameter)
    wanted: Behaviour,
    after_head: bool,  # noqa: FBT001 (a parameter)
) -> None:
    behaviour = dies(before=2, then=wanted, after_head=after_head)
    async with worker(behaviour) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=stream)
        assert reply.status == 200
        assert "sent again" in reply.headers["x-orchestrator-why"]
        assert running.leases.suspects == ["fast-1", "fast-1"]
        await running.history.next()
        assert len(running.history.facts) == 1


async def test_an_answer_cut_in_its_middle_is_asked_for_again_if_the_client_saw_nothing() -> None:
    async def behave(call: Call) -> None:
        if call.number == 1:
            await call.head(200, "application/json")
            await call.chunk(b'{"choices":')
            call.die()
        else:
            await call.json(ANSWER)

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        assert (await running.chat()).json == ANSWER


async def test_a_request_that_kills_every_worker_is_not_sent_for_ever() -> None:
    async with (
        worker(dies(before=99, then=plain)) as upstream,
        gateway(table(route(socket=upstream.socket))) as running,
    ):
        reply = await running.chat()
        assert (reply.status, reply.code) == (502, "replica_died")
        assert len(upstream.bodies) == 3
        fact = await running.history.next()
        assert (fact.status, fact.error, fact.replica) == (502, "replica_died", "fast-1")


@pytest.mark.parametrize("ending", ["abort", "no end mark"])
async def test_a_worker_that_dies_in_the_middle_of_a_stream_is_told_inside_it(ending: str) -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await call.chunk(TOKEN[:25])
        if ending == "abort":
            call.die()
        else:
            await call.end()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        reply = await running.chat(stream=True)
        check_cut(reply.content, "replica_died")
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "replica_died")
        assert running.leases.suspects == ["fast-1"]
        assert len(upstream.bodies) == 1


async def test_a_worker_that_dies_after_the_end_mark_has_answered() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN + DONE)
        call.die()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        assert (await running.chat(stream=True)).content == TOKEN + DONE
        fact = await running.history.next()
        assert (fact.status, fact.error) == (200, "")


async def test_a_request_to_a_socket_that_is_gone_goes_to_the_next_replica() -> None:
    async with worker(plain) as upstream, gateway(table(route(socket="/nowhere/w.sock"))) as running:
        news = asyncio.Event()
        running.leases.on_suspect = lambda _: news.set()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(running.chat())
            await news.wait()
            await running.leases.publish(route(unready="restarting"))
            await running.leases.publish(route(socket=upstream.socket, replica="fast-2"))
        assert (await asked).status == 200
        assert running.leases.suspects == ["fast-1"]
        assert (await running.history.next()).replica == "fast-2"


async def test_a_socket_that_stays_gone_is_503_with_the_reason() -> None:
    async with gateway(table(route(socket="/nowhere/w.sock")), wait_for_model_s=0.4) as running:
        reply = await running.chat()
        assert (reply.status, reply.code) == (503, "model_not_ready")
        assert "its worker does not answer" in reply.json["error"]["message"]


@pytest.mark.parametrize(("stream", "answer"), [(True, streaming), (False, plain)])
async def test_a_connection_to_the_worker_is_used_again(stream: bool, answer: Behaviour) -> None:  # noqa: FBT001 (a parameter)
    async with worker(answer) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        for _ in range(3):
            await running.chat(stream=stream)
            await running.history.next()
        assert upstream.accepted == 1


async def test_an_idle_connection_that_the_worker_closed_costs_the_client_nothing() -> None:
    async with worker(plain) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        assert (await running.chat()).status == 200
        await upstream.kill()
        assert (await running.chat()).status == 200


async def test_the_pool_of_a_replaced_replica_is_closed() -> None:
    async with (
        worker(plain) as old,
        worker(plain) as new,
        gateway(table(route(socket=old.socket))) as running,
    ):
        assert (await running.chat()).status == 200
        assert old.connections == 1
        await running.leases.publish(route(socket=new.socket, replica="fast-2"))
        assert (await running.chat()).status == 200
        async with asyncio.timeout(5):
            await old.lonely.wait()
        assert (old.connections, new.connections) == (0, 1)


async def test_a_stream_of_the_old_replica_runs_on_after_the_switch() -> None:
    go_on = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await go_on.wait()
        await call.chunk(DONE)
        await call.end()

    async with (
        worker(behave) as old,
        worker(plain) as new,
        gateway(table(route(socket=old.socket))) as running,
    ):
        body = {"model": "fast", "messages": HELLO, "stream": True}
        async with running.session.post(running.url + CHAT, json=body) as response:
            assert await response.content.readuntil(b"\n\n") == TOKEN
            await running.leases.publish(route(socket=new.socket, replica="fast-2", revision="r2"))
            assert (await running.chat()).headers["x-orchestrator-revision"] == "r2"
            assert running.leases.held["fast-1"] == 1
            go_on.set()
            assert await response.content.read() == DONE
            assert response.headers["x-orchestrator-revision"] == "r1"


async def test_a_failure_of_the_gateway_itself_is_500_with_the_decision(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(table(route(socket="/x"))) as running:
        monkeypatch.setattr(running.leases, "take", lambda _: 1 / 0)
        reply = await running.chat()
        assert (reply.status, reply.code) == (500, "internal_error")
        assert reply.headers["x-orchestrator-decision"] in caplog.text
