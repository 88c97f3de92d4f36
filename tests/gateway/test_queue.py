"""Requests that wait for a model, over real HTTP."""

import asyncio
import contextlib
import json
import tempfile
from dataclasses import replace

import pytest
import uvloop

from orchestrator.gateway.upstream import Pool
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, Tier, When
from orchestrator.values.routing import Route
from tests.gateway.answers import DONE, TOKEN, plain, streaming
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, Running, gateway
from tests.gateway.standin import Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

UNLOADED = route("big", unready="it is loaded when a request asks for it", on_demand=True, load_s=3.5)


def loaded(socket: str) -> Route:
    return replace(UNLOADED, unready="", replica="big-1", revision="r1", socket=socket)


async def waiting(running: Running, count: int) -> None:
    """Return when this many requests wait for the model big."""
    async with asyncio.timeout(20):
        while running.leases.queued("big") != count:
            await running.ask("GET", "/health")  # a turn of every connection


async def test_those_who_wait_board_by_priority_and_arrival_and_others_are_served_meanwhile() -> None:
    async with (
        worker(plain) as upstream,
        gateway(table(UNLOADED, route("fast", upstream.socket))) as running,
    ):
        async with asyncio.TaskGroup() as group:
            replies = []
            for number, priority in enumerate((5, 2, 9, 5, 9)):
                metadata = {"priority": priority}
                replies.append(group.create_task(running.chat("big", metadata=metadata, user=str(number))))
                await waiting(running, number + 1)
            assert (await running.chat("fast")).status == 200
            assert running.leases.waiting["big"].priority == 9
            running.leases.publish(loaded(upstream.socket))
        assert [reply.result().status for reply in replies] == [200] * 5
        assert [body.get("user") for body in upstream.bodies] == [None, "2", "4", "0", "3", "1"]
        assert all("metadata" not in body for body in upstream.bodies)
        assert "; waited " in replies[0].result().headers["x-orchestrator-why"]


async def test_a_client_that_leaves_frees_its_place_at_once_and_the_others_stay() -> None:
    async with worker(plain) as upstream, gateway(table(UNLOADED), wait_queue=2) as running:
        async with asyncio.TaskGroup() as group:
            stays = group.create_task(running.chat("big"))
            await waiting(running, 1)
            leaves = group.create_task(running.chat("big"))
            await waiting(running, 2)
            assert (await running.chat("big")).code == "queue_full"
            leaves.cancel()
            await waiting(running, 1)
            comes = group.create_task(running.chat("big"))
            await waiting(running, 2)
            running.leases.publish(loaded(upstream.socket))
        assert [stays.result().status, comes.result().status] == [200, 200]
        statuses = sorted([(await running.history.next()).status for _ in range(4)])
        assert statuses == [200, 200, 499, 503]


async def test_a_full_queue_is_503_with_the_time_that_a_load_takes() -> None:
    async with gateway(table(replace(UNLOADED, unready="it is loading")), wait_queue=0) as running:
        reply = await running.chat("big", stream=True)
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "queue_full", "4")
        assert "0 requests wait already" in reply.json["error"]["message"]
        assert (await running.history.next()).error == "queue_full"


async def test_a_load_that_takes_too_long_is_503_with_the_time_it_takes() -> None:
    async with gateway(table(UNLOADED), wait_for_model_s=0.1) as running:
        reply = await running.chat("big")
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "model_not_ready", "4")


async def test_a_drain_refuses_those_who_wait_at_once_and_lets_the_others_end() -> None:
    go_on = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.head()
        await call.chunk(TOKEN)
        await go_on.wait()
        await call.chunk(DONE)
        await call.end()

    async with (
        worker(behave) as upstream,
        gateway(table(UNLOADED, route("fast", upstream.socket)), drain_s=50) as running,
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        stream = group.create_task(running.chat("fast", stream=True))
        await upstream.asked.wait()
        waits = [group.create_task(running.chat("big")) for _ in range(3)]
        await waiting(running, 3)
        running.stop.set()
        for reply in waits:
            assert ((await reply).status, (await reply).code) == (503, "shutting_down")
        assert not stream.done()
        go_on.set()
        assert (await stream).content == TOKEN + DONE


async def test_a_thousand_wait_and_all_are_served_in_their_order() -> None:
    async with (
        worker(plain) as upstream,
        gateway(table(UNLOADED), wait_queue=1000) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        readers = []
        for number in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            stack.callback(writer.close)
            body = json.dumps({"model": "big", "messages": HELLO, "user": str(number)}).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-orchestrator-priority: {number % 3}\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            readers.append(reader)
        await waiting(running, 1000)
        running.leases.publish(loaded(upstream.socket))
        async with asyncio.timeout(40):
            for reader in readers:
                assert b" 200 " in await reader.readline()
        order = [int(body["user"]) for body in upstream.bodies]
        assert [number % 3 for number in order] == sorted((n % 3 for n in range(1000)), reverse=True)
        for priority in range(3):
            same = [number for number in order if number % 3 == priority]
            assert same == sorted(same)


async def test_a_rule_chooses_by_header_metadata_and_length() -> None:
    urgent = Rule(when=When(priority=Bounds(at_least=9)), use=("quality",))
    code = Rule(when=When(tasks=("code",)), use=("coder",))
    short = Rule(when=When(estimated_tokens=Bounds(below=3)), prefer=("tiny",))
    daily = RoutingPolicy(name="daily", default=True, rules=(urgent, code, short), otherwise=("primary",))
    async with worker(plain) as upstream:
        routes = [route(name, upstream.socket) for name in ("quality", "coder", "tiny", "primary")]
        async with gateway(table(*routes, policies=(daily,))) as running:

            async def chosen(content: str = "a longer question", **given: object) -> str:
                body = {"model": "auto", "messages": [{"role": "user", "content": content}]}
                headers = {f"X-Orchestrator-{name}": str(value) for name, value in given.items()}
                return (await running.post(body, headers=headers)).headers["x-orchestrator-model"]

            listed = (await running.ask("GET", "/v1/models/auto")).json
            assert listed["models"] == ["primary", "quality", "coder", "tiny"]
            assert await chosen() == "primary"
            assert await chosen(Priority=9, Task="code") == "quality"
            assert await chosen(Task="code") == "coder"
            assert await chosen("short") == "tiny"
            reply = await running.chat("auto", metadata={"priority": "10", "mine": "x"})
            assert reply.headers["x-orchestrator-why"] == "choice 1 of rule 1 of policy daily (priority 10)"
            assert upstream.bodies[-1]["metadata"] == {"mine": "x"}
            bad = await running.chat("auto", metadata={"priority": "high"})
            assert (bad.status, bad.code) == (400, "invalid_priority")
            assert "X-Orchestrator-Priority" in bad.json["error"]["message"]


async def test_a_remote_model_is_asked_only_where_two_files_say_so() -> None:
    async with worker(plain) as upstream:
        far = route("far", upstream.socket, remote=True)
        closed = RoutingPolicy(name="daily", default=True, otherwise=("far",))
        opened = replace(closed, tiers=(Tier.LOCAL, Tier.REMOTE))
        for policy, egress, status in ((opened, True, 200), (opened, False, 403), (closed, True, 403)):
            async with gateway(table(far, policies=(policy,)), egress=egress) as running:
                reply = await running.chat("far")
                assert reply.status == status
                assert (await running.chat("auto")).status == (200 if status == 200 else 503)
                if status == 403:
                    assert (reply.code, reply.json["error"]["type"]) == (
                        "egress_not_allowed",
                        "permission_error",
                    )
        assert len(upstream.bodies) == 2


async def test_a_model_that_is_waited_for_can_be_watched() -> None:
    async with gateway(table(UNLOADED, route("fast", "/s"))) as running, asyncio.TaskGroup() as group:
        asked = group.create_task(running.chat("big"))
        await waiting(running, 1)
        entry = (await running.ask("GET", "/v1/models/big")).json
        assert (entry["status"], entry["waiting"], entry["load_s"]) == ("unloaded", 1, 3.5)
        assert (entry["on_demand"], entry["tier"], entry["progress"]) == (True, "local", "")
        running.leases.publish(replace(UNLOADED, progress="loading"))
        entry = (await running.ask("GET", "/v1/models")).json["data"][0]
        assert (entry["status"], entry["progress"], entry["waiting"]) == ("loading", "loading", 1)
        running.leases.publish(replace(UNLOADED, stalled=True))
        assert (await asked).status == 503
        assert (await running.ask("GET", "/v1/models/big")).json["status"] == "failed"


async def test_a_stream_that_waited_begins_like_any_other() -> None:
    async with worker(streaming) as upstream, gateway(table(UNLOADED)) as running:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(running.chat("big", stream=True))
            await waiting(running, 1)
            running.leases.publish(loaded(upstream.socket))
        reply = asked.result()
        assert (reply.status, reply.content) == (200, TOKEN + TOKEN + DONE)
        fact = await running.history.next()
        assert fact.queue_ms is not None
        assert fact.queue_ms > 7.0  # the wait here, and the worker's own


def test_a_worker_with_a_crowd_at_its_door_is_asked_again_and_not_suspected() -> None:
    async def crowd() -> list[int]:
        with tempfile.TemporaryDirectory(prefix="gw") as folder:
            path = f"{folder}/w.sock"

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
                await reader.read()  # until the other side has closed
                writer.close()
                await writer.wait_closed()

            async with await asyncio.start_unix_server(answer, path, backlog=1):
                pool = Pool(path)

                async def ask() -> int:
                    async with pool.post(CHAT, b"{}") as response:
                        assert await response.read() == b"ok"
                        return response.status

                async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                    asked = [group.create_task(ask()) for _ in range(50)]
                pool.close()
                return [task.result() for task in asked]

    assert uvloop.run(crowd()) == [200] * 50
