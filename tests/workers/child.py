"""A worker child as its parent starts it, and a client of its socket."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp

from orchestrator.workers.frames import Failed, Launch, Ready, decode_report, encode_launch

COMMAND = [sys.executable, "-m", "orchestrator.workers.serve"]


def start(
    launch: Launch,
    errors: IO[bytes] | int = subprocess.DEVNULL,
    *,
    address_space_bytes: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a child and hand it its launch frame."""
    environment = os.environ | {"ORCHESTRATOR_WORKER_THREADS": "1"}
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
    )
    assert child.stdin is not None
    if address_space_bytes is not None:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    child.stdin.write(encode_launch(launch))
    child.stdin.flush()
    return child


def report(child: "subprocess.Popen[bytes]") -> Ready | Failed:
    """Read the child's one line."""
    assert child.stdout is not None
    return decode_report(child.stdout.readline())


def stop(child: "subprocess.Popen[bytes]") -> bytes:
    """Kill the child; return what else it wrote to standard output."""
    child.kill()
    return child.communicate(timeout=10)[0]


def launch_of(path: Path, folder: Path, **changes: Any) -> Launch:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "model": "m",
        "path": str(path),
        "context": 512,
        "parallel": 4,
        "socket": str(folder / "w.sock"),
    }
    return Launch(**(fields | changes))


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of a stream, parsed; `done` where `[DONE]` ended it."""

    events: list[Any]
    done: bool

    @property
    def text(self) -> str:
        deltas = [choice.get("delta", choice) for event in self.events for choice in event.get("choices", [])]
        return "".join(delta.get("content", delta.get("text", "")) or "" for delta in deltas)


class Client:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, path: str) -> Reply:
        async with self.session.get(path) as response:
            return Reply(response.status, await response.json(), response.headers)

    async def post(self, path: str, body: object, **extra: object) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(dict(body) | extra).encode()  # type: ignore[call-overload]  # a mapping
        async with self.session.post(path, data=content) as response:
            return Reply(response.status, await response.json(), response.headers)

    async def complete(self, prompt: object, **extra: object) -> Any:  # noqa: ANN401 (JSON)
        reply = await self.post("/v1/completions", {"prompt": prompt, "temperature": 0}, **extra)
        assert reply.status == 200, reply.body
        return reply.body

    async def chat(self, said: str, **extra: object) -> Any:  # noqa: ANN401 (JSON)
        body = {"messages": [{"role": "user", "content": said}], "temperature": 0}
        reply = await self.post("/v1/chat/completions", body, **extra)
        assert reply.status == 200, reply.body
        return reply.body

    async def stream(self, path: str, body: Mapping[str, object], **extra: object) -> Stream:
        content = json.dumps({"stream": True, **body, **extra}).encode()
        async with self.session.post(path, data=content) as response:
            assert response.status == 200, await response.text()
            lines = [line for line in (await response.text()).split("\n\n") if line]
        data = [line.removeprefix("data: ") for line in lines]
        done = data[-1] == "[DONE]"
        return Stream([json.loads(line) for line in (data[:-1] if done else data)], done)

    async def health_when(self, **expected: object) -> Any:  # noqa: ANN401 (JSON)
        """Return /health as soon as it says what is expected."""
        async with asyncio.timeout(20):
            while True:
                health = (await self.get("/health")).body
                if health | expected == health:
                    return health
                await asyncio.sleep(0.005)


@asynccontextmanager
async def client_of(socket: str) -> AsyncIterator[Client]:
    connector = aiohttp.UnixConnector(socket, limit=0)
    async with aiohttp.ClientSession("http://worker", connector=connector) as session:
        yield Client(session)
