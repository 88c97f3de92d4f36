"""What a replica's socket answers, as recorded, and when a server fails, hangs, or is left."""

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.bridge import Bridge
from orchestrator.engines.egress import Egress
from orchestrator.engines.ollama.claims import Claims
from orchestrator.engines.ollama.pins import Pins
from orchestrator.engines.ollama.places import Places
from orchestrator.engines.ollama.relay import Relay, Silence
from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.site import Site
from orchestrator.engines.ollama.stock import Stocked
from orchestrator.values.fleet import Running
from tests.engines.ollama.fake_server import FakeOllama, pretending
from tests.engines.ollama.fake_state import Manifest
from tests.engines.ollama.replay import record, replaying
from tests.engines.ollama.rigs import QUICK, ask, chat, client_of, free_port, on
from tests.engines.real_time import REAL_TIME, SOON_S, until

pytestmark = REAL_TIME

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SOON = Silence(first_s=SOON_S, next_s=SOON_S)
STOCKED = Stocked(name="small", digest="d", blob="b", size_bytes=1, resolved="", embeds=False)


class Front:
    """A replica's socket before servers that hold its model."""

    def __init__(self, running: Running, sites: list[Site]) -> None:
        self.running = running
        self.sites = sites
        self.lost: list[tuple[str, bool]] = []


@asynccontextmanager
async def before(
    folder: Path, *urls: str, silence: Silence = SOON, parallel: int = 2
) -> AsyncIterator[Front]:
    servers = [Server(url, Egress(anywhere=False)) for url in urls]
    pins = Pins(folder / "pins.json")
    sites = [
        Site(server, on(server.url), claims=Claims(), pins=pins, patience=QUICK, stock=_none)
        for server in servers
    ]
    for site in sites:
        site.stocked, site.loaded = STOCKED, True
    path = folder / "r.sock"
    front = Front(Running(replica="r1", socket=str(path), pid=0, pid_started=0.0), sites)

    def lost(site: Site, hangs: bool) -> None:  # noqa: FBT001 (the relay's)
        front.lost.append((site.server.url, hangs))

    bridge = Bridge(path, "fast", Relay("fast", Places(sites, parallel), silence, lost))
    await bridge.open()
    try:
        async with asyncio.timeout(SOON_S):
            yield front
    finally:
        await bridge.close()
        for server in servers:
            await server.close()


async def _none(_server: Server, _spec: object) -> Stocked:
    return STOCKED


def asked(name: str) -> dict[str, Any]:
    """The request of a record, as a client of ours would have put it."""
    body: dict[str, Any] = record(name)["request"]["body"]
    made: dict[str, Any] = {"model": "fast", "messages": body["messages"]}
    options = body.get("options", {})
    names = {"num_predict": "max_tokens"}
    made |= {names.get(name, name): value for name, value in options.items()}
    if "format" in body:
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": body["format"]}}
        made["response_format"] = schema
    return made | {key: body[key] for key in ("tools", "logprobs", "top_logprobs") if key in body}


def text_of(events: Sequence[Any]) -> str:
    chunks = [event for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@pytest.mark.parametrize(
    ("name", "text", "finish"),
    [
        ("chat_stream", '{"name": "Jo", "age": 61, "city": "Rome"}', "stop"),
        ("chat_stop", "0 1 2 3 4 ", "stop"),
        ("chat_num_predict", "0 1 2", "length"),
        ("chat_format_schema", '{"name": "Jo", "age": 61, "city": "Rome"}', "stop"),
        ("native_chat_stream", '{"name": "Jo", "age": 61, "city": "Rome"}', "stop"),
    ],
)
async def test_a_recorded_chat_comes_through(runtime: Path, name: str, text: str, finish: str) -> None:
    async with replaying(name) as replay, before(runtime, replay.url) as front:
        status, whole = await ask(front.running, CHAT, asked(name))
        assert status == 200
        assert isinstance(whole, dict)
        assert whole["choices"][0]["message"]["content"] == text
        assert whole["choices"][0]["finish_reason"] == finish
        assert whole["usage"]["completion_tokens"] > 0
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        _, events = await ask(front.running, CHAT, asked(name) | streaming)
        assert isinstance(events, list)
        assert text_of(events) == text
        assert events[-1] == "[DONE]"
        assert events[-2]["usage"] == whole["usage"]
        assert {each.body["model"] for each in replay.asked} == {"small"}
        assert front.lost == []


async def test_a_recorded_tool_call_comes_through(runtime: Path) -> None:
    async with replaying("chat_tools_call") as replay, before(runtime, replay.url) as front:
        _, answer = await ask(front.running, CHAT, asked("chat_tools_call"))
        assert isinstance(answer, dict)
        assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":7}'


async def test_a_recorded_completion_comes_through(runtime: Path) -> None:
    body = {"model": "fast", "prompt": record("generate_stream")["request"]["body"]["prompt"]}
    async with replaying("generate_stream") as replay, before(runtime, replay.url) as front:
        status, answer = await ask(front.running, TEXT, body)
        assert status == 200
        assert isinstance(answer, dict)
        assert answer["choices"][0]["text"]


async def test_recorded_vectors_come_through(runtime: Path) -> None:
    vectors = json.loads(record("embed_two")["body"])["embeddings"]
    async with replaying("embed_two") as replay, before(runtime, replay.url) as front:
        _, answer = await ask(front.running, EMBED, {"model": "fast", "input": ["hello", "world"]})
        assert isinstance(answer, dict)
        assert [each["embedding"] for each in answer["data"]] == vectors
        assert answer["usage"]["prompt_tokens"] > 0
        packed = {"model": "fast", "input": ["hello", "world"], "encoding_format": "base64"}
        _, answer = await ask(front.running, EMBED, packed)
        assert isinstance(answer, dict)
        raw = base64.b64decode(answer["data"][1]["embedding"])
        assert array("f", raw).tolist() == array("f", vectors[1]).tolist()


async def test_vectors_that_are_not_all_there_are_a_failure(runtime: Path) -> None:
    async with replaying("embed_two") as replay, before(runtime, replay.url) as front:
        replay.answers_to_anything = True
        status, answer = await ask(front.running, EMBED, {"model": "fast", "input": ["hello"]})
        assert status == 502
        assert "not all there" in error_of(answer)


@pytest.mark.parametrize(
    "name", ["kill_runner_mid_stream", "kill_runner_term_mid_stream", "repeat_abort_stream"]
)
async def test_a_stream_that_breaks_off_ends_with_an_error_and_without_done(runtime: Path, name: str) -> None:
    async with replaying(name) as replay, before(runtime, replay.url) as front:
        _, events = await ask(front.running, CHAT, asked(name) | {"stream": True})
        assert isinstance(events, list)
        assert text_of(events)
        assert set(events[-1]) == {"error"}
        assert events[-1]["error"]["type"] == "server_error"
        assert "[DONE]" not in events
        status, answer = await ask(front.running, CHAT, asked(name))
        assert status == 502
        assert error_of(answer)
        assert front.lost == [(replay.url, False)] * 2


async def test_a_server_that_hangs_up_in_the_middle_is_an_error_too(runtime: Path) -> None:
    async with replaying("server_term_mid_stream") as replay, before(runtime, replay.url) as front:
        replay.answers_to_anything = True
        _, events = await ask(
            front.running, CHAT, {"messages": [{"role": "user", "content": "x"}], "stream": True}
        )
        assert isinstance(events, list)
        assert "error" in events[-1]
        assert "does not answer" in events[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("chat_tools_unsupported", 400, "unsupported_parameter"),
        ("overflow_truncate_false", 400, "context_length_exceeded"),
        ("chat_format_bad_schema", 400, "unsupported_schema"),
        ("queue_full", 503, "upstream_busy"),
        ("chat_missing_model", 503, "model_not_loaded"),
    ],
)
async def test_a_recorded_refusal_is_in_openai_s_form(
    runtime: Path, name: str, status: int, code: str
) -> None:
    async with replaying(name) as replay, before(runtime, replay.url) as front:
        got, answer = await ask(front.running, CHAT, asked(name))
        assert isinstance(answer, dict)
        assert (got, answer["error"]["code"]) == (status, code)


async def test_a_request_that_is_wrong_reaches_no_server(runtime: Path) -> None:
    async with replaying() as replay, before(runtime, replay.url) as front:
        status, answer = await ask(front.running, CHAT, {"messages": [], "model": "fast"})
        assert status == 400
        assert isinstance(answer, dict)
        assert answer["error"]["param"] == "messages"
        assert replay.asked == []


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with pretending() as made:
        made.state.load_s = 0.0
        made.state.put("small", Manifest(blob="b" * 64, size=1000))
        yield made


async def test_a_client_that_leaves_stops_the_server(runtime: Path, fake: FakeOllama) -> None:
    fake.words, fake.pause_s = ("x",) * 10_000, 0.01
    async with before(runtime, fake.url) as front, client_of(front.running) as session:
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        async with session.post(CHAT, json=body) as answer:
            assert await answer.content.readline()
        await until(lambda: fake.hung_up == 1)
        assert front.sites[0].in_flight == 0
        assert front.lost == []


async def test_a_server_that_falls_silent_is_left(runtime: Path, fake: FakeOllama) -> None:
    fake.fault = "silent"
    async with before(runtime, fake.url, silence=Silence(first_s=SOON_S, next_s=0.2)) as front:
        _, events = await ask(
            front.running, CHAT, {"messages": [{"role": "user", "content": "x"}], "stream": True}
        )
        assert isinstance(events, list)
        assert text_of(events) == "16"
        assert events[-1]["error"]["code"] == "upstream_silent"
        assert front.lost == [(fake.url, True)]
        await until(lambda: fake.hung_up == 1 or not any(each.busy for each in fake.state.resident()))


async def test_a_server_that_never_begins_is_left(runtime: Path, fake: FakeOllama) -> None:
    fake.words, fake.fault = (), "silent"
    async with before(runtime, fake.url, silence=Silence(first_s=0.2, next_s=SOON_S)) as front:
        status, answer = await ask(front.running, CHAT, {"messages": [{"role": "user", "content": "x"}]})
        assert status == 504
        assert "0.2 s" in error_of(answer)


async def test_another_server_takes_over_before_anything_was_sent(runtime: Path, fake: FakeOllama) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with before(runtime, dead, fake.url) as front:
        for _ in range(3):
            assert (await chat(front.running))["choices"][0]["message"]["content"] == "16"
        assert {url for url, _ in front.lost} == {dead}


@pytest.mark.parametrize("refusal", [(503, "server busy"), (500, "llama-server process has terminated")])
async def test_another_server_takes_what_one_refuses(
    runtime: Path, fake: FakeOllama, refusal: tuple[int, str]
) -> None:
    async with pretending() as other:
        other.state.put("small", Manifest(blob="b" * 64, size=1000))
        other.refuse = refusal
        async with before(runtime, other.url, fake.url) as front:
            assert (await chat(front.running))["choices"][0]["message"]["content"] == "16"


async def test_what_is_the_client_s_mistake_is_tried_once(runtime: Path, fake: FakeOllama) -> None:
    async with pretending() as other:
        other.state.put("small", Manifest(blob="b" * 64, size=1000))
        fake.refuse = other.refuse = (400, "invalid format: x")
        async with before(runtime, fake.url, other.url) as front:
            status, _ = await ask(front.running, CHAT, {"messages": [{"role": "user", "content": "x"}]})
            assert status == 400
        assert len(fake.asked) + len(other.asked) == 1


async def test_when_no_server_is_left_the_last_one_s_words_are_told(runtime: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with before(runtime, dead) as front:
        status, answer = await ask(front.running, CHAT, {"messages": [{"role": "user", "content": "x"}]})
        assert status == 503
        assert dead in error_of(answer)


async def test_requests_are_spread_over_the_servers(runtime: Path, fake: FakeOllama) -> None:
    async with pretending() as other:
        other.state.load_s = 0.0
        other.state.put("small", Manifest(blob="b" * 64, size=1000))
        fake.pause_s = other.pause_s = 0.1
        async with before(runtime, fake.url, other.url, parallel=2) as front:
            await asyncio.gather(*(chat(front.running) for _ in range(4)))
        assert (len(fake.asked), len(other.asked)) == (2, 2)


async def test_no_more_than_parallel_requests_are_at_a_server_at_once(
    runtime: Path, fake: FakeOllama
) -> None:
    fake.pause_s = 0.05
    async with before(runtime, fake.url, parallel=2) as front:
        most = 0
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(chat(front.running)) for _ in range(6)]
            while not all(each.done() for each in answers):
                most = max(most, *(each.busy for each in fake.state.resident()), 0)
                await asyncio.sleep(0.005)
        assert most == 2
        waits = [each.result()["timings"]["queue_ms"] for each in answers]
        assert max(waits) > 50


async def test_who_waits_and_leaves_costs_no_server_anything(runtime: Path, fake: FakeOllama) -> None:
    fake.pause_s = 0.2
    async with before(runtime, fake.url, parallel=1) as front:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(chat(front.running))
            await until(lambda: len(fake.asked) == 1)
            second = tasks.create_task(chat(front.running))
            third = tasks.create_task(chat(front.running))
            await asyncio.sleep(0.05)
            second.cancel()
        assert first.result()["choices"]
        assert third.result()["choices"]
        assert len(fake.asked) == 2


async def test_a_server_that_holds_the_model_is_asked_first(runtime: Path, fake: FakeOllama) -> None:
    async with replaying() as never, before(runtime, never.url, fake.url) as front:
        front.sites[0].loaded = False
        await asyncio.gather(*(chat(front.running) for _ in range(3)))
        assert never.asked == []


async def test_a_client_s_stops_do_not_take_away_the_model_s_own(runtime: Path, fake: FakeOllama) -> None:
    async with before(runtime, fake.url) as front:
        front.sites[0].stocked = replace(STOCKED, stops=("<|end|>",))
        await chat(front.running, stop=["X"])
        assert fake.asked[-1][2]["options"]["stop"] == ["X", "<|end|>"]


def error_of(answer: object) -> str:
    assert isinstance(answer, dict)
    return str(answer["error"]["message"])
