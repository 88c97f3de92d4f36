"""What becomes of a request that an endpoint will not or cannot answer; the servers are scripted."""

import asyncio
import json
from pathlib import Path

import pytest

from orchestrator.engines.openai import endpoint
from orchestrator.engines.openai.endpoints import Endpoints
from orchestrator.errors import EngineUnavailable, SourceNotFound
from orchestrator.values.spec import Sampling
from tests.engines.openai_client import ANSWER, ERROR, KEY, both, leading_to, of, replica, saying
from tests.engines.openai_servers import STREAM, Asked, Script, answer, models, scripted
from tests.engines.real_time import REAL_TIME

pytestmark = REAL_TIME


async def test_a_stream_that_stops_without_its_end_is_a_failure(runtime: Path) -> None:
    async with leading_to(runtime, STREAM + b'data: {"model":"theirs"}\n\n') as (client, _):
        got = await client.stream()
    assert got.startswith(b'data: {"model":"ours"}\n\ndata: {"error":')
    assert b"upstream_broken" in got
    assert b"[DONE]" not in got


async def test_an_error_within_a_stream_ends_it(runtime: Path) -> None:
    events = (
        b'data: {"a":1}\n\ndata: {"error":{"message":"overheated %b"}}\n\ndata: [DONE]\n\n' % KEY.encode()
    )
    async with leading_to(runtime, STREAM + events, api_key=KEY) as (client, _):
        got = await client.stream()
    assert b"overheated (api_key)" in got
    assert b"[DONE]" not in got


async def test_an_error_before_anything_else_has_its_status(runtime: Path) -> None:
    events = b'data: {"error":{"message":"too long","code":400}}\n\n'
    async with leading_to(runtime, STREAM + events) as (client, _):
        status, got = await client.ask(stream=True)
    assert status == 400
    assert got["error"]["message"] == "too long"


@pytest.mark.parametrize(
    ("reply", "stream", "code"),
    [
        (answer(200, b"<html>"), False, "upstream_broken"),
        (answer(200, b""), False, "upstream_broken"),
        (answer(200, ANSWER), True, "upstream_broken"),
        (STREAM, True, "upstream_broken"),
        (STREAM + b"data: hello\n\n", True, "upstream_broken"),
        (STREAM + b"<html></html>", True, "upstream_broken"),
        (answer(200, {"error": {"message": "no credit", "code": 402}}), False, "upstream_unpaid"),
        (answer(404, ERROR), False, "upstream_not_found"),
        (answer(500, b""), False, "upstream_error"),
        (answer(302, b"", "location: http://8.8.8.8/"), False, "upstream_redirect"),
    ],
)
async def test_what_is_no_answer_is_the_upstream_s_fault(
    runtime: Path, reply: bytes, code: str, *, stream: bool
) -> None:
    async with leading_to(runtime, reply) as (client, _):
        status, got = await client.ask(stream=stream)
    assert status == 502
    assert got["error"]["code"] == code
    assert set(got["error"]) == {"message", "type", "param", "code"}


async def test_a_limit_is_passed_on_with_its_pause(runtime: Path) -> None:
    reply = answer(429, ERROR, "retry-after: 9")
    async with leading_to(runtime, reply) as (client, _), client.post({}) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "9"
        assert (await response.json())["error"]["code"] == "c"


async def test_the_key_is_sent_and_never_shown(runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    echo = {"error": {"message": f"what is {KEY}", "code": KEY, "param": KEY}}
    replies = (answer(401, echo), answer(400, echo), answer(500, f"{KEY}!".encode()))
    async with leading_to(runtime, *replies, api_key=KEY) as (client, server):
        for status in (502, 400, 502):
            got, content = await client.ask()
            assert got == status
            assert KEY not in json.dumps(content)
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in server.asked)
    assert KEY not in caplog.text


async def test_a_refused_default_is_left_out_from_then_on(runtime: Path) -> None:
    refusal = answer(400, {"error": {"message": "Unrecognized request argument supplied: top_k"}})
    replies = (refusal, answer(200, ANSWER), answer(200, ANSWER))
    async with leading_to(runtime, *replies, sampling=Sampling(top_k=40)) as (client, server):
        assert (await client.ask(top_k=40))[0] == 200
        assert (await client.ask(top_k=40))[0] == 200
    assert ["top_k" in fields for fields in server.posted()] == [True, False, False]


async def test_a_client_s_own_value_that_is_refused_is_the_client_s_error(runtime: Path) -> None:
    refusal = answer(400, {"error": {"message": "Unrecognized request argument supplied: top_k"}})
    async with leading_to(runtime, refusal, sampling=Sampling(top_k=40)) as (client, server):
        status, got = await client.ask(top_k=7)
    assert status == 400
    assert "top_k" in got["error"]["message"]
    assert len(server.posted()) == 1


async def test_an_upstream_that_refuses_whatever_is_left_is_not_asked_for_ever(runtime: Path) -> None:
    defaults = Sampling(temperature=0.5, top_p=0.5, top_k=40, min_p=0.1, repeat_penalty=1.1, seed=1)
    fields = defaults.as_request_fields()
    refusals = [answer(400, {"error": f"unknown parameter: {name}"}) for name in fields]
    async with leading_to(runtime, *refusals, sampling=defaults) as (client, server):
        status, _ = await client.ask(**fields)
    assert status == 400
    assert len(server.posted()) == 5


async def test_a_connection_that_the_other_end_has_just_closed_is_made_again(runtime: Path) -> None:
    async with leading_to(runtime, b"", answer(200, ANSWER)) as (client, server):
        assert (await client.ask())[0] == 200
    assert len(server.posted()) == 2


async def test_an_upstream_that_never_answers_is_asked_twice_and_no_more(runtime: Path) -> None:
    async with leading_to(runtime, b"", b"") as (client, server):
        status, got = await client.ask()
    assert (status, got["error"]["code"]) == (502, "upstream_broken")
    assert len(server.posted()) == 2


@pytest.mark.parametrize("reply", [answer(503, ERROR), answer(429, ERROR), answer(401, ERROR), b""])
async def test_another_endpoint_is_asked_where_nothing_was_sent_yet(runtime: Path, reply: bytes) -> None:
    async with both(runtime, saying(reply, reply), saying(*[answer(200, ANSWER)] * 2)) as (client, _, good):
        assert [(await client.ask())[0] for _ in range(2)] == [200, 200]
        assert len(good.posted()) == 2


async def test_a_request_does_not_stay_with_an_endpoint_that_fell_silent(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "CHECK_S", 0.05)
    looked = False

    async def falls_silent(asked: Asked, transport: asyncio.Transport) -> None:
        nonlocal looked
        if asked.method == "GET" and not looked:
            looked = True
            transport.write(models("theirs"))

    async with (
        scripted(falls_silent) as silent,
        scripted(saying(answer(200, ANSWER))) as good,
        replica(runtime, of(silent.url, good.url), check_every_s=0.02, check_after_s=0.0) as client,
    ):
        status, got = await client.ask()
    assert status == 200
    assert got["model"] == "ours"
    assert (len(silent.posted()), len(good.posted())) == (1, 1)


async def test_no_other_endpoint_is_asked_once_something_was_sent(runtime: Path) -> None:
    begun = saying(STREAM + b'data: {"a":1}\n\n')
    async with both(runtime, begun, saying()) as (client, _, good):
        assert b"upstream_broken" in await client.stream()
        assert good.posted() == []


async def test_the_client_s_own_mistake_is_not_taken_elsewhere(runtime: Path) -> None:
    async with both(runtime, saying(answer(400, ERROR)), saying()) as (client, _, second):
        assert (await client.ask())[0] == 400
        assert second.posted() == []


@pytest.mark.parametrize("before", range(460, 501, 10))
async def test_half_of_the_key_is_not_left_where_a_message_is_cut(runtime: Path, before: int) -> None:
    said = {"message": f"{'x' * before}{KEY}{'y' * 100}", "code": "c" * 60 + KEY, "param": KEY}
    async with leading_to(runtime, answer(400, {"error": said}), api_key=KEY) as (client, _):
        status, got = await client.ask()
    assert status == 400
    assert KEY[:4] not in json.dumps(got)


def listing(reply: bytes) -> Script:
    async def script(_: Asked, transport: asyncio.Transport) -> None:
        transport.write(reply)

    return script


async def test_a_redirect_shows_nothing_of_a_secret_path() -> None:
    reply = answer(302, b"", "location: ../v2/models?x=1")
    written = "http://box/${env:PLACE}/v1"
    async with scripted(listing(reply)) as server:
        spec = of(f"{server.url}/s3cr3t-place/v1", endpoints_written=(written,))
        endpoints = Endpoints(spec, egress=False)
        with pytest.raises(EngineUnavailable) as raised:
            await endpoints.first_look()
        await endpoints.close()
    assert "redirects to" in raised.value.what
    assert "s3cr3t" not in str(raised.value)


async def test_names_that_a_server_lists_are_shown_without_the_key_and_not_at_any_length() -> None:
    async with scripted(listing(models(f"about-{KEY}-{'x' * 5000}"))) as server:
        endpoints = Endpoints(of(server.url, api_key=KEY), egress=False)
        with pytest.raises(SourceNotFound) as raised:
            await endpoints.first_look()
        await endpoints.close()
    assert KEY not in str(raised.value)
    assert len(str(raised.value)) < 500
