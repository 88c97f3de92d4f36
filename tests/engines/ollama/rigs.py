"""What the tests of the engine need around an Ollama server, a real or a pretended one."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from orchestrator.engines.base import Premises
from orchestrator.engines.ollama.engine import OllamaEngine
from orchestrator.engines.ollama.relay import Silence
from orchestrator.engines.ollama.site import Patience
from orchestrator.values.fleet import Running
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.conformance import Absent
from tests.engines.real_time import SOON_S, until

# As the engine's own, for a server without models that take minutes.
QUICK = Patience(again_s=0.3, kill_s=0.6, fail_s=3.0)


class World(Protocol):
    """A server, and what happens to it behind the engine's back."""

    @property
    def url(self) -> str: ...

    async def end_runner(self, model: str) -> None:
        """Have the runner of a model of ours end."""

    def runners(self) -> int:
        """Return how many runners there are, those that load included."""


def premises(folder: Path, **settings: Any) -> Premises:  # noqa: ANN401 (any setting)
    return Premises(
        runtime=folder / "run",
        cache=folder / "cache",
        settings=Settings(load_deadline_s=SOON_S, **settings),
        environment={},
    )


def engine_in(folder: Path, *, silence: Silence | None = None, **settings: Any) -> OllamaEngine:  # noqa: ANN401
    return OllamaEngine(
        premises(folder, **settings), patience=QUICK, watch_s=0.05, silence=silence, accelerators=NoGpus()
    )


class NoGpus:
    """A machine without GPUs."""

    def look(self) -> list[Any]:
        return []

    def driver(self) -> str:
        return ""


def on(url: str, name: str = "fast", location: str = "tiny", **changes: Any) -> ModelSpec:  # noqa: ANN401
    fields: dict[str, Any] = {"engine": "ollama", "context": 256, "parallel": 2, "endpoints": (url,)}
    return spec(name, location=location, **(fields | changes))


def tag(written: str, *, resolved: str = "", sha256: str | None = None) -> Source:
    return Source(written=written, scheme="ollama", location=written, resolved=resolved, sha256=sha256)


@contextlib.asynccontextmanager
async def client_of(running: Running) -> AsyncIterator[aiohttp.ClientSession]:
    limit = aiohttp.ClientTimeout(total=SOON_S)
    connector = aiohttp.UnixConnector(running.socket)
    async with aiohttp.ClientSession("http://replica", connector=connector, timeout=limit) as session:
        yield session


async def chat(running: Running, said: str = "2+2", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": said}],
        "max_tokens": 4,
        "temperature": 0,
    }
    async with (
        client_of(running) as session,
        session.post("/v1/chat/completions", json=body | more) as answer,
    ):
        content: dict[str, Any] = await answer.json()
        assert answer.status == 200, content
        return content


async def ask(running: Running, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | list[Any]]:
    """Return the status, and the JSON of the answer or of the events of a stream."""
    async with client_of(running) as session, session.post(path, json=body) as answer:
        content = await answer.read()
        if answer.content_type != "text/event-stream":
            return answer.status, json.loads(content)
        return answer.status, events_of(content)


def events_of(stream: bytes) -> list[Any]:
    texts = [part.removeprefix(b"data: ") for part in stream.split(b"\n\n") if part]
    return [text.decode() if text == b"[DONE]" else json.loads(text) for text in texts]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OllamaRig:
    """The suite's, for any world."""

    killed = "runner"
    tells_version = True

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.engine = engine_in(folder)
        noise = folder / "noise.gguf"
        noise.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)))
        self.good = on(world.url)
        self.other = on(world.url, "better", "small")
        self.missing = on(world.url, "missing", source=hidden(folder / "nothing.gguf"))
        self.corrupt = on(world.url, "corrupt", source=hidden(noise))
        nowhere = f"http://127.0.0.1:{free_port()}"
        self._nobody = engine_in(folder / "absent")
        self.absent = Absent(engine=self._nobody, spec=replace(self.good, endpoints=(nowhere,)))

    async def close(self) -> None:
        await self.engine.close()
        await self._nobody.close()

    async def kill(self, running: Running) -> None:
        await self.world.end_runner({"r1": "fast", "r2": "better"}[running.replica])

    async def answers(self, running: Running) -> bool:
        try:
            return bool((await chat(running))["choices"])
        except aiohttp.ClientConnectorError:
            return False

    async def fill(self, running: Running, spec: ModelSpec) -> None:
        text = "Uppercase abcdefgh " * (spec.context // 24)
        await asyncio.gather(
            *(chat(running, text, max_tokens=spec.context // 4) for _ in range(spec.parallel))
        )

    async def processes(self) -> int:
        return self.world.runners()

    async def load_is_under_way(self) -> None:
        ready = len(await self.engine.observe())
        await until(lambda: self.world.runners() > ready)


def hidden(path: Path) -> Source:
    """A source whose resolved path must not be shown."""
    return Source(written="file:${env:MODELS}/" + path.name, scheme="file", location=str(path))
