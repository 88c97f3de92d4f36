"""A real child, a real model, real requests. The models' weights are random: their answers are, too."""

import asyncio
import base64
import contextlib
import json
import math
import re
import struct
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import openai
import pytest

from orchestrator import demo
from orchestrator.workers.frames import Ready
from orchestrator.workers.serve import QUEUE_LIMIT
from tests.workers.child import Client, client_of, launch_of, report, start, stop

pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (the plugin's signature): other processes' time is real

DEMO = Path(demo.__file__).with_name("small.gguf")
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 100}


def said(body: Any) -> str:  # noqa: ANN401 (JSON)
    return str(body["choices"][0]["message"]["content"])


async def test_a_chat_is_answered_in_openais_shape(tiny: Client) -> None:
    body = await tiny.chat("hello", max_tokens=5, ignore_eos=True)
    assert (body["object"], body["model"]) == ("chat.completion", "m")
    choice = body["choices"][0]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "length")
    assert set(body["timings"]) == {"queue_ms", "prompt_ms", "predicted_ms", "predicted_per_second"}


async def test_tokens_are_counted_one_a_byte_with_this_vocabulary(tiny: Client) -> None:
    body = await tiny.complete("twelve bytes", **LONG)
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (12, 100, 112)
    chat = await tiny.chat("hello", max_tokens=1)
    assert chat["usage"]["prompt_tokens"] == len("hello") + 3  # <|user|>hello<|end|><|assistant|>


async def test_a_prompt_may_be_tokens(tiny: Client) -> None:
    as_text = await tiny.complete("AB", **LONG)
    as_tokens = await tiny.complete([65, 66], **LONG)
    assert as_tokens["choices"][0]["text"] == as_text["choices"][0]["text"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_stream_says_the_same_as_a_whole_answer(tiny: Client, path: str) -> None:
    body = {"messages": [{"role": "user", "content": "go"}], "prompt": "go", "temperature": 0, **LONG}
    whole = (await tiny.post(path, body)).body
    stream = await tiny.stream(path, body, stream_options={"include_usage": True})
    choice = whole["choices"][0]
    assert stream.done
    assert stream.text == choice.get("text", choice.get("message", {}).get("content"))
    assert stream.events[-1]["usage"]["completion_tokens"] == 100
    assert "timings" in stream.events[-1]
    assert stream.events[-1]["choices"] == []
    assert stream.events[-2]["choices"][0]["finish_reason"] == "length"
    assert len({event["id"] for event in stream.events}) == 1


async def test_a_stream_without_usage_ends_with_the_reason(tiny: Client) -> None:
    stream = await tiny.stream("/v1/completions", {"prompt": "go", "max_tokens": 3, "ignore_eos": True})
    assert "usage" not in stream.events[-1]
    assert stream.events[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_stop_string_across_tokens_ends_the_answer_before_it(tiny: Client) -> None:
    text = (await tiny.complete("go", **LONG))["choices"][0]["text"]
    stop = text[10:14]  # four characters are at least four tokens
    body = await tiny.complete("go", stop=["never in there", stop], **LONG)
    assert body["choices"][0]["text"] == text[: text.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] < 100
    stream = await tiny.stream("/v1/completions", {"prompt": "go", "temperature": 0, "stop": stop, **LONG})
    assert stream.text == text[: text.index(stop)]


async def test_bytes_that_are_no_text_are_replaced(tiny: Client) -> None:
    bias = {str(token): 100 for token in range(200, 204)}  # bytes above 0x7F
    body = await tiny.complete("go", logit_bias=bias, **LONG)
    assert "\ufffd" in body["choices"][0]["text"]


async def test_the_same_seed_says_the_same_and_another_one_does_not(tiny: Client) -> None:
    # What the cache holds of a prompt decides the shape of its batch, and with it the last bit of a logit.
    await tiny.complete("go", **LONG)
    texts = [
        (await tiny.complete("go", temperature=1, seed=seed, **LONG))["choices"][0]["text"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


async def test_without_a_seed_answers_differ(tiny: Client) -> None:
    texts = {(await tiny.complete("go", temperature=1, **LONG))["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


async def test_penalties_and_biases_change_a_greedy_answer(tiny: Client) -> None:
    plain = (await tiny.complete("go", **LONG))["choices"][0]["text"]
    for change in ({"repeat_penalty": 5}, {"presence_penalty": 2}, {"logit_bias": {"66": 100}}):
        assert (await tiny.complete("go", **LONG, **change))["choices"][0]["text"] != plain
    assert (await tiny.complete("go", logit_bias={"65": 100}, **LONG))["choices"][0]["text"] == "A" * 100


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a\\b", 'say "x"', "é"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(12))
async def test_json_by_schema_is_valid_whatever_the_weights_would_say(tiny: Client, seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    body = await tiny.chat("go", response_format=wanted, temperature=2, top_k=0, top_p=1, min_p=0, seed=seed)
    assert body["choices"][0]["finish_reason"] == "stop"
    value = json.loads(body["choices"][0]["message"]["content"])
    assert set(value) == {"name", "age", "tags"}
    assert isinstance(value["age"], int)
    assert len(value["name"]) <= 12
    assert set(value["tags"]) <= {"a\\b", 'say "x"', "é"}


@pytest.mark.parametrize("pattern", [r"^\d{3}-\w+$", "^.{1,5}$", r'^[^a]\n"\\$', "^(?:ab|c)+$|^}$", "ü?"])
async def test_a_text_matches_its_pattern_and_is_json(tiny: Client, pattern: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": pattern}}}
    for seed in range(4):
        body = await tiny.chat(
            "go", response_format=wanted, temperature=2, top_k=0, top_p=1, min_p=0, seed=seed
        )
        if body["choices"][0]["finish_reason"] == "stop":
            assert re.search(pattern, json.loads(body["choices"][0]["message"]["content"]))


@pytest.mark.parametrize("seed", range(12))
async def test_a_json_object_is_valid_where_it_was_finished(tiny: Client, seed: int) -> None:
    body = await tiny.chat(
        "go", response_format={"type": "json_object"}, temperature=2, top_k=0, seed=seed, min_p=0
    )
    content = body["choices"][0]["message"]["content"]
    assert content.startswith("{")
    if body["choices"][0]["finish_reason"] == "stop":
        assert isinstance(json.loads(content), dict)


async def test_a_complete_json_ends_even_where_ends_are_ignored(tiny: Client) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"const": {"a": 1}}}}
    body = await tiny.chat("go", response_format=wanted, ignore_eos=True)
    assert body["choices"][0]["finish_reason"] == "stop"
    assert json.loads(body["choices"][0]["message"]["content"]) == {"a": 1}


async def test_a_monstrous_schema_does_not_hurt_the_worker(tiny: Client) -> None:
    schema: dict[str, Any] = {"type": "string", "maxLength": 1024}
    for _ in range(150):
        schema = {"type": "object", "properties": {"a": schema, "b": {"type": "array", "maxItems": 9}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": wanted, "max_tokens": 4}
    assert (await tiny.post("/v1/chat/completions", body)).status in (200, 400)
    assert (await tiny.get("/health")).status == 200


async def test_embeddings_are_unit_vectors_the_same_alone_and_in_a_list(tiny: Client) -> None:
    reply = await tiny.post("/v1/embeddings", {"input": ["hello", "other text", "hello"]})
    vectors = [entry["embedding"] for entry in reply.body["data"]]
    assert [entry["index"] for entry in reply.body["data"]] == [0, 1, 2]
    assert math.isclose(sum(value * value for value in vectors[1]), 1, rel_tol=1e-5)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-2)
    assert reply.body["usage"] == {"prompt_tokens": 20, "total_tokens": 20}
    alone = await tiny.post("/v1/embeddings", {"input": "other text", "encoding_format": "base64"})
    packed = base64.b64decode(alone.body["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == pytest.approx(vectors[1], abs=1e-5)


async def test_many_and_long_texts_are_embedded_in_several_steps(tiny: Client) -> None:
    texts = ["x" * length for length in (500, 1, 300, 400)] + ["short"] * 40
    reply = await tiny.post("/v1/embeddings", {"input": texts})
    assert len(reply.body["data"]) == 44
    tokens = await tiny.post("/v1/embeddings", {"input": [[87], [88, 89]]})
    assert tokens.body["usage"]["prompt_tokens"] == 3


async def test_a_conversation_reuses_the_cells_of_its_beginning(tiny: Client) -> None:
    beginning = "a unique beginning 1"
    first = await tiny.complete(beginning, max_tokens=4, ignore_eos=True)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 5
    again = await tiny.complete(beginning + " and more", max_tokens=4, ignore_eos=True)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= len(beginning)


async def test_a_reused_beginning_changes_no_answer(tiny: Client) -> None:
    fresh = await tiny.complete("some other beginning, then this", **LONG)
    await tiny.complete("some other beginning, then that", **LONG)
    again = await tiny.complete("some other beginning, then this", **LONG)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
    assert again["choices"][0]["text"] == fresh["choices"][0]["text"]


async def test_answers_decoded_together_equal_those_decoded_alone(folder: Path) -> None:
    launch = launch_of(DEMO, folder, parallel=8)
    child = start(launch)
    try:
        assert isinstance(report(child), Ready)
        async with client_of(launch.socket) as client:
            asked = [f"What is {number}+{number * 7 % 60}?" for number in range(30)]
            asked += [f"Count from {number} to {number + 9}" for number in range(30)]
            alone = [said(await client.chat(question, max_tokens=60)) for question in asked]
            replies = await asyncio.gather(*(client.chat(question, max_tokens=60) for question in asked))
            together = [said(reply) for reply in replies]
    finally:
        stop(child)
    assert len(set(alone)) > 30
    # A near-tie may fall the other way with another batch shape; a mix-up would hit nearly all.
    assert sum(one == other for one, other in zip(alone, together, strict=True)) >= 59


async def test_many_requests_with_few_cells_all_finish_whole(tiny: Client) -> None:
    replies = await asyncio.gather(
        *(tiny.complete(f"{number} " + "x" * 200, ignore_eos=True, max_tokens=300) for number in range(24))
    )
    assert {reply["usage"]["completion_tokens"] for reply in replies} == {300}
    assert any(reply["timings"]["queue_ms"] > 1 for reply in replies)


async def test_the_answer_is_cut_to_what_fits_into_the_context(tiny: Client) -> None:
    for limit in ({}, {"max_tokens": 10_000}):
        body = await tiny.complete("x" * 400, ignore_eos=True, **limit)
        assert body["usage"]["completion_tokens"] == 112
        assert body["choices"][0]["finish_reason"] == "length"


REFUSED: list[tuple[str, object, str, str]] = [
    ("/v1/completions", {"prompt": "x" * 600}, "prompt", "context_length_exceeded"),
    ("/v1/completions", {"prompt": "x" * 200_000}, "prompt", "context_length_exceeded"),
    ("/v1/completions", {"prompt": [9999]}, "prompt", "invalid_value"),
    ("/v1/completions", {"prompt": ""}, "prompt", "invalid_value"),
    ("/v1/completions", {"prompt": "x", "logit_bias": {"9999": 1}}, "logit_bias", "invalid_value"),
    ("/v1/embeddings", {"input": "x" * 600}, "input", "context_length_exceeded"),
    ("/v1/chat/completions", {"messages": []}, "messages", "invalid_value"),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x" * 600}]},
        "messages",
        "context_length_exceeded",
    ),
    (
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}},
        },
        "response_format.json_schema.schema",
        "unsupported_schema",
    ),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
async def test_what_cannot_be_served_is_a_400_that_names_the_field(
    tiny: Client, path: str, body: object, param: str, code: str
) -> None:
    reply = await tiny.post(path, body)
    error = reply.body["error"]
    assert reply.status == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    if code == "context_length_exceeded":
        assert "512" in error["message"]


async def test_what_can_never_fit_is_refused_without_counting_it(tiny: Client) -> None:
    messages = [{"role": "user", "content": "a"}] * 25_000
    began_s = time.monotonic()
    reply = await tiny.post("/v1/chat/completions", {"messages": messages})
    assert time.monotonic() - began_s < 5
    assert reply.status == 400
    assert reply.body["error"]["code"] == "context_length_exceeded"
    assert "over" in reply.body["error"]["message"]


async def test_other_paths_and_methods_are_refused(tiny: Client) -> None:
    assert (await tiny.get("/v1/nothing")).status == 404
    assert (await tiny.get("/v1/chat/completions")).status == 405
    assert (await tiny.post("/v1/completions", b"{oops")).status == 400


async def test_the_model_is_listed_under_its_name(tiny: Client) -> None:
    assert [entry["id"] for entry in (await tiny.get("/v1/models")).body["data"]] == ["m"]


async def test_a_client_that_leaves_frees_its_slot(models: Path, folder: Path) -> None:
    launch = launch_of(models / "slow.gguf", folder, context=4096, parallel=2)
    child = start(launch)
    try:
        assert isinstance(report(child), Ready)
        async with client_of(launch.socket) as client, asyncio.TaskGroup() as tasks:
            body = {"prompt": "go", "max_tokens": 4000, "ignore_eos": True}
            streams = [tasks.create_task(client.stream("/v1/completions", body)) for _ in range(3)]
            await client.health_when(active=2, queued=1)
            for stream in streams:
                stream.cancel()
            health = await client.health_when(active=0, queued=0)
            # No step goes on for nobody.
            assert (await client.get("/health")).body["steps"] == health["steps"]
            assert (await client.complete("again", max_tokens=2, ignore_eos=True))["usage"][
                "completion_tokens"
            ] == 2
    finally:
        stop(child)


async def test_a_queue_without_end_is_refused_with_a_time_to_come_back(models: Path, folder: Path) -> None:
    launch = launch_of(models / "slow.gguf", folder, context=4096, parallel=1)
    child = start(launch)
    try:
        assert isinstance(report(child), Ready)
        async with client_of(launch.socket) as client, asyncio.TaskGroup() as tasks:
            body = {"prompt": "go", "max_tokens": 4000, "ignore_eos": True}
            waiting = [
                tasks.create_task(client.stream("/v1/completions", body)) for _ in range(QUEUE_LIMIT + 1)
            ]
            await client.health_when(active=1, queued=QUEUE_LIMIT)
            refused = await client.post("/v1/completions", body)
            assert (refused.status, refused.body["error"]["code"]) == (503, "queue_full")
            assert refused.headers["Retry-After"] == "1"
            for stream in waiting:
                stream.cancel()
            await client.health_when(active=0, queued=0)
    finally:
        stop(child)


async def test_a_storm_of_every_kind_of_request_leaves_nothing_behind(tiny: Client) -> None:
    random = Random(7)  # noqa: S311 (a test's dice)

    async def one(number: int) -> None:
        kind = random.choice(["whole", "stream", "leave", "leave", "json", "stop", "embed", "bad"])
        body: dict[str, Any] = {
            "prompt": f"{number % 9} storm {number}",
            "seed": number,
            "max_tokens": random.randint(1, 300),
        }
        if kind == "json":
            body = {
                "messages": [{"role": "user", "content": "x"}],
                "response_format": {"type": "json_object"},
            }
            assert (await tiny.post("/v1/chat/completions", body, max_tokens=40)).status == 200
        elif kind == "embed":
            assert (await tiny.post("/v1/embeddings", {"input": ["a"] * random.randint(1, 30)})).status == 200
        elif kind == "bad":
            assert (await tiny.post("/v1/completions", {"prompt": [number * 999 + 999]})).status == 400
        elif kind == "leave":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.random() / 10):
                    await tiny.stream("/v1/completions", body, ignore_eos=True)
        elif kind == "stream":
            assert (await tiny.stream("/v1/completions", body, ignore_eos=True)).done
        else:
            stop = ["ab", "é"] if kind == "stop" else None
            assert (await tiny.post("/v1/completions", body, stop=stop)).status == 200

    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(one(number))
    await tiny.health_when(active=0, queued=0)


async def test_the_official_client_understands_every_answer(tiny_socket: str) -> None:
    transport = httpx2.AsyncHTTPTransport(uds=tiny_socket)
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(
            base_url="http://worker/v1", api_key="none", http_client=http, max_retries=0
        ) as client,
    ):
        chat = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a"}], max_tokens=3
        )
        assert chat.choices[0].finish_reason in ("stop", "length")
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "a"}],
            max_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].usage is not None
        vectors = await client.embeddings.create(model="m", input=["a", "b"])
        assert len(vectors.data[0].embedding) == 64
        assert [model.id async for model in await client.models.list()] == ["m"]
        with pytest.raises(openai.BadRequestError, match="max_tokens"):
            await client.completions.create(model="m", prompt="a", max_tokens=0)
