"""Which endpoints are taken for serving, and when a replica counts as gone; the servers are scripted."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.engines.openai.engine import OpenAIEngine
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    LoadTimedOut,
    ReplicaDied,
    SourceCorrupt,
    SourceNotFound,
)
from orchestrator.values.fleet import Running
from tests.engines.openai_client import ANSWER, Client, of
from tests.engines.openai_servers import STREAM, Asked, Relay, Scripted, answer, models, scripted
from tests.engines.real_time import REAL_TIME, SOON_S, until
from tests.engines.rig import Arrivals, Exits

pytestmark = REAL_TIME


class Server:
    """Says to a question for its models what `models` holds; answers everything else."""

    def __init__(self) -> None:
        self.models = models("theirs")
        self.release = asyncio.Event()

    async def __call__(self, asked: Asked, transport: asyncio.Transport) -> None:
        if asked.method == "GET":
            transport.write(self.models)
        elif asked.fields.get("stream"):
            transport.write(STREAM + b'data: {"a":1}\n\n')
            await self.release.wait()
            transport.write(b"data: [DONE]\n\n")
            transport.close()
        else:
            transport.write(answer(200, ANSWER))


@asynccontextmanager
async def engine_in(runtime: Path, **changes: Any) -> AsyncIterator[OpenAIEngine]:  # noqa: ANN401
    engine = OpenAIEngine(runtime / "run", **({"check_every_s": 0.02, "check_after_s": 0.0} | changes))
    try:
        async with asyncio.timeout(SOON_S):
            yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def client_of(running: Running) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(running.socket)) as session:
        yield Client(session)


@asynccontextmanager
async def away_and_back(server: Scripted) -> AsyncIterator[Relay]:
    """Put a port before a server that can be taken away and put back."""
    relay = Relay(server.port)
    await relay.open()
    try:
        yield relay
    finally:
        await relay.close()


async def refusal(engine: OpenAIEngine, *endpoints: str, **changes: Any) -> EngineError:  # noqa: ANN401
    with pytest.raises(EngineError) as caught:
        await engine.ensure_loaded("r1", of(*endpoints, **changes))
    assert caught.value.where == "ours"
    with pytest.raises(type(caught.value)):
        await engine.ensure_fetched(of(*endpoints, **changes), Arrivals())
    return caught.value


@pytest.mark.parametrize(
    "reply",
    [
        models("other", "theirs"),
        models("theirs:latest"),
        models("models/theirs"),
        answer(200, {"data": []}),
        answer(200, [{"id": "theirs"}]),
        answer(200, b""),
        answer(403, {"error": "this key may not read the list"}),
        answer(404, b"<html>"),
        answer(405, b""),
        answer(429, b""),
    ],
)
async def test_what_answers_and_does_not_deny_the_model_serves(runtime: Path, reply: bytes) -> None:
    script = Server()
    script.models = reply
    async with scripted(script) as server, engine_in(runtime) as engine:
        running = await engine.ensure_loaded("r1", of(server.url))
        async with client_of(running) as client:
            assert (await client.ask())[0] == 200


@pytest.mark.parametrize(
    ("reply", "error", "what", "fix"),
    [
        (models("thiers", "x"), SourceNotFound, "has no model 'theirs'", "thiers"),
        (models("a", "b"), SourceNotFound, "has no model 'theirs'", "a, b"),
        (answer(200, b"<html>"), SourceCorrupt, "does not speak OpenAI's API", "/v1"),
        (answer(200, {"hello": 1}), SourceCorrupt, "does not speak OpenAI's API", "/v1"),
        (answer(401, b""), EngineUnavailable, "refuses the key", "api_key"),
        (answer(500, b""), EngineUnavailable, "status 500", "log"),
        (answer(503, {"error": "Loading model"}), EngineUnavailable, "status 503", "log"),
        (
            answer(308, b"", "location: https://u:p@box.lan/v1/models?key=k"),
            EngineUnavailable,
            "https://box.lan/v1,",
            "endpoint",
        ),
    ],
)
async def test_why_an_endpoint_does_not_serve_is_said(
    runtime: Path, reply: bytes, error: type[EngineError], what: str, fix: str
) -> None:
    script = Server()
    script.models = reply
    async with scripted(script) as server, engine_in(runtime) as engine:
        found = await refusal(engine, server.url)
    assert type(found) is error
    assert what in found.what
    assert fix in found.fix


async def test_an_endpoint_that_nobody_listens_on_may_come_back(runtime: Path) -> None:
    async with engine_in(runtime) as engine:
        found = await refusal(engine, "http://127.0.0.1:9/v1")
    assert type(found) is EngineUnavailable
    assert "127.0.0.1:9 cannot be reached: connection refused" in found.what


async def test_terminal_is_only_what_all_endpoints_agree_on(runtime: Path) -> None:
    script = Server()
    script.models = models("another")
    async with scripted(script) as server, engine_in(runtime) as engine:
        found = await refusal(engine, server.url, "http://127.0.0.1:9/v1")
    assert type(found) is EngineUnavailable
    assert "has no model" in found.what
    assert "cannot be reached" in found.what


async def test_a_silent_endpoint_ends_the_load_at_its_deadline(runtime: Path) -> None:
    async def silence(asked: Asked, transport: asyncio.Transport) -> None:
        """Let the engine wait."""

    async with scripted(silence) as server, engine_in(runtime, load_deadline_s=0.1) as engine:
        with pytest.raises(LoadTimedOut):
            await engine.ensure_loaded("r1", of(server.url))


@pytest.mark.parametrize("changes", [{"api_key": "line\nbreak"}, {"api_key": "schlüssel"}])
async def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    runtime: Path, changes: dict[str, str]
) -> None:
    async with engine_in(runtime) as engine:
        found = await refusal(engine, "http://127.0.0.1:9/v1", **changes)
    assert type(found) is LoadFailed
    assert changes["api_key"] not in str(found)


@pytest.mark.parametrize("endpoint", ["box:8000/v1", "ftp://box/v1", "http:///v1", "http://a\\b/v1"])
async def test_what_is_no_url_is_refused(runtime: Path, endpoint: str) -> None:
    async with engine_in(runtime, egress=True) as engine:
        assert type(await refusal(engine, endpoint)) is LoadFailed


async def test_one_of_two_endpoints_may_be_away_and_is_used_again_when_it_is_back(runtime: Path) -> None:
    async with (
        scripted(Server()) as here,
        scripted(Server()) as there,
        away_and_back(there) as relay,
        engine_in(runtime) as engine,
    ):
        exits = Exits(engine)
        await relay.take_away()
        running = await engine.ensure_loaded("r1", of(relay.url, here.url))
        async with client_of(running) as client:
            for _ in range(4):
                assert (await client.ask())[0] == 200
            assert len(here.posted()) == 4
            relay.put_back()
            await until(lambda: len(there.asked) > 1)  # the first check has been taken note of
            for _ in range(4):
                assert (await client.ask())[0] == 200
        assert len(there.posted()) == 2
        assert exits.reports == []


async def test_a_request_tells_of_a_dead_endpoint_before_the_next_check(runtime: Path) -> None:
    async with (
        scripted(Server()) as server,
        away_and_back(server) as relay,
        engine_in(runtime, check_every_s=3600.0) as engine,
    ):
        exits = Exits(engine)
        running = await engine.ensure_loaded("r1", of(relay.url))
        await relay.take_away()
        async with client_of(running) as client:
            status, got = await client.ask()
        assert (status, got["error"]["code"]) == (503, "upstream_unreachable")
        replica, cause = await exits.first()
        assert (replica, type(cause)) == ("r1", ReplicaDied)
        assert not list((runtime / "run").glob("*.sock"))


async def test_a_failure_that_may_pass_counts_only_when_it_lasts(runtime: Path) -> None:
    script = Server()
    async with scripted(script) as server, engine_in(runtime) as engine:
        exits = Exits(engine)
        await engine.ensure_loaded("r1", of(server.url))
        script.models = answer(500, b"")
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked)
        script.models = models("theirs")
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked + 3)
        assert exits.reports == []
        script.models = answer(500, b"")
        _, cause = await exits.first()
        assert "status 500" in cause.what


async def test_a_model_that_is_not_served_any_more_is_the_end(runtime: Path) -> None:
    script = Server()
    async with scripted(script) as server, engine_in(runtime) as engine:
        exits = Exits(engine)
        await engine.ensure_loaded("r1", of(server.url))
        script.models = models("another")
        _, cause = await exits.first()
        assert "has no model 'theirs'" in cause.what


async def test_an_endpoint_in_the_middle_of_an_answer_lives(runtime: Path) -> None:
    """Some servers take no connection while they shut down, or answer nothing else while they generate."""
    script = Server()
    async with scripted(script) as server, engine_in(runtime, check_every_s=3600.0) as engine:
        exits = Exits(engine)
        running = await engine.ensure_loaded("r1", of(server.url))
        async with client_of(running) as client, client.post({"stream": True}) as response:
            assert await response.content.readline() == b'data: {"a":1}\n'
            script.models = answer(401, b"")
            assert set(await engine.observe()) == {"r1"}
            script.release.set()
            assert b"[DONE]" in await response.read()
        await engine.observe()
        await exits.first()
        assert await engine.observe() == {}


async def test_an_endpoint_far_away_is_not_asked_at_every_look(runtime: Path) -> None:
    async with scripted(Server()) as server, engine_in(runtime, egress=True, check_every_s=3600.0) as engine:
        await engine.ensure_loaded("r1", of(server.url, paid=True))
        for _ in range(3):
            assert set(await engine.observe()) == {"r1"}
        assert len(server.asked) == 1
        await engine.ensure_loaded("r2", of(server.url))
        for _ in range(3):
            assert set(await engine.observe()) == {"r1", "r2"}
        assert len(server.asked) == 5


async def test_health_counts_the_endpoints(runtime: Path) -> None:
    async with scripted(Server()) as server, engine_in(runtime) as engine:
        running = await engine.ensure_loaded("r1", of(server.url, "http://127.0.0.1:9/v1"))
        connector = aiohttp.UnixConnector(running.socket)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://replica/health") as response,
        ):
            assert await response.json() == {"status": "ok", "endpoints": 2, "serving": 1}


async def test_the_diagnosis_names_each_endpoint_in_use(runtime: Path) -> None:
    async with scripted(Server()) as server, engine_in(runtime) as engine:
        await engine.ensure_loaded("r1", of(server.url, "http://127.0.0.1:9/v1", api_key="sk-secret"))
        first, good, bad = await engine.diagnose()
    assert (first.ok, good.ok, bad.ok) == (True, True, False)
    assert "127.0.0.1:9" in bad.what
    assert bad.fix
    assert "sk-secret" not in f"{first}{good}{bad}"


async def test_the_version_is_what_the_server_calls_itself(runtime: Path) -> None:
    script = Server()
    script.models = models("theirs").replace(b"\r\n", b"\r\nserver: box/1.2\r\n", 1)
    async with scripted(script) as server, engine_in(runtime) as engine:
        assert await engine.version(of(server.url)) == "box/1.2"


def test_the_client_is_imported_by_those_who_use_it() -> None:
    code = "import sys, orchestrator.engines.kinds.openai; assert 'aiohttp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
