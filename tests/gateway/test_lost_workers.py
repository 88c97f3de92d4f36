"""Workers that die, are replaced, or were never there."""

import asyncio

import pytest

from tests.gateway.answers import ANSWER, DONE, TOKEN, check_cut, plain, streaming
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, gateway
from tests.gateway.standin import Behaviour, Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]


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


async def test_what_comes_after_the_end_mark_is_not_passed_on() -> None:
    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN + DONE)
        await call.chunk(TOKEN)
        await call.end()

    async with worker(behave) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        for _ in range(2):
            assert (await running.chat(stream=True)).content == TOKEN + DONE
            assert (await running.history.next()).error == ""
        assert upstream.accepted == 1


async def test_a_request_to_a_socket_that_is_gone_goes_to_the_next_replica() -> None:
    async with worker(plain) as upstream, gateway(table(route(socket="/nowhere/w.sock"))) as running:
        news = asyncio.Event()
        running.leases.on_suspect = lambda _: news.set()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(running.chat())
            await news.wait()
            running.leases.publish(route(unready="restarting"))
            running.leases.publish(route(socket=upstream.socket, replica="fast-2"))
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
        reply = await running.chat()
        assert (reply.status, reply.headers["x-orchestrator-why"]) == (200, "named by the request")
        assert running.leases.suspects == []


async def test_the_pool_of_a_replaced_replica_is_closed() -> None:
    async with (
        worker(plain) as old,
        worker(plain) as new,
        gateway(table(route(socket=old.socket))) as running,
    ):
        assert (await running.chat()).status == 200
        assert old.connections == 1
        running.leases.publish(route(socket=new.socket, replica="fast-2"))
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
            running.leases.publish(route(socket=new.socket, replica="fast-2", revision="r2"))
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


async def test_a_connection_that_nobody_needs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.gateway.upstream.KEEP_ALIVE_S", 0.05)
    async with worker(plain) as upstream, gateway(table(route(socket=upstream.socket))) as running:
        assert (await running.chat()).status == 200
        async with asyncio.timeout(5):
            await upstream.lonely.wait()
