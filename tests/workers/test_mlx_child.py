"""A real child with mlx under the service, on the shipped models in mlx-lm's form."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import demo
from orchestrator.workers.frames import Ready
from tests.workers.child import Client, client_of, launch_of, report, start, stop

pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (the plugin's signature): other processes' time is real

SMALL = Path(demo.__file__).with_name("small-mlx")
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 60}
QUESTIONS = [
    *(f"What is {number}+{number * 7 % 60}?" for number in range(20)),
    *(f"Count {number} to {number + 7}" for number in range(20)),
    *(f"Reverse {word}" for word in ("tree", "model", "daemon", "folder", "swap", "yaml", "queue", "lease")),
    *(
        f"Uppercase {word}"
        for word in ("tree", "model", "daemon", "folder", "swap", "yaml", "queue", "lease")
    ),
    *(f"JSON: {name} is 61 and lives in Rome" for name in ("Jo", "Raj", "Ann", "Max")),
]


def said(body: Any) -> str:  # noqa: ANN401 (JSON)
    return str(body["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def small_socket() -> Iterator[str]:
    """The socket of a child that serves the shipped model to this module; its output has to stay clean."""
    with tempfile.TemporaryDirectory(prefix="ow") as folder:
        launch = launch_of(SMALL, Path(folder), parallel=8, runtime="mlx")
        with (Path(folder) / "stderr").open("w+b") as errors:
            child = start(launch, errors)
            try:
                ready = report(child)
                assert isinstance(ready, Ready), ready
                assert (ready.n_vocab, ready.n_parameters, ready.train_context) == (261, 468_288, 1024)
                yield launch.socket
            finally:
                stdout = stop(child)
            errors.seek(0)
            log = errors.read().decode()
        assert stdout == b""
        assert "Traceback" not in log, log[:4000]


@pytest.fixture
async def small(small_socket: str) -> AsyncIterator[Client]:
    async with client_of(small_socket) as client:
        yield client


async def test_a_chat_is_answered_as_by_llama_cpp_s_worker(small: Client) -> None:
    body = await small.chat("Count 3 to 9")
    assert said(body) == "3 4 5 6 7 8 9"
    assert (body["object"], body["model"]) == ("chat.completion", "m")
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["prompt_tokens"] == len("Count 3 to 9") + 3  # <|user|>…<|end|><|assistant|>
    assert (usage["completion_tokens"], usage["total_tokens"]) == (13, 28)
    assert set(body["timings"]) == {"queue_ms", "prompt_ms", "predicted_ms", "predicted_per_second"}


async def test_what_is_decoded_together_equals_what_is_decoded_alone(small: Client) -> None:
    alone = [said(await small.chat(question, max_tokens=60)) for question in QUESTIONS]
    replies = await asyncio.gather(*(small.chat(question, max_tokens=60) for question in QUESTIONS))
    together = [said(reply) for reply in replies]
    assert len(set(alone)) > 40
    # A near-tie may fall the other way with another batch shape; a mix-up would hit nearly all.
    assert sum(one == other for one, other in zip(alone, together, strict=True)) >= len(QUESTIONS) - 1
    assert any(reply["timings"]["queue_ms"] > 1 for reply in replies)  # more than are decoded at once


async def test_greedy_answers_are_those_of_llama_cpp(small: Client) -> None:
    with tempfile.TemporaryDirectory(prefix="ow") as folder:
        launch = launch_of(SMALL.with_name("small.gguf"), Path(folder), parallel=8)
        child = start(launch)
        try:
            assert isinstance(report(child), Ready)
            async with client_of(launch.socket) as other:
                expected = [said(await other.chat(question, max_tokens=60)) for question in QUESTIONS]
        finally:
            stop(child)
    answers = [said(await small.chat(question, max_tokens=60)) for question in QUESTIONS]
    assert sum(one == other for one, other in zip(answers, expected, strict=True)) >= len(QUESTIONS) - 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_stream_says_the_same_as_a_whole_answer(small: Client, path: str) -> None:
    body = {"messages": [{"role": "user", "content": "go"}], "prompt": "go", "temperature": 0, **LONG}
    whole = (await small.post(path, body)).body
    stream = await small.stream(path, body, stream_options={"include_usage": True})
    choice = whole["choices"][0]
    assert stream.done
    assert stream.text == choice.get("text", choice.get("message", {}).get("content"))
    assert stream.events[-1]["usage"]["completion_tokens"] == 60
    assert "timings" in stream.events[-1]
    assert len(stream.events) > 30  # it came in pieces


async def test_a_stop_string_across_tokens_ends_the_answer_before_it(small: Client) -> None:
    body = await small.chat("Count 3 to 9", stop=["never in there", "6 7"])
    assert said(body) == "3 4 5 "
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] < 13
    messages = [{"role": "user", "content": "Count 3 to 9"}]
    stream = await small.stream("/v1/chat/completions", {"messages": messages, "temperature": 0}, stop="6 7")
    assert stream.text == "3 4 5 "


async def test_bytes_that_are_no_text_are_replaced(small: Client) -> None:
    bias = {str(token): 100 for token in range(200, 204)}  # bytes above 0x7F
    body = await small.complete("go", logit_bias=bias, **LONG)
    assert "\ufffd" in body["choices"][0]["text"]


async def test_the_same_seed_says_the_same_and_without_one_answers_differ(small: Client) -> None:
    hot = {"temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0, **LONG}

    async def text(**extra: object) -> str:
        return str((await small.complete("go", **hot, **extra))["choices"][0]["text"])

    await text()
    first, again, other = await text(seed=1), await text(seed=1), await text(seed=2)
    assert first == again
    assert first != other
    assert len({await text() for _ in range(3)}) == 3


async def test_penalties_and_biases_change_a_greedy_answer(small: Client) -> None:
    plain = (await small.complete("go", **LONG))["choices"][0]["text"]
    for change in ({"repeat_penalty": 5}, {"frequency_penalty": 2}):
        assert (await small.complete("go", **LONG, **change))["choices"][0]["text"] != plain
    assert (await small.complete("go", logit_bias={"65": 100}, **LONG))["choices"][0]["text"] == "A" * 60


async def test_a_prompt_may_be_tokens(small: Client) -> None:
    as_text = await small.complete("AB", **LONG)
    as_tokens = await small.complete([65, 66], **LONG)
    assert as_tokens["choices"][0]["text"] == as_text["choices"][0]["text"]


async def test_a_conversation_reuses_its_beginning_and_changes_no_answer(small: Client) -> None:
    beginning = "What is 12+30? A unique beginning."
    first = await small.complete(beginning, **LONG)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 5
    longer = beginning + " And then 5+5?"
    fresh = await small.complete(longer, **LONG)
    assert fresh["usage"]["prompt_tokens_details"]["cached_tokens"] >= len(beginning)
    again = await small.complete(longer, **LONG)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == len(longer) - 1
    assert again["choices"][0]["text"] == fresh["choices"][0]["text"]


async def test_the_answer_is_cut_to_what_fits_into_the_context(small: Client) -> None:
    body = await small.complete("x" * 480, ignore_eos=True, max_tokens=10_000)
    assert body["usage"]["completion_tokens"] == 32
    assert body["choices"][0]["finish_reason"] == "length"


MESSAGES = [{"role": "user", "content": "x"}]
REFUSED: list[tuple[str, object, str | None, str]] = [
    ("/v1/completions", {"prompt": "x" * 600}, "prompt", "context_length_exceeded"),
    ("/v1/completions", {"prompt": "x" * 200_000}, "prompt", "context_length_exceeded"),
    ("/v1/completions", {"prompt": [9999]}, "prompt", "invalid_value"),
    ("/v1/completions", {"prompt": "x", "logit_bias": {"9999": 1}}, "logit_bias", "invalid_value"),
    ("/v1/embeddings", {"input": "x"}, None, "unsupported_endpoint"),
    (
        "/v1/chat/completions",
        {
            "messages": MESSAGES,
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}},
        },
        "response_format.json_schema.schema",
        "unsupported_schema",
    ),
    ("/v1/chat/completions", {"messages": [{"role": "odd"}]}, "messages[0].role", "invalid_value"),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
async def test_what_cannot_be_served_is_a_400_with_the_reason(
    small: Client, path: str, body: object, param: str | None, code: str
) -> None:
    reply = await small.post(path, body)
    error = reply.body["error"]
    assert reply.status == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


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
WILD: dict[str, Any] = {"temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0}


async def test_json_by_schema_is_valid_in_any_company(small: Client) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    forms = (small.chat("go", response_format=wanted, seed=seed, **WILD) for seed in range(8))
    others = (small.chat(f"Count {number} to {number + 6}") for number in range(8))
    replies = await asyncio.gather(*forms, *others)
    for reply in replies[:8]:
        assert reply["choices"][0]["finish_reason"] == "stop"
        value = json.loads(said(reply))
        assert set(value) == {"name", "age", "tags"}
        assert isinstance(value["age"], int)
        assert len(value["name"]) <= 12
        assert set(value["tags"]) <= {"a\\b", 'say "x"', "é"}
    counted = [" ".join(str(each) for each in range(number, number + 7)) for number in range(8)]
    assert [said(reply) for reply in replies[8:]] == counted


async def test_a_json_object_is_valid_and_streams(small: Client) -> None:
    messages = [{"role": "user", "content": "JSON: Jo is 61 and lives in Rome"}]
    wanted = {"messages": messages, "response_format": {"type": "json_object"}, "temperature": 0}
    stream = await small.stream("/v1/chat/completions", wanted)
    assert json.loads(stream.text) == {"name": "Jo", "age": 61, "city": "Rome"}


async def test_a_form_keeps_to_its_limits_and_leaves_the_worker_well(small: Client) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"const": {"a": 1}}}}
    whole = await small.chat("go", response_format=wanted, ignore_eos=True)
    assert json.loads(said(whole)) == {"a": 1}
    assert whole["choices"][0]["finish_reason"] == "stop"
    cut = await small.chat("go", response_format=wanted, max_tokens=3)
    assert cut["choices"][0]["finish_reason"] == "length"
    biased = await small.chat("go", response_format=wanted, logit_bias={"65": 100})
    assert json.loads(said(biased)) == {"a": 1}


async def test_an_answer_in_plain_text_may_be_asked_for(small: Client) -> None:
    assert said(await small.chat("Count 3 to 9", response_format={"type": "text"})) == "3 4 5 6 7 8 9"


async def test_a_client_that_leaves_frees_its_place_within_a_step(small: Client) -> None:
    body = {"prompt": "go", "max_tokens": 500, "ignore_eos": True}
    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(small.stream("/v1/completions", body)) for _ in range(9)]
        await small.health_when(active=8, queued=1)
        for stream in streams:
            stream.cancel()
    health = await small.health_when(active=0, queued=0)
    assert (await small.get("/health")).body["steps"] == health["steps"]  # none goes on for nobody
    assert said(await small.chat("Count 3 to 9")) == "3 4 5 6 7 8 9"


async def test_the_memory_of_a_cpu_is_not_counted_twice(small: Client) -> None:
    assert (await small.get("/health")).body["memory_bytes"] == 0
