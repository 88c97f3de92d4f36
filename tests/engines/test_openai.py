"""The openai engine keeps the contract, with real servers of OpenAI's API behind it."""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.engines.openai.engine import OpenAIEngine
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.conformance import EngineConformance
from tests.engines.openai_servers import Asked, Relay, answer, scripted, worker
from tests.engines.real_time import REAL_TIME, SOON_S, until
from tests.engines.rig import Absent

pytestmark = REAL_TIME


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Path]]:
    """The real servers behind the endpoints: one for each shipped model."""
    with (
        tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder,
        worker(Path(folder), "tiny") as tiny,
        worker(Path(folder), "small") as small,
    ):
        yield {"tiny": tiny, "small": small}


def of(name: str, theirs: str, *endpoints: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    source = Source(written=theirs, scheme="name", location=theirs)
    return spec(name, engine="openai", source=source, endpoints=endpoints, **changes)


async def chat(socket: str, said: str) -> str:
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": said}],
        "max_tokens": 4,
        "temperature": 0,
    }
    limit = aiohttp.ClientTimeout(total=SOON_S)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=limit) as session,
        session.post("http://replica/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200, await response.text()
        content = await response.json()
    return str(content["choices"][0]["message"]["content"])


async def page(asked: Asked, transport: asyncio.Transport) -> None:
    del asked
    transport.write(answer(200, b"<html>It works!</html>"))


class OpenAIRig:
    killed = "cannot be reached"
    tells_version = False

    def __init__(self, runtime: Path, workers: dict[str, Path], page_url: str) -> None:
        self._runtime = runtime
        self.engine = self._engine("run")
        self._relays = {name: Relay(path, hold_s=0.1) for name, path in workers.items()}
        self._page_url = page_url

    async def open(self) -> None:
        for relay in self._relays.values():
            await relay.open()
        tiny, small = (self._relays[name].url for name in ("tiny", "small"))
        self._good = of("fast", "theirs-tiny", tiny)
        self.other = of("better", "theirs-small", small)
        self.missing = of("missing", "theirs-nothing", tiny)
        self.corrupt = of("corrupt", "theirs-page", self._page_url)
        self.absent = Absent(engine=self._engine("absent"), spec=of("absent", "any", "http://127.0.0.1:9/v1"))

    async def close(self) -> None:
        await self.engine.close()
        await self.absent.engine.close()
        for relay in self._relays.values():
            await relay.close()

    @property
    def good(self) -> ModelSpec:
        """A model that loads: its server is started again where it was killed."""
        self._relays["tiny"].put_back()
        return self._good

    async def kill(self, running: Running) -> None:
        del running
        await self._relays["tiny"].take_away()

    async def answers(self, running: Running) -> bool:
        try:
            return bool(await chat(running.socket, "2+2"))
        except aiohttp.ClientConnectorError:
            return False

    async def fill(self, running: Running, spec: ModelSpec) -> None:
        del spec
        await chat(running.socket, "2+2")

    async def processes(self) -> int:
        return len(list((self._runtime / "run").glob("*.sock")))

    async def load_is_under_way(self) -> None:
        await until(lambda: any(relay.holding for relay in self._relays.values()))

    def _engine(self, folder: str) -> OpenAIEngine:
        return OpenAIEngine(self._runtime / folder, load_deadline_s=SOON_S, check_every_s=0.2)


@pytest.fixture
async def rig(runtime: Path, workers: dict[str, Path]) -> AsyncIterator[OpenAIRig]:
    async with scripted(page) as server:
        made = OpenAIRig(runtime, workers, server.url)
        await made.open()
        yield made
        await made.close()


class TestOpenAIEngine(EngineConformance):
    @pytest.fixture
    def rig(self, rig: OpenAIRig) -> OpenAIRig:
        return rig


async def test_a_real_stream_comes_through_with_all_that_it_tells(rig: OpenAIRig) -> None:
    running = await rig.engine.ensure_loaded("r1", rig.good)
    events = [event async for event in stream(running.socket, max_tokens=8)]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["model"] for chunk in chunks} == {"fast"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["usage"]["completion_tokens"] == 8
    assert set(chunks[-1]["timings"]) >= {"prompt_ms", "predicted_per_second"}
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert len(said) == 8


async def stream(socket: str, **fields: object) -> AsyncGenerator[str, None]:
    """Yield the data of a stream's events."""
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": "count to 9"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session,
        session.post("http://replica/v1/chat/completions", json=body | fields) as response,
    ):
        async for line in response.content:
            if line.strip():
                yield line.decode().removeprefix("data: ").strip()
