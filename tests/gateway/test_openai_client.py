"""The official client against the gateway and a real worker with a real model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import Sampling
from tests.gateway.fakes import route, table
from tests.gateway.real_worker import RealWorker, real_worker
from tests.gateway.running import Running, gateway

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

DAILY = RoutingPolicy(name="daily", default=True, otherwise=("fast",))
QUESTION = ChatCompletionUserMessageParam(role="user", content="What is 3 plus 4?")
ENDLESS = {"ignore_eos": True}


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[openai.AsyncOpenAI, Running, RealWorker]]:  # noqa: ANN401 (any setting)
    async with real_worker() as worker:
        routes = (
            route("fast", worker.socket, sampling=Sampling(temperature=0, max_tokens=40)),
            route("chatty", worker.socket, capabilities=("chat",)),
            route("slow"),
        )
        async with gateway(table(*routes, policies=(DAILY,)), **settings) as running:
            key = settings.get("api_keys", ("unused",))[0]
            async with openai.AsyncOpenAI(base_url=running.url + "/v1", api_key=key, max_retries=0) as client:
                yield client, running, worker


async def test_chat_whole_and_streamed_say_the_same() -> None:
    async with serving() as (client, running, _):
        whole = await client.chat.completions.create(model="fast", messages=[QUESTION])
        text = whole.choices[0].message.content
        assert text
        assert whole.usage is not None
        assert whole.usage.completion_tokens > 0
        assert whole.model == "fast"
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="fast", messages=[QUESTION], stream=True
            )
        ]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
        assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
        assert all(chunk.usage is None for chunk in chunks)
        first, second = await running.history.next(), await running.history.next()
        assert (first.completion_tokens, first.prompt_tokens) == (
            second.completion_tokens,
            second.prompt_tokens,
        )
        assert first.completion_tokens == whole.usage.completion_tokens
        assert first.queue_ms is not None
        assert second.ttft_ms is not None


async def test_counts_come_in_the_stream_when_asked_for() -> None:
    async with serving() as (client, running, _):
        stream = await client.chat.completions.create(
            model="auto", messages=[QUESTION], stream=True, stream_options={"include_usage": True}
        )
        last = [chunk async for chunk in stream][-1]
        assert last.usage is not None
        assert last.choices == []
        fact = await running.history.next()
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (
            fact.prompt_tokens,
            fact.completion_tokens,
        )
        assert (fact.requested, fact.model, fact.policy) == ("auto", "fast", "daily")


async def test_the_answer_names_what_served_it() -> None:
    async with serving() as (client, running, _):
        raw = await client.chat.completions.with_raw_response.create(
            model="policy/daily", messages=[QUESTION]
        )
        fact = await running.history.next()
        assert raw.headers["x-orchestrator-model"] == "fast"
        assert raw.headers["x-orchestrator-policy"] == "daily"
        assert raw.headers["x-orchestrator-decision"] == fact.decision
        assert raw.parse()._request_id == fact.decision  # noqa: SLF001 (the client's documented name)


async def test_plain_completions_whole_and_streamed_say_the_same() -> None:
    async with serving() as (client, _, _):
        whole = await client.completions.create(
            model="fast", prompt="What is", max_tokens=8, extra_body=ENDLESS
        )
        stream = await client.completions.create(
            model="fast", prompt="What is", max_tokens=8, stream=True, extra_body=ENDLESS
        )
        assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
        assert whole.choices[0].text


async def test_embeddings_have_one_vector_per_input() -> None:
    async with serving() as (client, running, _):
        reply = await client.embeddings.create(model="fast", input=["a cat", "a dog"])
        assert len(reply.data) == 2
        assert len(reply.data[0].embedding) > 8
        assert reply.data[0].embedding != reply.data[1].embedding
        fact = await running.history.next()
        assert (fact.endpoint, fact.prompt_tokens) == ("embeddings", reply.usage.prompt_tokens)


async def test_models_are_listed_and_looked_up() -> None:
    async with serving() as (client, _, _):
        assert [model.id async for model in client.models.list()] == ["fast", "chatty", "slow", "auto"]
        assert (await client.models.retrieve("fast")).owned_by == "orchestrator"
        with pytest.raises(openai.NotFoundError, match="did you mean 'fast'"):
            await client.models.retrieve("fest")


async def test_an_unknown_model_is_the_clients_not_found() -> None:
    async with serving() as (client, _, _):
        with pytest.raises(openai.NotFoundError) as raised:
            await client.chat.completions.create(model="fasst", messages=[QUESTION])
        assert raised.value.code == "model_not_found"
        assert raised.value.param == "model"
        assert raised.value.request_id


async def test_what_a_model_cannot_do_is_the_clients_bad_request() -> None:
    async with serving() as (client, _, _):
        with pytest.raises(openai.BadRequestError, match="does not do embedding"):
            await client.embeddings.create(model="chatty", input="x")


async def test_what_the_worker_refuses_is_the_clients_bad_request() -> None:
    async with serving() as (client, running, _):
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="fast", messages=[QUESTION], temperature=-3)
        fact = await running.history.next()
        assert (fact.status, fact.model) == (400, "fast")
        assert fact.error


async def test_a_wrong_key_is_the_clients_authentication_error() -> None:
    async with serving(api_keys=("right",)) as (client, _, _):
        assert (await client.models.retrieve("fast")).id == "fast"
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").models.list()


async def test_a_body_that_is_too_large_is_told_before_it_is_sent_on() -> None:
    async with serving(max_body_bytes=100_000) as (client, _, _):
        with pytest.raises(openai.APIStatusError) as raised:
            await client.completions.create(model="fast", prompt="x" * 3_000_000)
        assert raised.value.status_code == 413


async def test_a_model_that_does_not_get_ready_is_the_clients_internal_server_error() -> None:
    async with serving(wait_for_model_s=0.05) as (client, _, _):
        with pytest.raises(openai.InternalServerError, match="it is loading") as raised:
            await client.chat.completions.create(model="slow", messages=[QUESTION])
        assert raised.value.status_code == 503
        assert int(raised.value.response.headers["retry-after"]) > 0


async def active(worker: RealWorker) -> int:
    return int((await worker.health())["active"])


async def falls_to_zero(worker: RealWorker) -> None:
    async with asyncio.timeout(5):
        while await active(worker):
            pass


async def test_closing_a_stream_stops_the_model() -> None:
    async with serving() as (client, running, worker):
        stream = await client.chat.completions.create(
            model="fast", messages=[QUESTION], stream=True, max_tokens=400, extra_body=ENDLESS
        )
        async for _ in stream:
            break
        await stream.close()
        await falls_to_zero(worker)
        fact = await running.history.next()
        assert (fact.status, fact.error) == (499, "client_closed_request")


async def test_giving_up_on_an_answer_stops_the_model() -> None:
    async with serving() as (client, running, worker):
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.01).chat.completions.create(
                model="fast", messages=[QUESTION], max_tokens=450, extra_body=ENDLESS
            )
        await falls_to_zero(worker)
        assert (await running.history.next()).status == 499
