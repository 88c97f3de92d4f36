"""Replicas on servers: kept, looked after, taken over, and let go of; and what people are told."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.engines.kinds.ollama import TRAITS, build
from orchestrator.engines.ollama.engine import OllamaEngine
from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.registry import Registry
from orchestrator.engines.ollama.relay import Silence
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    LoadTimedOut,
    NotAllowed,
    SourceNotFound,
    SourceUnreachable,
)
from orchestrator.values.memory import RAM
from tests.egress_watch import watching
from tests.engines.conformance import Arrivals, Exits
from tests.engines.ollama.fake_server import FakeOllama, pretending
from tests.engines.ollama.fake_state import Manifest
from tests.engines.ollama.replay import listening, replaying
from tests.engines.ollama.rigs import ask, chat, engine_in, free_port, on, premises, tag
from tests.engines.real_time import REAL_TIME, SOON_S, until

pytestmark = REAL_TIME

TAG = "gemma3:1b"
WEIGHTS = Manifest(blob="1" * 64, size=5000)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with pretending() as made:
        made.state.load_s = 0.02
        made.state.put(TAG, WEIGHTS)
        yield made


@pytest.fixture
async def engine(runtime: Path) -> AsyncIterator[OllamaEngine]:
    made = engine_in(runtime)
    yield made
    await made.close()


def test_it_is_found_by_being_there(runtime: Path) -> None:
    assert build(premises(runtime)).name == TRAITS.name == "ollama"
    assert TRAITS.bare == "ollama"


async def test_what_is_loaded_stays_for_good(fake: FakeOllama, engine: OllamaEngine) -> None:
    running = await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    assert (running.pid, running.pid_started) == (0, 0.0)
    await chat(running)
    asked = [body for _, path, body in fake.asked if path == "/api/chat"]
    assert {body["keep_alive"] for body in asked} == {-1}
    assert not any("shift" in body for body in asked)  # or other wires would have it loaded anew
    assert fake.state.loads == 1
    (resident,) = fake.state.resident()
    assert resident.manifest.context == 256


async def test_a_model_that_makes_vectors_is_loaded_by_making_one(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    fake.state.put("embedder", Manifest(blob="3" * 64, size=10, embeds=True))
    spec = on(fake.url, source=tag("embedder"), capabilities=("embedding",))
    running = await engine.ensure_loaded("r1", spec)
    status, answer = await ask(running, "/v1/embeddings", {"input": ["ab", "c"], "dimensions": 2})
    assert status == 200
    assert isinstance(answer, dict)
    assert [each["embedding"] for each in answer["data"]] == [[0.5, -0.25], [0.5, -0.25]]
    status, answer = await ask(
        running, "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}
    )
    assert status == 400
    assert fake.state.loads == 1


async def test_a_server_that_was_restarted_is_noticed(fake: FakeOllama, engine: OllamaEngine) -> None:
    exits = Exits(engine)
    await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    fake.state.runners.clear()
    _, cause = await exits.first()
    assert "restarted" in cause.what
    assert fake.url in cause.what


async def test_a_server_that_is_gone_is_noticed(engine: OllamaEngine) -> None:
    exits = Exits(engine)
    async with pretending() as fake:
        fake.state.put(TAG, WEIGHTS)
        await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    _, cause = await exits.first()
    assert "no Ollama server answers" in cause.what
    assert await engine.observe() == {}


async def test_one_of_two_servers_is_enough_and_the_other_is_taken_up_again(
    fake: FakeOllama, engine: OllamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engines.ollama.replica.RETRY_S", 0.1)
    exits = Exits(engine)
    async with pretending() as other:
        other.state.put(TAG, WEIGHTS)
        other.state.load_s = 0.02
        running = await engine.ensure_loaded(
            "r1", on(fake.url, source=tag(TAG), endpoints=(fake.url, other.url))
        )
        assert fake.runners() == other.runners() == 1
        other.state.runners.clear()
        await until(lambda: other.runners() == 1)
        await asyncio.gather(*(chat(running) for _ in range(4)))
        fake.state.runners.clear()
        other.refuse = None
        assert await chat(running)
        assert exits.reports == []
        await engine.ensure_unloaded("r1")
        assert fake.runners() == other.runners() == 0


async def test_a_server_that_is_away_at_first_joins_later(
    fake: FakeOllama, engine: OllamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engines.ollama.replica.RETRY_S", 0.1)
    async with pretending() as other:
        other.state.load_s = 0.02
        running = await engine.ensure_loaded(
            "r1", on(fake.url, source=tag(TAG), endpoints=(other.url, fake.url))
        )
        assert other.runners() == 0
        assert await chat(running)
        other.state.put(TAG, WEIGHTS)
        await until(lambda: other.runners() == 1)


async def test_weights_that_another_model_has_loaded_are_refused(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    short, long = on(fake.url, source=tag(TAG)), on(fake.url, "longer", source=tag(TAG), context=512)
    keys = [(await engine.ensure_fetched(spec, Arrivals())).exclusive for spec in (short, long)]
    assert keys[0] == keys[1] != ""
    await engine.ensure_loaded("r1", short)
    with pytest.raises(LoadFailed, match="model 'fast' has the same weights"):
        await engine.ensure_loaded("r2", long)
    assert fake.state.loads == 1
    with pytest.raises(LoadFailed, match="another revision of it has the same weights"):
        await engine.ensure_loaded("r2", replace(long, name="fast"))
    await engine.ensure_unloaded("r1")
    await engine.ensure_loaded("r2", long)


async def test_two_replicas_of_one_revision_live_on_one_runner(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    spec = on(fake.url, source=tag(TAG))
    await engine.ensure_loaded("r1", spec)
    second = await engine.ensure_loaded("r2", replace(spec, parallel=1))
    assert fake.state.loads == 1
    await engine.ensure_unloaded("r1")
    assert fake.runners() == 1
    assert await chat(second)
    await engine.ensure_unloaded("r2")
    assert fake.runners() == 0


async def test_a_tag_that_somebody_pulls_anew_is_drift(fake: FakeOllama, engine: OllamaEngine) -> None:
    found = await engine.ensure_fetched(on(fake.url, source=tag(TAG)), Arrivals())
    await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG, resolved=found.resolved)))
    assert (await engine.observe())["r1"].drift == ""
    fake.state.put(TAG, Manifest(blob="2" * 64, size=1))
    assert "pulled anew" in (await engine.observe())["r1"].drift


async def test_memory_is_this_machine_s_only(fake: FakeOllama, engine: OllamaEngine) -> None:
    spec = on(fake.url, source=tag(TAG))
    await engine.ensure_loaded("r1", spec)
    seen = (await engine.observe())["r1"]
    assert seen.memory_bytes == 5_924_453
    assert await engine.held() == {RAM: 5_924_453}
    estimated = await engine.estimate(spec)
    assert estimated[RAM] > seen.memory_bytes


async def test_an_estimate_grows_with_the_context_and_the_places(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    spec = on(fake.url, source=tag(TAG))
    small = (await engine.estimate(spec))[RAM]
    more = (await engine.estimate(replace(spec, context=512, parallel=8)))[RAM]
    # 4 layers, 3 heads of 32, keys and values of 2 bytes
    assert more - small >= 4 * 3 * 64 * 2 * (512 * 8 - 256 * 2)


async def test_what_an_earlier_daemon_left_is_unloaded(fake: FakeOllama, runtime: Path) -> None:
    first = engine_in(runtime)
    running = await first.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    fake.state.put("somebody-elses", Manifest(blob="4" * 64, size=1))
    await fake.state.runner("somebody-elses", shift=True, left=lambda: False)
    second = engine_in(runtime)  # as if the first had been killed
    await second.reap([running])
    await until(lambda: fake.runners() == 1)
    assert fake.state.resident()[0].name == "somebody-elses:latest"
    assert not await asyncio.to_thread(Path(running.socket).exists)
    await second.close()
    await first.close()


async def test_a_runner_that_answers_for_ever_is_let_go_of_when_we_hang_up(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    running = await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    fake.fault = "silent"
    async with asyncio.TaskGroup() as tasks:
        hanging = tasks.create_task(
            ask(
                running,
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": "x"}], "stream": True},
            )
        )
        await until(lambda: any(each.busy for each in fake.state.resident()))
        await engine.ensure_unloaded("r1")
        assert fake.runners() == 0
        _, events = await hanging
    assert isinstance(events, list)
    assert "error" in events[-1]


async def test_a_model_of_ours_that_somebody_deletes_is_made_and_loaded_again(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    exits = Exits(engine)
    spec = on(fake.url, source=tag(TAG))
    running = await engine.ensure_loaded("r1", spec)
    (resident,) = fake.state.resident()
    fake.state.delete(resident.name)
    status, _ = await ask(running, "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    assert status == 503
    _, cause = await exits.first()
    assert "was deleted" in cause.what
    again = await engine.ensure_loaded("r1", spec)
    assert await chat(again)
    await engine.ensure_unloaded("r1")
    assert fake.runners() == 0


async def test_a_runner_that_does_not_go_is_named(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    (stuck,) = fake.state.resident()
    stuck.busy = 1  # somebody else's request, which never ends
    with pytest.raises(EngineError, match=f"{fake.url} does not let go of orchestrator/fast:"):
        await engine.ensure_unloaded("r1")
    assert await engine.observe() == {}
    stuck.busy = 0
    await engine.ensure_unloaded("r1")
    assert fake.runners() == 0


async def test_a_runner_that_falls_silent_is_ended_and_reported(fake: FakeOllama, runtime: Path) -> None:
    engine = engine_in(runtime, silence=Silence(first_s=SOON_S, next_s=0.2))
    exits = Exits(engine)
    running = await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    fake.fault = "silent"
    status, _ = await ask(running, "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    assert status == 504
    await exits.first()
    assert fake.runners() == 0
    await engine.close()


async def test_a_load_that_takes_too_long_leaves_nothing(fake: FakeOllama, runtime: Path) -> None:
    fake.state.load_s = SOON_S
    made = premises(runtime)
    engine = OllamaEngine(replace(made, settings=replace(made.settings, load_deadline_s=0.3)), watch_s=0.05)
    with pytest.raises(LoadTimedOut):
        await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    assert fake.runners() == 0
    await engine.close()


async def test_a_busy_server_is_a_failure_that_passes(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.refuse = (503, "server busy, please try again.  maximum pending requests exceeded")
    with pytest.raises(LoadFailed, match="is busy") as caught:
        await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    assert not caught.value.terminal
    fake.refuse = None
    await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))


async def test_a_tag_that_is_not_there_any_more_cannot_be_loaded(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    with pytest.raises(SourceNotFound):
        await engine.ensure_loaded("r1", on(fake.url, source=tag("nosuch")))
    with pytest.raises(SourceNotFound):
        await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG, resolved="9" * 64)))


async def test_an_old_server_is_a_condition(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.state.version = "0.9.0"
    spec = on(fake.url, source=tag(TAG))
    for verb in (
        engine.version(spec),
        engine.ensure_fetched(spec, Arrivals()),
        engine.ensure_loaded("r1", spec),
    ):
        with pytest.raises(EngineUnavailable, match="too old") as caught:
            await verb
        assert caught.value.where == "fast"
    (finding,) = [each for each in await engine.diagnose() if fake.url in each.what]
    assert not finding.ok
    assert finding.fix


async def test_a_server_that_refuses_our_host_header_says_what_to_do(engine: OllamaEngine) -> None:
    async with replaying("host_header_foreign") as replay:
        replay.answers_to_anything = True
        with pytest.raises(EngineUnavailable, match="403") as caught:
            await engine.version(on(replay.url, source=tag(TAG)))
        assert "by its address" in caught.value.fix


async def test_a_server_on_the_internet_is_never_connected_to(engine: OllamaEngine) -> None:
    spec = on("https://ollama.example.com", source=tag(TAG))
    for verb in (
        engine.version(spec),
        engine.ensure_fetched(spec, Arrivals()),
        engine.ensure_loaded("r1", spec),
    ):
        with pytest.raises(NotAllowed, match=r"ollama\.example\.com"):
            await verb


async def test_versions_of_all_servers(fake: FakeOllama, engine: OllamaEngine) -> None:
    async with pretending() as other:
        other.state.version = "0.34.1"
        spec = on(fake.url, endpoints=(fake.url, other.url, f"http://127.0.0.1:{free_port()}"))
        assert await engine.version(spec) == "0.33.0-rc2, 0.34.1"


async def test_doctor_tells_what_is_there(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.ensure_loaded("r1", on(fake.url, source=tag(TAG)))
    fake.state.put("theirs", Manifest(blob="4" * 64, size=1))
    await fake.state.runner("theirs", shift=True, left=lambda: False)
    said = " ".join(each.found for each in await engine.diagnose() if fake.url in each.what)
    assert "0.33.0-rc2, 2 models, 1 made by orchestrator" in said
    assert "theirs:latest" in said
    assert any("OLLAMA_NUM_PARALLEL" in each.found for each in await engine.diagnose())
    fake.state.runners.pop("4" * 64)


async def test_a_key_goes_to_its_server_and_nowhere_else(
    fake: FakeOllama, engine: OllamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "for-ollama-com")
    seen: list[str | None] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("authorization"))
        return await fake.handle(request)

    async with listening(handle) as url:
        spec = on(url, source=tag(TAG))
        await engine.ensure_loaded("r1", spec)
        await engine.ensure_unloaded("r1")
        assert set(seen) == {None}
        seen.clear()
        await engine.ensure_loaded("r1", replace(spec, api_key="secret"))
        assert set(seen) == {"Bearer secret"}
        await engine.ensure_unloaded("r1")


async def test_the_newest_of_a_tag_is_the_digest_of_its_manifest(engine: OllamaEngine, runtime: Path) -> None:
    manifest = b'{"schemaVersion":2}'
    asked: list[str] = []

    async def registry(request: web.Request) -> web.Response:
        asked.append(request.path)
        if "gone" in request.path:
            return web.Response(status=404)
        return web.Response(status=500) if "broken" in request.path else web.Response(body=manifest)

    async with listening(registry) as url:
        made = OllamaEngine(premises(runtime), registry=Registry(url))
        assert await made.newest(on("", source=tag(TAG))) == hashlib.sha256(manifest).hexdigest()
        assert asked == ["/v2/library/gemma3/manifests/1b"]
        with pytest.raises(SourceNotFound):
            await made.newest(on("", source=tag("gone")))
        with pytest.raises(SourceUnreachable):
            await made.newest(on("", source=tag("broken")))
        await made.close()
    assert await engine.newest(on("")) == ""
    assert parse(TAG).host == "registry.ollama.ai"


async def test_what_is_named_by_the_environment_alone_never_leads_away(runtime: Path) -> None:
    """A model without an endpoint is local for policies; only its own file can say otherwise."""
    engine = OllamaEngine(
        replace(premises(runtime, egress=True), environment={"OLLAMA_HOST": "https://8.8.8.8"})
    )
    with watching() as seen, pytest.raises(NotAllowed, match="not an address of this machine"):
        await engine.ensure_fetched(on("", endpoints=()), Arrivals())
    assert seen.away == []
    await engine.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])  # libuv looks names up by itself
async def test_a_name_that_looks_near_never_leads_away(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 11434))]

    monkeypatch.setattr(socket, "getaddrinfo", away)
    engine = engine_in(runtime, egress=True)
    with watching() as seen, pytest.raises(EngineError, match=r"has the address 8\.8\.8\.8"):
        await engine.ensure_fetched(on("http://box.lan:11434"), Arrivals())
    assert seen.away == []
    await engine.close()
